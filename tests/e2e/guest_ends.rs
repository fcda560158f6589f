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

#[test]
fn a_guest_that_went_to_sleep_on_its_disk_did_not_shut_down() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept;hibernate"));
    let pc = Pc::new(&bench, "pc");
    let finished = pc.run(&drive).finish();
    finished.expect(8);
    assert!(finished.error().contains("systemctl mask hibernate.target"), "{}", finished.error());
    drive.assert_untouched();
    pc.call(&["recover", drive.path.to_str().unwrap(), "--merge"]).expect(0);
    pc.assert_as_before();
    drive.set(&Options::new("show"));
    assert_eq!(pc.session(&drive).markers("user"), ["kept"]);
    // Nobody looks if the manifest says so.
    drive.set(&Options::new("hibernate"));
    let manifest = drive.path.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}adapt: \"off\"\n")).unwrap();
    pc.run(&drive).finish().expect(0);
}

#[test]
fn a_disk_on_which_something_slept_before_is_no_reason_to_ask() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept"));
    // What Linux leaves in its swap when it hibernates: the signature, over that of swap.
    let mut swap = vec![0; 1 << 20];
    swap[1024] = 1;
    swap[1028] = 255;
    swap[4086..4096].copy_from_slice(b"S1SUSPEND\0");
    std::fs::create_dir_all(drive.path.join("disks/sleep")).unwrap();
    std::fs::write(drive.path.join("disks/sleep/base.img"), swap).unwrap();
    let manifest = drive.path.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let disk = "  - {name: sleep, file: disks/sleep/base.img, format: raw, keep: false}\npaging:\n";
    std::fs::write(&manifest, text.replacen("paging:\n", disk, 1)).unwrap();
    Pc::new(&bench, "pc").run(&drive).finish().expect(0);
}
