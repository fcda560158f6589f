//! Small records that survive a power cut on file systems without a journal.
//!
//! A record file is made once at its full size and holds two slots. A write goes to the slot that does not hold
//! the newest record, so whatever the cut tears, the other slot is intact. Layout of a slot (big-endian; see
//! `docs/formats.md`): magic, version, payload length, sequence, BLAKE3 over those and the payload, payload.

use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::{Access, FileStorage, Storage};

const MAGIC: [u8; 8] = *b"PVMSLOT\n";
const VERSION: u32 = 1;
/// Magic, version, length, sequence, digest.
const SLOT_HEADER: usize = 8 + 4 + 4 + 8 + 32;
/// The least and the most that a slot may have; the least keeps two slots out of one flash page.
const SLOT_SIZES: std::ops::RangeInclusive<u64> = 16 * 1024..=16 * 1024 * 1024;

/// A record file of two slots.
#[derive(Debug)]
pub struct TwoSlot<S = FileStorage> {
    storage: S,
    slot_size: u64,
}

struct Newest {
    slot: u64,
    sequence: u64,
    payload: Vec<u8>,
}

impl TwoSlot<FileStorage> {
    /// Makes a new record file with an empty payload; an existing file is an error.
    ///
    /// `slot_size` is in bytes: a multiple of 16 KiB, up to 16 MiB.
    ///
    /// # Errors
    /// The file exists, there is no room, or `slot_size` is out of range.
    pub fn create(path: &Path, slot_size: u64) -> Result<Self> {
        Self::create_on(FileStorage::create(path)?, slot_size)
    }

    /// Opens a record file and keeps others from doing so until it is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] if another program holds it; its size is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(FileStorage::open(path, Access::Write)?)
    }

    /// The newest payload of a record file, without holding it.
    ///
    /// # Errors
    /// As [`TwoSlot::read`].
    pub fn peek(path: &Path) -> Result<Vec<u8>> {
        Self::open_on(FileStorage::open(path, Access::Read)?)?.read()
    }
}

impl<S: Storage> TwoSlot<S> {
    /// As [`TwoSlot::create`], on any storage.
    ///
    /// # Errors
    /// There is no room, or `slot_size` is out of range.
    pub fn create_on(storage: S, slot_size: u64) -> Result<Self> {
        if !SLOT_SIZES.contains(&slot_size) || !slot_size.is_multiple_of(*SLOT_SIZES.start()) {
            return Err(Error::Input(format!("a record slot can't have {slot_size} bytes")));
        }
        // Real writes, not a sparse extension: the later ones must neither allocate nor move the valid length.
        let zeroes = vec![0; slot_size as usize];
        storage.write_at(0, &zeroes)?;
        storage.write_at(slot_size, &zeroes)?;
        let record = TwoSlot { storage, slot_size };
        record.write_slot(0, 1, &[])?;
        Ok(record)
    }

    /// As [`TwoSlot::open`], on any storage.
    ///
    /// # Errors
    /// Its size is not that of two slots.
    pub fn open_on(storage: S) -> Result<Self> {
        let slot_size = storage.len()? / 2;
        if !SLOT_SIZES.contains(&slot_size) || slot_size % SLOT_SIZES.start() != 0 {
            return Err(damaged(&storage, "its size is not that of two slots"));
        }
        Ok(TwoSlot { storage, slot_size })
    }

    /// The most bytes a payload may have.
    pub fn capacity(&self) -> u64 {
        self.slot_size - SLOT_HEADER as u64
    }

    /// The newest payload whose digest holds; empty if none was written yet.
    ///
    /// # Errors
    /// Neither slot holds, or the device fails.
    pub fn read(&self) -> Result<Vec<u8>> {
        Ok(self.newest()?.payload)
    }

    /// Makes `payload` the newest record; durable when this returns.
    ///
    /// # Errors
    /// It is too large, or the device fails; then the record before is still there.
    pub fn write(&self, payload: &[u8]) -> Result<()> {
        if payload.len() as u64 > self.capacity() {
            return Err(Error::RecordTooLarge {
                needed: payload.len() as u64,
                slot: self.capacity(),
                file: self.storage.name().to_owned(),
            });
        }
        let newest = self.newest()?;
        let sequence =
            newest.sequence.checked_add(1).ok_or_else(|| damaged(&self.storage, "its count is full"))?;
        self.write_slot(1 - newest.slot, sequence, payload)
    }

    /// Where it is, for messages.
    pub(crate) fn name(&self) -> &str {
        self.storage.name()
    }

    fn newest(&self) -> Result<Newest> {
        let mut newest: Option<Newest> = None;
        for slot in 0..2 {
            if let Some((sequence, payload)) = self.read_slot(slot)?
                && newest.as_ref().is_none_or(|other| other.sequence < sequence)
            {
                newest = Some(Newest { slot, sequence, payload });
            }
        }
        newest.ok_or_else(|| damaged(&self.storage, "neither of its two slots holds"))
    }

    fn read_slot(&self, slot: u64) -> Result<Option<(u64, Vec<u8>)>> {
        let start = slot * self.slot_size;
        let mut header = [0; SLOT_HEADER];
        self.storage.read_at(start, &mut header)?;
        let length = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
        if header[..8] != MAGIC
            || header[8..12] != VERSION.to_be_bytes()
            || u64::from(length) > self.slot_size - SLOT_HEADER as u64
        {
            return Ok(None);
        }
        let mut payload = vec![0; length as usize];
        self.storage.read_at(start + SLOT_HEADER as u64, &mut payload)?;
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&header[16..24]);
        let holds = digest(&header[..24], &payload) == header[24..];
        Ok(holds.then(|| (u64::from_be_bytes(sequence), payload)))
    }

    fn write_slot(&self, slot: u64, sequence: u64, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(SLOT_HEADER + payload.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        let digest = digest(&bytes, payload);
        bytes.extend(digest);
        bytes.extend(payload);
        self.storage.write_at(slot * self.slot_size, &bytes)?;
        Ok(self.storage.flush_data()?)
    }
}

fn digest(header: &[u8], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(header).update(payload).finalize().as_bytes()
}

fn damaged<S: Storage>(storage: &S, what: &str) -> Error {
    Error::BadRecord { what: what.to_owned(), file: storage.name().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryDevice;

    #[test]
    fn a_torn_write_leaves_the_record_before() {
        let device = MemoryDevice::default();
        let record = TwoSlot::create_on(device.file("r"), 16384).unwrap();
        assert_eq!(record.read().unwrap(), b"");
        record.write(b"first").unwrap();
        let before = device.files()["r"].clone();
        record.write(b"second").unwrap();
        let after = device.files()["r"].clone();
        let changed: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
        for &at in &changed {
            let torn = MemoryDevice::default();
            let mut bytes = after.clone();
            bytes[at] ^= 0x55;
            torn.file("r").write_at(0, &bytes).unwrap();
            assert_eq!(TwoSlot::open_on(torn.file("r")).unwrap().read().unwrap(), b"first", "byte {at}");
        }
        assert_eq!(record.read().unwrap(), b"second");
    }

    #[test]
    fn a_payload_beyond_the_slot_is_refused_and_changes_nothing() {
        let device = MemoryDevice::default();
        let record = TwoSlot::create_on(device.file("r"), 16384).unwrap();
        record.write(b"kept").unwrap();
        assert!(matches!(record.write(&[0; 16384]), Err(Error::RecordTooLarge { .. })));
        assert_eq!(record.read().unwrap(), b"kept");
        assert_eq!(record.capacity(), 16384 - 56);
    }

    #[test]
    fn a_file_without_a_valid_slot_is_damaged() {
        let device = MemoryDevice::default();
        device.file("r").write_at(0, &[0; 32768]).unwrap();
        assert!(matches!(TwoSlot::open_on(device.file("r")).unwrap().read(), Err(Error::BadRecord { .. })));
        device.file("s").write_at(0, &[0; 100]).unwrap();
        assert!(TwoSlot::open_on(device.file("s")).is_err());
    }
}
