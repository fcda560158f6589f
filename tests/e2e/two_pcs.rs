//! One drive, two PCs: the changes of an abandoned session never land on newer work.

use std::process::Command;

use super::harness::{Bench, Drive, Options, Pc, image_check, must, wait_until_gone};

#[test]
fn changes_left_on_one_pc_are_refused_after_the_drive_was_used_on_another() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker office"));
    let path = drive.path.to_str().unwrap();
    let office = Pc::new(&bench, "office");
    let home = Pc::new(&bench, "home");

    let mut launcher = office.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();
    wait_until_gone(&office.scratch, "qemu-system");

    // The second PC can't know what the first one holds: it says so and starts nothing by itself.
    drive.set(&Options::new("marker home"));
    let refused = home.run(&drive).finish();
    refused.expect(6);
    assert!(refused.error().contains("office"), "{}", refused.error());
    let status = home.call(&["status", path]);
    status.expect(0);
    assert!(status.report().contains("office"), "{}", status.report());
    home.run_with(&drive, &["--accelerator", "tcg", "--abandon-session"]).finish().expect(0);

    // Back on the first: what it holds belongs to an older state, and stands in the way until that is decided.
    let before = drive.checksums();
    office.run(&drive).finish().expect(6);
    let refused = office.call(&["recover", path, "--merge"]);
    assert_ne!(refused.code, Some(0), "{}", refused.report());
    assert_eq!(drive.checksums(), before);

    // It can be saved as images of their own, and then discarded.
    let aside = bench.folder("saved");
    office.call(&["recover", path, "--save-as", aside.to_str().unwrap()]).expect(0);
    let saved: Vec<_> = std::fs::read_dir(&aside).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(!saved.is_empty(), "nothing was saved");
    for image in saved.iter().filter(|path| path.extension().is_some_and(|kind| kind == "qcow2")) {
        image_check(image);
    }
    assert_eq!(drive.checksums(), before);
    office.call(&["recover", path, "--discard"]).expect(0);
    office.assert_as_before();

    drive.set(&Options::new("show"));
    assert_eq!(office.session(&drive).markers("user"), ["home"]);
}

#[test]
fn a_copied_drive_is_a_drive_of_its_own_and_leaves_the_originals_session_alone() {
    let bench = Bench::new();
    let original = Drive::create(&bench.folder("original"), &Options::new("marker original"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&original);
    launcher.phase("run", "done");
    launcher.kill();

    let copy = bench.path().join("copy");
    must(Command::new("cp").arg("-r").args([&original.path, &copy]));
    let copy = Drive::at(&copy);
    copy.set(&Options::new("marker copy"));
    let mut launcher = pc.run_with(&copy, &["--accelerator", "tcg", "--abandon-session"]);
    launcher.notice("cloned");
    launcher.finish().expect(0);

    pc.recover(&original);
    for (drive, marker) in [(&original, "original"), (&copy, "copy")] {
        drive.set(&Options::new("show"));
        assert_eq!(pc.session(drive).markers("user"), [marker]);
    }
    pc.assert_as_before();
}

#[test]
fn cleaning_up_here_does_not_hide_what_is_unsaved_elsewhere() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker one"));
    let (first, second) = (Pc::new(&bench, "first"), Pc::new(&bench, "second"));
    let mut launcher = first.run(&drive);
    launcher.phase("wipe", "started");
    launcher.kill();
    let mut launcher = second.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();

    let refused = first.run(&drive).finish();
    refused.expect(6);
    assert!(refused.error().contains("second"), "{}", refused.report());
    second.recover(&drive);
    second.assert_as_before();
    first.call(&["recover", drive.path.to_str().unwrap()]).expect(0);
    first.assert_as_before();
}

#[test]
fn giving_up_another_pcs_session_takes_effect_only_with_the_new_session() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker one"));
    let (first, second) = (Pc::new(&bench, "first"), Pc::new(&bench, "second"));
    let mut launcher = first.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();

    let too_much = ["--accelerator", "tcg", "--abandon-session", "--memory", "900 GiB"];
    second.run_with(&drive, &too_much).finish().expect(5);
    second.run(&drive).finish().expect(6);
    first.recover(&drive);
}
