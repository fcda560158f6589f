//! The hash manifest: what each guest cluster of a base holds, so that a cluster rewritten with the same content
//! is skipped without reading the slow drive.
//!
//! It lies in the base itself, in clusters that no refcount counts: a tree of a table and chunks, with its root's
//! digest in the header block. So it changes with the generation, in the same atomic flip, undo and redo included.
//! For QEMU those clusters are free; when it uses them, it has cleared the fence, and the manifest is void. Each
//! chunk is verified by its digest in the table, the table by the root: nothing stale is ever believed. A chunk or
//! table that does not hold is as good as none.

use super::alloc::Allocator;
use super::writer::Writer;
use crate::error::Result;
use crate::qcow2::be;
use crate::qcow2::extensions::HashRoot;
use crate::qcow2::header::Header;
use crate::storage::{Storage, is_zero};

/// Bytes of a cluster's hash, and of a table entry: a chunk's offset and half of its hash.
const ENTRY: usize = 16;
/// Chunks of the largest manifest: a table of 2 MiB, enough for 2 TiB in clusters of 16 KiB.
const MAX_CHUNKS: u64 = 131_072;

/// The first 16 bytes of a BLAKE3 hash; all zeroes stand for "unknown".
pub type ClusterHash = [u8; ENTRY];

/// Hashes the content of a cluster.
pub fn hash(cluster: &[u8]) -> ClusterHash {
    let mut hash = [0; ENTRY];
    hash.copy_from_slice(&blake3::hash(cluster).as_bytes()[..ENTRY]);
    hash
}

/// The manifest of a base while a new generation is written.
#[derive(Debug)]
pub struct Hashes<'a, S> {
    storage: &'a S,
    cluster_bits: u32,
    table: Vec<u8>,
    /// The root that the table was read from, while nothing has changed.
    root: Option<HashRoot>,
    chunk: Option<Chunk>,
}

/// The chunk that was used last: access is in guest order.
#[derive(Debug)]
struct Chunk {
    index: u64,
    bytes: Vec<u8>,
    changed: bool,
}

/// Hashes in one chunk.
fn per_chunk(header: &Header) -> u64 {
    header.cluster_size() / ENTRY as u64
}

/// Chunks for a disk of `size` bytes; none if that is too many to keep a manifest.
pub fn chunks(header: &Header, size: u64) -> Option<u64> {
    Some(size.div_ceil(header.cluster_size()).div_ceil(per_chunk(header)))
        .filter(|&chunks| chunks <= MAX_CHUNKS)
}

/// Clusters of the table for that many chunks.
pub fn table_clusters(header: &Header, chunks: u64) -> u64 {
    (chunks * ENTRY as u64).div_ceil(header.cluster_size())
}

/// Reads a table; none if it does not hold.
fn read_table<S: Storage>(storage: &S, header: &Header, root: &HashRoot) -> Result<Option<Vec<u8>>> {
    let chunks = u64::from(root.chunks);
    let end = root.offset.checked_add(chunks * ENTRY as u64);
    if chunks > MAX_CHUNKS
        || !root.offset.is_multiple_of(header.cluster_size())
        || end.is_none_or(|end| storage.len().is_ok_and(|len| end > len))
    {
        return Ok(None);
    }
    let mut table = vec![0; chunks as usize * ENTRY];
    storage.read_at(root.offset, &mut table)?;
    Ok((hash(&table) == root.digest).then_some(table))
}

/// The clusters of a manifest, sorted, which no refcount spares.
///
/// # Errors
/// The device fails.
pub fn clusters<S: Storage>(storage: &S, header: &Header, root: &HashRoot) -> Result<Vec<u64>> {
    let Some(table) = read_table(storage, header, root)? else { return Ok(Vec::new()) };
    let first = root.offset >> header.cluster_bits;
    let mut clusters: Vec<u64> = (first..first + table_clusters(header, u64::from(root.chunks))).collect();
    let offsets = table.chunks_exact(ENTRY).map(|entry| be::u64(entry, 0));
    clusters.extend(offsets.filter(|&offset| offset != 0).map(|offset| offset >> header.cluster_bits));
    clusters.sort_unstable();
    Ok(clusters)
}

impl<'a, S: Storage> Hashes<'a, S> {
    /// The manifest at `root`, or an empty one, for a disk that will have `size` bytes. None if the disk has too
    /// many clusters.
    ///
    /// # Errors
    /// The device fails.
    pub fn open(storage: &'a S, header: &Header, root: Option<HashRoot>, size: u64) -> Result<Option<Self>> {
        let Some(chunks) = chunks(header, size) else { return Ok(None) };
        let read = match &root {
            Some(root) => read_table(storage, header, root)?,
            None => None,
        };
        let root = root.filter(|root| read.is_some() && u64::from(root.chunks) == chunks);
        let mut table = read.unwrap_or_default();
        table.resize(chunks as usize * ENTRY, 0);
        Ok(Some(Hashes { storage, cluster_bits: header.cluster_bits, table, root, chunk: None }))
    }

    /// Whether the cluster with this guest number is known to have this content.
    ///
    /// # Errors
    /// The device fails.
    pub fn is(&mut self, cluster: u64, hash: &ClusterHash, out: &mut Output<'_, 'a, S>) -> Result<bool> {
        let at = self.turn_to(cluster, out)?;
        Ok(self.chunk.as_ref().is_some_and(|chunk| chunk.bytes[at..at + ENTRY] == *hash))
    }

    /// Notes what a cluster has now; zeroes for "unknown".
    ///
    /// # Errors
    /// The device fails.
    pub fn set(&mut self, cluster: u64, hash: &ClusterHash, out: &mut Output<'_, 'a, S>) -> Result<()> {
        let at = self.turn_to(cluster, out)?;
        if let Some(chunk) = &mut self.chunk
            && chunk.bytes[at..at + ENTRY] != *hash
        {
            chunk.bytes[at..at + ENTRY].copy_from_slice(hash);
            chunk.changed = true;
        }
        Ok(())
    }

    /// Moves what lies at the byte `end` of the file or behind it.
    ///
    /// # Errors
    /// The device fails.
    pub fn move_before(&mut self, end: u64, out: &mut Output<'_, 'a, S>) -> Result<()> {
        let per_chunk = (1u64 << self.cluster_bits) / ENTRY as u64;
        if self.root.is_some_and(|root| root.offset + self.table.len() as u64 > end) {
            self.root = None;
        }
        for index in 0..self.table.len() as u64 / ENTRY as u64 {
            if be::u64(&self.table, index as usize * ENTRY) >= end {
                self.turn_to(index * per_chunk, out)?;
                self.chunk.iter_mut().for_each(|chunk| chunk.changed = true);
            }
        }
        Ok(())
    }

    /// Writes what is left and returns the new root.
    ///
    /// # Errors
    /// The device fails.
    pub fn finish(mut self, out: &mut Output<'_, 'a, S>) -> Result<Option<HashRoot>> {
        self.put_chunk(out)?;
        if self.root.is_some() || is_zero(&self.table) {
            return Ok(self.root);
        }
        let size = 1 << self.cluster_bits;
        let digest = hash(&self.table);
        let chunks = (self.table.len() / ENTRY) as u32;
        self.table.resize(self.table.len().next_multiple_of(size), 0);
        let offset = out.allocator.run((self.table.len() / size) as u64)? << self.cluster_bits;
        out.writer.put(offset, &self.table)?;
        Ok(Some(HashRoot { offset, chunks, digest }))
    }

    /// Makes the chunk of a cluster the current one; returns where in it the cluster's hash is.
    fn turn_to(&mut self, cluster: u64, out: &mut Output<'_, 'a, S>) -> Result<usize> {
        let per_chunk = (1 << self.cluster_bits) / ENTRY as u64;
        let index = cluster / per_chunk;
        if self.chunk.as_ref().is_none_or(|chunk| chunk.index != index) {
            self.put_chunk(out)?;
            self.chunk = Some(Chunk { index, bytes: self.read_chunk(index)?, changed: false });
        }
        Ok((cluster % per_chunk) as usize * ENTRY)
    }

    fn read_chunk(&self, index: u64) -> Result<Vec<u8>> {
        let size = 1usize << self.cluster_bits;
        let entry = &self.table[index as usize * ENTRY..][..ENTRY];
        let offset = be::u64(entry, 0);
        let mut bytes = vec![0; size];
        let inside =
            offset.checked_add(size as u64).is_some_and(|end| self.storage.len().is_ok_and(|len| end <= len));
        if offset != 0 && inside {
            self.storage.read_at(offset, &mut bytes)?;
            if hash(&bytes)[..8] != entry[8..] {
                bytes.fill(0);
            }
        }
        Ok(bytes)
    }

    fn put_chunk(&mut self, out: &mut Output<'_, 'a, S>) -> Result<()> {
        let Some(Chunk { index, bytes, changed: true }) = self.chunk.take() else { return Ok(()) };
        let mut entry = [0; ENTRY];
        if !is_zero(&bytes) {
            let offset = out.allocator.one()? << self.cluster_bits;
            out.writer.put(offset, &bytes)?;
            be::put_u64(&mut entry, 0, offset);
            entry[8..].copy_from_slice(&hash(&bytes)[..8]);
        }
        self.table[index as usize * ENTRY..][..ENTRY].copy_from_slice(&entry);
        self.root = None;
        Ok(())
    }
}

/// Where a new generation goes.
#[derive(Debug)]
pub struct Output<'b, 'a, S> {
    /// Finds the room.
    pub allocator: &'b mut Allocator<'a, S>,
    /// Takes the bytes.
    pub writer: &'b mut Writer,
}
