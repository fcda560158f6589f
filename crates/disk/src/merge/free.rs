//! Which clusters no kept generation uses.
//!
//! One refcount block of each generation is held at a time, so the memory does not grow with the image.

use super::hashes;
use super::history::Kept;
use crate::error::{Error, Result};
use crate::qcow2::extensions::HashRoot;
use crate::qcow2::header::Header;
use crate::qcow2::refcount::{self, Refcounts};
use crate::storage::Storage;

/// Clusters of hash manifests that are remembered, 8 bytes each.
const MAX_SPARED: usize = 1 << 20;

/// The clusters that are free in the current generation and in every kept one.
#[derive(Debug)]
pub struct FreeMap<'a, S> {
    generations: Vec<Refcounts<'a, S>>,
    order: u32,
    per_block: u64,
    file_end: u64,
    /// Clusters of hash manifests, sorted: no refcount counts them.
    spared: Vec<u64>,
    /// The block that `occupied` describes, a bit for each cluster.
    loaded: Option<u64>,
    occupied: Vec<u64>,
}

impl<'a, S: Storage> FreeMap<'a, S> {
    /// What the current generation and `kept` leave; `current` gives the geometry.
    ///
    /// `len` bytes of the file count: behind them is nothing, or what an interrupted merge has left.
    ///
    /// # Errors
    /// A kept generation has another geometry, or its refcount table can't be read.
    pub fn new(
        storage: &'a S,
        current: &Header,
        len: u64,
        hashes: Option<HashRoot>,
        kept: &[Kept],
    ) -> Result<Self> {
        let image = storage.name().to_owned();
        let mut generations = vec![Refcounts::open(storage, current)?];
        let mut seen = vec![current.refcount_table_offset];
        let mut spared = Vec::new();
        if let Some(root) = hashes {
            spared = hashes::clusters(storage, current, &root)?;
        }
        for Kept { header, hashes } in kept {
            if (header.cluster_bits, header.refcount_order) != (current.cluster_bits, current.refcount_order)
            {
                return Err(Error::Damaged {
                    what: "a kept generation has another geometry".to_owned(),
                    image,
                });
            }
            // Generations that differ in their name only share their tables.
            if !seen.contains(&header.refcount_table_offset) {
                seen.push(header.refcount_table_offset);
                generations.push(Refcounts::open(storage, header)?);
            }
            if let Some(root) = hashes
                // A manifest that is written over is as good as none, so that memory can be bounded here.
                && spared.len() < MAX_SPARED
            {
                // Chunks that did not change are shared: the list hardly grows.
                spared.extend(hashes::clusters(storage, header, root)?);
                spared.sort_unstable();
                spared.dedup();
            }
        }
        Ok(FreeMap {
            generations,
            order: current.refcount_order,
            per_block: current.refcounts_per_block(),
            file_end: len.div_ceil(current.cluster_size()),
            spared,
            loaded: None,
            occupied: Vec::new(),
        })
    }

    /// Clusters of the file. What lies behind is free, whatever crafted refcounts say: nothing can be there.
    pub fn file_end(&self) -> u64 {
        self.file_end
    }

    /// Free clusters of the file.
    ///
    /// # Errors
    /// The refcounts can't be read.
    pub fn count(&mut self) -> Result<u64> {
        self.count_between(0, self.file_end)
    }

    /// Free clusters among `from..to`.
    ///
    /// # Errors
    /// The refcounts can't be read.
    pub fn count_between(&mut self, from: u64, to: u64) -> Result<u64> {
        let mut free = 0;
        for cluster in from..to {
            free += u64::from(!self.is_occupied(cluster)?);
        }
        Ok(free)
    }

    /// Whether a kept generation uses the cluster.
    ///
    /// # Errors
    /// The refcounts can't be read.
    pub fn is_occupied(&mut self, cluster: u64) -> Result<bool> {
        // Cluster 0 is the header's, whatever the refcounts say.
        if cluster == 0 {
            return Ok(true);
        }
        let index = cluster / self.per_block;
        if cluster >= self.file_end {
            return Ok(false);
        }
        if self.loaded != Some(index) {
            self.loaded = None;
            self.occupied.clear();
            self.occupied.resize(self.per_block.div_ceil(64) as usize, 0);
            for refcounts in &self.generations {
                if refcounts.block_offset(index)?.is_none() {
                    continue;
                }
                let block = refcounts.block(index)?;
                for at in 0..self.per_block {
                    let used = refcount::get(&block, at, self.order) != 0;
                    self.occupied[at as usize / 64] |= u64::from(used) << (at % 64);
                }
            }
            let first = index * self.per_block;
            let from = self.spared.partition_point(|&spared| spared < first);
            for spared in self.spared[from..].iter().take_while(|&&spared| spared < first + self.per_block) {
                let at = spared - first;
                self.occupied[at as usize / 64] |= 1 << (at % 64);
            }
            self.loaded = Some(index);
        }
        let at = cluster % self.per_block;
        Ok(self.occupied[at as usize / 64] >> (at % 64) & 1 == 1)
    }
}
