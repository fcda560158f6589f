//! A merge that was cancelled or cut off goes on where it stopped, and gives its room back if it never does.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use common::{Drive, assert_clean, assert_same, io, qemu, text};
use pocketvm_disk::{Error, MergeDisk, Progress, estimate, give_up, merge, recover, undo};

/// Cancels once so many bytes are dealt with.
struct StopsAt(u64, Cell<u64>);

impl Progress for StopsAt {
    fn advance(&self, done: u64, _total: u64) {
        self.1.set(done);
    }

    fn is_cancelled(&self) -> bool {
        self.1.get() >= self.0
    }
}

/// A base with 64 MiB of new content waiting in an overlay, of which 40 were written when the merge was cancelled.
struct Cancelled {
    drive: Drive,
    base: PathBuf,
    disk: MergeDisk,
    before: u64,
    expected: PathBuf,
}

fn cancelled() -> Cancelled {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k", text(&base), "256M"]);
    io(&base, &["write -q -P 1 0 32M".to_owned()]);
    let generation = drive.stamp("b.qcow2");
    let before = length(&base);
    let overlay = drive.overlay("o", &base, "");
    io(&overlay, &(0..64).map(|mib| format!("write -q -P {} {mib}M 1M", mib + 2)).collect::<Vec<_>>());
    let expected = drive.path("expected");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(&overlay), text(&expected)]);
    let disk = drive.disk("b.qcow2", &overlay, generation);
    let result = merge(&drive.commit(), std::slice::from_ref(&disk), &StopsAt(40 << 20, Cell::default()));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(length(&base) >= before + (32 << 20));
    Cancelled { drive, base, disk, before, expected }
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

#[test]
fn what_was_written_and_reads_back_is_not_written_again() {
    let Cancelled { drive, base, disk, expected, .. } = cancelled();
    assert_clean(&base);
    let disks = std::slice::from_ref(&disk);
    let grows = estimate(&drive.commit(), disks).unwrap().grows;
    assert!(grows < 34 << 20, "the room that is taken already is asked for again: {grows}");
    let amounts = drive.merge(disks).disks[0].amounts;
    assert!(amounts.reused >= 32 << 20 && amounts.written < 34 << 20, "{amounts:?}");
    assert_clean(&base);
    assert_same(&base, &expected);
    undo(&drive.commit()).unwrap();
    assert_clean(&base);
}

#[test]
fn a_recovery_in_between_leaves_it_to_be_found_or_given_up() {
    let Cancelled { drive, disk, .. } = cancelled();
    recover(&drive.commit()).unwrap();
    let amounts = drive.merge(std::slice::from_ref(&disk)).disks[0].amounts;
    assert!(amounts.reused >= 32 << 20, "{amounts:?}");

    let Cancelled { drive, base, before, .. } = cancelled();
    recover(&drive.commit()).unwrap();
    give_up(&drive.commit()).unwrap();
    assert_eq!(length(&base), before);
}

#[test]
fn what_the_drive_lost_meanwhile_is_written_again() {
    let Cancelled { drive, base, disk, before, expected } = cancelled();
    let mut bytes = std::fs::read(&base).unwrap();
    // One bit in the midst, and a stretch of zeroes.
    bytes[before as usize + (5 << 20)] ^= 4;
    bytes[before as usize + (9 << 20)..][..10_000].fill(0);
    std::fs::write(&base, bytes).unwrap();
    let amounts = drive.merge(std::slice::from_ref(&disk)).disks[0].amounts;
    assert!(amounts.reused >= 16 << 20, "{amounts:?}");
    assert_clean(&base);
    assert_same(&base, &expected);
}

#[test]
fn another_merge_does_not_take_it_for_its_own() {
    let Cancelled { drive, base, disk, before, .. } = cancelled();
    let overlay = drive.overlay("other", &base, "");
    io(&overlay, &["write -q -P 99 100M 1M".to_owned()]);
    let expected = drive.path("e2");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(&overlay), text(&expected)]);
    let amounts = drive.merge(&[drive.disk("b.qcow2", &overlay, disk.expected)]).disks[0].amounts;
    assert_eq!(amounts.reused, 0);
    assert_clean(&base);
    assert_same(&base, &expected);
    assert!(length(&base) < before + (8 << 20), "the room of the cancelled merge is still taken");
    // And the first one is told that it comes too late.
    assert!(matches!(merge(&drive.commit(), &[disk], &()), Err(Error::WrongGeneration { .. })));
}

#[test]
fn giving_up_returns_the_room() {
    let Cancelled { drive, base, before, .. } = cancelled();
    give_up(&drive.commit()).unwrap();
    assert_eq!(length(&base), before);
    assert_clean(&base);
    give_up(&drive.commit()).unwrap();
}
