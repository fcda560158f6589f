//! The PC's internal disk fills up while the guest writes.

use rustix::process::Signal;

use super::harness::{Bench, Drive, Options, Pc, image_check, small_disk};

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
    let mib =
        |launcher: &mut super::harness::Launcher| launcher.guest("flood").get("mib").parse::<u32>().unwrap();
    while mib(&mut launcher) < 128 {}
    launcher.signal(Signal::INT);
    launcher.finish().expect(0);
    image_check(&drive.base("user"));
}
