//! Room runs out: on the PC's internal disk while the guest writes, on the drive for what is to be saved.

use rustix::process::Signal;

use super::harness::{Bench, Drive, Launcher, Options, Pc, Stick, small_disk};

#[test]
fn a_full_internal_disk_pauses_the_guest_until_there_is_room() {
    let bench = Bench::new();
    let drive = Drive::create(&bench.folder("drive"), &Options::new("marker kept;flood"));
    let pc = Pc::new(&bench, "pc");
    // The guest floods 128 MiB; with the ballast there is room for about half of it.
    small_disk(&bench, 400, &pc.scratch);
    let ballast = pc.scratch.join("holiday.mp4");
    std::fs::write(&ballast, vec![7; 256 << 20]).unwrap();

    let mut launcher = pc.run(&drive);
    let text = launcher.notice("host-full");
    assert!(text.contains("full") && text.contains("paused"), "{text}");
    std::fs::remove_file(&ballast).unwrap();
    launcher.notice("host-room");
    let mib = |launcher: &mut Launcher| launcher.guest("flood").get("mib").parse::<u32>().unwrap();
    while mib(&mut launcher) < 128 {}
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
}

#[test]
fn changes_that_do_not_fit_on_the_drive_wait_on_this_pc_until_they_do() {
    let bench = Bench::new();
    let mut stick = Stick::exfat(&bench, 280);
    let mount = bench.path().join("stick");
    stick.attach(&mount);
    let drive = Drive::create(&mount.join("drive"), &Options::new("marker kept;write 130"));
    let ballast = mount.join("holiday.mp4");
    std::fs::write(&ballast, vec![7; 140 << 20]).unwrap();
    let pc = Pc::new(&bench, "pc");
    let refused = pc.run(&drive).finish();
    refused.expect(9);
    assert!(refused.error().contains("MiB"), "the number should be named: {}", refused.error());
    drive.assert_untouched();

    std::fs::remove_file(&ballast).unwrap();
    pc.recover(&drive);
    pc.assert_as_before();
    drive.set(&Options::new("show"));
    let next = pc.session(&drive);
    assert_eq!(next.markers("user"), ["kept"]);
    assert!(next.file("user", "data-1").is_some());
}
