//! The power is cut at every write: after recovery, all disks together are at the old or at the new generation.
//!
//! The tests name the invariants of `docs/merge.md` (I1 to I10). `tests/recovery.rs` has what recovery does about foreign
//! writers and devices that lie.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::crash::{Effort, every_cut_is_old_or_new, open, recovered};
use common::cuts::Files;
use common::io;
use common::scene::{BASES, Disks, Plan, TWO, contents, image};
use pocketvm_disk::qcow2::header::Header;
use pocketvm_disk::qcow2::refcount::{Refcounts, get};
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::{Event, MemoryDevice};
use pocketvm_disk::{Error, compact, go_to, redo, stamp, undo};

/// So small that every combination of what became of its sectors can be tried.
const TINY: Plan = Plan {
    bases: &[("tiny", "cluster_size=512")],
    size: 64 << 10,
    overlay: "cluster_size=512",
    commands: 3,
    units: &[512],
};

/// Eight sectors.
const ALL: Effort = Effort { random: 4, exhaustive: 6561 };

#[test]
fn i4_a_merge_of_two_disks_cut_anywhere_is_old_or_new() {
    let mut disks = Disks::stamped(TWO, 1);
    disks.change();
    every_cut_is_old_or_new(&disks, 60, |commit| disks.merge(commit));
}

#[test]
fn i4_a_second_merge_that_reuses_freed_room_is_old_or_new() {
    let mut disks = Disks::stamped(TWO, 2);
    disks.device.set_room(u64::MAX);
    for _ in 0..3 {
        disks.change();
        disks.merge(&open(&disks.device));
    }
    disks.change();
    every_cut_is_old_or_new(&disks, 40, |commit| disks.merge(commit));
}

#[test]
fn i4_stamping_cut_anywhere_keeps_the_content() {
    let disks = Disks::new(TWO, 3);
    every_cut_is_old_or_new(&disks, 60, |commit| {
        stamp(commit, &BASES).unwrap();
    });
}

#[test]
fn i4_undo_and_redo_cut_anywhere_are_old_or_new() {
    let mut disks = Disks::stamped(TWO, 4);
    disks.change();
    disks.merge(&open(&disks.device));
    every_cut_is_old_or_new(&disks, 60, |commit| {
        undo(commit).unwrap();
    });
    every_cut_is_old_or_new(&disks, 60, |commit| {
        redo(commit).unwrap();
    });
}

#[test]
fn i4_going_back_several_merges_cut_anywhere_is_old_or_new() {
    let mut disks = Disks::stamped(TWO, 5);
    for _ in 0..3 {
        disks.change();
        disks.merge(&open(&disks.device).keeping(3));
    }
    for applied in [0, 3, 1] {
        every_cut_is_old_or_new(&disks, 10, |commit| {
            go_to(commit, applied).unwrap();
        });
    }
}

#[test]
fn i4_compacting_cut_anywhere_keeps_the_content() {
    let mut disks = Disks::new(TWO, 6);
    let dir = tempfile::tempdir().unwrap();
    let mut files = disks.device.files();
    for base in BASES {
        let path = dir.path().join(base);
        std::fs::write(&path, &files[base]).unwrap();
        // What lies at the end of the file stays, what lies before it goes.
        io(
            &path,
            &[
                "write -q -P 5 0 5M".to_owned(),
                "write -q -P 6 4M 1M".to_owned(),
                "discard -q 0 4M".to_owned(),
            ],
        );
        files.insert(base.to_owned(), std::fs::read(&path).unwrap());
    }
    disks.device = MemoryDevice::new(files);
    stamp(&open(&disks.device), &BASES).unwrap();
    for base in BASES {
        let before = disks.device.files()[base].len();
        every_cut_is_old_or_new(&disks, 30, |commit| {
            compact(commit, base, &()).unwrap();
        });
        let after = disks.device.files()[base].len();
        assert!(after * 2 < before, "{base}: {before} bytes became {after}");
    }
}

#[test]
fn i4_each_combination_of_the_sectors_of_small_merges_is_old_or_new() {
    let mut disks = Disks::new(TINY, 21);
    let mut exhausted = vec![every_cut_is_old_or_new(&disks, ALL, |commit| {
        stamp(commit, &["tiny"]).unwrap();
    })];
    // Data and tables, tables only, data again where some was freed.
    for change in ["write -q -P 7 1024 512", "discard -q 0 64k", "write -q -P 9 60000 512"] {
        disks.change_by(&[vec![change.to_owned()]]);
        exhausted.push(every_cut_is_old_or_new(&disks, ALL, |commit| disks.merge(commit)));
    }
    exhausted.push(every_cut_is_old_or_new(&disks, ALL, |commit| {
        undo(commit).unwrap();
    }));
    exhausted.push(every_cut_is_old_or_new(&disks, ALL, |commit| {
        redo(commit).unwrap();
    }));
    // The record twice, the header between them; before those, in a merge, the new clusters.
    let intervals: Vec<u64> = exhausted.iter().map(|tried| tried.exhausted).collect();
    assert_eq!(intervals, [3, 5, 5, 5, 3, 3]);
}

#[test]
fn i4_a_device_that_fails_at_any_write_leaves_old_or_new_and_no_garbage() {
    let mut disks = Disks::stamped(TWO, 13);
    disks.change();
    let before = disks.device.files();
    let old = contents(&before);
    disks.merge(&open(&disks.device));
    let new = contents(&disks.device.files());
    let mut interrupted = 0;
    for budget in 0.. {
        let device = MemoryDevice::new(before.clone());
        device.fail_after(budget);
        let result = disks.try_merge(&open(&device));
        let files = device.files();
        match result {
            Ok(_) => break,
            Err(Error::Interrupted(_)) => interrupted += 1,
            Err(_) => {
                assert_eq!(contents(&files), old, "write {budget}");
                for base in BASES {
                    assert_eq!(files[base].len(), before[base].len(), "write {budget}: garbage stays");
                }
            }
        }
        let (files, recovery, _) = recovered(files);
        let found = contents(&files);
        assert!(found == old || found == new, "write {budget}: {:?}", recovery.outcome);
    }
    // The record, its flush, two headers, two flushes, the record, its flush.
    assert_eq!(interrupted, 8);
}

/// The clusters that the base's current generation uses: by its refcounts, and by its hash manifest.
fn used(files: &Files, base: &str) -> (u64, Vec<bool>) {
    let image = image(&MemoryDevice::new(files.clone()), base);
    let header: &Header = image.header();
    let refcounts = Refcounts::open(image.storage(), header).unwrap();
    let mut used = Vec::new();
    let last = (0..refcounts.blocks()).rfind(|&index| refcounts.word(index).unwrap() != 0);
    for index in 0..last.map_or(0, |last| last + 1) {
        let block = refcounts.block(index).unwrap();
        used.extend((0..header.refcounts_per_block()).map(|at| get(&block, at, header.refcount_order) != 0));
    }
    let root = image.extensions().hashes;
    for entry in 0..root.map_or(0, |root| u64::from(root.chunks)) {
        let table = root.unwrap().offset;
        let mut offset = [0; 8];
        image.storage().read_at(table + entry * 16, &mut offset).unwrap();
        for at in [table + entry * 16, u64::from_be_bytes(offset)] {
            let cluster = (at / header.cluster_size()) as usize;
            used.resize(used.len().max(cluster + 1), false);
            used[cluster] = true;
        }
    }
    (header.cluster_size(), used)
}

#[test]
fn i1_a_merge_writes_to_no_cluster_of_the_current_or_the_kept_generation() {
    let mut disks = Disks::stamped(TWO, 5);
    let mut generations = vec![disks.device.files()];
    for session in 0..8 {
        disks.device.set_room(if session % 2 == 0 { 0 } else { u64::MAX });
        disks.change();
        disks.device.record();
        disks.merge(&open(&disks.device));
        let kept: Vec<_> = generations.iter().rev().take(2).collect();
        let used = BASES.map(|base| (base, kept.iter().map(|files| used(files, base)).collect::<Vec<_>>()));
        for event in disks.device.log() {
            let Event::Write { file, offset, data } = event else { continue };
            let Some((_, used)) = used.iter().find(|(base, _)| *base == file) else { continue };
            if (offset, data.len()) == (0, 512) {
                continue;
            }
            for (size, used) in used {
                for cluster in offset / size..(offset + data.len() as u64).div_ceil(*size) {
                    assert!(
                        !used.get(cluster as usize).copied().unwrap_or(false),
                        "{file}: cluster {cluster}"
                    );
                }
            }
        }
        generations.push(disks.device.files());
    }
}

#[test]
fn i2_i3_nothing_is_named_before_it_is_durable() {
    let mut disks = Disks::stamped(TWO, 6);
    disks.change();
    disks.device.record();
    disks.merge(&open(&disks.device));
    let order: Vec<String> = disks
        .device
        .log()
        .into_iter()
        .filter_map(|event| match event {
            Event::Write { file, .. } if file == "commit" => Some("record".to_owned()),
            Event::Write { file, offset: 0, .. } => Some(format!("header {file}")),
            Event::Write { .. } => None,
            Event::Flush { file } => Some(format!("flush {file}")),
            Event::SetLen { .. } | Event::Remove { .. } => None,
        })
        .collect();
    let expected = [
        "record",
        "flush commit",
        "flush system",
        "flush user",
        "record",
        "flush commit",
        "header system",
        "header user",
        "flush system",
        "flush user",
        "record",
        "flush commit",
    ];
    assert_eq!(order, expected);
}
