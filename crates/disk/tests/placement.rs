//! Where new clusters go: into few erase blocks while there is plenty of room, wherever some is free else; and the
//! file does not grow without end.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{Drive, Random, assert_clean};
use pocketvm_disk::merge::{OpenDisk, estimate_images, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::qcow2::create::create_on;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::memory::{Event, MemoryDevice, MemoryStorage};
use pocketvm_disk::{CommitFile, CreateOptions, GenerationId, stamp};

const SIZE: u64 = 256 << 20;
const CLUSTER: u64 = 16 * 1024;
/// The first 56 MiB are in use.
const USED: u64 = 3584;
const BLOCK: u64 = 4 << 20;

/// An image whose given clusters hold something new.
fn image(clusters: impl Iterator<Item = u64>, random: &mut Random) -> MemoryStorage {
    let clusters: Vec<(u64, Vec<u8>)> =
        clusters.map(|at| (at * CLUSTER, random.next().to_be_bytes().repeat(CLUSTER as usize / 8))).collect();
    let content: Vec<(u64, &[u8])> = clusters.iter().map(|(at, data)| (*at, &data[..])).collect();
    let storage = MemoryDevice::default().file("image");
    create_on(&storage, &CreateOptions { content: &content, ..CreateOptions::new(SIZE) }).unwrap();
    storage
}

/// Fills a base, rewrites 3 MiB of random clusters in each of thirty sessions, and says how many erase blocks the last
/// ten touched on average, and how long the file is.
fn thirty_sessions(room: u64) -> (usize, u64) {
    let mut random = Random(5);
    let device = MemoryDevice::default();
    device.set_room(room);
    create_on(&device.file("base"), &CreateOptions::new(SIZE)).unwrap();
    TwoSlot::create_on(device.file("commit"), 65536).unwrap();
    let open = || CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone());
    let mut generation = stamp(&open(), &["base"]).unwrap()[0];
    let mut touched = 0;
    for session in 0..34 {
        let overlay = if session < 4 {
            image(USED / 4 * session..USED / 4 * (session + 1), &mut random)
        } else {
            let changed: BTreeSet<u64> = (0..200).map(|_| random.below(USED)).collect();
            image(changed.into_iter(), &mut random)
        };
        let disk = OpenDisk {
            name: "d".to_owned(),
            base: BasePath::new("base").unwrap(),
            overlay: Overlay::open(overlay).unwrap(),
            expected: generation,
            next: GenerationId::random(),
        };
        generation = disk.next;
        let disks = vec![disk];
        let estimate = estimate_images(&open(), &disks).unwrap();
        let before = device.files()["base"].len() as u64;
        device.record();
        let merged = merge_images(&open(), disks, &()).unwrap();
        let grown = device.files()["base"].len() as u64 - before;
        assert_eq!(estimate.changed, merged.disks[0].amounts.changed);
        assert!(room > 0 || grown <= estimate.grows, "grew {grown}, estimated {}", estimate.grows);
        if session >= 24 {
            touched += device.log().iter().flat_map(erase_blocks).collect::<BTreeSet<u64>>().len();
        }
    }
    let bytes = &device.files()["base"];
    let drive = Drive::new();
    let path = drive.base("b");
    std::fs::write(&path, bytes).unwrap();
    assert_clean(&path);
    (touched / 10, bytes.len() as u64)
}

fn erase_blocks(event: &Event) -> std::ops::Range<u64> {
    match event {
        Event::Write { file, offset, data } if file == "base" => {
            offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK)
        }
        _ => 0..0,
    }
}

#[test]
fn merges_touch_few_erase_blocks_with_plenty_of_room_and_grow_as_estimated_without() {
    let (touched, length) = thirty_sessions(u64::MAX);
    let (scattered, tight) = thirty_sessions(0);
    assert!(touched * 2 <= scattered, "{touched} blocks, {scattered} without room");
    // 56 MiB of data, and 3 MiB of data and 0.5 MiB of tables for each of two kept generations.
    assert!(tight <= 70 << 20, "{tight}");
    assert!(length <= 126 << 20, "{length}");
}
