//! Any file as an overlay of any format: opened, walked, read, and merged into an empty base. The input is a sparse file
//! ([`sparse`](pocketvm_disk_fuzz::sparse)).
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::overlay::{Cache, Overlay};
use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::stamp;
use pocketvm_disk::storage::memory::MemoryStorage;
use pocketvm_disk_fuzz::{
    MAX_CONTENT, base, commit, content, drive, is_clean, merge, overlay, sparse, through,
};

/// A base of QEMU's without content, of 64 KiB.
const EMPTY: &[u8] = include_bytes!("../images/empty.qcow2");
/// Virtual bytes of a disk that is always merged.
const SMALL: u64 = 256 << 10;
/// Steps of a walk: qcow2 images may have more, and have a target of their own.
const MAX_STEPS: u64 = 1 << 16;

/// Walks the present parts as a merge does: what is found is what the whole disk has. Returns how much.
fn walk(overlay: &Overlay<MemoryStorage>) -> Option<u64> {
    let (step, size) = (overlay.step(), overlay.virtual_size());
    let mut cache = Cache::default();
    let (mut at, mut found) = (0, 0);
    while let Some(start) = overlay.next_present(&mut cache, at).ok()? {
        assert!(start >= at && start < size);
        at = (start - start % step + step).min(size);
        let mut expected = start;
        overlay
            .runs(&mut cache, start, at, |from, to, run| {
                assert!(from == expected && to > from && to <= at);
                expected = to;
                found += if run == Run::Absent { 0 } else { to - from };
            })
            .ok()?;
        assert_eq!(expected, at);
    }
    Some(found)
}

fuzz_target!(|data: &[u8]| {
    let Some(file) = sparse::unpack(data) else { return };
    let Ok(upper) = overlay(&file) else { return };
    assert!(upper.virtual_size() > 0 || matches!(upper, Overlay::Qcow2(_)));
    if upper.virtual_size() / upper.step() > MAX_STEPS {
        return;
    }
    let walked = walk(&upper);
    let mut whole = 0;
    let all = upper.runs(&mut Cache::default(), 0, upper.virtual_size(), |from, to, run| {
        whole += if run == Run::Absent { 0 } else { to - from };
    });
    if matches!(upper, Overlay::Blocks(_)) {
        // Everything was looked at when it was opened.
        assert!(all.is_ok() && walked == Some(whole), "{walked:?} {whole}");
    }
    if upper.virtual_size() > SMALL && data[0] & sparse::MERGED == 0 {
        let mut bytes = Vec::new();
        let _ =
            upper.runs(&mut Cache::default(), 0, upper.virtual_size().min(MAX_CONTENT), |from, to, run| {
                bytes.resize((to - from) as usize, 0);
                let read = upper.read_run(from, run, &mut bytes);
                assert!(read.is_ok() || matches!(upper, Overlay::Qcow2(_)));
            });
        return;
    }
    let device = drive(&[("base", EMPTY)]);
    stamp(&commit(&device), &["base"]).expect("an empty base is stamped");
    let before = content(&base(&device, "base").expect("a stamped base opens")).expect("it is small");
    let Some(expected) = through(&upper, &before) else { return };
    let grows = upper.virtual_size() >= before.len() as u64;
    let merged = merge(&device, "base", upper);
    assert_eq!(merged.is_ok(), grows, "{merged:?}");
    if grows {
        let merged = base(&device, "base").expect("a merged base opens");
        assert!(is_clean(&merged));
        assert!(content(&merged) == Some(expected), "the merge is not what the overlay shows");
    }
});
