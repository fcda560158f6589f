//! Finds clusters that are free in the current generation and in every kept one, in ascending order.
//!
//! One refcount block of each generation is held at a time, so the memory does not grow with the image.

use std::collections::VecDeque;

use super::hashes;
use super::history::Kept;
use crate::error::{Error, Result};
use crate::qcow2::extensions::HashRoot;
use crate::qcow2::header::{Header, MAX_OFFSET};
use crate::qcow2::refcount::{self, Refcounts};
use crate::storage::Storage;

/// Free runs passed over in the search for a long one; what does not fit here is left to the next merge.
const MAX_SKIPPED: usize = 4096;

/// Hands out clusters that no kept generation uses, each once.
#[derive(Debug)]
pub struct Allocator<'a, S> {
    generations: Vec<Refcounts<'a, S>>,
    order: u32,
    per_block: u64,
    /// Clusters beyond the last possible host offset.
    limit: u64,
    /// Clusters of the file. What lies behind is free, whatever crafted refcounts say: nothing can be there.
    file_end: u64,
    /// Clusters of hash manifests, sorted: no refcount counts them.
    spared: Vec<u64>,
    /// The next cluster to look at.
    position: u64,
    /// The block that `occupied` describes.
    loaded: Option<u64>,
    occupied: Vec<bool>,
    /// Free runs before `position`: first and count.
    skipped: VecDeque<(u64, u64)>,
    image: String,
}

impl<'a, S: Storage> Allocator<'a, S> {
    /// Spares what any of `kept` uses; `current` gives the geometry and is spared as well.
    ///
    /// # Errors
    /// A kept generation has another geometry, or its refcount table can't be read.
    pub fn new(storage: &'a S, current: &Header, hashes: Option<HashRoot>, kept: &[Kept]) -> Result<Self> {
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
            if let Some(root) = hashes {
                // Chunks that did not change are shared: the list hardly grows.
                spared.extend(hashes::clusters(storage, header, root)?);
                spared.sort_unstable();
                spared.dedup();
            }
        }
        Ok(Allocator {
            generations,
            order: current.refcount_order,
            per_block: current.refcounts_per_block(),
            limit: MAX_OFFSET >> current.cluster_bits,
            file_end: storage.len()?.div_ceil(current.cluster_size()),
            spared,
            // Cluster 0 is the header's, whatever the refcounts say.
            position: 1,
            loaded: None,
            occupied: Vec::new(),
            skipped: VecDeque::new(),
            image,
        })
    }

    /// The cluster behind the last one looked at: nothing behind it was handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next free cluster.
    ///
    /// # Errors
    /// The image is as large as qcow2 allows; the refcounts can't be read.
    pub fn one(&mut self) -> Result<u64> {
        if let Some((first, count)) = self.skipped.pop_front() {
            if count > 1 {
                self.skipped.push_front((first + 1, count - 1));
            }
            return Ok(first);
        }
        Ok(self.next_run(1, 1)?.0)
    }

    /// The next `count` free clusters in one piece.
    ///
    /// # Errors
    /// As [`Allocator::one`].
    pub fn run(&mut self, count: u64) -> Result<u64> {
        loop {
            let (first, length) = self.next_run(1, count)?;
            if length == count {
                return Ok(first);
            }
            if self.skipped.len() < MAX_SKIPPED {
                self.skipped.push_back((first, length));
            }
        }
    }

    /// Free clusters before the cluster `end`: the most that a merge can take without growing the file.
    ///
    /// # Errors
    /// The refcounts can't be read.
    pub fn free_before(mut self, end: u64) -> Result<u64> {
        let mut free = 0;
        while self.position < end {
            if !self.is_occupied(self.position)? {
                free += 1;
            }
            self.position += 1;
        }
        Ok(free)
    }

    /// The next run of at least `least` and at most `most` free clusters.
    fn next_run(&mut self, least: u64, most: u64) -> Result<(u64, u64)> {
        let mut first = self.position;
        loop {
            if self.position >= self.limit {
                return Err(Error::Damaged {
                    what: "it has no free cluster".to_owned(),
                    image: self.image.clone(),
                });
            }
            if self.is_occupied(self.position)? {
                if self.position - first >= least {
                    return Ok((first, self.position - first));
                }
                first = self.position + 1;
            } else if self.position + 1 - first == most {
                self.position += 1;
                return Ok((first, most));
            }
            self.position += 1;
        }
    }

    fn is_occupied(&mut self, cluster: u64) -> Result<bool> {
        let index = cluster / self.per_block;
        if cluster >= self.file_end {
            return Ok(false);
        }
        if self.loaded != Some(index) {
            self.loaded = None;
            self.occupied.clear();
            self.occupied.resize(self.per_block as usize, false);
            for refcounts in &self.generations {
                if refcounts.block_offset(index)?.is_none() {
                    continue;
                }
                let block = refcounts.block(index)?;
                for (at, occupied) in self.occupied.iter_mut().enumerate() {
                    *occupied |= refcount::get(&block, at as u64, self.order) != 0;
                }
            }
            let first = index * self.per_block;
            let from = self.spared.partition_point(|&spared| spared < first);
            for spared in self.spared[from..].iter().take_while(|&&spared| spared < first + self.per_block) {
                self.occupied[(spared - first) as usize] = true;
            }
            self.loaded = Some(index);
        }
        Ok(self.occupied[(cluster % self.per_block) as usize])
    }
}
