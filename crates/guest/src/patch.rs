//! What a guest's disk would be with changes, in memory: a throw-away copy of the blocks that differ.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Disk, Edit, Error, Result};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// The most places that differ.
const MOST_RUNS: usize = 1 << 20;
/// The most bytes that differ.
const MOST: usize = 512 << 20;

/// A disk that can be read by several at a time.
pub type SharedDisk = Arc<dyn Disk + Send + Sync>;

/// A disk with changes that are held in memory. The disk itself is only read.
pub struct Patch {
    disk: SharedDisk,
    blocks: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl Patch {
    /// `disk` without changes.
    #[must_use]
    pub fn new(disk: SharedDisk) -> Self {
        Patch { disk, blocks: Mutex::new(BTreeMap::new()) }
    }

    /// Changes bytes in place.
    ///
    /// # Errors
    /// The disk holds something else there than the edit expects: [`Error::Damaged`]. Or it can't be read.
    pub fn apply(&self, edit: &Edit) -> Result<()> {
        let mut found = vec![0; edit.before.len()];
        self.read_at(edit.offset, &mut found)?;
        if found != edit.before || edit.before.len() != edit.after.len() {
            return Err(Error::Damaged(format!("at byte {} are other bytes than a moment ago", edit.offset)));
        }
        Ok(self.write(edit.offset, &edit.after)?)
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.disk.size());
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK, (at % BLOCK) as usize);
            if !blocks.contains_key(&number) {
                if (blocks.len() + 1) * BLOCK as usize > MOST {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "too much would be changed"));
                }
                let mut block = vec![0; BLOCK.min(self.disk.size() - number * BLOCK) as usize];
                self.disk.read_at(number * BLOCK, &mut block)?;
                blocks.insert(number, block);
            }
            let Some(block) = blocks.get_mut(&number) else { continue };
            let count = (bytes.len() - done).min(block.len() - within);
            block[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        Ok(())
    }

    /// The bytes that differ now, in order: where they are on the disk, and what they are.
    ///
    /// # Errors
    /// The disk can't be read.
    pub fn differences(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut differences: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut before = vec![0; BLOCK as usize];
        for (number, block) in &*blocks {
            let before = &mut before[..block.len()];
            self.disk.read_at(number * BLOCK, before)?;
            add_differences(&mut differences, number * BLOCK, before, block);
            if differences.len() > MOST_RUNS {
                return Err(Error::TooLarge("the change".to_owned()));
            }
        }
        Ok(differences)
    }
}

/// Adds the bytes of `after` that `before` does not have, both at `start`, in whole runs.
fn add_differences(differences: &mut Vec<(u64, Vec<u8>)>, start: u64, before: &[u8], after: &[u8]) {
    for (at, (after, before)) in (start..).zip(after.iter().zip(before)) {
        if after == before {
            continue;
        }
        match differences.last_mut() {
            Some((start, bytes)) if *start + bytes.len() as u64 == at => bytes.push(*after),
            _ => differences.push((at, vec![*after])),
        }
    }
}

impl Disk for Patch {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)?;
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset + buf.len() as u64;
        for (number, block) in blocks.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            let start = number * BLOCK;
            let (from, to) = (start.max(offset), (start + block.len() as u64).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&block[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch() -> Patch {
        Patch::new(Arc::new((0..10_000).map(|at| (at / 7) as u8).collect::<Vec<u8>>()))
    }

    #[test]
    fn what_is_written_is_read_and_only_that_differs() {
        let patch = patch();
        let mut whole = vec![0; 10_000];
        patch.read_at(0, &mut whole).unwrap();
        patch.write(4090, &[0xee; 12]).unwrap();
        patch.write(9999, &[0xee]).unwrap();
        patch.write(20, &whole[20..30]).unwrap();
        whole[4090..4102].fill(0xee);
        whole[9999] = 0xee;
        let mut read = vec![0; 9_000];
        patch.read_at(1000, &mut read).unwrap();
        assert!(read == whole[1000..]);
        assert_eq!(patch.differences().unwrap(), [(4090, vec![0xee; 12]), (9999, vec![0xee])]);
        assert!(patch.write(9_990, &[0; 11]).is_err());
    }

    #[test]
    fn an_edit_of_other_bytes_than_it_expects_changes_nothing() {
        let patch = patch();
        let edit = |before: &[u8]| Edit {
            offset: 700,
            before: before.to_vec(),
            after: vec![1, 2],
            what: String::new(),
        };
        assert!(patch.apply(&edit(&[100, 101])).is_err());
        assert!(patch.differences().unwrap().is_empty());
        patch.apply(&edit(&[100, 100])).unwrap();
        assert_eq!(patch.differences().unwrap(), [(700, vec![1, 2])]);
    }
}
