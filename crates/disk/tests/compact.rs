//! Compacting gives room back, keeps the content, and is as safe as a merge.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Drive, Impatient, Random, assert_clean, assert_same, io, qemu, text};
use pocketvm_disk::{Compacted, Error, GenerationId, check, compact, history, inspect, pin, undo};

const SIZE: u64 = 64 << 20;

/// A base whose file has become much larger than what it holds.
fn grown(drive: &Drive, options: &str, seed: u64) -> (PathBuf, GenerationId) {
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&base), &SIZE.to_string()]);
    let mut random = Random(seed);
    io(&base, &random.commands(60, SIZE));
    let generation = shrink_content(drive, &base, drive.stamp("b.qcow2"), &mut random);
    (base, generation)
}

/// Sessions that write a lot, and then discard most of it.
fn shrink_content(
    drive: &Drive,
    base: &Path,
    mut generation: GenerationId,
    random: &mut Random,
) -> GenerationId {
    for session in 0..4 {
        let overlay = drive.overlay(&format!("s{session}"), base, "cluster_size=64k");
        let mut commands = vec![format!("write -q -P {} 8M 32M", session + 1)];
        commands.extend(random.commands(20, SIZE));
        if session == 3 {
            commands.push("discard -q 9M 24M".to_owned());
        }
        io(&overlay, &commands);
        let disk = drive.disk("b.qcow2", &overlay, generation);
        drive.merge(std::slice::from_ref(&disk));
        generation = disk.next;
    }
    generation
}

fn flattened(drive: &Drive, base: &Path) -> PathBuf {
    let flat = drive.path("flat");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(base), text(&flat)]);
    flat
}

fn compacted(drive: &Drive) -> Compacted {
    compact(&drive.commit(), "bases/b.qcow2", &()).unwrap()
}

#[test]
fn a_base_of_any_kind_becomes_about_as_short_as_what_it_holds() {
    let kinds = [
        "cluster_size=16k",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=64k,extended_l2=on",
        "cluster_size=16k,refcount_bits=64",
        "preallocation=metadata",
    ];
    for (seed, options) in kinds.into_iter().enumerate() {
        let drive = Drive::new();
        let (base, generation) = grown(&drive, options, seed as u64);
        let before = flattened(&drive, &base);
        let length = std::fs::metadata(&base).unwrap().len();
        let done = compacted(&drive);
        assert_clean(&base);
        assert_same(&base, &before);
        assert_eq!((done.before, done.after), (length, std::fs::metadata(&base).unwrap().len()), "{options}");
        let report = check(&base).unwrap();
        let used = report.data * inspect(&base).unwrap().cluster_size;
        assert!(done.after < used + used / 4 + (2 << 20), "{options}: {done:?}, {used} bytes of data");
        assert!(done.after < length / 2, "{options}: {done:?}");
        assert_ne!(done.generation, generation);
        assert!(matches!(undo(&drive.commit()), Err(Error::NoHistory(_))), "{options}");
        // The next sessions find everything in order, the hash manifest too.
        let next = shrink_content(&drive, &base, done.generation, &mut Random(seed as u64));
        assert_ne!(next, done.generation);
        assert_clean(&base);
        undo(&drive.commit()).unwrap();
        assert_clean(&base);
    }
}

#[test]
fn what_was_known_of_the_content_stays_known() {
    let drive = Drive::new();
    let (base, generation) = grown(&drive, "cluster_size=16k", 5);
    let write = |name: &str, generation| {
        let overlay = drive.overlay(name, &base, "");
        io(&overlay, &["write -q -P 77 40M 4M".to_owned()]);
        let disk = drive.disk("b.qcow2", &overlay, generation);
        (drive.merge(std::slice::from_ref(&disk)).disks[0].amounts, disk.next)
    };
    write("first", generation);
    let done = compacted(&drive);
    assert!(done.moved > 0);
    assert_eq!(write("again", done.generation).0.skipped, 4 << 20);
}

#[test]
fn compressed_clusters_stay_where_they_are() {
    let drive = Drive::new();
    let (plain, base) = (drive.path("plain"), drive.base("b.qcow2"));
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&plain), &SIZE.to_string()]);
    let mut random = Random(8);
    io(&plain, &random.commands(60, SIZE));
    qemu("qemu-img", &["convert", "-c", "-O", "qcow2", text(&plain), text(&base)]);
    shrink_content(&drive, &base, drive.stamp("b.qcow2"), &mut random);
    let before = flattened(&drive, &base);
    let compressed = check(&base).unwrap().compressed;
    let done = compacted(&drive);
    assert!(done.after < done.before / 2 && compressed > 0, "{done:?}");
    assert_eq!(check(&base).unwrap().compressed, compressed);
    assert_clean(&base);
    assert_same(&base, &before);
}

#[test]
fn a_base_that_is_compact_is_left_alone() {
    let drive = Drive::new();
    grown(&drive, "cluster_size=16k", 3);
    let first = compacted(&drive);
    let again = compacted(&drive);
    assert_eq!((again.moved, again.generation, again.after), (0, first.generation, first.after));
}

#[test]
fn a_pinned_or_foreign_base_is_refused_and_keeps_its_history() {
    let drive = Drive::new();
    let (base, _) = grown(&drive, "cluster_size=16k", 4);
    pin(&drive.commit(), "guest", &["bases/b.qcow2"]).unwrap();
    let before = std::fs::read(&base).unwrap();
    assert!(matches!(compact(&drive.commit(), "bases/b.qcow2", &()), Err(Error::Input(_))));
    assert_eq!(std::fs::read(&base).unwrap(), before);
    assert_eq!(history(&drive.commit()).unwrap().len(), 1);
    pocketvm_disk::unpin(&drive.commit(), "guest").unwrap();
    io(&base, &["write -q -P 3 0 64k".to_owned()]);
    let result = compact(&drive.commit(), "bases/b.qcow2", &());
    assert!(matches!(result, Err(Error::ForeignWriter { .. })), "{result:?}");
    assert!(matches!(
        compact(&drive.commit(), "bases/none.qcow2", &()),
        Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound
    ));
}

#[test]
fn cancelling_leaves_content_and_generation() {
    let drive = Drive::new();
    let (base, generation) = grown(&drive, "cluster_size=16k", 6);
    let before = flattened(&drive, &base);
    let length = std::fs::metadata(&base).unwrap().len();
    for calls in [1, 10, 100] {
        let result = compact(&drive.commit(), "bases/b.qcow2", &Impatient(calls.into()));
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert_clean(&base);
        assert_same(&base, &before);
        assert_eq!(inspect(&base).unwrap().state.generation(), Some(generation));
        assert_eq!(std::fs::metadata(&base).unwrap().len(), length);
    }
    compacted(&drive);
    assert_same(&base, &before);
}

#[cfg(target_os = "linux")]
#[test]
fn a_guest_that_reads_the_base_keeps_it_from_being_compacted_and_none_can_come_meanwhile() {
    let drive = Drive::new();
    let (base, _) = grown(&drive, "cluster_size=16k", 9);
    let overlay = drive.overlay("running", &base, "");
    let reader = common::Holder::open(&overlay, true);
    let before = std::fs::read(&base).unwrap();
    let result = compact(&drive.commit(), "bases/b.qcow2", &());
    assert!(matches!(result, Err(Error::BeingRead { .. })), "{result:?}");
    assert!(std::fs::read(&base).unwrap() == before && history(&drive.commit()).unwrap().len() == 1);
    drop(reader);
    {
        use pocketvm_disk::storage::{Access, FileStorage};
        let _held = FileStorage::open(&base, Access::Exclusive).unwrap();
        let refused =
            std::process::Command::new("qemu-io").args(["-r", "-c", "read 0 512", text(&overlay)]).output();
        let said = String::from_utf8_lossy(&refused.unwrap().stderr).into_owned();
        assert!(said.contains("lock"), "{said}");
    }
    compacted(&drive);
}

#[test]
fn nothing_is_given_up_for_nothing() {
    let drive = Drive::new();
    let (base, generation) = grown(&drive, "cluster_size=16k", 10);
    let done = compacted(&drive);
    let overlay = drive.overlay("small", &base, "");
    io(&overlay, &["write -q -P 3 0 64k".to_owned()]);
    let disk = drive.disk("b.qcow2", &overlay, done.generation);
    drive.merge(std::slice::from_ref(&disk));
    let again = compacted(&drive);
    assert_eq!((again.moved, again.generation, again.before), (0, disk.next, again.after));
    assert_eq!(history(&drive.commit()).unwrap().len(), 1, "what could be undone still can");
    assert_ne!(generation, done.generation);
}
