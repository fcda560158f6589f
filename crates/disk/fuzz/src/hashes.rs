//! The base of the target `hashes`: small, sound, and with a manifest of several chunks.

use std::sync::OnceLock;

use pocketvm_disk::qcow2::create::create_on;
use pocketvm_disk::qcow2::extensions::HashRoot;
use pocketvm_disk::storage::memory::MemoryDevice;
use pocketvm_disk::{CreateOptions, stamp};

use crate::{base, commit, drive, merge, overlay};

/// Bytes of a table entry and of a cluster's hash.
pub const ENTRY: usize = 16;

/// Bytes of a cluster of the base.
pub const CLUSTER: u64 = 512;

/// Four chunks, each with 32 hashes.
const SIZE: u64 = 64 << 10;

/// An empty image with such clusters, made by QEMU.
const EMPTY: &[u8] = include_bytes!("../images/empty.qcow2");

/// A base with a manifest, and overlays for it.
pub struct Sound {
    /// The base's file.
    pub base: Vec<u8>,
    /// Its manifest.
    pub root: HashRoot,
    /// Where the chunks are; those without a hash are nowhere.
    pub chunks: Vec<Option<u64>>,
    /// Overlays: the same content, other content, some of both with zeroes, and nothing.
    pub overlays: [Vec<u8>; 4],
}

impl Sound {
    /// The bytes of the manifest's table.
    pub fn table(&self) -> &[u8] {
        &self.base[self.root.offset as usize..][..self.root.chunks as usize * ENTRY]
    }

    /// The bytes of a chunk; zeroes for one that is nowhere.
    pub fn bytes_of_chunk(&self, index: usize) -> Vec<u8> {
        let bytes = self.chunks[index].map(|offset| &self.base[offset as usize..][..CLUSTER as usize]);
        bytes.map_or_else(|| vec![0; CLUSTER as usize], <[u8]>::to_vec)
    }
}

/// An overlay.
fn image(content: &[(u64, &[u8])]) -> Vec<u8> {
    let device = MemoryDevice::default();
    let options = CreateOptions { content, cluster_size: 4096, ..CreateOptions::new(SIZE) };
    create_on(&device.file("image"), &options).expect("memory takes an image");
    device.files().remove("image").unwrap_or_default()
}

/// The one base.
pub fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let (one, two, end) = ([1; 512], [2; 2048], SIZE - 2048);
        let same = image(&[(512, &one), (8192, &two), (17_920, &one), (end, &two)]);
        let overlays = [
            same.clone(),
            image(&[(512, &two), (20_480, &one), (end, &one)]),
            image(&[(512, &one), (8192, &[0; 512]), (8704, &[2; 1024]), (end, &[3; 512])]),
            image(&[]),
        ];
        let device = drive(&[("base", EMPTY)]);
        stamp(&commit(&device), &["base"]).expect("a new base can be stamped");
        for content in [&same, &overlays[1], &same] {
            merge(&device, "base", overlay(content).expect("sound")).expect("a sound overlay is merged");
        }
        let root = base(&device, "base").expect("sound").extensions().hashes.expect("a merge notes hashes");
        let base = device.files().remove("base").unwrap_or_default();
        let table = &base[root.offset as usize..][..root.chunks as usize * ENTRY];
        let offset = |entry: &[u8]| u64::from_be_bytes(*entry.first_chunk().expect("8 of 16 bytes"));
        let place = |entry| Some(offset(entry)).filter(|&offset| offset != 0);
        let chunks = table.chunks_exact(ENTRY).map(place).collect();
        Sound { base, root, chunks, overlays }
    })
}
