//! Sticks that take everything and keep some of it: tables are always read back before they become live, data on request.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io;

use common::Random;
use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::create::create_on;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::{BasePath, Root};
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::storage::{Access, Storage};
use pocketvm_disk::{CommitFile, CreateOptions, Error, GenerationId, Merged, Result, stamp};

const SIZE: u64 = 16 << 20;

/// A stick that throws away what is written to these bytes of its files.
#[derive(Clone)]
struct Fake(MemoryDevice, std::ops::Range<u64>);

struct FakeFile(MemoryStorage, std::ops::Range<u64>);

impl Root for Fake {
    type File = FakeFile;

    fn open(&self, path: &BasePath, access: Access) -> Result<FakeFile> {
        Ok(FakeFile(Root::open(&self.0, path, access)?, self.1.clone()))
    }

    fn create(&self, path: &BasePath) -> Result<FakeFile> {
        Ok(FakeFile(Root::create(&self.0, path)?, self.1.clone()))
    }

    fn remove(&self, path: &BasePath) -> Result<()> {
        self.0.remove(path)
    }
}

impl Storage for FakeFile {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut kept = data.to_vec();
        for (at, byte) in kept.iter_mut().enumerate() {
            if self.1.contains(&(offset + at as u64)) {
                *byte = 0xa5;
            }
        }
        self.0.write_at(offset, &kept)
    }
    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn forget_cache(&self) {}
    fn modified(&self) -> io::Result<Option<i64>> {
        self.0.modified()
    }
    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.0.set_modified(seconds)
    }
}

/// Merges 4 MiB into a base of 1 MiB on a stick that loses `lost`.
fn merge_on(lost: std::ops::Range<u64>, verify: bool) -> (MemoryDevice, Result<Merged>) {
    let mut random = Random(3);
    let device = MemoryDevice::default();
    let mut noise = |len: usize| random.next().to_be_bytes().repeat(len / 8);
    let old = noise(1 << 20);
    create_on(&device.file("base"), &CreateOptions { content: &[(0, &old)], ..CreateOptions::new(SIZE) })
        .unwrap();
    TwoSlot::create_on(device.file("commit"), 65536).unwrap();
    let commit =
        |lost| CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), Fake(device.clone(), lost));
    let expected = stamp(&commit(0..0), &["base"]).unwrap()[0];
    let overlay = MemoryDevice::default().file("overlay");
    let new: Vec<(u64, Vec<u8>)> = (0..4).map(|mib| (mib << 20, noise(1 << 20))).collect();
    let content: Vec<(u64, &[u8])> = new.iter().map(|(at, data)| (*at, &data[..])).collect();
    create_on(&overlay, &CreateOptions { content: &content, ..CreateOptions::new(SIZE) }).unwrap();
    let disk = OpenDisk {
        name: "d".to_owned(),
        base: BasePath::new("base").unwrap(),
        overlay: Overlay::open(overlay).unwrap(),
        expected,
        next: GenerationId::random(),
    };
    let result = merge_images(&commit(lost).verifying(verify), vec![disk], &());
    (device, result)
}

fn content(device: &MemoryDevice) -> Vec<u8> {
    let image = Image::open(device.file("base"), Role::Base).unwrap();
    assert_eq!(check_image(&image).unwrap().error_count, 0);
    let mut bytes = vec![0; SIZE as usize];
    image.read(&mut TableCache::default(), 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn lost_data_is_noticed_where_it_is_asked_for_and_leaves_the_old_generation() {
    let (fresh, result) = merge_on(0..0, true);
    result.unwrap();
    let new = content(&fresh);
    for lost in [(3 << 20)..(3 << 20) + 1, (2 << 20)..(2 << 20) + 4096, (5 << 20) - 1..5 << 20] {
        let (device, result) = merge_on(lost.clone(), true);
        assert!(matches!(result, Err(Error::NotKept { .. })), "{lost:?}: {result:?}");
        assert_ne!(content(&device), new, "{lost:?}");
        assert_eq!(content(&device)[1 << 20..], vec![0; 15 << 20], "{lost:?}: not the old generation");
    }
    // Without asking, it is not noticed: that is the price of not reading.
    let (device, result) = merge_on((3 << 20)..(3 << 20) + 1, false);
    result.unwrap();
    assert_ne!(content(&device), new);
}

#[test]
fn lost_tables_are_always_noticed() {
    let (whole, result) = merge_on(0..0, false);
    result.unwrap();
    let header = Image::open(whole.file("base"), Role::Base).unwrap().header().clone();
    for at in [header.l1_offset, header.refcount_table_offset] {
        let (device, result) = merge_on(at..at + 8, false);
        assert!(matches!(result, Err(Error::NotKept { .. } | Error::Damaged { .. })), "{at}: {result:?}");
        assert_eq!(content(&device)[1 << 20..], vec![0; 15 << 20], "{at}: not the old generation");
    }
}
