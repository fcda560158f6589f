//! Hands out free clusters for a new generation, each once, in an order that suits the drive.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::free::FreeMap;
use crate::error::{Error, Result};
use crate::qcow2::header::{Header, MAX_OFFSET};
use crate::storage::Storage;

/// Free runs passed over in the search for a long one; what does not fit here is left to the next merge.
const MAX_SKIPPED: usize = 4096;
/// Erase blocks of cheap flash are that large, in bytes. To write anything into one costs writing all of it.
const BLOCK: u64 = 4 << 20;

/// Which free clusters are taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The first ones, however scattered: the file grows as little as possible.
    Frugal,
    /// Only from blocks of which at least half is free, then behind the end of the file: flash writes at most twice
    /// what is written to it. As no block stays that empty while the file grows, it has at most twice the size of
    /// what it holds.
    Sequential,
}

/// Hands out clusters that no kept generation uses, each once.
#[derive(Debug)]
pub struct Allocator<'a, S> {
    free: FreeMap<'a, S>,
    placement: Placement,
    /// Clusters of a block.
    block: u64,
    /// No cluster can be at or behind this one.
    limit: u64,
    /// The next cluster to look at.
    position: u64,
    /// Sequential: the end of the block that `position` is in.
    block_end: u64,
    /// Sequential: the next cluster behind the file.
    append: u64,
    /// Frugal: free runs before `position`: first and count.
    skipped: VecDeque<(u64, u64)>,
    image: String,
}

impl<'a, S: Storage> Allocator<'a, S> {
    /// Takes clusters of `free` in the image named `image`.
    pub fn new(free: FreeMap<'a, S>, placement: Placement, header: &Header, image: &str) -> Self {
        Allocator {
            placement,
            block: BLOCK >> header.cluster_bits,
            limit: MAX_OFFSET >> header.cluster_bits,
            position: 0,
            block_end: 0,
            append: free.file_end(),
            skipped: VecDeque::new(),
            image: image.to_owned(),
            free,
        }
    }

    /// The cluster behind the file as it was: from there on nothing is in use.
    pub fn file_end(&self) -> u64 {
        self.free.file_end()
    }

    /// The cluster behind all that were handed out, and behind the file.
    pub fn end(&self) -> u64 {
        self.position.max(self.append)
    }

    /// No cluster at or behind this one was handed out, as long as none is handed out behind the file.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next free cluster.
    ///
    /// # Errors
    /// The image is as large as qcow2 allows; the refcounts can't be read.
    pub fn one(&mut self) -> Result<u64> {
        match self.placement {
            Placement::Sequential => {
                if self.next_in_block()? {
                    self.position += 1;
                    return Ok(self.position - 1);
                }
                self.behind(1)
            }
            Placement::Frugal => match self.skipped.pop_front() {
                None => Ok(self.next_run(1)?.0),
                Some((first, count)) => {
                    if count > 1 {
                        self.skipped.push_front((first + 1, count - 1));
                    }
                    Ok(first)
                }
            },
        }
    }

    /// The next `count` free clusters in one piece.
    ///
    /// # Errors
    /// As [`Allocator::one`].
    pub fn run(&mut self, count: u64) -> Result<u64> {
        if self.placement == Placement::Sequential {
            let first = self.position;
            while self.position < self.block_end && !self.free.is_occupied(self.position)? {
                self.position += 1;
                if self.position - first == count {
                    return Ok(first);
                }
            }
            // What was too short is taken one by one later.
            self.position = first;
            return self.behind(count);
        }
        loop {
            let (first, length) = self.next_run(count)?;
            if length == count {
                return Ok(first);
            }
            if self.skipped.len() < MAX_SKIPPED {
                self.skipped.push_back((first, length));
            }
        }
    }

    /// Clusters behind the file.
    fn behind(&mut self, count: u64) -> Result<u64> {
        let first = self.append;
        if self.limit.saturating_sub(first) < count {
            return Err(self.full());
        }
        self.append += count;
        Ok(first)
    }

    /// Moves to the next free cluster of a block that is free enough; `false` if there is none.
    fn next_in_block(&mut self) -> Result<bool> {
        loop {
            while self.position < self.block_end {
                if !self.free.is_occupied(self.position)? {
                    return Ok(true);
                }
                self.position += 1;
            }
            let end = self.block_end + self.block;
            if end > self.free.file_end() {
                return Ok(false);
            }
            let mut free = 0;
            for cluster in self.block_end..end {
                free += u64::from(!self.free.is_occupied(cluster)?);
            }
            self.position = if free * 2 >= self.block { self.block_end } else { end };
            self.block_end = end;
        }
    }

    /// The next run of at most `most` free clusters.
    fn next_run(&mut self, most: u64) -> Result<(u64, u64)> {
        let mut first = self.position;
        loop {
            if self.position >= self.limit {
                return Err(self.full());
            }
            if self.free.is_occupied(self.position)? {
                if self.position > first {
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

    fn full(&self) -> Error {
        Error::Damaged { what: "it has no free cluster".to_owned(), image: self.image.clone() }
    }
}
