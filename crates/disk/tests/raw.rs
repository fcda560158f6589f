//! Raw bases: a journal makes changing them atomic, together with qcow2 bases.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::crash::{Scene, State, every_cut_is_old_or_new, open};
use common::cuts::Files;
use common::scene;
use common::{Drive, Random, assert_clean, assert_same, io, qemu, text};
use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::memory::MemoryDevice;
use pocketvm_disk::{
    CommitFile, Error, GenerationId, estimate, go_to, history, merge, recover, redo, stamp, stamp_raw, undo,
};

const SIZE: u64 = 8 << 20;

/// A raw file with random content.
fn raw(path: &Path, random: &mut Random, size: u64) {
    qemu("qemu-img", &["create", "-q", "-f", "raw", text(path), &size.to_string()]);
    let commands = random.commands(30, size);
    let mut args = vec!["-f", "raw"];
    commands.iter().for_each(|command| args.extend(["-c", command]));
    args.push(text(path));
    qemu("qemu-io", &args);
}

fn overlay(drive: &Drive, name: &str, base: &Path) -> PathBuf {
    let path = drive.path(name);
    let args = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", text(base), text(&path)];
    qemu("qemu-img", &args);
    path
}

/// What a guest reads through `image`.
fn flattened(drive: &Drive, image: &Path, name: &str) -> PathBuf {
    let flat = drive.path(name);
    qemu("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(image), text(&flat)]);
    flat
}

#[test]
fn sessions_equal_what_qemu_reads_and_any_kept_state_comes_back() {
    let drive = Drive::new();
    let mut random = Random(1);
    let base = drive.base("b.img");
    raw(&base, &mut random, SIZE);
    let mut states = vec![std::fs::read(&base).unwrap()];
    let mut generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    assert_eq!(stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0], generation);
    for session in 0..5 {
        let path = overlay(&drive, &session.to_string(), &base);
        if session == 2 {
            qemu("qemu-img", &["resize", "-q", text(&path), &(SIZE + 12_288).to_string()]);
        }
        io(&path, &random.commands(25, SIZE));
        let expected = flattened(&drive, &path, "expected");
        let disk = drive.disk("b.img", &path, generation);
        let room = estimate(&drive.commit(), std::slice::from_ref(&disk)).unwrap().grows;
        let merged = merge(&drive.commit().keeping(3), std::slice::from_ref(&disk), &()).unwrap();
        assert!(merged.disks[0].amounts.written <= room, "{merged:?} {room}");
        generation = disk.next;
        states.push(std::fs::read(&base).unwrap());
        assert!(states.last().unwrap() == &std::fs::read(&expected).unwrap(), "session {session}");
    }
    assert_eq!(history(&drive.commit()).unwrap().len(), 3);
    for (applied, state) in [(0, 2), (3, 5), (1, 3), (2, 4), (0, 2)] {
        go_to(&drive.commit(), applied).unwrap();
        assert!(std::fs::read(&base).unwrap() == states[state], "{applied}");
    }
    redo(&drive.commit()).unwrap();
    assert!(std::fs::read(&base).unwrap() == states[3]);
    // Journals that nothing needs any more are gone.
    let journals = || std::fs::read_dir(drive.path("drive/bases")).unwrap().count() - 1;
    assert_eq!(journals(), 3);
    let generation = drive.commit().raw_generation("bases/b.img").unwrap().unwrap();
    let path = overlay(&drive, "last", &base);
    merge(&drive.commit(), &[drive.disk("b.img", &path, generation)], &()).unwrap();
    assert_eq!(journals(), 1);
    undo(&drive.commit()).unwrap();
    assert!(matches!(undo(&drive.commit()), Err(Error::NoHistory(_))));
    recover(&drive.commit()).unwrap();
}

#[test]
fn another_programs_write_is_noticed_and_nothing_is_merged_or_undone() {
    let drive = Drive::new();
    let base = drive.base("b.img");
    raw(&base, &mut Random(2), SIZE);
    let generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    let path = overlay(&drive, "o", &base);
    io(&path, &["write -q -P 3 0 1M".to_owned()]);
    let disk = drive.disk("b.img", &path, generation);
    merge(&drive.commit(), std::slice::from_ref(&disk), &()).unwrap();
    qemu("qemu-io", &["-f", "raw", "-c", "write -q -P 9 2M 64k", text(&base)]);
    let before = std::fs::read(&base).unwrap();
    let again = drive.disk("b.img", &path, disk.next);
    assert!(matches!(merge(&drive.commit(), &[again], &()), Err(Error::ForeignWriter { .. })));
    assert!(matches!(undo(&drive.commit()), Err(Error::ForeignWriter { .. })));
    assert!(std::fs::read(&base).unwrap() == before);
    let next = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    assert_ne!(next, disk.next);
    assert!(matches!(merge(&drive.commit(), &[disk], &()), Err(Error::WrongGeneration { .. })));
}

#[test]
fn a_journal_that_was_damaged_is_not_applied() {
    let drive = Drive::new();
    let base = drive.base("b.img");
    raw(&base, &mut Random(3), SIZE);
    let generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    let path = overlay(&drive, "o", &base);
    io(&path, &["write -q -P 3 0 1M".to_owned()]);
    let disk = drive.disk("b.img", &path, generation);
    merge(&drive.commit(), std::slice::from_ref(&disk), &()).unwrap();
    let before = std::fs::read(&base).unwrap();
    let journal = drive.base(&format!("b.img.{}.journal", disk.next));
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    assert!(matches!(undo(&drive.commit()), Err(Error::Damaged { .. })));
    assert!(std::fs::read(&base).unwrap() == before);
}

/// A raw base and a qcow2 one that change together.
struct Mixed {
    device: MemoryDevice,
    overlays: MemoryDevice,
    ids: [(GenerationId, GenerationId); 2],
}

const SMALL: u64 = 1 << 20;

impl Mixed {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let (plain, system) = (dir.path().join("plain"), dir.path().join("system"));
        raw(&plain, &mut random, SMALL);
        let size = SMALL.to_string();
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", text(&system), &size]);
        io(&system, &random.commands(10, SMALL));
        let mut files = Files::new();
        files.insert("plain".to_owned(), std::fs::read(&plain).unwrap());
        files.insert("system".to_owned(), std::fs::read(&system).unwrap());
        let device = MemoryDevice::new(files);
        TwoSlot::create_on(device.file("commit"), 65536).unwrap();
        let raw_id = stamp_raw(&open(&device), &["plain"]).unwrap()[0];
        let id = stamp(&open(&device), &["system"]).unwrap()[0];
        let mut overlays = Files::new();
        for (name, lower, format) in [("plain", &plain, "raw"), ("system", &system, "qcow2")] {
            let path = dir.path().join(format!("{name}.overlay"));
            qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-F", format, "-b", text(lower), text(&path)]);
            if name == "plain" {
                qemu("qemu-img", &["resize", "-q", text(&path), &(SMALL + 4096).to_string()]);
            }
            io(&path, &random.commands(8, SMALL));
            overlays.insert(name.to_owned(), std::fs::read(&path).unwrap());
        }
        let ids = [(raw_id, GenerationId::random()), (id, GenerationId::random())];
        Mixed { device, overlays: MemoryDevice::new(overlays), ids }
    }

    fn merge(&self, commit: &CommitFile<MemoryDevice, pocketvm_disk::storage::memory::MemoryStorage>) {
        let disks = ["plain", "system"].iter().zip(self.ids).map(|(name, (expected, next))| OpenDisk {
            name: (*name).to_owned(),
            base: BasePath::new(name).unwrap(),
            overlay: Overlay::open(self.overlays.file(name)).unwrap(),
            expected,
            next,
        });
        merge_images(commit, disks.collect(), &()).unwrap();
    }
}

impl Scene for Mixed {
    fn device(&self) -> &MemoryDevice {
        &self.device
    }

    fn state(&self, device: &MemoryDevice) -> Vec<State> {
        let name = open(device).raw_generation("plain").unwrap().unwrap().to_string();
        let content = blake3::hash(&device.files()["plain"]);
        vec![State { content, name }, scene::state(device, "system")]
    }

    fn assert_sound(&self, device: &MemoryDevice, when: &str) {
        let report = pocketvm_disk::qcow2::check::check_image(&scene::image(device, "system")).unwrap();
        assert_eq!((report.error_count, report.leaks), (0, 0), "{when}: I8, {report:?}");
    }

    fn assert_qemu_agrees(&self, files: &Files, expected: &Files) {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        std::fs::write(&left, &files["system"]).unwrap();
        std::fs::write(&right, &expected["system"]).unwrap();
        assert_clean(&left);
        assert_same(&left, &right);
        assert!(files["plain"] == expected["plain"]);
    }
}

#[test]
fn i4_a_raw_base_and_a_qcow2_base_change_together_wherever_the_power_is_cut() {
    let mixed = Mixed::new(11);
    every_cut_is_old_or_new(&mixed, 12, |commit| mixed.merge(commit));
    every_cut_is_old_or_new(&mixed, 12, |commit| {
        undo(commit).unwrap();
    });
    every_cut_is_old_or_new(&mixed, 12, |commit| {
        redo(commit).unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_guest_that_reads_a_raw_base_keeps_it_from_being_written_in_place() {
    use pocketvm_disk::storage::{Access, FileStorage};
    let drive = Drive::new();
    let base = drive.base("b.img");
    raw(&base, &mut Random(5), SIZE);
    let generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    let path = overlay(&drive, "o", &base);
    io(&path, &["write -q -P 3 0 1M".to_owned()]);
    // The locks of a guest's disk; qemu-io would let others write to a raw backing file.
    let reader = FileStorage::open(&base, Access::ReadStable).unwrap();
    let before = std::fs::read(&base).unwrap();
    let disk = drive.disk("b.img", &path, generation);
    let result = merge(&drive.commit(), std::slice::from_ref(&disk), &());
    assert!(matches!(result, Err(Error::BeingRead { .. })), "{result:?}");
    assert!(std::fs::read(&base).unwrap() == before);
    drop(reader);
    merge(&drive.commit(), &[disk], &()).unwrap();
}

#[test]
fn journals_of_steps_that_compacting_gave_up_are_removed() {
    let drive = Drive::new();
    let (base, system) = (drive.base("b.img"), drive.base("s.qcow2"));
    raw(&base, &mut Random(6), SIZE);
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&system), &SIZE.to_string()]);
    io(&system, &["write -q -P 1 0 8M".to_owned()]);
    let raw_id = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    let id = stamp(&drive.commit(), &["bases/s.qcow2"]).unwrap()[0];
    let (changed, discarded) = (overlay(&drive, "o", &base), drive.overlay("s", &system, ""));
    io(&changed, &["write -q -P 3 0 1M".to_owned()]);
    io(&discarded, &["discard -q 0 7M".to_owned()]);
    let disks = [drive.disk("b.img", &changed, raw_id), drive.disk("s.qcow2", &discarded, id)];
    merge(&drive.commit(), &disks, &()).unwrap();
    let journals = || {
        let names = std::fs::read_dir(drive.path("drive/bases")).unwrap();
        names
            .filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|end| end == "journal"))
            .count()
    };
    assert_eq!(journals(), 1);
    pocketvm_disk::compact(&drive.commit(), "bases/s.qcow2", &()).unwrap();
    assert_eq!(journals(), 0);
    assert!(history(&drive.commit()).unwrap().is_empty());
    assert_clean(&system);
}
