//! A file of a foreign format: reading what a header points to, with errors that name the file.

use std::io;

use crate::error::{Error, Refusal, Result};
use crate::storage::Storage;

/// The file and its length.
#[derive(Debug)]
pub(super) struct Source<S> {
    pub storage: S,
    /// Bytes of the file when it was opened.
    pub len: u64,
}

impl<S: Storage> Source<S> {
    pub fn new(storage: S) -> Result<Self> {
        let len = storage.len()?;
        Ok(Source { storage, len })
    }

    /// Fills `buf` from `offset`; a file that ends earlier is cut short.
    pub fn fill(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.ensure_inside(offset, buf.len() as u64)?;
        self.storage.read_at(offset, buf).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.refuse(Refusal::Truncated),
            _ => error.into(),
        })
    }

    /// As [`Source::fill`]; the caller has bounded `len`.
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.ensure_inside(offset, len)?;
        let mut bytes = vec![0; len as usize];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether `offset..offset + len` lies in the file.
    pub fn ensure_inside(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.refuse(Refusal::Truncated)),
        }
    }

    pub fn refuse(&self, why: Refusal) -> Error {
        Error::Refused { why, image: self.storage.name().to_owned() }
    }

    pub fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { what: what.into(), image: self.storage.name().to_owned() }
    }
}

/// Little-endian numbers at fixed places of a slice that is known to be long enough.
pub(super) mod le {
    /// The 16-bit number at `at`.
    pub fn u16(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([bytes[at], bytes[at + 1]])
    }

    /// The 32-bit number at `at`.
    pub fn u32(bytes: &[u8], at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(word)
    }

    /// The 64-bit number at `at`.
    pub fn u64(bytes: &[u8], at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    }

    /// Writes a 32-bit number at `at`.
    pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Writes a 64-bit number at `at`.
    pub fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}
