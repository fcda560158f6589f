//! The stick is pulled while the guest runs from it.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Launcher, Options, Pc, Stick, compare, must, program as under_test};

/// A guest that reads everything of its disks again and again, from a stick that also holds the running launcher.
fn reading_guest(pc: &Pc, stick: &mut Stick, mount: &Path) -> Launcher {
    stick.attach(mount);
    let drive = Drive::create(&mount.join("Gerät 1"), &Options::new("marker kept;read"));
    let program = drive.path.join("pocketvm");
    // What is for debuggers is several times the size of the rest.
    must(Command::new("strip").arg("--strip-debug").arg("-o").arg(&program).arg(under_test()));
    let mut launcher = pc.run_program(&program, &drive, &["--accelerator", "tcg"]);
    launcher.guest("read");
    launcher
}

#[test]
fn a_guest_goes_on_when_its_stick_returns_at_another_mount_point() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 600);
    let mut launcher = reading_guest(&pc, &mut stick, &bench.path().join("first port"));

    stick.pull();
    let text = launcher.notice("drive-gone");
    assert!(text.contains("Plug the same drive in again"), "the notice should say what to do: {text}");
    let second = bench.path().join("zweiter Anschluß");
    stick.attach(&second);
    launcher.notice("drive-back");
    launcher.guest("read");
    launcher.guest("read");
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
    pc.assert_as_before();

    let drive = Drive::at(&second.join("Gerät 1"));
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
    stick.eject();
}

#[test]
fn a_session_given_up_while_its_stick_is_away_is_recovered_when_it_is_back() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 600);
    let mount = bench.path().join("stick");
    let mut launcher = reading_guest(&pc, &mut stick, &mount);

    stick.pull();
    launcher.notice("drive-gone");
    launcher.signal(Signal::TERM);
    let finished = launcher.finish();
    assert!(matches!(finished.code, Some(11 | 12)), "{}", finished.report());

    stick.attach(&mount);
    let drive = Drive::at(&mount.join("Gerät 1"));
    pc.recover(&drive);
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
}

#[test]
fn a_stick_that_was_used_elsewhere_meanwhile_is_not_taken_for_the_same() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "office");
    let mut stick = Stick::exfat(&bench, 600);
    let mount = bench.path().join("office port");
    let mut launcher = reading_guest(&pc, &mut stick, &mount);
    stick.pull();
    launcher.notice("drive-gone");

    let home = Pc::new(&bench, "home");
    let elsewhere = bench.path().join("home port");
    stick.attach(&elsewhere);
    // Both PCs are this machine: while the stick is at home, the office must not see it.
    launcher.signal(Signal::STOP);
    let drive = Drive::at(&elsewhere.join("Gerät 1"));
    drive.set(&Options::new("marker home"));
    home.run_with(&drive, &["--accelerator", "tcg", "--abandon-session"]).finish().expect(0);
    stick.eject();

    stick.attach(&mount);
    launcher.signal(Signal::CONT);
    launcher.notice("drive-changed");
    launcher.signal(Signal::TERM);
    launcher.finish();
    let drive = Drive::at(&mount.join("Gerät 1"));
    let refused = pc.call(&["recover", drive.path.to_str().unwrap(), "--merge"]);
    refused.expect(6);
    drive.set(&Options::new("show"));
    pc.call(&["recover", drive.path.to_str().unwrap(), "--discard"]).expect(0);
    assert_eq!(pc.session(&drive).markers("user"), ["home"]);
}

#[test]
fn a_stick_pulled_while_the_changes_are_saved_holds_the_old_state_and_takes_them_later() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 600);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(
        &mount.join("drive"),
        &Options::keeping_both("marker kept;system-marker kept;write 120"),
    );
    let copy = bench.path().join("before.qcow2");
    std::fs::copy(drive.base("user"), &copy).unwrap();
    let mut launcher = pc.run(&drive);
    launcher.event("merge progress", |event| event["event"] == "merge-progress");
    stick.pull();
    launcher.finish().expect(11);

    stick.attach(&mount);
    drive.assert_sound();
    compare(&drive.base("user"), &copy);
    pc.recover(&drive);
    pc.assert_as_before();
    drive.set(&Options::keeping_both("show"));
    let next = pc.session(&drive);
    assert_eq!(
        (next.markers("system"), next.markers("user")),
        (vec!["kept".to_owned()], vec!["kept".to_owned()])
    );
}

#[test]
fn a_stick_that_was_away_for_a_moment_only_is_taken_up_again() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 600);
    let mount = bench.path().join("stick");
    let mut launcher = reading_guest(&pc, &mut stick, &mount);

    // A bad plug: the stick is gone and back at the same place before the launcher looks the next time.
    launcher.signal(Signal::STOP);
    stick.pull();
    stick.attach(&mount);
    launcher.signal(Signal::CONT);
    launcher.notice("drive-back");
    launcher.guest("read");
    launcher.guest("read");
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
    pc.assert_as_before();
}

#[test]
fn a_stick_pulled_during_the_launch_leaves_nothing_in_the_way() {
    let bench = Bench::new();
    // A QEMU that has not opened its disks when the stick is pulled, and then can't.
    let pulled = bench.path().join("pulled");
    let wait = format!("*base-file*) while [ ! -e '{}' ]; do sleep 0.1; done ;;", pulled.display());
    let pc = Pc::new(&bench, "pc").with_qemu(&bench, &wait);
    let mut stick = Stick::exfat(&bench, 600);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::new("marker one;show"));
    let mut launcher = pc.run(&drive);
    launcher.phase("launch", "started");
    stick.pull();
    std::fs::write(&pulled, "").unwrap();
    let finished = launcher.finish();
    assert!(matches!(finished.code, Some(7 | 11)), "{}", finished.report());

    stick.attach(&mount);
    drive.assert_untouched();
    pc.recover(&drive);
    pc.assert_as_before();
    assert_eq!(pc.session(&drive).markers("user"), ["one"]);
}
