//! Compacting: room goes back to the drive, and the saves are final.

use super::harness::{Bench, Drive, Options, Pc};

/// A drive whose user disk once held 48 MiB more than it does.
fn spacious(bench: &Bench, pc: &Pc) -> Drive {
    let drive = Drive::create(&bench.folder("drive"), &Options::new("write 48"));
    pc.session(&drive);
    drive.set(&Options::new("delete;marker kept"));
    pc.session(&drive);
    drive
}

fn length(drive: &Drive) -> u64 {
    std::fs::metadata(drive.base("user")).unwrap().len()
}

#[test]
fn what_a_disk_does_not_need_any_more_goes_back_to_the_drive() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let drive = spacious(&bench, &pc);
    let place = drive.path.to_str().unwrap();
    let before = length(&drive);

    let compacted = pc.call(&["compact", place, "--yes"]);
    compacted.expect(0);
    let disks = compacted.all("compacted")[0]["disks"].as_array().unwrap();
    let user = disks.iter().find(|disk| disk["name"] == "user").unwrap();
    assert_eq!((user["before"].as_u64(), user["after"].as_u64()), (Some(before), Some(length(&drive))));
    assert!(length(&drive) + (40 << 20) < before, "{before} -> {}", length(&drive));
    assert_eq!(compacted.events.last().unwrap()["outcome"], "compacted");
    drive.assert_sound();
    pc.assert_as_before();

    pc.call(&["undo", place]).expect(2);
    drive.set(&Options::new("show;marker more"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
    pc.call(&["undo", place]).expect(0);
}

#[test]
fn nothing_is_compacted_before_somebody_agreed_that_saves_become_final() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker one"));
    let place = drive.path.to_str().unwrap();
    // A drive that was never used has nothing to give, and nothing to lose.
    pc.call(&["compact", place]).expect(0);
    pc.session(&drive);
    let before = drive.checksums();
    let refused = pc.call(&["compact", place]);
    refused.expect(5);
    assert!(
        refused.error().contains("can't be undone") && refused.error().contains("--yes"),
        "{}",
        refused.error()
    );
    pc.call(&["compact", place, "--yes", "--disk", "system"]).expect(0);
    assert_eq!(drive.checksums()[1], before[1], "the user disk was not asked for");
    pc.call(&["undo", place]).expect(0);
    pc.call(&["compact", place, "--yes", "--disk", "home"]).expect(2);
}

#[test]
fn nothing_is_compacted_while_changes_wait_to_be_saved_here_or_elsewhere() {
    let bench = Bench::new();
    let (office, home) = (Pc::new(&bench, "office"), Pc::new(&bench, "home"));
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker one"));
    let place = drive.path.to_str().unwrap();
    let mut launcher = office.run(&drive);
    launcher.phase("run", "done");
    launcher.kill();
    let before = drive.checksums();
    for pc in [&office, &home] {
        let refused = pc.call(&["compact", place, "--yes"]);
        refused.expect(6);
        assert_eq!(drive.checksums(), before, "{}", pc.name);
    }
    office.recover(&drive);
    office.call(&["compact", place, "--yes"]).expect(0);
    drive.assert_sound();
}
