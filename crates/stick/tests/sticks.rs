//! A simulated stick is one that a PC can format, mount, pull and plug in again. Needs root, `/dev/fuse` and loop
//! devices.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pocketvm_stick::{Cut, Fate, FileSystem, Model, Stick};

/// One test at a time: what one of them starts would, for a moment, have files of another's stick open.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(path: &Path, byte: u8, mib: usize) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&vec![byte; mib << 20]).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn what_is_written_to_a_stick_is_there_when_it_is_plugged_in_again() {
    let _alone = alone();
    for file_system in FileSystem::ALL {
        let mut stick = Stick::new(file_system, 64).unwrap();
        let mount = stick.mount().unwrap();
        write(&mount.join("file"), 7, 3);
        stick.eject().unwrap();
        assert!(!mount.join("file").exists());
        stick.mount().unwrap();
        assert_eq!(std::fs::read(mount.join("file")).unwrap(), vec![7; 3 << 20], "{file_system}");
        stick.eject().unwrap();
        stick.check().unwrap();
    }
}

#[test]
fn a_stick_that_is_dropped_while_it_is_mounted_leaves_nothing() {
    let _alone = alone();
    let mut stick = Stick::new(FileSystem::ExFat, 64).unwrap();
    let mount = stick.mount().unwrap();
    write(&mount.join("file"), 7, 1);
    drop(stick);
    let folder = mount.parent().unwrap();
    assert!(!folder.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
}

#[test]
fn a_power_cut_fails_the_writer_and_leaves_what_was_flushed_before() {
    let _alone = alone();
    for file_system in FileSystem::ALL {
        let mut stick = Stick::new(file_system, 64).unwrap();
        let mount = stick.mount().unwrap();
        stick.control().cache(0).unwrap();
        write(&mount.join("flushed"), 1, 2);
        stick.control().cut_after(Cut { after: 1 << 20, fate: Fate::Whole, seed: 4 });
        let mut file = std::fs::File::create(mount.join("later")).unwrap();
        let written = file.write_all(&vec![2; 4 << 20]).and_then(|()| file.sync_all());
        assert!(written.is_err(), "{file_system}");
        drop(file);
        assert!(stick.control().is_pulled());
        stick.take_out().unwrap();
        stick.plug_in().unwrap();
        assert_eq!(std::fs::read(mount.join("flushed")).unwrap(), vec![1; 2 << 20], "{file_system}");
        stick.eject().unwrap();
    }
}

#[test]
fn a_cheap_stick_is_slow_where_cheap_sticks_are() {
    let _alone = alone();
    let mut stick = Stick::new(FileSystem::Ext4, 256).unwrap();
    let mount = stick.mount().unwrap();
    let path = mount.join("file");
    write(&path, 1, 128);
    stick.control().set_model(Model::Cheap);
    stick.control().reset_counters();

    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let start = Instant::now();
    file.write_all_at(&vec![2; 16 << 20], 0).unwrap();
    file.sync_data().unwrap();
    let took = start.elapsed();
    let sequential = stick.control().counters();
    assert!((16 << 20..17 << 20).contains(&sequential.written), "{sequential:?}");
    assert!(sequential.requests < 50, "large writes come in large requests: {sequential:?}");
    let millis = sequential.busy.as_millis();
    assert!((560..900).contains(&millis), "30 MB/s, and what the file system adds: {sequential:?}");
    assert!(took >= sequential.busy, "{took:?} for {sequential:?}");

    // Twenty places, further apart than an erase block is large. The last five stay open.
    stick.control().reset_counters();
    let start = Instant::now();
    for place in 0..20 {
        file.write_all_at(&[3; 4096], (16 << 20) + place * 5_246_976).unwrap();
    }
    file.sync_data().unwrap();
    let took = start.elapsed();
    drop(file);
    let scattered = stick.control().counters();
    let millis = scattered.busy.as_millis();
    assert!((15 * 70..25 * 75).contains(&millis), "73 ms for each block that is closed: {scattered:?}");
    assert!(scattered.flash > 15 * (4 << 20) && scattered.flushes >= 1, "{scattered:?}");
    assert!(took >= scattered.busy, "{took:?} for {scattered:?}");

    stick.control().set_model(Model::Instant);
    stick.eject().unwrap();
}

#[test]
fn a_stick_goes_back_to_the_state_that_was_remembered() {
    let _alone = alone();
    let mut stick = Stick::new(FileSystem::Ext4, 64).unwrap();
    let mount = stick.mount().unwrap();
    write(&mount.join("file"), 1, 2);
    stick.eject().unwrap();
    stick.control().remember().unwrap();
    for byte in [2, 3] {
        stick.mount().unwrap();
        assert_eq!(std::fs::read(mount.join("file")).unwrap()[0], 1);
        write(&mount.join("file"), byte, 2);
        stick.eject().unwrap();
        stick.go_back().unwrap();
    }
}

#[test]
fn the_stick_of_a_process_that_was_killed_is_cleaned_up_by_the_next_one() {
    let _alone = alone();
    let killed = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_process_that_dies_with_its_stick_mounted", "--nocapture"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8(killed.stdout).unwrap();
    let (_, rest) = output.split_once("STICK ").unwrap();
    let mount = PathBuf::from(rest.lines().next().unwrap());
    let is_left = || std::fs::read_to_string("/proc/self/mounts").unwrap().contains(mount.to_str().unwrap());
    assert!(!killed.status.success() && is_left());

    Stick::new(FileSystem::Ext4, 32).unwrap();
    assert!(!is_left() && !mount.parent().unwrap().exists());
    // What the kernel calls a file whose file system is gone.
    let devices = Command::new("losetup").args(["--output", "BACK-FILE"]).output().unwrap();
    let devices = String::from_utf8(devices.stdout).unwrap();
    assert!(!devices.lines().any(|file| file.trim() == "/disk"), "{devices}");
}

#[test]
#[ignore = "run by the test above, which sees to what it leaves"]
fn a_process_that_dies_with_its_stick_mounted() {
    let mut stick = Stick::new(FileSystem::Ext4, 32).unwrap();
    println!("STICK {}", stick.mount().unwrap().display());
    std::process::abort();
}
