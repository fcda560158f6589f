//! How a guest's run may end, other than by its own will.

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc};

#[test]
fn ctrl_c_presses_the_power_button_and_the_session_ends_well() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept;wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    launcher.signal(Signal::INT);
    let finished = launcher.finish();
    finished.expect(0);
    assert_eq!(finished.guest("power-button").len(), 1);

    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
}

#[test]
fn a_second_ctrl_c_ends_a_hanging_guest_whose_changes_are_not_merged_silently() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker written;hang"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("hang");
    launcher.signal(Signal::INT);
    // The press has reached the guest, which ignores it.
    launcher.guest("power-button");
    launcher.signal(Signal::INT);
    launcher.finish().expect(8);
    drive.assert_untouched();

    // Nor by the next run: without a decision it stops.
    pc.run(&drive).finish().expect(6);
    pc.call(&["recover", drive.path.to_str().unwrap(), "--discard"]).expect(0);
    drive.assert_untouched();
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), [] as [&str; 0]);
}

#[test]
fn what_a_crashed_guest_wrote_is_merged_only_when_the_user_says_so() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker synced;crash"));
    let pc = Pc::new(&bench, "pc");
    let finished = pc.run(&drive).finish();
    finished.expect(8);
    let error = finished.error();
    assert!(error.contains("recover"), "the error should say what to do next: {error}");
    drive.assert_untouched();

    pc.recover(&drive);
    pc.assert_as_before();
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["synced"]);
}

#[test]
fn sigterm_leaves_a_session_that_can_be_recovered() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept;wait"));
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    launcher.guest("wait");
    launcher.signal(Signal::TERM);
    launcher.finish().expect(12);

    pc.recover(&drive);
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
}
