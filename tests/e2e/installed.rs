//! An installed system, fitted to hardware that it has no driver for, and really started on it.
//!
//! The guests are two Debian 12 whose initramfs (by initramfs-tools with MODULES=dep, and by dracut for this host only) holds no
//! driver for disks but virtio-blk's, and dracut's that of IDE: see tests/guest/debian.sh.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pocketvm_disk::{BaseFormat, CreateOptions, View};
use pocketvm_guest::apply::{self, Way};
use pocketvm_guest::fit::{self, Change, Fit, Offers};
use pocketvm_guest::guest::Guest;
use pocketvm_guest::linux::Scope;
use pocketvm_guest::patch::SharedDisk;
use pocketvm_guest::{Disk, Hardware};

use super::harness::{Bench, Drive, Pc, must};

/// Longest wait for a system under emulation.
const LIMIT: Duration = Duration::from_secs(200);

/// What the guest says when it is there.
const SAYS: &str = "pocketvm-guest: root=";

/// An image of tests/guest/debian.sh.
fn image(name: &str) -> PathBuf {
    let folder = std::env::var_os("POCKETVM_TEST_DEBIAN");
    let folder = folder.expect("POCKETVM_TEST_DEBIAN does not name a folder made by tests/guest/debian.sh");
    let path = Path::new(&folder).join(format!("{name}.qcow2"));
    assert!(path.is_file(), "{} is missing: run tests/guest/debian.sh", path.display());
    path
}

struct Seen(View);

impl Disk for Seen {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buf).map_err(std::io::Error::other)
    }
}

/// A Debian in a folder, and an overlay of it.
struct Installed {
    bench: Bench,
    base: PathBuf,
    before: blake3::Hash,
}

impl Installed {
    fn new(name: &str) -> Self {
        let bench = Bench::new();
        let base = bench.path().join("base.qcow2");
        std::fs::copy(image(name), &base).unwrap();
        let before = blake3::hash(&std::fs::read(&base).unwrap());
        Installed { bench, base, before }
    }

    fn overlay(&self) -> PathBuf {
        self.bench.path().join("overlay.qcow2")
    }

    fn view(&self, overlay: Option<&Path>) -> View {
        View::open(self.bench.path(), "base.qcow2", BaseFormat::Qcow2, overlay).unwrap()
    }

    fn look(&self, overlay: Option<&Path>) -> (SharedDisk, Guest) {
        let disk: SharedDisk = Arc::new(Seen(self.view(overlay)));
        let shared: Rc<dyn Disk> = Rc::new(Arc::clone(&disk));
        let guest = Guest::inspect(&shared, Scope::Default).unwrap();
        (disk, guest)
    }

    /// Fits it to a hypervisor that has only this controller, in an overlay.
    fn fit_to(&self, controller: Hardware) -> Fit {
        let (disk, guest) = self.look(None);
        let offers =
            Offers { controllers: &[controller], cards: &[Hardware::VirtioNet], displays: &[], mixed: false };
        let fit = fit::fit(&guest, &[], &offers).unwrap();
        let changed = apply::apply(&disk, &guest, &fit, Way::InBoot).unwrap();
        let view = self.view(None);
        let content = view.with(&changed.bytes, 64 * 1024).unwrap();
        let content: Vec<_> = content.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        let options = CreateOptions {
            virtual_size: view.size(),
            cluster_size: 64 * 1024,
            backing: Some((self.base.clone(), "qcow2")),
            content: &content,
        };
        pocketvm_disk::create(&self.overlay(), &options).unwrap();

        // Exactly that, and what other programs make of it.
        let overlaid = self.view(Some(&self.overlay()));
        assert_eq!(overlaid.differences(1 << 30).unwrap(), changed.bytes);
        must(Command::new("qemu-img").args(["check", "-q"]).arg(self.overlay()));
        let raw = self.bench.path().join("raw");
        must(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(self.overlay()).arg(&raw));
        must(Command::new("e2fsck").arg("-fn").arg(format!("{}?offset=1048576", raw.display())));
        std::fs::remove_file(&raw).unwrap();

        // A second launch plans nothing new.
        let (_, again) = self.look(Some(&self.overlay()));
        assert_eq!(fit::fit(&again, &[], &offers).unwrap().changes, []);
        fit
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                blake3::hash(&std::fs::read(&self.base).unwrap()),
                self.before,
                "the base was written to"
            );
        }
    }
}

/// A started QEMU that says its lines.
struct Machine {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Machine {
    /// On the old board, with the network card in slot 3.
    fn start(image: &Path, controller: &[&str]) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-M",
            "pc",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "512",
            "-nodefaults",
        ]);
        command.args(["-display", "none", "-no-reboot", "-serial", "stdio", "-snapshot"]);
        command.args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,addr=0x3"]);
        command.arg("-drive").arg(format!("if=none,id=disk,format=qcow2,file={}", image.display()));
        command.args(controller.iter().flat_map(|device| ["-device", device]));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Machine { child, lines, said: Vec::new() }
    }

    /// The line in which the guest says what it found.
    fn says(&mut self) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(SAYS) => return line,
                Ok(line) => self.said.push(line),
                Err(error) => panic!("the guest says nothing ({error}):\n{}", self.said.join("\n")),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a Debian from a controller that its initramfs has no driver for.
fn starts_from(name: &str, hardware: Hardware, controller: &[&str], driver: &str) {
    let installed = Installed::new(name);
    let fit = installed.fit_to(hardware);
    // dracut always takes the driver of that one.
    let lacks = !(name == "dracut" && hardware == Hardware::Piix);
    let added = |change: &Change| matches!(change, Change::Initramfs { .. });
    assert_eq!(fit.changes.iter().any(added), lacks, "{fit:?}");
    assert!(fit.changes.iter().any(|change| matches!(change, Change::Fstab { .. })), "{fit:?}");
    let line = Machine::start(&installed.overlay(), controller).says();
    assert!(line.contains(&format!("driver={driver} ")) && line.contains("nic=ens3 "), "{line}");
}

#[test]
fn a_debian_made_for_virtio_starts_from_ahci() {
    starts_from("dep", Hardware::Ahci, &["ich9-ahci,id=sata", "ide-hd,bus=sata.0,drive=disk"], "ahci");
}

#[test]
fn a_debian_made_for_virtio_starts_from_nvme() {
    starts_from("dep", Hardware::Nvme, &["nvme,serial=1,drive=disk"], "nvme");
}

#[test]
fn a_debian_made_for_virtio_starts_from_pvscsi() {
    starts_from("dep", Hardware::Pvscsi, &["pvscsi,id=scsi", "scsi-hd,bus=scsi.0,drive=disk"], "vmw_pvscsi");
}

#[test]
fn a_debian_made_for_virtio_starts_from_virtio_scsi() {
    starts_from(
        "dep",
        Hardware::VirtioScsi,
        &["virtio-scsi-pci,id=scsi", "scsi-hd,bus=scsi.0,drive=disk"],
        "virtio_scsi",
    );
}

#[test]
fn a_debian_made_for_virtio_starts_from_ide() {
    starts_from("dep", Hardware::Piix, &["ide-hd,bus=ide.0,drive=disk"], "ata_piix");
}

#[test]
fn with_an_initramfs_of_dracut_it_starts_from_ahci() {
    starts_from("dracut", Hardware::Ahci, &["ich9-ahci,id=sata", "ide-hd,bus=sata.0,drive=disk"], "ahci");
}

#[test]
fn with_an_initramfs_of_dracut_it_starts_from_nvme() {
    starts_from("dracut", Hardware::Nvme, &["nvme,serial=1,drive=disk"], "nvme");
}

#[test]
fn with_an_initramfs_of_dracut_it_starts_from_pvscsi() {
    starts_from(
        "dracut",
        Hardware::Pvscsi,
        &["pvscsi,id=scsi", "scsi-hd,bus=scsi.0,drive=disk"],
        "vmw_pvscsi",
    );
}

#[test]
fn with_an_initramfs_of_dracut_it_starts_from_virtio_scsi() {
    starts_from(
        "dracut",
        Hardware::VirtioScsi,
        &["virtio-scsi-pci,id=scsi", "scsi-hd,bus=scsi.0,drive=disk"],
        "virtio_scsi",
    );
}

#[test]
fn with_an_initramfs_of_dracut_it_starts_from_ide() {
    starts_from("dracut", Hardware::Piix, &["ide-hd,bus=ide.0,drive=disk"], "ata_piix");
}

#[test]
fn what_no_driver_in_the_guest_can_serve_is_refused_with_the_reason() {
    let installed = Installed::new("dep");
    let (_, guest) = installed.look(None);
    let offers = |controllers| Offers { controllers, cards: &[], displays: &[], mixed: false };
    // What it starts with already costs nothing, wherever it is in the list.
    let fit = fit::fit(&guest, &[], &offers(&[Hardware::Ahci, Hardware::VirtioBlk])).unwrap();
    assert_eq!((fit.controller, fit.changes), (1, vec![]));
    // As if its root had no drivers.
    let system = &guest.systems[0];
    let pocketvm_guest::guest::System::Linux { linux, .. } = system else { panic!("{system:?}") };
    let mut without = guest.clone();
    let mut linux = linux.clone();
    linux.kernels[0].tree = Default::default();
    without.systems = vec![pocketvm_guest::guest::System::Linux { root: Some(1), boot: None, linux }];
    let refusal = fit::fit(&without, &[], &offers(&[Hardware::Ahci])).unwrap_err();
    assert!(
        refusal.what.contains("has no driver ahci, neither in its initramfs nor on its root"),
        "{refusal}"
    );
}

/// A drive with a Debian on the controller that is named.
fn drive(bench: &Bench, name: &str, controller: &str, more: &str) -> Drive {
    let path = bench.folder("drive");
    std::fs::create_dir_all(path.join("disks/system")).unwrap();
    std::fs::copy(image(name), path.join("disks/system/base.qcow2")).unwrap();
    let text = format!(
        "schema: 1\nmachine: {{name: Debian}}\nmemory: {{min: 512 MiB, max: 512 MiB}}\ncpus: {{min: 1, max: 2}}\ndisks:\n\
         - {{name: system, file: disks/system/base.qcow2, keep: true, controller: {controller}}}\n\
         paging: {{size: 128 MiB}}\nscratch: {{room: 64 MiB, plain: accepted}}\n{more}"
    );
    std::fs::write(path.join("pocketvm.yaml"), text).unwrap();
    Drive::at(&path)
}

/// Runs a session until the guest has said what it found, and lets it shut down.
fn session(pc: &Pc, drive: &Drive) -> (String, serde_json::Value) {
    let mut launcher = pc.run(drive);
    let session = launcher.event("session", |event| event["event"] == "session");
    let adapted = launcher.event("adapted", |event| event["event"] == "adapted")["adapted"].clone();
    launcher.event("running", |event| event["event"] == "guest" && event["guest"]["event"] == "running");
    let log = Path::new(session["scratch"].as_str().unwrap()).join("serial.log");
    let mut log = std::fs::File::open(log).unwrap();
    let end = Instant::now() + LIMIT;
    let mut said = String::new();
    let line = loop {
        log.read_to_string(&mut said).unwrap();
        let found = said.lines().find(|line| line.contains(SAYS));
        if let Some(line) = found.filter(|_| said.ends_with('\n')) {
            break line.to_owned();
        }
        assert!(Instant::now() < end, "the guest says nothing:\n{said}");
        std::thread::sleep(Duration::from_millis(200));
    };
    launcher.signal(rustix::process::Signal::INT);
    launcher.finish().expect(0);
    pc.assert_as_before();
    (line, adapted)
}

#[test]
fn a_session_starts_an_installed_system_with_the_hardware_that_it_knows() {
    let bench = Bench::new();
    let drive = drive(&bench, "dep", "auto", "");
    let pc = Pc::new(&bench, "pc");
    let (line, adapted) = session(&pc, &drive);
    assert_eq!((&adapted["controller"], &adapted["card"]), (&"virtio".into(), &"virtio-net-pci".into()));
    assert_eq!(adapted["changes"], serde_json::json!([]));
    for part in
        ["root=/dev/vda1", "driver=virtio_blk ", "nic=ens3 ", "address=10.0.2.15", "swap=pocketvm-swap"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    // What people and programs are told.
    let path = drive.path.to_str().unwrap();
    let installed = pc.call(&["guest", path, "--plan-for", "virtualbox"]);
    installed.expect(0);
    let answer = installed.all("installed")[0].clone();
    assert_eq!(answer["paging"]["used"], true);
    assert_eq!(answer["plan"]["controller"], "ahci");
    assert_eq!(answer["plan"]["changes"].as_array().unwrap().len(), 2);
    assert!(answer["plan"]["notes"].to_string().contains("enp0s3"), "{}", answer["plan"]);
    assert_eq!(answer["guest"]["systems"][0]["clean"], true);
}

#[test]
fn a_session_gives_drivers_beside_the_disk_and_a_kept_disk_takes_only_what_is_its_own() {
    let bench = Bench::new();
    let drive = drive(&bench, "dracut", "ahci", "");
    let pc = Pc::new(&bench, "pc");
    let (line, adapted) = session(&pc, &drive);
    assert_eq!(adapted["changes"].as_array().unwrap().len(), 2, "{adapted}");
    assert!(line.contains("driver=ahci ") && line.contains("nic=ens3 "), "{line}");
    let raw = bench.path().join("raw");
    must(
        Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .arg(drive.path.join("disks/system/base.qcow2"))
            .arg(&raw),
    );
    let partition = format!("{}?offset=1048576", raw.display());
    must(Command::new("e2fsck").arg("-fn").arg(&partition));
    // fstab is changed for good; the initramfs was not touched, and so it is given again.
    let fstab = must(Command::new("debugfs").args(["-R", "cat /etc/fstab"]).arg(&partition));
    let fstab = String::from_utf8_lossy(&fstab.stdout).into_owned();
    assert!(!fstab.contains("/dev/vda1") && fstab.matches("UUID=").count() == 2, "{fstab}");
    let planned = pc.call(&["guest", drive.path.to_str().unwrap(), "--plan-for", "qemu"]);
    let changes = planned.all("installed")[0]["plan"]["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert!(changes[0].as_str().unwrap().contains("ahci"), "{changes}");
}

#[test]
fn nothing_is_changed_where_the_manifest_only_allows_to_look() {
    let bench = Bench::new();
    let drive = drive(&bench, "dep", "ahci", "adapt: \"check\"\n");
    let base = drive.path.join("disks/system/base.qcow2");
    let pc = Pc::new(&bench, "pc");
    let ended = pc.run(&drive).finish();
    ended.expect(7);
    assert!(
        ended.error().contains("only if it is changed") && ended.error().contains("adapt"),
        "{}",
        ended.error()
    );
    pc.assert_as_before();
    must(Command::new("qemu-img").args(["compare", "-q"]).arg(&base).arg(image("dep")));
}
