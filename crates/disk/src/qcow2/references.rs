//! Which clusters the tables of a generation reference, and how that differs between two generations.
//!
//! Everything is streamed: at no time is more held than two L2 tables and two pieces of L1 tables.

use std::collections::HashMap;

use super::be;
use super::entry::{self, Entry};
use super::header::Header;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Bytes of an L1 table that are read at once.
const PIECE: u64 = 64 * 1024;

/// Receives a change: the first host cluster, how many, and by how much their count changes.
pub type Change<'f> = dyn FnMut(u64, u64, i64) -> Result<()> + 'f;

/// The mapping tables of one generation: a header and the storage it lies in.
pub struct Tree<'a, S> {
    /// Where everything lies.
    pub storage: &'a S,
    /// Names the L1 table; none is the empty tree.
    pub header: Option<&'a Header>,
}

impl<S: Storage> Tree<'_, S> {
    fn l1_entries(&self) -> u64 {
        self.header.map_or(0, |header| u64::from(header.l1_entries))
    }

    fn piece(&self, first: u64, count: u64) -> Result<Vec<u64>> {
        let there = self.l1_entries().saturating_sub(first).min(count);
        let mut bytes = vec![0; there as usize * 8];
        if let Some(header) = self.header {
            self.storage.read_at(header.l1_offset + first * 8, &mut bytes)?;
        }
        let mut words = be::words(&bytes);
        words.resize(count as usize, 0);
        Ok(words)
    }

    fn l2(&self, word: u64, geometry: &Header) -> Result<Option<(u64, Vec<u8>)>> {
        let offset = entry::table_offset(word, geometry, entry::COPIED).map_err(|what| self.damaged(what))?;
        let Some(offset) = offset else { return Ok(None) };
        let mut table = vec![0; geometry.cluster_size() as usize];
        self.storage.read_at(offset, &mut table)?;
        Ok(Some((offset, table)))
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged { what, image: self.storage.name().to_owned() }
    }
}

/// Calls `each` with every L1 index whose entry differs, and both entries, in ascending order.
///
/// # Errors
/// What `each` returns; the device fails.
pub fn for_each_changed_table<S: Storage>(
    old: &Tree<'_, S>,
    new: &Tree<'_, S>,
    mut each: impl FnMut(u64, u64, u64) -> Result<()>,
) -> Result<()> {
    let same_place = matches!((old.header, new.header), (Some(old), Some(new))
        if old.l1_offset == new.l1_offset && old.l1_entries == new.l1_entries);
    if same_place {
        return Ok(());
    }
    let total = old.l1_entries().max(new.l1_entries());
    let mut first = 0;
    while first < total {
        let count = (PIECE / 8).min(total - first);
        let (before, after) = (old.piece(first, count)?, new.piece(first, count)?);
        for (index, (&before, &after)) in before.iter().zip(&after).enumerate() {
            if before != after {
                each(first + index as u64, before, after)?;
            }
        }
        first += count;
    }
    Ok(())
}

/// Calls `change` for every reference that the mapping tables (L1, L2, data) of `old` have and those of `new`
/// have not, and the other way round. The refcount structures and the header are not among them.
///
/// # Errors
/// What `change` returns; a table is damaged; the device fails.
pub fn diff<S: Storage>(old: &Tree<'_, S>, new: &Tree<'_, S>, change: &mut Change<'_>) -> Result<()> {
    let Some(geometry) = new.header.or(old.header) else { return Ok(()) };
    let bits = geometry.cluster_bits;
    let moved = old.header.map(|header| (header.l1_offset, header.l1_clusters()))
        != new.header.map(|header| (header.l1_offset, header.l1_clusters()));
    if moved {
        for (tree, by) in [(old, -1), (new, 1)] {
            if let Some(header) = tree.header {
                change(header.l1_offset >> bits, header.l1_clusters(), by)?;
            }
        }
    }
    for_each_changed_table(old, new, |_, before, after| {
        let (before, after) = (old.l2(before, geometry)?, new.l2(after, geometry)?);
        for (table, by) in [(&before, -1), (&after, 1)] {
            if let Some((offset, _)) = table {
                change(offset >> bits, 1, by)?;
            }
        }
        for index in 0..geometry.l2_entries() {
            if let (Some((_, before)), Some((_, after))) = (&before, &after)
                && Entry::same(before, after, index, geometry)
            {
                continue;
            }
            for (table, by) in [(&before, -1), (&after, 1)] {
                let Some((_, table)) = table else { continue };
                let entry = Entry::parse(table, index, geometry).map_err(|what| new.damaged(what))?;
                if let Some((first, count)) = entry.clusters(geometry) {
                    change(first, count, by)?;
                }
            }
        }
        Ok(())
    })
}

/// Counts for the clusters of one window: one byte each, and a map for the few that need more.
#[derive(Debug)]
pub struct Counts {
    start: u64,
    small: Vec<i8>,
    large: HashMap<u64, i64>,
}

/// Clusters with a count beyond one byte: only compressed clusters share, and never that many of them.
const MAX_LARGE: usize = 256 * 1024;

impl Counts {
    /// All zero for the clusters `start..start + len`.
    pub fn new(start: u64, len: u64) -> Self {
        Counts { start, small: vec![0; len as usize], large: HashMap::new() }
    }

    /// Adds `by` to the clusters of `first..first + count` that lie in the window; `false` if that needs more
    /// memory than is allowed.
    #[must_use]
    pub fn add(&mut self, first: u64, count: u64, by: i64) -> bool {
        let end = (first + count).min(self.start + self.small.len() as u64);
        for cluster in first.max(self.start)..end {
            let small = &mut self.small[(cluster - self.start) as usize];
            match i8::try_from(i64::from(*small) + by) {
                Ok(sum) => *small = sum,
                Err(_) => {
                    if self.large.len() >= MAX_LARGE {
                        return false;
                    }
                    *self.large.entry(cluster).or_default() += i64::from(*small) + by;
                    *small = 0;
                }
            }
        }
        true
    }

    /// The count of a cluster in the window.
    pub fn get(&self, cluster: u64) -> i64 {
        let small = i64::from(self.small[(cluster - self.start) as usize]);
        if self.large.is_empty() {
            small
        } else {
            small + self.large.get(&cluster).copied().unwrap_or_default()
        }
    }
}
