//! A Windows on a drive: what a session changes in its registry, and what it gives it. No Windows runs here, and none could: the
//! volume is made by ntfs-3g and the registry by hivex, and they judge the result.

use std::path::{Path, PathBuf};
use std::process::Command;

use pocketvm_specimen::flavours::Flavour;
use pocketvm_specimen::hives::number;
use pocketvm_specimen::image::{Image, Layout, START};
use pocketvm_specimen::programs::{ask, run};
use rustix::process::Signal;

use super::harness::{Bench, Drive, Pc, must};

/// A drive with this Windows on the controller that is named.
fn drive(bench: &Bench, image: &Image, controller: &str) -> Drive {
    let path = bench.folder("drive");
    std::fs::create_dir_all(path.join("disks/system")).unwrap();
    let raw = bench.path().join("windows.raw");
    std::fs::write(&raw, &image.bytes).unwrap();
    let base = path.join("disks/system/base.qcow2");
    must(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(base));
    let text = format!(
        "schema: 1\nmachine: {{name: Windows}}\nmemory: {{min: 64 MiB, max: 64 MiB}}\ncpus: {{min: 1, max: 1}}\ndisks:\n\
         - {{name: system, file: disks/system/base.qcow2, keep: true, controller: {controller}}}\n\
         paging: {{size: 128 MiB}}\nscratch: {{room: 64 MiB, plain: accepted}}\n"
    );
    std::fs::write(path.join("pocketvm.yaml"), text).unwrap();
    Drive::at(&path)
}

/// The disk that QEMU sees, though it may be in use.
fn raw(bench: &Bench, overlay: &Path, name: &str) -> PathBuf {
    let raw = bench.path().join(name);
    must(Command::new("qemu-img").args(["convert", "-U", "-O", "raw"]).arg(overlay).arg(&raw));
    raw
}

/// Starts a session, forces its machine off, and returns what was told and the disks as the machine saw them.
fn session(bench: &Bench, pc: &Pc, drive: &Drive) -> (serde_json::Value, PathBuf, PathBuf) {
    let mut launcher = pc.run(drive);
    let session = launcher.event("session", |event| event["event"] == "session");
    let adapted = launcher.event("adapted", |event| event["event"] == "adapted")["adapted"].clone();
    launcher.event("running", |event| event["event"] == "guest" && event["guest"]["event"] == "running");
    let folder = Path::new(session["scratch"].as_str().unwrap()).to_owned();
    let system = raw(bench, &folder.join("system.qcow2"), "system.raw");
    let paging = raw(bench, &folder.join("paging.qcow2"), "paging.raw");
    launcher.signal(Signal::INT);
    launcher.notice("shutting-down");
    launcher.signal(Signal::INT);
    launcher.finish().expect(8);
    pc.call(&["recover", drive.path.to_str().unwrap(), "--discard"]).expect(0);
    pc.assert_as_before();
    (adapted, system, paging)
}

/// The volume in a raw disk.
fn volume(bench: &Bench, disk: &Path) -> PathBuf {
    let bytes = std::fs::read(disk).unwrap();
    let path = bench.path().join("volume");
    std::fs::write(&path, &bytes[START as usize..bytes.len() - START as usize]).unwrap();
    path
}

#[test]
fn a_windows_that_does_not_start_from_ide_does_after_four_bytes_in_the_overlay() {
    let bench = Bench::new();
    let image = Flavour::windows_10().image(Layout::Whole);
    let drive = drive(&bench, &image, "ide");
    let pc = Pc::new(&bench, "pc");
    let (adapted, system, paging) = session(&bench, &pc, &drive);
    assert_eq!(adapted["system"], "Windows 10 Pro");
    assert_eq!(adapted["controller"], "ide");
    let changes = adapted["changes"].as_array().unwrap();
    assert!(
        changes.len() == 1 && changes[0].as_str().unwrap().contains("intelide, atapi (4 bytes"),
        "{changes:?}"
    );

    // The registry as hivex reads it, the volume as ntfs-3g does, and not a byte more than told.
    let differing =
        ask("cmp", ["-l".as_ref(), bench.path().join("windows.raw").as_os_str(), system.as_os_str()]);
    assert_eq!(String::from_utf8_lossy(&differing.stdout).lines().count(), 4);
    let volume = volume(&bench, &system);
    run("ntfsfix", ["-n".as_ref(), volume.as_os_str()]);
    let hive = bench.path().join("hive");
    std::fs::write(&hive, run("ntfscat", [volume.as_os_str(), "/Windows/System32/config/SYSTEM".as_ref()]))
        .unwrap();
    for set in ["ControlSet001", "ControlSet002"] {
        for (driver, expected) in [("intelide", 0), ("atapi", 0), ("stornvme", 3)] {
            let key = format!(r"{set}\Services\{driver}\StartOverride");
            assert_eq!(number(&hive, &key, "0"), expected, "{key}");
        }
    }
    // Thrown away, and made anew: the base is as it was.
    let base = raw(&bench, &drive.path.join("disks/system/base.qcow2"), "base.raw");
    must(Command::new("cmp").arg(base).arg(bench.path().join("windows.raw")));

    // The disk for its page file is one sound volume that it knows again.
    let dumped = String::from_utf8(run("sfdisk", ["--dump".as_ref(), paging.as_os_str()])).unwrap();
    let (again, _, other) = session(&bench, &pc, &drive);
    assert_eq!(again["changes"], adapted["changes"]);
    let dumped_again = String::from_utf8(run("sfdisk", ["--dump".as_ref(), other.as_os_str()])).unwrap();
    let id = |dumped: &str| dumped.lines().find(|line| line.starts_with("label-id")).unwrap().to_owned();
    assert_eq!(id(&dumped), id(&dumped_again));
    assert!(dumped.contains("type=c"), "{dumped}");
    let pages = bench.path().join("pages");
    std::fs::write(&pages, &std::fs::read(&paging).unwrap()[1 << 20..]).unwrap();
    run("fsck.vfat", ["-n".as_ref(), pages.as_os_str()]);
}

#[test]
fn a_windows_gets_what_it_has_drivers_for_and_its_clock() {
    let bench = Bench::new();
    let drive = drive(&bench, &Flavour::windows_10().image(Layout::Whole), "auto");
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap();
    let rendered = pc.call(&["render", path, "--headless", "--accelerator", "tcg"]);
    rendered.expect(0);
    let arguments = rendered.all("rendered")[0]["args"].to_string();
    // viostor is installed, but does not start with Windows; storahci does.
    assert!(arguments.contains("ide-hd") && !arguments.contains("virtio-blk"), "{arguments}");
    assert!(arguments.contains("base=localtime"), "{arguments}");
    for (hypervisor, controller, changes) in
        [("virtualbox", "ahci", 0), ("vmware", "ahci", 0), ("hyperv", "ide", 1)]
    {
        let installed = pc.call(&["guest", path, "--plan-for", hypervisor]);
        installed.expect(0);
        let plan = installed.all("installed")[0]["plan"].clone();
        assert_eq!((&plan["verdict"], &plan["controller"]), (&"fits".into(), &controller.into()));
        assert_eq!(plan["changes"].as_array().unwrap().len(), changes, "{plan}");
    }
    pc.call(&["guest", path, "--plan-for", "bochs"]).expect(2);
}

#[test]
fn a_hibernated_windows_is_not_changed_and_the_reason_is_told() {
    let bench = Bench::new();
    let flavour = Flavour::windows_10();
    let sleeping =
        flavour.image_with(&flavour.system.hive(), &[("hiberfil.sys", b"HIBR and more")], Layout::Whole);
    let drive = drive(&bench, &sleeping, "ide");
    let pc = Pc::new(&bench, "pc");
    let ended = pc.run(&drive).finish();
    ended.expect(7);
    assert!(ended.error().contains("hibernated"), "{}", ended.error());
    pc.assert_as_before();
    let refused = pc.call(&["guest", drive.path.to_str().unwrap(), "--plan-for", "qemu"]);
    refused.expect(5);
    assert!(refused.all("installed")[0]["plan"]["what"].as_str().unwrap().contains("hibernated"));
}
