//! Several kept generations: going back to any of them is one step; pinned ones stay readable.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{Drive, assert_clean, io, qemu, text};
use pocketvm_disk::{Error, GenerationId, go_to, history, merge, redo, undo};

/// A drive on which each save fills the first 4 MiB with its own number.
struct Saves {
    drive: Drive,
    base: PathBuf,
    generation: GenerationId,
    keep: usize,
}

impl Saves {
    fn new(keep: usize) -> Self {
        let drive = Drive::new();
        let base = drive.base("b.qcow2");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k", text(&base), "32M"]);
        let generation = drive.stamp("b.qcow2");
        Saves { drive, base, generation, keep }
    }

    fn save(&mut self, pattern: u32) {
        let overlay = self.drive.overlay(&GenerationId::random().to_string(), &self.base, "");
        io(&overlay, &[format!("write -q -P {pattern} 0 4M")]);
        let disk = self.drive.disk("b.qcow2", &overlay, self.generation);
        self.generation = disk.next;
        merge(&self.drive.commit().keeping(self.keep).noting("PC"), &[disk], &()).unwrap();
    }

    fn assert_holds(&self, pattern: u32) {
        assert_clean(&self.base);
        let read = format!("read -P {pattern} 0 4M");
        assert!(!qemu("qemu-io", &["-r", "-c", &read, text(&self.base)]).contains("fail"), "{pattern}");
    }
}

#[test]
fn any_kept_state_is_one_step_away() {
    let mut saves = Saves::new(4);
    for pattern in 1..=6 {
        saves.save(pattern);
    }
    let commit = || saves.drive.commit();
    let steps = history(&commit()).unwrap();
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|step| step.applied && step.note == "PC" && step.changed == 4 << 20));
    for (applied, pattern) in [(0, 2), (4, 6), (1, 3), (3, 5), (3, 5), (2, 4)] {
        go_to(&commit(), applied).unwrap();
        saves.assert_holds(pattern);
        let found = history(&commit()).unwrap().iter().filter(|step| step.applied).count();
        assert_eq!(found, applied);
    }
    undo(&commit()).unwrap();
    saves.assert_holds(3);
    redo(&commit()).unwrap();
    saves.assert_holds(4);
    assert!(matches!(go_to(&commit(), 5), Err(Error::NoHistory(_))));
    saves.assert_holds(4);
}

#[test]
fn a_save_after_going_back_drops_what_came_later() {
    let mut saves = Saves::new(4);
    for pattern in 1..=4 {
        saves.save(pattern);
    }
    let back = go_to(&saves.drive.commit(), 1).unwrap();
    saves.generation = back[0].to.unwrap();
    saves.save(9);
    saves.assert_holds(9);
    assert_eq!(history(&saves.drive.commit()).unwrap().len(), 2);
    assert!(matches!(redo(&saves.drive.commit()), Err(Error::NoHistory(_))));
    go_to(&saves.drive.commit(), 0).unwrap();
    assert_clean(&saves.base);
}

#[test]
fn a_record_that_is_full_forgets_the_oldest_saves_and_never_fails_a_merge() {
    let mut saves = Saves::new(64);
    let name = "x".repeat(256);
    let mut lengths = vec![];
    for pattern in 1..=200 {
        let overlay = saves.drive.overlay(&pattern.to_string(), &saves.base, "");
        let disk = saves.drive.disk("b.qcow2", &overlay, saves.generation);
        saves.generation = disk.next;
        // A long name makes the record large.
        let disk = pocketvm_disk::MergeDisk { name: name.repeat(24), ..disk };
        merge(&saves.drive.commit().keeping(64), &[disk], &()).unwrap();
        lengths.push(history(&saves.drive.commit()).unwrap().len());
    }
    let most = *lengths.iter().max().unwrap();
    assert!((8..64).contains(&most), "{lengths:?}");
    assert!(lengths[150..].iter().all(|&length| length + 2 >= most), "{lengths:?}");
    go_to(&saves.drive.commit(), 0).unwrap();
    assert_clean(&saves.base);
}

#[cfg(unix)]
#[test]
fn a_reader_of_a_pinned_generation_is_undisturbed_while_merges_land() {
    use pocketvm_disk::{pin, unpin};
    let mut saves = Saves::new(1);
    saves.save(1);
    pin(&saves.drive.commit(), "guest", &["bases/b.qcow2"]).unwrap();
    // A guest's overlay on the base, its tables not read yet when the merges land.
    let overlay = saves.drive.overlay("running", &saves.base, "");
    let mut reader = common::Holder::open(&overlay, true);
    for pattern in 2..8 {
        saves.save(pattern);
        saves.assert_holds(pattern);
    }
    assert!(!reader.run("read -P 1 0 4M").contains("fail"), "the reader saw a later generation");
    drop(reader);
    assert!(unpin(&saves.drive.commit(), "guest").unwrap());
    assert!(!unpin(&saves.drive.commit(), "guest").unwrap());
    let pinned = std::fs::metadata(&saves.base).unwrap().len();
    for pattern in 8..12 {
        saves.save(pattern);
        saves.assert_holds(pattern);
    }
    assert_eq!(std::fs::metadata(&saves.base).unwrap().len(), pinned, "the pinned room is used again");
}
