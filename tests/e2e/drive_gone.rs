//! The stick is pulled while the guest runs from it.

use std::path::Path;

use rustix::process::Signal;

use super::harness::{Bench, Drive, Launcher, Options, Pc, Stick, image_check, program as under_test};

/// A guest that reads everything of its disks again and again, from a stick that also holds the running launcher.
fn reading_guest(bench: &Bench, pc: &Pc, stick: &mut Stick, mount: &Path) -> Launcher {
    stick.attach(mount);
    let drive = Drive::create(&mount.join("Gerät 1"), &Options::new("marker kept;read"));
    let program = drive.path.join("pocketvm");
    std::fs::copy(under_test(), &program).unwrap();
    let mut launcher = pc.run_program(&program, &drive, &["--accelerator", "tcg"]);
    launcher.guest("read");
    assert!(bench.path().exists());
    launcher
}

#[test]
fn a_guest_goes_on_when_its_stick_returns_at_another_mount_point() {
    let bench = Bench::new();
    let pc = Pc::new(&bench, "pc");
    let mut stick = Stick::exfat(&bench, 600);
    let mut launcher = reading_guest(&bench, &pc, &mut stick, &bench.path().join("first port"));

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
    image_check(&drive.base("user"));
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
    let mut launcher = reading_guest(&bench, &pc, &mut stick, &mount);

    stick.pull();
    launcher.notice("drive-gone");
    launcher.signal(Signal::TERM);
    let finished = launcher.finish();
    assert!(matches!(finished.code, Some(11 | 12)), "{}", finished.report());

    stick.attach(&mount);
    let drive = Drive::at(&mount.join("Gerät 1"));
    pc.call(&["recover", drive.path.to_str().unwrap(), "--merge"]).expect(0);
    image_check(&drive.base("user"));
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
}
