//! Writing a new file of a foreign format: data one after the other in large pieces, and the table that leads to it.

use crate::error::{Error, Result};
use crate::storage::Storage;

/// Bytes that are written at once.
const LARGE: usize = 4 << 20;
/// Bytes of a piece of a table that is held in memory.
const PAGE: u64 = 64 * 1024;

/// Data that is written one after the other.
#[derive(Debug)]
pub(super) struct Appender<'a, S> {
    storage: &'a S,
    start: u64,
    pending: Vec<u8>,
}

impl<'a, S: Storage> Appender<'a, S> {
    /// Begins at the file's byte `start`.
    pub fn new(storage: &'a S, start: u64) -> Self {
        Appender { storage, start, pending: Vec::new() }
    }

    /// Where the next byte goes.
    pub fn end(&self) -> u64 {
        self.start + self.pending.len() as u64
    }

    /// Writes `bytes` at the end, now or later.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= LARGE {
            self.finish()?;
        }
        Ok(())
    }

    /// Leaves out `len` bytes, which read as zeroes once something follows.
    pub fn skip(&mut self, len: u64) -> Result<()> {
        self.finish()?;
        self.start += len;
        Ok(())
    }

    /// Writes what is still held.
    pub fn finish(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.storage.write_at(self.start, &self.pending)?;
            // So that making it durable at the end does not take as long as the copy.
            self.storage.start_writing_out(self.start, self.pending.len() as u64)?;
            self.start = self.end();
            self.pending.clear();
        }
        Ok(())
    }
}

/// A table of four-byte entries that are set in ascending order; the others keep what the file has.
#[derive(Debug)]
pub(super) struct Entries<'a, S> {
    storage: &'a S,
    /// Where the first entry is.
    start: u64,
    /// Bytes of an empty entry repeated.
    empty: u8,
    /// Which piece of the table `page` is, and how much of it there is.
    index: u64,
    page: Vec<u8>,
    /// Bytes of the table.
    len: u64,
}

impl<'a, S: Storage> Entries<'a, S> {
    /// A table of `count` entries at `start`, all bytes of which are `empty` until they are set.
    pub fn new(storage: &'a S, start: u64, count: u64, empty: u8) -> Self {
        Entries { storage, start, empty, index: 0, page: Vec::new(), len: count * 4 }
    }

    /// Sets the entry with this number.
    pub fn set(&mut self, entry: u64, bytes: [u8; 4]) -> Result<()> {
        let at = entry * 4;
        if at / PAGE != self.index {
            self.finish()?;
        }
        self.index = at / PAGE;
        if self.page.is_empty() {
            let whole = (self.len - self.index * PAGE).min(PAGE);
            self.page = vec![self.empty; whole as usize];
        }
        let within = (at % PAGE) as usize;
        self.page[within..within + 4].copy_from_slice(&bytes);
        Ok(())
    }

    /// Writes what is still held.
    pub fn finish(&mut self) -> Result<()> {
        if !self.page.is_empty() {
            self.storage.write_at(self.start + self.index * PAGE, &self.page)?;
            self.page.clear();
        }
        Ok(())
    }
}

/// Refuses blocks of `block` bytes that are not on a disk of `size` bytes, or not whole: only the last one may be shorter.
pub(crate) fn check_blocks(blocks: &[(u64, &[u8])], block: u64, size: u64) -> Result<()> {
    let fits = |(index, bytes): &(u64, &[u8])| {
        let start = index.checked_mul(block).filter(|start| *start < size);
        start.is_some_and(|start| bytes.len() as u64 == block.min(size - start))
    };
    match blocks.iter().find(|block| !fits(block)) {
        Some((index, _)) => Err(Error::Input(format!("block {index} does not fit the disk"))),
        None => Ok(()),
    }
}
