//! What a session is for: the guest runs, what is kept is there the next time, the PC is as before.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc, Stick};

const NOTHING: [&str; 0] = [];

#[test]
fn the_kept_disk_remembers_the_discarded_one_forgets_and_the_pc_is_as_before() {
    let bench = Bench::new();
    let drive =
        Drive::create(&bench.folder("drive"), &Options::new("marker first;system-marker first;write 8"));
    let pc = Pc::new(&bench, "pc");
    let first = pc.session(&drive);
    let written = first.guest("write")[0].get("md5").to_owned();
    let way = ["detect", "plan", "prepare", "launch", "run", "merge", "wipe"];
    assert_eq!(first.phases(), way, "{}", first.report());
    pc.assert_as_before();

    drive.set(&Options::new("show"));
    let second = pc.session(&drive);
    assert_eq!(second.markers("user"), ["first"]);
    assert_eq!(second.markers("system"), NOTHING);
    assert_eq!(second.file("user", "data-1"), Some(written));
}

#[test]
fn both_disks_are_kept_and_what_was_paged_out_is_not() {
    let bench = Bench::new();
    let mut options = Options::keeping_both("marker both;system-marker both;swap");
    options.controller = "virtio";
    let drive = Drive::create(&bench.folder("drive"), &options);
    let pc = Pc::new(&bench, "pc");
    let first = pc.session(&drive);
    assert!(first.guest("ready")[0].get("user").starts_with("/dev/vd"), "{}", first.report());
    let swapped: u64 = first.guest("swap")[0].get("used-kib").parse().unwrap();
    assert!(swapped > 1024, "the guest should have used the paging disk: {swapped} KiB");
    pc.assert_as_before();

    options.command = "show".to_owned();
    drive.set(&options);
    let second = pc.session(&drive);
    for disk in ["system", "user"] {
        assert_eq!(second.markers(disk), ["both"], "{disk}");
    }
}

#[test]
fn what_the_command_line_says_about_keeping_wins_over_the_manifest() {
    let bench = Bench::new();
    let mut options = Options::new("marker once;system-marker once");
    let drive = Drive::create(&bench.folder("drive"), &options);
    let pc = Pc::new(&bench, "pc");
    pc.run_with(&drive, &["--accelerator", "tcg", "--keep", "system", "--discard", "user"])
        .finish()
        .expect(0);

    options.command = "show".to_owned();
    drive.set(&options);
    let second = pc.session(&drive);
    assert_eq!(second.markers("system"), ["once"]);
    assert_eq!(second.markers("user"), NOTHING);
}

#[test]
fn a_guest_that_restarts_goes_on_in_the_same_session() {
    let bench = Bench::new();
    let options = Options::new("marker before;reboot;marker after;show");
    let drive = Drive::create(&bench.folder("drive"), &options);
    let finished = Pc::new(&bench, "pc").session(&drive);
    assert_eq!(finished.guest("ready").len(), 2);
    assert_eq!(finished.markers("user"), ["before", "after"]);
}

#[test]
fn a_system_that_knows_only_ide_boots_from_ide() {
    let bench = Bench::new();
    let mut options = Options::new("marker one");
    options.controller = "ide";
    let drive = Drive::create(&bench.folder("drive"), &options);
    assert_eq!(Pc::new(&bench, "pc").session(&drive).guest("marker").len(), 1);
}

#[test]
fn deleted_and_trimmed_data_is_not_carried_to_the_drive() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("write 64;delete;marker trimmed"));
    let pc = Pc::new(&bench, "pc");
    pc.session(&drive);
    let length = std::fs::metadata(drive.base("user")).unwrap().len();
    assert!(length < 16 << 20, "the base should not have grown by what was deleted: {length} bytes");
}

#[test]
fn a_stick_with_exfat_spaces_and_umlauts_works_and_can_be_ejected_afterwards() {
    let bench = Bench::new();
    let mut stick = Stick::exfat(&bench, 256);
    let mount = bench.path().join("Größe & Co");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("Mein Gerät (1), 50 %"), &Options::new("marker first"));
    let pc = Pc::new(&bench, "pc");
    pc.session(&drive);

    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["first"]);
    stick.eject();
    pc.assert_as_before();
}

#[test]
fn what_a_session_keeps_on_the_pc_is_for_its_user_alone() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    for entry in std::fs::read_dir(&pc.scratch).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can look into {}", entry.path().display());
    }
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
}
