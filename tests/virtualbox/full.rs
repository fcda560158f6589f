//! A PC whose disk is full.

use std::process::Command;

use crate::bench::{Bench, must};

#[test]
fn a_full_disk_of_the_pc_pauses_the_guest_and_room_lets_it_go_on() {
    let mut bench = Bench::new(b'F');
    // A small internal disk: of the 48 MiB that the guest writes, a part fits.
    let image = bench.path().join("small disk");
    std::fs::File::create(&image).unwrap().set_len(88 << 20).unwrap();
    must(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
    let small = bench.path().join("small");
    std::fs::create_dir(&small).unwrap();
    must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&small));
    let _mounted = Mounted(small.clone());
    let filler = small.join("filler");
    std::fs::write(&filler, vec![1; 40 << 20]).unwrap();
    bench.scratch = small.join("scratch");

    let mut session = bench.virtualbox();
    let notice = session.event("host-full", |event| event["code"] == "host-full");
    assert!(notice["text"].as_str().unwrap().contains("full"), "{notice}");
    std::fs::remove_file(&filler).unwrap();
    session.event("host-room", |event| event["code"] == "host-room");
    let ended = session.finish();
    ended.expect(0);
    assert_eq!(bench.count("user"), 1);
    bench.assert_as_before();
    bench.assert_sound();
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
