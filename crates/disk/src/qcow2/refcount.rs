//! Refcount tables and blocks of any width.

use std::cell::RefCell;

use super::be;
use super::entry;
use super::header::Header;
use crate::error::{Error, Result};
use crate::storage::{Storage, read_padded};

/// The refcount at `index` of a block, `1 << order` bits wide.
pub fn get(block: &[u8], index: u64, order: u32) -> u64 {
    let index = index as usize;
    match order {
        0..=2 => {
            let bits = 1usize << order;
            let shift = (index * bits) % 8;
            u64::from(block[index * bits / 8] >> shift) & ((1 << bits) - 1)
        }
        _ => {
            let bytes = 1usize << (order - 3);
            let mut word = [0; 8];
            word[8 - bytes..].copy_from_slice(&block[index * bytes..(index + 1) * bytes]);
            u64::from_be_bytes(word)
        }
    }
}

/// Sets the refcount at `index` of a block; `false` if `value` does not fit the width.
#[must_use]
pub fn set(block: &mut [u8], index: u64, order: u32, value: u64) -> bool {
    if order < 6 && value >> (1u32 << order) != 0 {
        return false;
    }
    let index = index as usize;
    match order {
        0..=2 => {
            let bits = 1usize << order;
            let shift = (index * bits) % 8;
            let byte = &mut block[index * bits / 8];
            let mask = ((1u8 << bits) - 1) << shift;
            *byte = (*byte & !mask) | ((value as u8) << shift);
        }
        _ => {
            let bytes = 1usize << (order - 3);
            block[index * bytes..(index + 1) * bytes].copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
        }
    }
    true
}

/// Entries of a refcount table that are held at once: a table may have 8 MiB, and there is one for each kept generation.
const PIECE: u64 = 4096;

/// The refcounts of one generation. At no time is more than a piece of the table held.
#[derive(Debug)]
pub struct Refcounts<'a, S> {
    storage: &'a S,
    header: Header,
    /// The piece that was used last: the index of its first entry, and its entries.
    piece: RefCell<(u64, Vec<u64>)>,
}

impl<'a, S: Storage> Refcounts<'a, S> {
    /// The refcounts that `header` names.
    ///
    /// # Errors
    /// The device fails, or the table leads out of the file.
    pub fn open(storage: &'a S, header: &Header) -> Result<Self> {
        let bytes = header.refcount_table_entries() * 8;
        if header
            .refcount_table_offset
            .checked_add(bytes)
            .is_none_or(|end| storage.len().is_ok_and(|len| end > len))
        {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Refcounts { storage, header: header.clone(), piece: RefCell::default() })
    }

    /// Blocks that the table has room for.
    pub fn blocks(&self) -> u64 {
        self.header.refcount_table_entries()
    }

    /// The raw entry of the table; zero behind its end.
    ///
    /// # Errors
    /// The device fails.
    pub fn word(&self, index: u64) -> Result<u64> {
        if index >= self.blocks() {
            return Ok(0);
        }
        let mut piece = self.piece.borrow_mut();
        let (first, words) = &mut *piece;
        if words.is_empty() || index / PIECE != *first / PIECE {
            *first = index - index % PIECE;
            let mut bytes = vec![0; (self.blocks() - *first).min(PIECE) as usize * 8];
            words.clear();
            self.storage.read_at(self.header.refcount_table_offset + *first * 8, &mut bytes)?;
            *words = be::words(&bytes);
        }
        Ok(words[(index - *first) as usize])
    }

    /// Where the block is; none if all its refcounts are zero.
    ///
    /// # Errors
    /// The table's entry is invalid, or the device fails.
    pub fn block_offset(&self, index: u64) -> Result<Option<u64>> {
        entry::table_offset(self.word(index)?, &self.header, 0)
            .map_err(|what| Error::Damaged { what, image: self.storage.name().to_owned() })
    }

    /// Reads a block; zeroes if there is none.
    ///
    /// # Errors
    /// The table's entry is invalid, or the device fails.
    pub fn block(&self, index: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; self.header.cluster_size() as usize];
        if let Some(offset) = self.block_offset(index)? {
            read_padded(self.storage, offset, &mut block)?;
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_keeps_its_neighbours() {
        for order in 0..=6 {
            let mut block = vec![0; 512];
            let count = (512 * 8) >> order;
            let max = if order == 6 { u64::MAX } else { (1 << (1 << order)) - 1 };
            for index in 0..count {
                assert!(set(&mut block, index, order, (index * 7) & max));
            }
            for index in 0..count {
                assert_eq!(
                    get(&block, index, order),
                    (index * 7) & max,
                    "width {} index {index}",
                    1 << order
                );
            }
            assert!(order == 6 || !set(&mut block, 0, order, max + 1));
        }
    }
}
