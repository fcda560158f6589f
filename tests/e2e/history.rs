//! Undo and redo: a save can be taken back, as long as nothing is at stake.

use std::process::Command;

use super::harness::{Bench, Drive, Options, Pc, must};

/// Sets what the guest does next, and how many saves stay undoable.
fn set_keeping(drive: &Drive, command: &str, saves: u32) {
    drive.set(&Options { saves: Some(saves), ..Options::new(command) });
}

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

#[test]
fn as_many_saves_are_undone_as_the_manifest_keeps() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "pc");
    let place = drive.path.to_str().unwrap();
    for marker in ["one", "two", "three"] {
        set_keeping(&drive, &format!("marker {marker}"), 2);
        pc.session(&drive);
    }
    let in_effect = || {
        let history = pc.call(&["history", place]);
        let saves = history.all("history")[0]["saves"].as_array().unwrap().clone();
        saves.iter().map(|save| save["in_effect"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(in_effect(), [true, true]);
    pc.call(&["undo", place]).expect(0);
    pc.call(&["undo", place]).expect(0);
    assert_eq!(in_effect(), [false, false]);
    pc.call(&["undo", place]).expect(2);
    drive.assert_sound();
    set_keeping(&drive, "show", 2);
    let looked = pc.run_with(&drive, &["--accelerator", "tcg", "--discard", "user"]).finish();
    looked.expect(0);
    assert_eq!(looked.markers("user"), ["one"]);
    pc.call(&["redo", place]).expect(0);
    pc.call(&["redo", place]).expect(0);
    assert_eq!(in_effect(), [true, true]);
    drive.assert_sound();
}

#[test]
fn nothing_is_undone_or_redone_while_a_session_runs_or_waits_anywhere() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker first"));
    let (office, home) = (Pc::new(&bench, "office"), Pc::new(&bench, "home"));
    let place = drive.path.to_str().unwrap();
    set_keeping(&drive, "marker first", 2);
    office.session(&drive);
    set_keeping(&drive, "marker second", 2);
    office.session(&drive);
    // Now there is one save to undo and one to redo.
    office.call(&["undo", place]).expect(0);
    let before = drive.checksums();
    let elsewhere = bench.folder("another folder for sessions");
    let elsewhere = ["--scratch", elsewhere.to_str().unwrap()];
    let refused = |pc: &Pc, place: &str, more: &[&str], code, word: &str| {
        for command in ["undo", "redo"] {
            let refused = pc.call(&[&[command, place], more].concat());
            refused.expect(code);
            assert!(refused.error().contains(word), "{command}, {word}: {}", refused.error());
        }
        assert_eq!(drive.checksums(), before);
    };

    set_keeping(&drive, "wait", 2);
    let mut launcher = office.run(&drive);
    launcher.guest("wait");
    refused(&office, place, &[], 4, "in use");
    refused(&home, place, &[], 4, "in use");
    // The launcher is gone, and its machine still runs.
    launcher.kill();
    refused(&office, place, &[], 6, "still runs");
    refused(&office, place, &elsewhere, 6, "not where it should be");
    refused(&home, place, &[], 6, "office");
    let copy = bench.path().join("copy");
    must(Command::new("cp").arg("-r").args([&drive.path, &copy]));
    refused(&home, copy.to_str().unwrap(), &[], 6, "copy");

    office.recover(&drive);
    office.call(&["undo", place]).expect(0);
    drive.assert_sound();
    office.assert_as_before();
}

#[test]
fn a_session_that_the_drive_went_on_without_keeps_its_pc_from_undoing() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker office"));
    let (office, home) = (Pc::new(&bench, "office"), Pc::new(&bench, "home"));
    let place = drive.path.to_str().unwrap();
    let mut launcher = office.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();
    drive.set(&Options::new("marker home"));
    home.run_with(&drive, &["--accelerator", "tcg", "--abandon-session"]).finish().expect(0);

    let before = drive.checksums();
    office.call(&["undo", place]).expect(6);
    assert_eq!(drive.checksums(), before);
    // For the other PC nothing is at stake: that session was given up there.
    home.call(&["undo", place]).expect(0);
    office.call(&["redo", place]).expect(6);
    home.call(&["redo", place]).expect(0);
    assert_eq!(drive.checksums(), before);
    office.call(&["recover", place, "--discard"]).expect(0);
    office.call(&["undo", place]).expect(0);
    drive.assert_sound();
}

#[test]
fn any_kept_state_is_gone_to_by_its_number() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("show"));
    let pc = Pc::new(&bench, "office");
    let place = drive.path.to_str().unwrap();
    for marker in ["one", "two", "three"] {
        set_keeping(&drive, &format!("marker {marker}"), 3);
        pc.session(&drive);
    }
    let history = || pc.call(&["history", place]).all("history")[0].clone();
    let saves = history()["saves"].as_array().unwrap().clone();
    let numbers: Vec<u64> = saves.iter().map(|save| save["number"].as_u64().unwrap()).collect();
    assert_eq!((numbers, history()["state"].as_u64()), (vec![1, 2, 3], Some(3)));
    for save in &saves {
        assert!(save["changed"].as_u64().unwrap() > 0, "{save}");
        assert_eq!((save["host_name"].as_str(), save["disks"][0].as_str()), (Some("office"), Some("user")));
    }
    set_keeping(&drive, "show", 3);
    let markers_at = |state: u64| {
        assert_eq!(history()["state"].as_u64(), Some(state));
        drive.assert_sound();
        let looked = pc.run_with(&drive, &["--accelerator", "tcg", "--discard", "user"]).finish();
        looked.expect(0);
        looked.markers("user")
    };

    let gone = pc.call(&["undo", place, "--to", "1"]);
    gone.expect(0);
    let moved = gone.all("moved")[0];
    assert_eq!((moved["from"].as_u64(), moved["to"].as_u64()), (Some(3), Some(1)), "{moved}");
    assert_eq!(markers_at(1), ["one"]);
    pc.call(&["undo", place, "--to", "0"]).expect(0);
    assert_eq!(markers_at(0), [""; 0]);
    pc.call(&["redo", place, "--to", "3"]).expect(0);
    assert_eq!(markers_at(3), ["one", "two", "three"]);

    pc.call(&["undo", place, "--to", "3"]).expect(0);
    for (command, to, word) in
        [("redo", "2", "undo"), ("undo", "4", "from 0 to 3"), ("redo", "4", "from 0 to 3")]
    {
        let refused = pc.call(&[command, place, "--to", to]);
        refused.expect(2);
        assert!(refused.error().contains(word), "{}", refused.error());
    }
    pc.call(&["undo", place]).expect(0);
    let refused = pc.call(&["undo", place, "--to", "3"]);
    refused.expect(2);
    assert!(refused.error().contains("redo"), "{}", refused.error());
    assert_eq!(markers_at(2), ["one", "two"]);
}
