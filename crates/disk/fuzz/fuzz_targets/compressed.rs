//! Any bytes as a compressed cluster, of both methods and any size of cluster.
//!
//! The input is a byte (bit 0: the method, bits 1 to 4: the size, bits 5 to 7: where it begins), and the packed bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::qcow2::extensions::Extensions;
use pocketvm_disk::qcow2::header::{Compression, Header};
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::MemoryDevice;

fuzz_target!(|data: &[u8]| {
    let Some((kind, packed)) = data.split_first() else { return };
    let zstd = kind & 1 == 1;
    let cluster_bits = 9 + u32::from(kind >> 1 & 15) % 13;
    let size = 1u64 << cluster_bits;
    let header = Header {
        version: 3,
        cluster_bits,
        size,
        l1_entries: 1,
        l1_offset: size,
        refcount_table_offset: size * 2,
        refcount_table_clusters: 1,
        refcount_order: 4,
        incompatible: u64::from(zstd) << 3,
        compatible: 0,
        autoclear: 0,
        compression: if zstd { Compression::Zstd } else { Compression::Zlib },
        length: 112,
        backing: None,
    };
    let device = MemoryDevice::default();
    let file = device.file("image");
    let block = header.encode(&Extensions::default(), None).expect("there are no extensions");
    file.write_at(0, &block).expect("memory takes it");
    file.write_at(size, &(size * 3).to_be_bytes()).expect("memory takes it");
    // As many sectors as the bytes take, as the specification counts them.
    let host = size * 4 + u64::from(kind >> 5) * 61;
    let most = (1 << (cluster_bits - 8)) - 1;
    let sectors = ((host % 512 + packed.len() as u64).div_ceil(512).max(1) - 1).min(most);
    let entry = 1 << 62 | sectors << (62 - (cluster_bits - 8)) | host;
    file.write_at(size * 3, &entry.to_be_bytes()).expect("memory takes it");
    file.write_at(host, packed).expect("memory takes it");
    file.set_len((host + packed.len() as u64).max(size * 4)).expect("memory takes it");

    let image = Image::open(file, Role::Overlay).expect("the image is sound");
    let mut cluster = vec![0x55; size as usize];
    let read = image.read(&mut TableCache::default(), 0, &mut cluster);
    let (from, to) = (size / 3, size - size / 5);
    let mut part = vec![0xaa; (to - from) as usize];
    let again = image.read(&mut TableCache::default(), from, &mut part);
    assert_eq!(read.is_ok(), again.is_ok());
    assert!(read.is_err() || part == cluster[from as usize..to as usize]);
});
