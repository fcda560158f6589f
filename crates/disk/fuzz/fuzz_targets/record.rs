//! Any bytes as a commit record, over two bases of any bytes: everything that reads the record.
//!
//! The input is a byte, the record, the two bases and a journal ([`parts`]). If the byte is odd, the record is the bytes of
//! its two slots; else it is the payload, and its digest holds, as an attacker would write it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::merge::{OpenDisk, estimate_images};
use pocketvm_disk::qcow2::create::create_on;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::MemoryDevice;
use pocketvm_disk::{
    CreateOptions, GenerationId, compact, give_up, go_to, history, pin, recover, redo, stamp, stamp_raw,
    undo, unpin,
};
use pocketvm_disk_fuzz::{SLOT, base, commit, drive, merge, overlay, parts};

/// The bytes of an image of a few clusters.
fn changes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let device = MemoryDevice::default();
        let content: &[(u64, &[u8])] = &[(512, &[7; 1024]), (40_000, &[8; 5000])];
        let options = CreateOptions { content, cluster_size: 4096, ..CreateOptions::new(64 << 10) };
        create_on(&device.file("image"), &options).expect("memory takes an image");
        device.files().remove("image").unwrap_or_default()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let [record, system, user, journal] = parts(data);
    let device = drive(&[("system", system), ("user", user), ("user.journal", journal)]);
    let slots = TwoSlot::open_on(device.file("commit")).expect("the record has its size");
    if kind & 1 == 1 {
        let record = &record[..record.len().min(SLOT as usize * 2)];
        device.file("commit").write_at(0, record).expect("memory takes it");
        let read = slots.read();
        assert_eq!(TwoSlot::open_on(device.file("commit")).and_then(|slots| slots.read()).ok(), read.ok());
    } else if slots.write(record).is_ok() {
        assert_eq!(slots.read().expect("what was written is there"), record);
    }
    let files = device.files();

    if recover(&commit(&device)).is_ok() {
        let once = device.files();
        let again = recover(&commit(&device)).map(|recovery| recovery.outcome);
        assert!(again.is_ok(), "{again:?}");
        assert_eq!(device.files(), once, "a recovery that is repeated does something else: {again:?}");
    }
    for files in [files, device.files()] {
        let device = MemoryDevice::new(files);
        let _ = history(&commit(&device));
        let _ = undo(&commit(&device));
        let _ = redo(&commit(&device));
        let _ = go_to(&commit(&device), 1);
        // A base of any size is grown into memory here.
        if base(&device, "system").is_ok_and(|base| base.header().size <= 1 << 34) {
            let upper = || overlay(changes()).expect("the overlay is sound");
            let disk = OpenDisk {
                name: "system".to_owned(),
                base: BasePath::new("system").expect("a plain name"),
                overlay: upper(),
                expected: GenerationId::random(),
                next: GenerationId::random(),
            };
            let _ = estimate_images(&commit(&device), std::slice::from_ref(&disk));
            let _ = pin(&commit(&device), "reader", &["system"]);
            let _ = merge(&device, "system", upper());
            let _ = unpin(&commit(&device), "reader");
            let _ = compact(&commit(&device), "system", &());
        }
        let _ = give_up(&commit(&device));
        let _ = stamp(&commit(&device), &["system", "user"]);
        let _ = stamp_raw(&commit(&device), &["user"]);
        let _ = recover(&commit(&device));
    }
});
