//! Undo and redo: a save can be taken back, as long as nothing is at stake.

use super::harness::{Bench, Drive, Options, Pc};

#[test]
fn a_save_is_undone_and_redone_for_the_guest() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker first"));
    let pc = Pc::new(&bench, "pc");
    let place = drive.path.to_str().unwrap();
    pc.session(&drive);
    drive.set(&Options::new("marker second"));
    pc.session(&drive);
    let shown = || {
        // A look without a trace: nothing is saved, so nothing is forgotten.
        drive.set(&Options::new("show"));
        let looked = pc.run_with(&drive, &["--accelerator", "tcg", "--discard", "user"]).finish();
        looked.expect(0);
        looked.markers("user")
    };

    pc.call(&["undo", place]).expect(0);
    assert_eq!(shown(), ["first"]);
    pc.call(&["redo", place]).expect(0);
    assert_eq!(shown(), ["first", "second"]);
    pc.call(&["redo", place]).expect(2);
    drive.assert_sound();
    pc.assert_as_before();
}

#[test]
fn nothing_is_undone_while_changes_wait_to_be_saved() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker first"));
    let pc = Pc::new(&bench, "pc");
    pc.session(&drive);
    drive.set(&Options::new("marker second"));
    let mut launcher = pc.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();

    pc.call(&["undo", drive.path.to_str().unwrap()]).expect(6);
    pc.recover(&drive).expect(0);
}
