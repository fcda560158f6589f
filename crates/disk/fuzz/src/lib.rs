//! What the fuzz targets share: images in memory, what a guest reads from them, and inputs made of several parts.

pub mod hashes;
#[path = "../../tests/common/minimal.rs"]
pub mod minimal;
pub mod sparse;

use std::cell::Cell;

use pocketvm_disk::CommitFile;
use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::overlay::{Cache, Overlay};
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::memory::{MemoryDevice, MemoryStorage};
use pocketvm_disk::{BaseState, Error, GenerationId, Progress, Result};

/// Bytes of each slot of a commit record.
pub const SLOT: u64 = 64 * 1024;

/// The most virtual bytes of a disk whose content is looked at.
pub const MAX_CONTENT: u64 = 4 << 20;

/// The input's parts: each but the last is led by its length in four bytes (little-endian).
pub fn parts<const COUNT: usize>(mut data: &[u8]) -> [&[u8]; COUNT] {
    let mut parts = [&[][..]; COUNT];
    for part in &mut parts[..COUNT - 1] {
        let Some((length, rest)) = data.split_first_chunk() else { return parts };
        (*part, data) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    }
    parts[COUNT - 1] = data;
    parts
}

/// The opposite of [`parts`].
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 < parts.len() {
            bytes.extend((part.len() as u32).to_le_bytes());
        }
        bytes.extend(*part);
    }
    bytes
}

/// A device with a new commit record and these files.
pub fn drive(files: &[(&str, &[u8])]) -> MemoryDevice {
    let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    let device = MemoryDevice::new(files);
    TwoSlot::create_on(device.file("commit"), SLOT).expect("memory takes a record");
    device
}

/// The commit record of a device.
pub fn commit(device: &MemoryDevice) -> CommitFile<MemoryDevice, MemoryStorage> {
    let slots = TwoSlot::open_on(device.file("commit")).expect("the record has its size");
    CommitFile::new(slots, device.clone())
}

/// Opens a base of a device.
///
/// # Errors
/// As [`Image::open`].
pub fn base(device: &MemoryDevice, name: &str) -> Result<Image<MemoryStorage>> {
    Image::open(device.file(name), Role::Base)
}

/// Opens bytes as an overlay of any format.
///
/// # Errors
/// As [`Overlay::open`].
pub fn overlay(bytes: &[u8]) -> Result<Overlay<MemoryStorage>> {
    let device = MemoryDevice::new([("overlay".to_owned(), bytes.to_vec())].into());
    Overlay::open(device.file("overlay"))
}

/// Merges an overlay into the base with this name, if that is at a generation. All that is written is read back.
///
/// # Errors
/// As [`merge_images`].
pub fn merge(device: &MemoryDevice, name: &str, overlay: Overlay<MemoryStorage>) -> Result<()> {
    let disk = disk(device, name, overlay)?;
    merge_images(&commit(device).verifying(true), vec![disk], &()).map(|_| ())
}

/// An overlay for the base with this name, if that is at a generation.
///
/// # Errors
/// The base does not open, or has no generation.
pub fn disk(
    device: &MemoryDevice,
    name: &str,
    overlay: Overlay<MemoryStorage>,
) -> Result<OpenDisk<MemoryStorage>> {
    let BaseState::At { generation } = base(device, name)?.state() else {
        return Err(Error::Input("the base is at no generation".to_owned()));
    };
    Ok(OpenDisk {
        name: name.to_owned(),
        base: BasePath::new(name)?,
        overlay,
        expected: generation,
        next: GenerationId::random(),
    })
}

/// Cancels a merge when it has dealt with so many pieces.
pub struct CancelAfter(Cell<u32>);

impl CancelAfter {
    /// The next `pieces` are dealt with.
    pub fn new(pieces: u32) -> Self {
        CancelAfter(Cell::new(pieces))
    }
}

impl Progress for CancelAfter {
    fn advance(&self, _done: u64, _total: u64) {
        self.0.set(self.0.get().saturating_sub(1));
    }

    fn is_cancelled(&self) -> bool {
        self.0.get() == 0
    }
}

/// Neither errors nor leaks.
pub fn is_clean(image: &Image<MemoryStorage>) -> bool {
    check_image(image).is_ok_and(|report| report.error_count == 0 && report.leaks == 0)
}

/// What a guest reads; none if a part can't be read, or if it is more than [`MAX_CONTENT`].
pub fn content(image: &Image<MemoryStorage>) -> Option<Vec<u8>> {
    let size = image.header().size;
    if size > MAX_CONTENT {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    image.read(&mut TableCache::default(), 0, &mut bytes).ok()?;
    Some(bytes)
}

/// What a guest reads from a base over its layers; none as for [`content`], or if it is a longer chain.
pub fn chained(device: &MemoryDevice, image: &Image<MemoryStorage>) -> Option<Vec<u8>> {
    let Some(name) = image.backing() else { return content(image) };
    let lower = match image.extensions().backing_format.as_deref() {
        Some("qcow2") => Image::open(device.file(name), Role::Overlay).ok()?,
        _ => return None,
    };
    if lower.backing().is_some() {
        return None;
    }
    let lower = content(&lower)?;
    let mut bytes = resized(&lower, image.header().size)?;
    let mut runs = Vec::new();
    let end = image.header().size;
    image.runs(&mut TableCache::default(), 0, end, |from, to, run| runs.push((from, to, run))).ok()?;
    for (from, to, run) in runs.into_iter().filter(|(.., run)| *run != Run::Absent) {
        image.read_run(from, run, &mut bytes[from as usize..to as usize]).ok()?;
    }
    Some(bytes)
}

/// The bytes of a layer, as much as a disk of `size` bytes shows of them; none as for [`content`].
fn resized(lower: &[u8], size: u64) -> Option<Vec<u8>> {
    if size > MAX_CONTENT {
        return None;
    }
    let mut bytes = lower.to_vec();
    bytes.resize(size as usize, 0);
    Some(bytes)
}

/// What a guest reads through an overlay over `lower`; none as for [`content`].
pub fn through(overlay: &Overlay<MemoryStorage>, lower: &[u8]) -> Option<Vec<u8>> {
    let size = overlay.virtual_size();
    let mut bytes = resized(lower, size)?;
    let mut runs = Vec::new();
    overlay.runs(&mut Cache::default(), 0, size, |from, to, run| runs.push((from, to, run))).ok()?;
    for (from, to, run) in runs.into_iter().filter(|(.., run)| *run != Run::Absent) {
        overlay.read_run(from, run, &mut bytes[from as usize..to as usize]).ok()?;
    }
    Some(bytes)
}
