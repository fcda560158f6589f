//! A raw base, and a journal of any bytes whose digest holds, as an attacker would write it: recovered, undone, redone.
//!
//! The input is a byte, the base and the journal ([`parts`]). Bit 0 of the byte says that the flip is pending, bit 1 that it
//! goes backwards, bit 2 that the base is as it was left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::{GenerationId, go_to, recover, redo, stamp_raw, undo};
use pocketvm_disk_fuzz::{commit, drive, parts};
use serde_json::json;

/// A journal may make its base as long as it likes; here the base is in memory.
const MAX_LEN: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let [base, journal] = parts(data);
    let lengths = journal.get(16..32).unwrap_or(&[0; 16]);
    if lengths.chunks_exact(8).any(|word| u64::from_be_bytes(*word.first_chunk().expect("8 bytes")) > MAX_LEN)
    {
        return;
    }
    let device = drive(&[("base", base), ("base.journal", journal)]);
    let [from, to] = [1, 2].map(|tag| GenerationId::from_bytes([tag; 16]));
    let change = json!({
        "name": "disk", "base": "base", "from": from, "to": to, "backwards": kind & 2 != 0,
        "journal": {
            "path": "base.journal", "len": journal.len(), "digest": blake3::hash(journal).to_hex().as_str(),
        },
    });
    let pending = kind & 1 != 0;
    let step = json!({ "time": 1, "note": "", "disks": [], "raws": [change] });
    let seal = json!({ "base": { "len": base.len(), "modified": if kind & 4 != 0 { 60 } else { 1 } } });
    let record = json!({
        "version": 1,
        "steps": if pending { json!([]) } else { json!([step]) },
        "position": u32::from(!pending),
        "flip": { "kind": "merge", "pending": pending, "time": 1, "note": "", "disks": [], "raws": [change] },
        "raws": { "base": { "generation": if pending { from } else { to } } },
        "seals": seal,
    });
    let slots = TwoSlot::open_on(device.file("commit")).expect("the record has its size");
    slots.write(record.to_string().as_bytes()).expect("it fits");

    if let Ok(recovery) = recover(&commit(&device)) {
        let once = device.files();
        let again = recover(&commit(&device)).map(|recovery| recovery.outcome);
        assert!(again.is_ok(), "{recovery:?}, then {again:?}");
        assert_eq!(device.files(), once, "a recovery that is repeated does something else: {again:?}");
    }
    let _ = undo(&commit(&device));
    let undone = device.files().remove("base");
    if redo(&commit(&device)).is_ok() && undo(&commit(&device)).is_ok() {
        assert_eq!(device.files().remove("base"), undone, "there and back is not the same");
    }
    let _ = go_to(&commit(&device), 1);
    let _ = stamp_raw(&commit(&device), &["base"]);
});
