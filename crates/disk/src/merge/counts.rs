//! Writes the refcounts of a new generation: those of the old one plus the difference of the two trees.
//!
//! Clusters that only the old generation uses get the count zero, so that the new generation is an ordinary image
//! without leaks; what still spares them is that the allocator asks the old generation's own refcounts too.

use super::alloc::Allocator;
use super::digest::Digest;
use super::shadow::Meter;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::qcow2::be;
use crate::qcow2::header::Header;
use crate::qcow2::image::Image;
use crate::qcow2::refcount::{self, Refcounts};
use crate::qcow2::references::{self, Counts, Tree};
use crate::storage::{Storage, is_zero};

/// Words of a refcount table that are written at once.
const WORDS: usize = 8192;
/// Clusters that are counted in one pass over the changed tables: one byte of memory each.
const WINDOW: u64 = 16 << 20;

/// Writes new refcount blocks and a new refcount table; `header` already names the new L1 table and gets the new
/// refcount table's place. Everything that the new tree names must be readable from the storage.
///
/// With `cut`, nothing of the new tree lies at that cluster or behind it: blocks for that part of the file are left out,
/// and blocks that lie there are moved.
///
/// # Errors
/// The old refcounts contradict the old tables; the device fails; cancelled.
pub(super) fn write<'a, S: Storage>(
    base: &'a Image<S>,
    header: &mut Header,
    cut: Option<u64>,
    allocator: &mut Allocator<'a, S>,
    writer: &mut Writer,
    digest: &mut Digest,
    meter: &Meter<'_>,
) -> Result<()> {
    let old = base.header();
    let per_block = old.refcounts_per_block();
    let refcounts = Refcounts::open(base.storage(), old)?;
    let old_tree = Tree { storage: base.storage(), header: Some(old) };
    let new_header = header.clone();
    let new_tree = Tree { storage: base.storage(), header: Some(&new_header) };

    let table_clusters = table_clusters(base, allocator)?;
    let table = allocator.run(table_clusters)?;
    // The old table and the new one: first cluster, count, change.
    let tables: [(u64, u64, i64); 2] = [
        (old.refcount_table_offset >> old.cluster_bits, u64::from(old.refcount_table_clusters), -1),
        (table, table_clusters, 1),
    ];
    let mut words: Vec<u64> = Vec::with_capacity((table_clusters << old.cluster_bits) as usize / 8);
    for index in 0..words.capacity() as u64 {
        words.push(refcounts.word(index)?);
    }

    // Which blocks change because of the trees and tables.
    let mut blocks = Blocks::new(words.len() as u64);
    let mut fits = true;
    references::diff(&old_tree, &new_tree, &mut |first, count, _| {
        if count > 0 {
            fits &= blocks.wait_for(first / per_block, (first + count - 1) / per_block);
        }
        Ok(())
    })?;
    for (first, count, _) in tables {
        fits &= blocks.wait_for(first / per_block, (first + count - 1) / per_block);
    }
    if let Some(cut) = cut {
        for index in 0..refcounts.blocks() {
            if refcounts.block_offset(index)?.is_some_and(|offset| offset >> old.cluster_bits >= cut) {
                fits &= blocks.wait_for(index, index);
            }
        }
    }
    // A new block lies in a cluster whose own count may be in a further block, and so on. Each block is
    // replaced at most once, so this ends.
    while fits && let Some(index) = blocks.next_waiting() {
        let is_cut = cut.is_some_and(|cut| index * per_block >= cut);
        let cluster = if is_cut { 0 } else { allocator.one()? };
        words[index as usize] = cluster << old.cluster_bits;
        if !is_cut {
            fits &= blocks.wait_for(cluster / per_block, cluster / per_block);
        }
        if let Some(offset) = refcounts.block_offset(index)? {
            let before = (offset >> old.cluster_bits) / per_block;
            fits &= blocks.wait_for(before, before);
        }
    }
    if !fits {
        return Err(base.damaged("its refcounts do not fit its table"));
    }

    let file_end = allocator.file_end();
    let window_blocks = (WINDOW / per_block).max(1);
    let mut next = 0;
    while let Some(first) = blocks.replaced(next) {
        meter.check()?;
        let window = first - first % window_blocks;
        let mut counts = Counts::new(window * per_block, window_blocks * per_block);
        let mut add = |first: u64, count: u64, by: i64| {
            if counts.add(first, count, by) {
                Ok(())
            } else {
                Err(base.damaged("too many clusters are shared"))
            }
        };
        references::diff(&old_tree, &new_tree, &mut add)?;
        for (first, count, by) in tables {
            add(first, count, by)?;
        }
        let mut at = 0;
        while let Some(index) = blocks.replaced(at) {
            if let Some(offset) = refcounts.block_offset(index)? {
                add(offset >> old.cluster_bits, 1, -1)?;
            }
            if words[index as usize] != 0 {
                add(words[index as usize] >> old.cluster_bits, 1, 1)?;
            }
            at = index + 1;
        }
        next = window;
        while let Some(index) = blocks.replaced(next).filter(|&index| index < window + window_blocks) {
            let block = apply(base, &refcounts, index, &counts, file_end)?;
            if words[index as usize] != 0 {
                digest.add(&block);
                writer.put(words[index as usize], &block)?;
            } else if !is_zero(&block) {
                return Err(base.damaged("its refcounts count clusters that nothing references"));
            }
            next = index + 1;
        }
        next = window + window_blocks;
    }
    let mut at = table << old.cluster_bits;
    for piece in words.chunks(WORDS) {
        let bytes = be::bytes(piece);
        digest.add(&bytes);
        writer.put(at, &bytes)?;
        at += bytes.len() as u64;
    }
    header.refcount_table_offset = table << old.cluster_bits;
    header.refcount_table_clusters = u32::try_from(table_clusters).unwrap_or(u32::MAX);
    Ok(())
}

/// Refcount blocks by number, two bits each: those that wait to be given a new place, and those that have one.
struct Blocks {
    waiting: Vec<u64>,
    replaced: Vec<u64>,
    count: u64,
    /// No block before this one waits.
    low: u64,
}

impl Blocks {
    fn new(count: u64) -> Self {
        let empty = vec![0; count.div_ceil(64) as usize];
        Blocks { waiting: empty.clone(), replaced: empty, count, low: 0 }
    }

    /// The blocks `first..=last` change; `false` if the table has no room for them.
    fn wait_for(&mut self, first: u64, last: u64) -> bool {
        if last >= self.count {
            return false;
        }
        for index in first..=last {
            let (at, bit) = (index as usize / 64, 1 << (index % 64));
            self.waiting[at] |= bit & !self.replaced[at];
        }
        self.low = self.low.min(first);
        true
    }

    /// Takes the first block that waits.
    fn next_waiting(&mut self) -> Option<u64> {
        let index = first_from(&self.waiting, self.low)?;
        self.low = index;
        let (at, bit) = (index as usize / 64, 1 << (index % 64));
        self.waiting[at] &= !bit;
        self.replaced[at] |= bit;
        Some(index)
    }

    /// The first block at or after `from` that was replaced.
    fn replaced(&self, from: u64) -> Option<u64> {
        first_from(&self.replaced, from)
    }
}

/// The first set bit at or after `from`.
fn first_from(bits: &[u64], from: u64) -> Option<u64> {
    let (start, within) = (from as usize / 64, from % 64);
    let first = bits.get(start)? & (u64::MAX << within);
    if first != 0 {
        return Some(start as u64 * 64 + u64::from(first.trailing_zeros()));
    }
    let at = start + 1 + bits.get(start + 1..)?.iter().position(|&word| word != 0)?;
    Some(at as u64 * 64 + u64::from(bits[at].trailing_zeros()))
}

/// How large the new refcount table must be, at most: as if every block were replaced.
fn table_clusters<S: Storage>(base: &Image<S>, allocator: &Allocator<'_, S>) -> Result<u64> {
    let header = base.header();
    let mut clusters = u64::from(header.refcount_table_clusters);
    let used = allocator.end();
    loop {
        let mut blocks = 0;
        for _ in 0..3 {
            blocks = (used + clusters + blocks + 1).div_ceil(header.refcounts_per_block());
        }
        let needed = (blocks * 8).div_ceil(header.cluster_size());
        if needed <= clusters {
            return Ok(clusters);
        }
        if needed > header.max_refcount_table_clusters() {
            return Err(Error::Input(format!(
                "the base can't grow further, its refcount table is full: {}",
                base.storage().name()
            )));
        }
        clusters = needed;
    }
}

fn apply<S: Storage>(
    base: &Image<S>,
    refcounts: &Refcounts<'_, S>,
    index: u64,
    counts: &Counts,
    file_end: u64,
) -> Result<Vec<u8>> {
    let header = base.header();
    let per_block = header.refcounts_per_block();
    let mut block = refcounts.block(index)?;
    for at in 0..per_block {
        let cluster = index * per_block + at;
        let by = counts.get(cluster);
        // Behind the end of the file nothing is in use, whatever an interrupted program had counted there.
        let unused = cluster >= file_end;
        if by != 0 || unused {
            let count = if unused { 0 } else { refcount::get(&block, at, header.refcount_order) }
                .checked_add_signed(by)
                .ok_or_else(|| base.damaged("a cluster is referenced more often than counted"))?;
            if !refcount::set(&mut block, at, header.refcount_order, count) {
                return Err(base.damaged("a cluster is referenced more often than its refcount can say"));
            }
        }
    }
    Ok(block)
}
