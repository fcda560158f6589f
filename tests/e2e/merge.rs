//! What a merge writes, judged by qemu-img, and what happens when it is cancelled.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc, Stick, compare, image_check, must, wait_until_gone};

/// The only file called `name` somewhere under `folder`.
fn find(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.file_name() == name => return entry.path(),
                false => {}
            }
        }
    }
    panic!("there is no {name} in {}", folder.display())
}

#[test]
fn after_a_merge_both_bases_hold_what_their_overlays_over_the_old_bases_held() {
    let bench = Bench::new();
    let drive = Drive::create(
        &bench.folder("drive"),
        &Options::keeping_both("marker one;system-marker one;write 24;write 4 system;delete;write 12"),
    );
    let pc = Pc::new(&bench, "pc");
    let copies = bench.folder("copies");
    for disk in ["system", "user"] {
        std::fs::copy(drive.base(disk), copies.join(format!("{disk}-before.qcow2"))).unwrap();
    }

    let mut launcher = pc.run(&drive);
    launcher.guest("poweroff");
    // The launcher stands still while the hypervisor ends: nothing touches the overlays while they are copied.
    launcher.signal(Signal::STOP);
    wait_until_gone(&pc.scratch, "qemu-system");
    for disk in ["system", "user"] {
        let copy = copies.join(format!("{disk}.qcow2"));
        std::fs::copy(find(&pc.scratch, &format!("{disk}.qcow2")), &copy).unwrap();
        let base = format!("{disk}-before.qcow2");
        must(Command::new("qemu-img").args(["rebase", "-u", "-F", "qcow2", "-b", &base]).arg(&copy));
    }
    launcher.signal(Signal::CONT);
    launcher.finish().expect(0);

    for disk in ["system", "user"] {
        image_check(&drive.base(disk));
        compare(&drive.base(disk), &copies.join(format!("{disk}.qcow2")));
    }
}

#[test]
fn a_cancelled_merge_leaves_the_old_state_and_a_session_that_can_be_recovered() {
    let bench = Bench::new();
    // On exFAT through FUSE a merge of this size takes long enough to be cancelled.
    let mut stick = Stick::exfat(&bench, 512);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::keeping_both("marker kept;write 120"));
    let pc = Pc::new(&bench, "pc");
    let copy = bench.path().join("before.qcow2");
    std::fs::copy(drive.base("user"), &copy).unwrap();

    let mut launcher = pc.run(&drive);
    launcher.event("merge progress", |event| event["event"] == "merge-progress");
    launcher.signal(Signal::INT);
    launcher.finish().expect(9);
    compare(&drive.base("user"), &copy);

    pc.recover(&drive);
    drive.set(&Options::new("show"));
    let next = pc.session(&drive);
    assert_eq!(next.markers("user"), ["kept"]);
    assert!(next.file("user", "data-1").is_some());
}

/// Runs a session that has much to save to a stick, ends its launcher by `signal` when about a fifth is dealt with, and
/// returns the length of the user disk's base before that merge.
fn cut_off_while_saving(pc: &Pc, drive: &Drive, signal: Signal) -> u64 {
    let before = std::fs::metadata(drive.base("user")).unwrap().len();
    let mut launcher = pc.run(drive);
    launcher.event("merge progress", |event| {
        event["event"] == "merge-progress" && event["done"].as_u64() >= Some(24 << 20)
    });
    launcher.signal(signal);
    let finished = launcher.finish();
    assert!(matches!(finished.code, Some(9) | None), "{}", finished.report());
    before
}

/// A drive on a stick on which a merge takes long enough to be cut off.
fn drive_on_a_stick(bench: &Bench) -> (Stick, Drive) {
    let mut stick = Stick::exfat(bench, 512);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::new("marker kept;write 120"));
    (stick, drive)
}

#[test]
fn a_merge_that_was_cancelled_or_cut_off_goes_on_where_it_stopped() {
    for signal in [Signal::INT, Signal::KILL] {
        let bench = Bench::new();
        let (_stick, drive) = drive_on_a_stick(&bench);
        let pc = Pc::new(&bench, "pc");
        cut_off_while_saving(&pc, &drive, signal);
        let resumed = pc.recover(&drive);
        let told: Vec<&str> = resumed
            .all("notice")
            .into_iter()
            .filter(|notice| notice["code"] == "resumed")
            .filter_map(|notice| notice["text"].as_str())
            .collect();
        assert_eq!(told.len(), 1, "{signal:?}: {}", resumed.report());
        let merged = &resumed.all("merged")[0]["disks"][0];
        assert!(merged["written"].as_u64() < merged["changed"].as_u64(), "{signal:?}: {merged}");
        drive.set(&Options::new("show"));
        let next = pc.session(&drive);
        assert_eq!(next.markers("user"), ["kept"]);
        assert!(next.file("user", "data-1").is_some());
    }
}

#[test]
fn what_an_interrupted_merge_took_on_the_drive_is_given_back_when_its_session_is_given_up() {
    for (signal, how) in [(Signal::INT, "--discard"), (Signal::KILL, "--save-as")] {
        let bench = Bench::new();
        let (_stick, drive) = drive_on_a_stick(&bench);
        let pc = Pc::new(&bench, "pc");
        let before = cut_off_while_saving(&pc, &drive, signal);
        let length = || std::fs::metadata(drive.base("user")).unwrap().len();
        assert!(length() > before + (8 << 20), "{signal:?}: the merge had not taken any room");
        let (place, rescued) = (drive.path.to_str().unwrap(), bench.path().join("rescued"));
        let arguments = ["recover", place, how, rescued.to_str().unwrap()];
        pc.call(if how == "--discard" { &arguments[..3] } else { &arguments }).expect(0);
        assert_eq!(length(), before, "{signal:?}");
        drive.assert_untouched();
        pc.assert_as_before();
    }
}
