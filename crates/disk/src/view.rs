//! What a guest sees of a disk: the overlay, where it holds something, and the base with its layers below. Only for reading.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::copy::{BaseFormat, open, whole_blocks};
use crate::error::{Error, Result};
use crate::merge::base::Layer;
use crate::merge::stored::Reader;
use crate::overlay::{Cache, Overlay};
use crate::qcow2::entry::Run;
use crate::qcow2::image::TableCache;
use crate::root::Folder;
use crate::storage::{Access, FileStorage};

/// Least bytes that are read at once; at most a cluster, which may be 2 MiB.
const LEAST: u64 = 64 * 1024;

/// Places in which an overlay differs that are told.
const MOST_RUNS: usize = 1 << 20;

/// Bytes of what was read last that are kept.
const KEPT: u64 = 16 << 20;

/// A disk as its guest sees it.
///
/// Nobody may write to base or overlay meanwhile. Memory is bounded (16 MiB of content), whatever the size of the disk.
#[derive(Debug)]
pub struct View {
    layers: Vec<Layer<FileStorage>>,
    overlay: Option<Overlay<FileStorage>>,
    size: u64,
    /// Bytes that are read at once: a multiple of every layer's clusters.
    block: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    layers: Vec<TableCache>,
    overlay: Cache,
    /// What was read last, the newest first, by its number.
    blocks: VecDeque<(u64, Arc<Vec<u8>>)>,
}

impl View {
    /// Opens the base at `base` (relative to `root`), and the overlay over it if there is one.
    ///
    /// # Errors
    /// One of them can't be read, or has a feature that a merge refuses.
    pub fn open(root: &Path, base: &str, format: BaseFormat, overlay: Option<&Path>) -> Result<View> {
        let layers = open(&Folder::new(root), base, format)?;
        let overlay =
            overlay.map(|path| Overlay::open(FileStorage::open(path, Access::ReadStable)?)).transpose()?;
        let below = Reader::new(&layers).size()?;
        let size = overlay.as_ref().map_or(below, Overlay::virtual_size);
        let clusters = layers.iter().map(|layer| match layer {
            Layer::Qcow2(image) => image.header().cluster_size(),
            Layer::Raw(_) => 0,
        });
        let block = clusters.chain(overlay.as_ref().map(Overlay::step)).fold(LEAST, u64::max);
        let state =
            State { layers: layers.iter().map(|_| TableCache::default()).collect(), ..State::default() };
        Ok(View { layers, overlay, size, block, state: Mutex::new(state) })
    }

    /// Opens an image that stands alone: qcow2 or VMDK.
    ///
    /// # Errors
    /// It can't be read, or is in another format.
    pub fn alone(image: &Path) -> Result<View> {
        let overlay = Overlay::open_alone(FileStorage::open(image, Access::ReadStable)?)?;
        let (size, block) = (overlay.virtual_size(), overlay.step().max(LEAST));
        Ok(View { layers: Vec::new(), overlay: Some(overlay), size, block, state: Mutex::default() })
    }

    /// Bytes that the guest sees.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads all of `buf` at the guest's byte `offset`.
    ///
    /// # Errors
    /// The range is not on the disk; an image is damaged; the device fails.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or_else(|| Error::Input(format!("{} bytes at {offset} are not on the disk", buf.len())))?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let block = self.block_of(at / self.block)?;
            let within = (at % self.block) as usize;
            let count = (block.len() - within).min(buf.len() - done);
            buf[done..done + count].copy_from_slice(&block[within..within + count]);
            done += count;
        }
        Ok(())
    }

    /// The disk with other bytes in some places (offset and content), as whole blocks of `block` bytes (a power of two) around
    /// these places: in order, each once, the last one of the disk maybe shorter.
    ///
    /// # Errors
    /// A place is not on the disk; an image is damaged; the device fails.
    pub fn with(&self, edits: &[(u64, Vec<u8>)], block: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let blocks = whole_blocks(edits, block, self.size, |start, whole| self.read_at(start, whole))?;
        Ok(blocks.into_iter().collect())
    }

    /// The bytes that differ because of the overlay, in order: where they are, and what they are.
    ///
    /// # Errors
    /// More than `most` bytes are in the overlay; an image is damaged; the device fails.
    pub fn differences(&self, most: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut differences: Vec<(u64, Vec<u8>)> = Vec::new();
        let Some(overlay) = &self.overlay else { return Ok(differences) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut read) = (0, 0);
        while let Some(present) = overlay.next_present(&mut state.overlay, at)?.filter(|at| *at < self.size) {
            let number = present / self.block;
            let before = self.read_below(&mut state, number)?;
            let mut after = before.clone();
            self.read_above(&mut state, number, &mut after)?;
            read += after.len() as u64;
            if read > most {
                return Err(Error::Input(format!("the overlay has more than {most} bytes")));
            }
            for (place, (after, before)) in (number * self.block..).zip(after.iter().zip(&before)) {
                match differences.last_mut() {
                    _ if after == before => {}
                    Some((start, bytes)) if *start + bytes.len() as u64 == place => bytes.push(*after),
                    _ => differences.push((place, vec![*after])),
                }
            }
            if differences.len() > MOST_RUNS {
                return Err(Error::Input(format!("the overlay differs in more than {MOST_RUNS} places")));
            }
            at = (number + 1) * self.block;
        }
        Ok(differences)
    }

    /// The block with this number, which begins on the disk.
    fn block_of(&self, number: u64) -> Result<Arc<Vec<u8>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match state.blocks.iter().position(|(known, _)| *known == number) {
            Some(at) => state.blocks.remove(at),
            None => None,
        };
        let (_, block) = match found {
            Some(found) => found,
            None => (number, Arc::new(self.read_block(&mut state, number)?)),
        };
        state.blocks.push_front((number, Arc::clone(&block)));
        state.blocks.truncate((KEPT / self.block).max(1) as usize);
        Ok(block)
    }

    fn read_block(&self, state: &mut State, number: u64) -> Result<Vec<u8>> {
        let mut bytes = self.read_below(state, number)?;
        self.read_above(state, number, &mut bytes)?;
        Ok(bytes)
    }

    /// A block as it is without the overlay.
    fn read_below(&self, state: &mut State, number: u64) -> Result<Vec<u8>> {
        let start = number * self.block;
        let end = (start + self.block).min(self.size);
        let mut bytes = vec![0; (end - start) as usize];
        if self.layers.is_empty() {
            return Ok(bytes);
        }
        let mut reader = Reader::with_caches(&self.layers, std::mem::take(&mut state.layers));
        let below = end.min(reader.size()?);
        let read = reader
            .stored(start, below.max(start))
            .and_then(|runs| reader.read_stored(start, &runs, &mut bytes));
        state.layers = reader.into_caches();
        read?;
        Ok(bytes)
    }

    /// Puts what the overlay holds of a block over `bytes`.
    fn read_above(&self, state: &mut State, number: u64, bytes: &mut [u8]) -> Result<()> {
        let Some(overlay) = &self.overlay else { return Ok(()) };
        let (start, end) = (number * self.block, number * self.block + bytes.len() as u64);
        let mut runs = Vec::new();
        overlay.runs(&mut state.overlay, start, end, |from, to, run| runs.push((from, to, run)))?;
        for (from, to, run) in runs.into_iter().filter(|(_, _, run)| *run != Run::Absent) {
            overlay.read_run(from, run, &mut bytes[(from - start) as usize..(to - start) as usize])?;
        }
        Ok(())
    }
}
