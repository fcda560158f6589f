//! `disk merge --dry-run`: what a merge would take, without doing it, and whether there is room.

use pocketvm_disk::merge::{OpenDisk, estimate_images};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::{BasePath, Folder};
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::storage::{Access, FileStorage};
use pocketvm_disk::{CommitFile, Estimate, GenerationId, Overlay};

use super::pairs::{Pair, look};
use super::record::Place;
use super::{Desk, failure, text};
use crate::host::volume;
use crate::{Kind, Result};

/// A slot of the record that an estimate reads: what the payload needs, in the steps that a record has.
const SLOT_STEP: u64 = 16 * 1024;

/// Shows what a merge would take. Changes nothing, and does not hold the record.
///
/// # Errors
/// What the merge would refuse.
pub fn estimate(place: &Place, pairs: &[Pair], desk: &Desk<'_>) -> Result<u8> {
    place.settle(desk.view)?;
    look(place, pairs)?;
    let mut unknown = Vec::new();
    for pair in pairs.iter().filter(|pair| pair.is_raw) {
        if place.raw_generation(&pair.base)?.is_none() {
            unknown.push(pair.base.name.as_str());
        }
    }
    let payload =
        if place.file.exists() { TwoSlot::peek(&place.file).map_err(failure::looking)? } else { Vec::new() };
    let estimate = copy_of_the_record(&payload, &unknown)
        .and_then(|slots| {
            let commit = CommitFile::new(slots, Folder::new(&place.root));
            let disks = pairs.iter().map(|pair| {
                Ok(OpenDisk {
                    name: pair.base.name.clone(),
                    base: BasePath::new(&pair.base.name)?,
                    overlay: Overlay::open(FileStorage::open(&pair.overlay, Access::ReadStable)?)?,
                    expected: GenerationId::random(),
                    next: GenerationId::random(),
                })
            });
            estimate_images(&commit, &disks.collect::<pocketvm_disk::Result<Vec<_>>>()?)
        })
        .map_err(failure::looking)?;
    let room = volume::free(&place.root)?;
    let missing = missing(&estimate, room);
    desk.answer(
        "disk-estimate",
        &text::Estimated { estimate, room, missing: missing.clone() },
        text::estimated,
    );
    Ok(if missing.is_some() { Kind::Merge.exit_code() } else { 0 })
}

/// A copy of the record in memory: the estimate asks it which generations are spared, and which bases are raw. Those of
/// `unknown` are from here on.
fn copy_of_the_record(payload: &[u8], unknown: &[&str]) -> pocketvm_disk::Result<TwoSlot<MemoryStorage>> {
    let slot = (payload.len() as u64 + SLOT_STEP * (1 + unknown.len() as u64)).next_multiple_of(SLOT_STEP);
    let memory = MemoryDevice::default();
    let slots = TwoSlot::create_on(memory.file("record"), slot)?;
    slots.write(payload)?;
    if unknown.is_empty() {
        return Ok(slots);
    }
    // Empty files take the place of the bases, which are not to be touched.
    let bases = MemoryDevice::default();
    unknown.iter().for_each(|name| drop(bases.file(name)));
    pocketvm_disk::stamp_raw(&CommitFile::new(slots, bases), unknown)?;
    TwoSlot::open_on(memory.file("record"))
}

/// Says what room is missing, if any is.
pub fn missing(estimate: &Estimate, room: u64) -> Option<String> {
    let missing = estimate.grows.checked_sub(room).filter(|missing| *missing > 0)?;
    Some(format!("there is no room for the changes: {} MiB are missing", missing.div_ceil(1 << 20)))
}
