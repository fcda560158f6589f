//! Any base, layer below it and overlay: stamped, merged, undone, redone, recovered, compacted. What succeeds must be right.
//!
//! The input is a byte, the base, the layer named `lower`, and the overlay ([`parts`]). The byte says after how many pieces
//! a first attempt is cancelled; zero for no such attempt.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::merge::{estimate_images, merge_images};
use pocketvm_disk::overlay::Overlay;
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::entry::Entry;
use pocketvm_disk::qcow2::image::{Image, TableCache};
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::{Error, Outcome, compact, recover, redo, stamp, undo};
use pocketvm_disk_fuzz::{
    CancelAfter, base, chained, commit, disk, drive, is_clean, overlay, parts, through,
};

/// Larger disks have L1 tables that make each run slow; nothing else about them differs.
const MAX_SIZE: u64 = 1 << 34;

/// Whether there are clusters behind the end of the disk.
fn has_more_than_it_shows(image: &Image<MemoryStorage>) -> bool {
    let header = image.header();
    let end = u64::from(header.l1_entries) * header.l2_entries();
    if end > 1 << 20 {
        return true;
    }
    let mut cache = TableCache::default();
    (header.size.div_ceil(header.cluster_size())..end)
        .any(|cluster| image.entry(&mut cache, cluster).is_ok_and(|entry| entry != Entry::Absent))
}

/// What a guest reads from the base.
fn content(device: &MemoryDevice) -> Option<Vec<u8>> {
    chained(device, &base(device, "base").ok()?)
}

fuzz_target!(|data: &[u8]| {
    let Some((pieces, data)) = data.split_first() else { return };
    let [image, lower, upper] = parts(data);
    let device = drive(&[("base", image), ("lower", lower)]);
    let Ok(upper) = overlay(upper) else { return };
    if upper.virtual_size() > MAX_SIZE
        || base(&device, "base").is_ok_and(|base| base.header().size > MAX_SIZE)
    {
        return;
    }
    let clean = base(&device, "base").is_ok_and(|base| is_clean(&base));
    let before = content(&device);
    let expected = before.as_ref().and_then(|before| through(&upper, before));
    if stamp(&commit(&device), &["base"]).is_err() {
        return;
    }
    let stamped = base(&device, "base").expect("a stamped base opens");
    assert_eq!(content(&device), before);
    // A crafted manifest may say that the base holds what it doesn't; then the merge believes it. What a crafted base has
    // behind its end shows when it grows.
    let honest = clean && stamped.extensions().hashes.is_none() && !has_more_than_it_shows(&stamped);

    let (length, size) = (stamped.file_len(), stamped.header().cluster_size());
    let Ok(disk) = disk(&device, "base", upper) else { return };
    let disks = vec![disk];
    let estimate = estimate_images(&commit(&device), &disks);
    let verifying = || commit(&device).verifying(true);
    if *pieces > 0 {
        let again = disks.iter().map(|disk| pocketvm_disk::merge::OpenDisk {
            name: disk.name.clone(),
            base: disk.base.clone(),
            overlay: Overlay::open(disk.overlay.storage().clone()).expect("it is open already"),
            ..*disk
        });
        let _ = merge_images(&verifying(), again.collect(), &CancelAfter::new(u32::from(*pieces)));
        let recovery = recover(&commit(&device)).map(|recovery| recovery.outcome);
        assert!(!clean || matches!(recovery, Ok(Outcome::Clean)), "{recovery:?}");
        assert!(!clean || base(&device, "base").is_ok_and(|base| is_clean(&base)));
        if base(&device, "base").is_ok_and(|base| base.block() != stamped.block()) {
            return;
        }
        assert!(!clean || content(&device) == before, "a cancelled merge changed something");
    }
    if merge_images(&verifying(), disks, &()).is_err() {
        // A merge that fails has changed nothing, in a base that crafted tables don't lead astray.
        assert!(!clean || content(&device) == before);
        assert!(!clean || *pieces > 0 || device.files()["base"].len() as u64 == length);
        return;
    }
    let after = content(&device);
    if clean {
        let merged = base(&device, "base").expect("a merged base opens");
        assert!(is_clean(&merged), "{:?}", check_image(&merged));
        assert!(
            !honest || expected.is_none() || after == expected,
            "the merge is not what the overlay shows"
        );
        let grown = merged.file_len().saturating_sub(length.next_multiple_of(size));
        let estimate = estimate.expect("what can be merged can be estimated");
        assert!(*pieces > 0 || grown <= estimate.grows, "grew {grown}, estimated {}", estimate.grows);
    }
    let undone = undo(&commit(&device));
    assert!(!clean || content(&device) == before, "{undone:?}");
    let redone = redo(&commit(&device));
    assert!(!clean || content(&device) == after, "{redone:?}");
    let recovery = recover(&commit(&device));
    assert!(!clean || recovery.is_ok_and(|recovery| recovery.outcome == Outcome::Clean));
    let compacted = compact(&commit(&device), "base", &());
    if clean {
        assert!(matches!(compacted, Ok(_) | Err(Error::Input(_))), "{compacted:?}");
        assert!(content(&device) == after, "compacting changed the content");
        assert!(base(&device, "base").is_ok_and(|base| is_clean(&base)));
    }
});
