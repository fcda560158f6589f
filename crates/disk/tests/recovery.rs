//! What recovery does about devices that lied, foreign writers, and bases that are not what they were.
//!
//! The tests name the invariants of `docs/merge.md` (I1 to I10).
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::crash::{open, recovered};
use common::cuts::{Files, arrived};
use common::io;
use common::scene::{BASES, Disks, TWO, contents, image};
use pocketvm_disk::storage::memory::{Event, MemoryDevice, write_into};
use pocketvm_disk::{BaseState, Error, Outcome, recover, stamp, undo};

/// A merged disks: the files before and after.
fn merged(seed: u64) -> (Disks, Files, Files) {
    let mut disks = Disks::stamped(TWO, seed);
    disks.change();
    let before = disks.device.files();
    disks.merge(&open(&disks.device));
    let after = disks.device.files();
    (disks, before, after)
}

#[test]
fn i9_tables_that_a_device_lost_after_its_flush_lead_back_to_the_old_generation() {
    let (_, before, after) = merged(7);
    let header = image(&MemoryDevice::new(after.clone()), "user").header().clone();
    for lost in [header.l1_offset, header.refcount_table_offset] {
        let mut files = after.clone();
        let bytes = files.get_mut("user").unwrap();
        write_into(bytes, lost, &[0; 512]);
        let (files, recovery, _) = recovered(files);
        assert_eq!(recovery.outcome, Outcome::FellBack);
        assert_eq!(contents(&files), contents(&before));
        assert_eq!(recovered(files).1.outcome, Outcome::Clean);
    }
}

#[test]
fn i9_an_old_generation_that_is_whole_is_found_even_if_all_of_the_new_one_is_gone() {
    let (_, before, after) = merged(13);
    let header = image(&MemoryDevice::new(after.clone()), "user").header().clone();
    // The file is as short as it was; or the new L1 table is noise, so that nobody can tell what the two have in common.
    for cut in [true, false] {
        let mut files = after.clone();
        let bytes = files.get_mut("user").unwrap();
        if cut {
            bytes.truncate(before["user"].len());
        } else {
            let noise: Vec<u8> = (0..header.l1_entries * 8).map(|at| (at * 37 + 11) as u8).collect();
            write_into(bytes, header.l1_offset, &noise);
        }
        let (files, recovery, _) = recovered(files);
        assert_eq!(recovery.outcome, Outcome::FellBack, "{cut}");
        assert_eq!(contents(&files), contents(&before), "{cut}");
        assert_eq!(recovered(files).1.outcome, Outcome::Clean, "{cut}");
    }
}

#[test]
fn i9_a_header_that_a_device_lost_after_its_flush_is_written_again() {
    let (_, before, after) = merged(8);
    for garbage in [false, true] {
        let mut files = after.clone();
        let block = if garbage { vec![0xa5; 512] } else { before["system"][..512].to_vec() };
        write_into(files.get_mut("system").unwrap(), 0, &block);
        let (files, recovery, _) = recovered(files);
        assert_eq!(recovery.outcome, Outcome::Finished);
        assert_eq!(contents(&files), contents(&after));
    }
}

#[test]
fn i7_a_header_that_is_torn_anywhere_is_written_again() {
    let (_, before, after) = merged(14);
    let mut random = common::Random(5);
    for from in 0..512 {
        let mut files = after.clone();
        let mut block = after["system"][..512].to_vec();
        block[from..].fill_with(|| random.next() as u8);
        write_into(files.get_mut("system").unwrap(), 0, &block);
        let (files, recovery, _) = recovered(files);
        assert_eq!(recovery.outcome, Outcome::Finished, "noise from byte {from} on");
        assert_eq!(contents(&files), contents(&after), "noise from byte {from} on");
    }
    assert_ne!(contents(&before), contents(&after));
}

/// Where the first header block is rewritten: the record of that is durable, and nothing has changed yet.
fn first_header(log: &[Event]) -> usize {
    let is_header = |event: &Event| matches!(event, Event::Write { file, offset: 0, .. } if file != "commit");
    log.iter().position(is_header).unwrap()
}

#[test]
fn i7_a_foreign_header_is_never_written_over_and_the_other_disk_follows() {
    // The power is cut after the record, before the headers; then QEMU writes to one base.
    let mut disks = Disks::stamped(TWO, 9);
    disks.change();
    let before = disks.device.files();
    disks.device.record();
    disks.merge(&open(&disks.device));
    let log = disks.device.log();
    let record = first_header(&log);
    let pending = arrived(&before, &log[..record]);
    // And the other way round: after the headers, before the record says that it is done.
    let last =
        log.iter().rposition(|event| matches!(event, Event::Write { file, .. } if file == "commit")).unwrap();
    let flipped = arrived(&before, &log[..last]);
    for (files, follows, outcome) in
        [(pending, &before, Outcome::Undone), (flipped, &disks.device.files(), Outcome::Finished)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system");
        std::fs::write(&path, &files["system"]).unwrap();
        io(&path, &["write -q -P 77 0 64k".to_owned()]);
        let mut files = files;
        files.insert("system".to_owned(), std::fs::read(&path).unwrap());
        let foreign = contents(&files)[0];
        let (files, recovery, _) = recovered(files);
        assert_eq!(recovery.outcome, outcome);
        assert_eq!(contents(&files)[0], foreign);
        assert_eq!(contents(&files)[1], contents(follows)[1]);
        assert!(matches!(
            image(&MemoryDevice::new(files.clone()), "system").state(),
            BaseState::Foreign { .. }
        ));
        let device = MemoryDevice::new(files);
        assert!(undo(&open(&device)).is_err(), "history survived a foreign writer");
        assert_eq!(recover(&open(&device)).unwrap().outcome, Outcome::Clean);
        stamp(&open(&device), &BASES).unwrap();
    }
}

#[test]
fn i6_a_flip_under_way_keeps_every_other_step_out() {
    let mut disks = Disks::stamped(TWO, 10);
    disks.change();
    let before = disks.device.files();
    disks.device.record();
    disks.merge(&open(&disks.device));
    let log = disks.device.log();
    let record = first_header(&log);
    let device = MemoryDevice::new(arrived(&before, &log[..record]));
    assert!(matches!(stamp(&open(&device), &BASES), Err(Error::Unrecovered(_))));
    assert!(matches!(undo(&open(&device)), Err(Error::NoHistory(_) | Error::Unrecovered(_))));
    assert_eq!(recover(&open(&device)).unwrap().outcome, Outcome::Finished);
}

#[test]
fn i7_a_base_restored_from_an_older_copy_is_left_alone() {
    let mut disks = Disks::stamped(TWO, 11);
    let oldest = disks.device.files();
    for _ in 0..2 {
        disks.change();
        disks.merge(&open(&disks.device));
    }
    let mut files = disks.device.files();
    files.insert("system".to_owned(), oldest["system"].clone());
    let (after, recovery, _) = recovered(files.clone());
    assert_eq!(recovery.outcome, Outcome::Clean);
    assert!(BASES.iter().all(|base| after[*base] == files[*base]), "a base was written to");
    assert!(undo(&open(&MemoryDevice::new(after))).is_err(), "history survived");
}

#[test]
fn i7_a_base_that_was_taken_away_keeps_no_other_out() {
    let (_, _, after) = merged(12);
    let mut files = after;
    files.remove("system");
    let device = MemoryDevice::new(files);
    let recovery = recover(&open(&device)).unwrap();
    assert_eq!(recovery.outcome, Outcome::Clean);
    assert_eq!(recovery.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["user"]);
    assert!(undo(&open(&device)).is_err());
}
