//! A found stick is hostile input: whatever bytes an image or record holds, nothing panics, spins or allocates
//! without bound, and a merge that is refused has changed nothing.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::OnceLock;

use common::{Drive, Random, assert_clean, io, qemu, text};
use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::create::create_on;
use pocketvm_disk::qcow2::entry::Entry;
use pocketvm_disk::qcow2::extensions::Extensions;
use pocketvm_disk::qcow2::header::{BLOCK, Header};
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::qcow2::refcount::set;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::MemoryDevice;
use pocketvm_disk::{BaseState, CommitFile, CreateOptions, Error, GenerationId, recover, redo, stamp, undo};
use proptest::collection::vec;
use proptest::prelude::*;

const SIZE: u64 = 3 << 20;

/// Small images of several kinds, each with an overlay: made once.
fn pairs() -> &'static [(Vec<u8>, Vec<u8>)] {
    static PAIRS: OnceLock<Vec<(Vec<u8>, Vec<u8>)>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(1);
        let kinds = [
            "cluster_size=4k",
            "cluster_size=64k,extended_l2=on",
            "compression_type=zstd",
            "refcount_bits=1",
        ];
        kinds
            .iter()
            .map(|options| {
                let (plain, base, overlay) =
                    (dir.path().join("p"), dir.path().join("b"), dir.path().join("o"));
                let _ = std::fs::remove_file(&overlay);
                qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&plain), &SIZE.to_string()]);
                io(&plain, &random.commands(20, SIZE));
                let mut args = vec!["convert", "-O", "qcow2", "-o", options, text(&plain), text(&base)];
                if options.contains("zstd") {
                    args.insert(1, "-c");
                }
                qemu("qemu-img", &args);
                let args = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", text(&base), "-o", options];
                qemu("qemu-img", &[&args[..], &[text(&overlay)]].concat());
                io(&overlay, &random.commands(20, SIZE));
                (std::fs::read(&base).unwrap(), std::fs::read(&overlay).unwrap())
            })
            .collect()
    })
}

/// A device with a stamped base that has been merged into once.
fn device(base: &[u8], overlay: &[u8]) -> MemoryDevice {
    let device = MemoryDevice::new([("base".to_owned(), base.to_vec())].into());
    TwoSlot::create_on(device.file("commit"), 65536).unwrap();
    stamp(&open(&device), &["base"]).unwrap();
    merge(&device, overlay).unwrap();
    device
}

fn open(device: &MemoryDevice) -> CommitFile<MemoryDevice, impl Storage> {
    CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone())
}

fn merge(device: &MemoryDevice, overlay: &[u8]) -> pocketvm_disk::Result<()> {
    let base = Image::open(device.file("base"), Role::Base)?;
    let BaseState::At { generation } = base.state() else { return Ok(()) };
    let overlays = MemoryDevice::new([("o".to_owned(), overlay.to_vec())].into());
    let disk = OpenDisk {
        name: "d".to_owned(),
        base: BasePath::new("base").unwrap(),
        overlay: Overlay::open(overlays.file("o"))?,
        expected: generation,
        next: GenerationId::random(),
    };
    merge_images(&open(device), vec![disk], &()).map(|_| ())
}

/// Everything that can be done with a base; what it says does not matter.
fn try_everything(device: &MemoryDevice, overlay: &[u8]) {
    if let Ok(image) = Image::open(device.file("base"), Role::Base) {
        let _ = check_image(&image);
        let mut bytes = vec![0; SIZE as usize];
        let _ = image.read(&mut TableCache::default(), 0, &mut bytes);
    }
    let _ = recover(&open(device));
    let _ = undo(&open(device));
    let _ = redo(&open(device));
    let _ = merge(device, overlay);
    let _ = stamp(&open(device), &["base"]);
}

/// Where to damage an image, and with what: mostly its tables, which are in its first clusters.
fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let place = prop_oneof![0..600usize, 0..20_000usize, 0..600_000usize];
    let value = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    vec((place, value), 1..6)
}

fn damaged(bytes: &[u8], damage: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in damage {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    bytes
}

#[test]
fn a_damaged_table_entry_of_an_overlay_is_damage_and_not_a_gap() {
    let (base, overlay) = &pairs()[0];
    let device = device(base, overlay);
    let header = Header::parse(overlay[..BLOCK].first_chunk().unwrap()).unwrap();
    for word in [1, 1 << 56, 1 << 62] {
        let mut overlay = overlay.clone();
        let at = header.l1_offset as usize;
        overlay[at..at + 8].copy_from_slice(&u64::to_be_bytes(word));
        assert!(matches!(merge(&device, &overlay), Err(Error::Damaged { .. })), "{word:#x}");
    }
}

#[test]
fn an_overlay_that_ends_inside_of_its_last_cluster_is_merged_cluster_by_cluster() {
    let device = MemoryDevice::default();
    let options = |cluster_size, content| CreateOptions { cluster_size, content, ..CreateOptions::new(SIZE) };
    create_on(&device.file("base"), &options(4096, &[])).unwrap();
    create_on(&device.file("overlay"), &options(65536, &[(0, &[7; 5000])])).unwrap();
    TwoSlot::create_on(device.file("commit"), 65536).unwrap();
    stamp(&open(&device), &["base"]).unwrap();
    // The data is the last cluster of the file.
    let length = device.file("overlay").len().unwrap();
    device.file("overlay").set_len(length - 65536 + 5000).unwrap();
    merge(&device, &device.files()["overlay"]).unwrap();
    let mut bytes = vec![0; 65536];
    let base = Image::open(device.file("base"), Role::Base).unwrap();
    base.read(&mut TableCache::default(), 0, &mut bytes).unwrap();
    assert!(bytes[..5000] == [7; 5000] && bytes[5000..].iter().all(|&byte| byte == 0));
}

#[test]
fn counts_behind_the_end_of_the_file_are_not_added_to() {
    for bits in [1u32, 16] {
        let drive = Drive::new();
        let base = drive.base("b.qcow2");
        let options = format!("cluster_size=64k,refcount_bits={bits}");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, text(&base), "16M"]);
        io(&base, &["write -q -P 1 0 1M".to_owned()]);
        // As QEMU leaves it if the power is cut between the counting of new clusters and their writing.
        let mut bytes = std::fs::read(&base).unwrap();
        let end = bytes.len() as u64 / 65536;
        let header = Header::parse(bytes[..BLOCK].first_chunk().unwrap()).unwrap();
        let table = header.refcount_table_offset as usize;
        let block = u64::from_be_bytes(bytes[table..table + 8].try_into().unwrap()) as usize;
        for cluster in end..end + 5 {
            assert!(set(&mut bytes[block..block + 65536], cluster, header.refcount_order, 1));
        }
        std::fs::write(&base, bytes).unwrap();
        assert_clean(&base);
        let generation = drive.stamp("b.qcow2");
        let overlay = drive.overlay("o.qcow2", &base, "");
        io(&overlay, &["write -q -P 2 4M 1M".to_owned()]);
        drive.merge(&[drive.disk("b.qcow2", &overlay, generation)]);
        assert_clean(&base);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150 * common::soak(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_base_is_survived(kind in 0..4usize, damage in damage(), before in any::<bool>()) {
        let (base, overlay) = &pairs()[kind];
        let device = if before {
            let device = MemoryDevice::new([("base".to_owned(), damaged(base, &damage))].into());
            TwoSlot::create_on(device.file("commit"), 65536).unwrap();
            device
        } else {
            let device = device(base, overlay);
            let bytes = damaged(&device.files()["base"], &damage);
            device.file("base").write_at(0, &bytes).unwrap();
            device
        };
        try_everything(&device, overlay);
    }

    #[test]
    fn a_damaged_overlay_changes_nothing_or_is_merged(kind in 0..4usize, damage in damage()) {
        let (base, overlay) = &pairs()[kind];
        let device = device(base, overlay);
        let before = device.files();
        let result = merge(&device, &damaged(overlay, &damage));
        let after = device.files();
        prop_assert!(result.is_ok() || after["base"][..BLOCK] == before["base"][..BLOCK]);
        prop_assert_eq!(check_image(&Image::open(device.file("base"), Role::Base).unwrap()).unwrap().error_count, 0);
    }

    #[test]
    fn a_crafted_record_is_survived(text in "[\\[{\"a-z0-9:, }\\]]{0,200}", at in 0..5000usize, value in any::<u8>()) {
        let (base, overlay) = &pairs()[0];
        let device = device(base, overlay);
        let record = TwoSlot::open_on(device.file("commit")).unwrap();
        // With a valid digest, as an attacker would write it.
        let mut bytes = record.read().unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        record.write(&bytes).unwrap();
        try_everything(&device, overlay);
        record.write(text.as_bytes()).unwrap();
        try_everything(&device, overlay);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(mut block in vec(any::<u8>(), BLOCK), good in any::<bool>()) {
        if good {
            // The magic, version 3, no encryption, no snapshots: deeper into the checks.
            block[..8].copy_from_slice(&[0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
            block[32..36].fill(0);
            block[60..80].fill(0);
            block[20..23].fill(0);
            block[23] = 9 + block[23] % 13;
        }
        let block: [u8; BLOCK] = block.try_into().unwrap();
        let _ = Extensions::parse(&block);
        if let Ok(header) = Header::parse(&block) {
            let table = vec![0xa5; header.cluster_size() as usize];
            let _ = Entry::parse(&table, header.l2_entries() - 1, &header);
        }
        let device = MemoryDevice::new([("i".to_owned(), block.to_vec())].into());
        prop_assert!(Image::open(device.file("i"), Role::Overlay).is_err());
    }
}
