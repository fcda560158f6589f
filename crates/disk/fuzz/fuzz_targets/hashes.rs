//! A sound base whose hash manifest has any bytes, and a merge of what it may or may not hold already.
//!
//! The input is a byte, the manifest's root, its table and its chunks ([`parts`]). Bit 0 of the byte makes the root's digest
//! hold, bit 1 those of the chunks; bits 2 and 3 choose the overlay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::qcow2::extensions::{Extensions, HashRoot};
use pocketvm_disk::storage::Storage;
use pocketvm_disk::{recover, redo, undo};
use pocketvm_disk_fuzz::hashes::{self, ENTRY};
use pocketvm_disk_fuzz::{base, commit, content, drive, is_clean, merge, overlay, parts, through};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let [root, table, chunks] = parts(data);
    let sound = hashes::sound();
    let device = drive(&[("base", &sound.base)]);
    let file = device.file("base");

    let (mut table, size) = (table.to_vec(), hashes::CLUSTER as usize);
    table.truncate(size);
    for (index, chunk) in chunks.chunks(size).take(sound.chunks.len()).enumerate() {
        let Some(offset) = sound.chunks[index] else { continue };
        let mut bytes = sound.bytes_of_chunk(index);
        bytes[..chunk.len()].copy_from_slice(chunk);
        file.write_at(offset, &bytes).expect("memory takes it");
        if kind & 2 != 0
            && let Some(entry) = table.get_mut(index * ENTRY..(index + 1) * ENTRY)
        {
            entry[8..].copy_from_slice(&blake3::hash(&bytes).as_bytes()[..8]);
        }
    }
    file.write_at(sound.root.offset, &table).expect("memory takes it");
    let mut extension = [0; 32];
    let length = root.len().min(32);
    extension[..length].copy_from_slice(&root[..length]);
    let mut root = HashRoot {
        offset: u64::from_be_bytes(*extension.first_chunk().expect("8 of 32")),
        chunks: u32::from_be_bytes(*extension[8..].first_chunk().expect("4 of 24")),
        digest: *extension[16..].first_chunk().expect("16 of 16"),
    };
    if kind & 1 != 0 {
        let length = (root.chunks as usize).min(table.len() / ENTRY) * ENTRY;
        root.digest.copy_from_slice(&blake3::hash(&table[..length]).as_bytes()[..ENTRY]);
    }
    let image = base(&device, "base").expect("the base is sound");
    let extensions = Extensions { hashes: Some(root), ..image.extensions().clone() };
    let block = image.header().encode(&extensions, None).expect("the root has the size that it had");
    file.write_at(0, &block).expect("memory takes it");

    let before = content(&image).expect("the base is sound");
    let upper = overlay(&sound.overlays[usize::from(kind >> 2) & 3]).expect("the overlay is sound");
    let expected = through(&upper, &before).expect("the overlay is sound");
    let before_files = device.files();
    let merged = merge(&device, "base", upper);
    merged.expect("a manifest is never a reason to fail");
    let image = base(&device, "base").expect("the merged base is sound");
    assert!(is_clean(&image));
    let after = content(&image).expect("the merged base is sound");
    // With digests that hold, a manifest is believed; else it is as good as none.
    if kind & 3 != 3 {
        assert!(after == expected, "a manifest whose digests don't hold was believed");
    }
    undo(&commit(&device)).expect("the merge can be undone");
    assert!(device.files()["base"][..512] == before_files["base"][..512]);
    assert!(content(&base(&device, "base").expect("sound again")).is_some_and(|content| content == before));
    redo(&commit(&device)).expect("the merge can be redone");
    assert!(content(&base(&device, "base").expect("sound again")).is_some_and(|content| content == after));
    recover(&commit(&device)).expect("there is nothing to recover");
});
