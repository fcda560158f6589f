//! What a merge leaves must be what QEMU reads through the overlay: every feature that a base or an overlay may
//! have, against `qemu-img compare` and `qemu-img check`.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Drive, Random, assert_clean, assert_same, io, qemu, text};

/// Fills a base, merges several overlays into it one after the other, and compares after each.
fn sessions_equal_what_qemu_reads(base_options: &str, overlay_options: &str, seed: u64) {
    let drive = Drive::new();
    let base = drive.base("system.qcow2");
    let size = 48 << 20;
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", base_options, text(&base), &size.to_string()]);
    let mut random = Random(seed);
    io(&base, &random.commands(60, size));
    run_sessions(&drive, &base, overlay_options, size, random);
}

fn run_sessions(drive: &Drive, base: &std::path::Path, overlay_options: &str, size: u64, mut random: Random) {
    let name = base.file_name().unwrap().to_str().unwrap();
    let mut generation = drive.stamp(name);
    assert_clean(base);
    for session in 0..4 {
        let overlay = drive.overlay(&format!("{session}.qcow2"), base, overlay_options);
        io(&overlay, &random.commands(40, size));
        let expected = drive.path("expected.qcow2");
        qemu("qemu-img", &["convert", "-f", "qcow2", "-O", "qcow2", text(&overlay), text(&expected)]);
        let disk = drive.disk(name, &overlay, generation);
        let merged = drive.merge(std::slice::from_ref(&disk));
        assert_eq!((merged.disks[0].from, merged.disks[0].to), (generation, disk.next));
        generation = disk.next;
        assert_clean(base);
        assert_same(base, &expected);
    }
}

#[test]
fn clusters_of_64k_take_overlays_of_4k() {
    sessions_equal_what_qemu_reads("cluster_size=64k", "cluster_size=4k", 1);
}

#[test]
fn clusters_of_16k_take_overlays_of_64k() {
    sessions_equal_what_qemu_reads("cluster_size=16k", "cluster_size=64k", 2);
}

#[test]
fn clusters_of_16k_take_overlays_of_4k() {
    sessions_equal_what_qemu_reads("cluster_size=16k", "cluster_size=4k", 3);
}

#[test]
fn clusters_of_4k_take_overlays_of_2m() {
    sessions_equal_what_qemu_reads("cluster_size=4k", "cluster_size=2M", 4);
}

#[test]
fn clusters_of_2m_take_overlays_with_subclusters() {
    sessions_equal_what_qemu_reads("cluster_size=2M", "cluster_size=128k,extended_l2=on", 5);
}

#[test]
fn a_version_2_base_becomes_version_3() {
    sessions_equal_what_qemu_reads("compat=0.10", "cluster_size=16k", 6);
}

#[test]
fn a_base_with_subclusters_is_merged_into() {
    sessions_equal_what_qemu_reads("cluster_size=64k,extended_l2=on", "cluster_size=4k", 7);
}

#[test]
fn a_base_with_preallocated_metadata_is_merged_into() {
    sessions_equal_what_qemu_reads("preallocation=metadata", "cluster_size=16k", 8);
}

#[test]
fn every_refcount_width_is_merged_into() {
    for bits in [1, 2, 4, 8, 32, 64] {
        sessions_equal_what_qemu_reads(&format!("cluster_size=4k,refcount_bits={bits}"), "", 10 + bits);
    }
}

#[test]
fn compressed_bases_of_both_methods_are_merged_into() {
    for (seed, method) in ["zlib", "zstd"].iter().enumerate() {
        let drive = Drive::new();
        let (plain, base) = (drive.path("plain.qcow2"), drive.base("golden.qcow2"));
        let size = 48 << 20;
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&plain), &size.to_string()]);
        let mut random = Random(100 + seed as u64);
        io(&plain, &random.commands(80, size));
        let options = format!("compression_type={method},cluster_size=64k");
        qemu("qemu-img", &["convert", "-c", "-O", "qcow2", "-o", &options, text(&plain), text(&base)]);
        run_sessions(&drive, &base, "cluster_size=16k", size, random);
    }
}

#[test]
fn a_base_grows_with_its_overlay() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    // Neither end is a multiple of the cluster size, and the last cluster holds data behind the old end, which the
    // guest must never see.
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "1M"]);
    io(&base, &["write -q -P 7 0 1M".to_owned()]);
    qemu("qemu-img", &["resize", "-q", "--shrink", text(&base), "1000448"]);
    let generation = drive.stamp("b.qcow2");
    let overlay = drive.overlay("o.qcow2", &base, "cluster_size=4k");
    qemu("qemu-img", &["resize", "-q", text(&overlay), "700000256"]);
    io(&overlay, &["write -q -P 9 690000000 1000".to_owned()]);
    let expected = drive.path("expected.qcow2");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(&overlay), text(&expected)]);
    drive.merge(&[drive.disk("b.qcow2", &overlay, generation)]);
    assert_clean(&base);
    assert_same(&base, &expected);
    assert_eq!(pocketvm_disk::inspect(&base).unwrap().virtual_size, 700_000_256);
}

#[test]
fn an_untouched_overlay_moves_the_generation_and_writes_no_cluster() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "10M"]);
    io(&base, &["write -q -P 7 0 1M".to_owned()]);
    let generation = drive.stamp("b.qcow2");
    let length = std::fs::metadata(&base).unwrap().len();
    let overlay = drive.overlay("o.qcow2", &base, "");
    let merged = drive.merge(&[drive.disk("b.qcow2", &overlay, generation)]);
    assert_eq!(merged.disks[0].amounts, pocketvm_disk::Amounts::default());
    assert_eq!(std::fs::metadata(&base).unwrap().len(), length);
    assert_clean(&base);
}

#[test]
fn freed_room_is_used_again() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k", text(&base), "64M"]);
    io(&base, &["write -q -P 1 0 32M".to_owned()]);
    let mut generation = drive.stamp("b.qcow2");
    let mut lengths = Vec::new();
    for session in 0..8 {
        let overlay = drive.overlay(&format!("{session}.qcow2"), &base, "");
        io(&overlay, &[format!("write -q -P {} 0 32M", session + 2)]);
        let disk = drive.disk("b.qcow2", &overlay, generation);
        drive.merge(std::slice::from_ref(&disk));
        generation = disk.next;
        lengths.push(std::fs::metadata(&base).unwrap().len());
    }
    assert_clean(&base);
    // The current generation, the kept one and the new one, not nine.
    assert!(lengths[7] <= 3 * (33 << 20), "{lengths:?}");
}
