//! Bases that are more than one qcow2 image: raw ones, and ones with backing files on the drive.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc, Stick, checksum, must};

/// The markers of both disks, without a trace on the drive.
fn markers(pc: &Pc, drive: &Drive) -> [Vec<String>; 2] {
    drive.set(&Options { saves: Some(2), ..Options::raw_and_chain("show") });
    let looked =
        pc.run_with(drive, &["--accelerator", "tcg", "--discard", "user", "--discard", "system"]).finish();
    looked.expect(0);
    ["system", "user"].map(|disk| looked.markers(disk))
}

fn set(drive: &Drive, command: &str) {
    drive.set(&Options { saves: Some(2), ..Options::raw_and_chain(command) });
}

#[test]
fn a_raw_disk_and_a_chain_are_saved_together_undone_and_redone() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::raw_and_chain("show"));
    let pc = Pc::new(&bench, "pc");
    let place = drive.path.to_str().unwrap();
    let golden = drive.golden().map(|file| checksum(&file));
    let before = checksum(&drive.base("user"));
    for marker in ["one", "two"] {
        set(&drive, &format!("marker {marker};system-marker {marker};write 4"));
        pc.session(&drive);
        pc.assert_as_before();
    }
    assert_eq!(drive.golden().map(|file| checksum(&file)), golden, "a layer below was written to");
    let both = |markers: &[&str]| {
        [markers, markers].map(|of| of.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(markers(&pc, &drive), both(&["one", "two"]));

    let checked = pc.call(&["check", place]);
    checked.expect(0);
    let disks = &checked.all("health")[0]["disks"];
    let formats: Vec<&str> = (0..2).filter_map(|at| disks[0]["below"][at]["format"].as_str()).collect();
    assert_eq!((formats, disks[1]["format"].as_str()), (vec!["qcow2", "raw"], Some("raw")));

    pc.call(&["undo", place]).expect(0);
    assert_eq!(markers(&pc, &drive), both(&["one"]));
    pc.call(&["redo", place]).expect(0);
    assert_eq!(markers(&pc, &drive), both(&["one", "two"]));
    pc.call(&["undo", place, "--to", "0"]).expect(0);
    assert_eq!(checksum(&drive.base("user")), before, "the raw disk is as it was before the first save");
    assert_eq!(markers(&pc, &drive), both(&[]));
    drive.assert_sound();
    assert_eq!(drive.golden().map(|file| checksum(&file)), golden);
}

#[test]
fn a_guest_on_a_raw_disk_and_a_chain_goes_on_when_its_stick_is_back_elsewhere() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    // exFAT has no holes: the raw disk takes all of its size.
    let mut stick = Stick::exfat(&bench, 1000);
    let first = bench.path().join("first port");
    stick.attach(&first);
    let drive =
        Drive::create(&first.join("drive"), &Options::raw_and_chain("marker kept;system-marker kept;read"));
    let mut launcher = pc.run(&drive);
    launcher.guest("read");

    stick.pull();
    launcher.notice("drive-gone");
    let second = bench.path().join("second port");
    stick.attach(&second);
    launcher.notice("drive-back");
    launcher.guest("read");
    launcher.guest("read");
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);

    let drive = Drive::at(&second.join("drive"));
    assert_eq!(markers(&pc, &drive), [["kept"], ["kept"]]);
    stick.eject();
}

#[test]
fn changes_of_a_raw_disk_that_another_program_wrote_to_are_not_saved_over_that() {
    let bench = Bench::new();
    let drive =
        Drive::create(&bench.folder("drive"), &Options::raw_and_chain("marker ours;system-marker ours"));
    let pc = Pc::new(&bench, "pc");
    let place = drive.path.to_str().unwrap();
    let mut launcher = pc.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();
    let mut base = std::fs::OpenOptions::new().write(true).open(drive.base("user")).unwrap();
    base.write_all(b"another program's").unwrap();
    drop(base);

    let refused = pc.call(&["recover", place, "--merge"]);
    refused.expect(9);
    assert!(
        refused.error().contains("another program") && refused.error().contains("--save-as"),
        "{}",
        refused.error()
    );
    let rescued = bench.path().join("rescued");
    pc.call(&["recover", place, "--save-as", rescued.to_str().unwrap()]).expect(0);
    assert!(rescued.join("user.qcow2").is_file());
    pc.assert_as_before();
}

#[test]
fn a_chain_that_leads_out_of_the_drive_is_named_by_check_and_starts_nothing() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::raw_and_chain("show"));
    let pc = Pc::new(&bench, "pc");
    let place = drive.path.to_str().unwrap();
    let outside = bench.path().join("outside.qcow2");
    std::fs::copy(&drive.golden()[0], &outside).unwrap();
    let [middle, golden] = drive.golden();
    let rebase = |image: &Path, name: &str, format: &str| {
        must(
            Command::new("qemu-img")
                .args(["rebase", "-u", "-f", "qcow2", "-b", name, "-F", format])
                .arg(image),
        );
    };
    let base = drive.base("system");
    let told = |word: &str| {
        let checked = pc.call(&["check", place]);
        checked.expect(10);
        let problems = checked.all("health")[0]["disks"][0]["problems"].to_string();
        assert!(problems.contains(word), "{problems}");
        pc.run(&drive).finish().expect(10);
        pc.assert_as_before();
    };
    rebase(&base, outside.to_str().unwrap(), "qcow2");
    told("lies outside of the drive");
    rebase(&base, "../../../outside.qcow2", "qcow2");
    told("lies outside of the drive");
    rebase(&base, "../user/base.img", "raw");
    told("is itself a layer");
    rebase(&base, "../golden/middle.qcow2", "qcow2");
    rebase(&middle, "../system/base.qcow2", "qcow2");
    told("layers of backing files");
    rebase(&middle, "system.img", "raw");
    pc.call(&["check", place]).expect(0);
    std::fs::rename(&golden, bench.path().join("lost.img")).unwrap();
    told("system.img");
}
