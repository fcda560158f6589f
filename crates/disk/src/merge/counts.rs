//! Writes the refcounts of a new generation: those of the old one plus the difference of the two trees.
//!
//! Clusters that only the old generation uses get the count zero, so that the new generation is an ordinary image
//! without leaks; what still spares them is that the allocator asks the old generation's own refcounts too.

use std::collections::BTreeSet;

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
use crate::storage::Storage;

/// Clusters that are counted in one pass over the changed tables: one byte of memory each.
const WINDOW: u64 = 16 << 20;

/// Writes new refcount blocks and a new refcount table; `header` already names the new L1 table and gets the new
/// refcount table's place.
///
/// # Errors
/// The old refcounts contradict the old tables; the device fails; cancelled.
pub(super) fn write<'a, S: Storage>(
    base: &'a Image<S>,
    header: &mut Header,
    allocator: &mut Allocator<'a, S>,
    writer: &mut Writer<'a, S>,
    digest: &mut Digest,
    meter: &Meter<'_>,
) -> Result<()> {
    let old = base.header();
    let per_block = old.refcounts_per_block();
    let refcounts = Refcounts::open(base.storage(), old)?;
    let old_tree = Tree { storage: base.storage(), header: Some(old) };
    let new_header = header.clone();
    let new_tree = Tree { storage: base.storage(), header: Some(&new_header) };

    // Which blocks change because of the trees.
    let mut touched = BTreeSet::new();
    references::diff(&old_tree, &new_tree, &mut |first, count, _| {
        if count > 0 {
            touched.extend(first / per_block..=(first + count - 1) / per_block);
        }
        Ok(())
    })?;

    let table_clusters = table_clusters(base, allocator)?;
    let table = allocator.run(table_clusters)?;
    // Changes by the refcount structures themselves: first cluster, count, change.
    let mut own: Vec<(u64, u64, i64)> = vec![
        (old.refcount_table_offset >> old.cluster_bits, u64::from(old.refcount_table_clusters), -1),
        (table, table_clusters, 1),
    ];
    let mut waiting: BTreeSet<u64> = touched;
    for &(first, count, _) in &own {
        waiting.extend(first / per_block..=(first + count - 1) / per_block);
    }
    // A new block lies in a cluster whose own count may be in a further block, and so on. Each block is
    // replaced at most once, so this ends.
    let mut words = refcounts.table().to_vec();
    words.resize((table_clusters << old.cluster_bits) as usize / 8, 0);
    let mut blocks: BTreeSet<u64> = BTreeSet::new();
    while let Some(index) = waiting.pop_first() {
        if !blocks.insert(index) {
            continue;
        }
        let cluster = allocator.one()?;
        own.push((cluster, 1, 1));
        waiting.insert(cluster / per_block);
        if let Some(offset) = refcounts.block_offset(index)? {
            own.push((offset >> old.cluster_bits, 1, -1));
            waiting.insert((offset >> old.cluster_bits) / per_block);
        }
        let word = words
            .get_mut(index as usize)
            .ok_or_else(|| base.damaged("its refcounts do not fit its table"))?;
        *word = cluster << old.cluster_bits;
    }

    let window_blocks = (WINDOW / per_block).max(1);
    let mut blocks = blocks.into_iter().peekable();
    while let Some(&first) = blocks.peek() {
        meter.check()?;
        let start = (first - first % window_blocks) * per_block;
        let mut counts = Counts::new(start, window_blocks * per_block);
        let mut add = |first: u64, count: u64, by: i64| {
            if counts.add(first, count, by) {
                Ok(())
            } else {
                Err(base.damaged("too many clusters are shared"))
            }
        };
        references::diff(&old_tree, &new_tree, &mut add)?;
        for &(first, count, by) in &own {
            add(first, count, by)?;
        }
        let end = first - first % window_blocks + window_blocks;
        while let Some(index) = blocks.next_if(|&index| index < end) {
            let block = apply(base, &refcounts, index, &counts)?;
            digest.add(&block);
            writer.put(words[index as usize], &block)?;
        }
    }
    let bytes = be::bytes(&words);
    digest.add(&bytes);
    writer.put(table << old.cluster_bits, &bytes)?;
    header.refcount_table_offset = table << old.cluster_bits;
    header.refcount_table_clusters = u32::try_from(table_clusters).unwrap_or(u32::MAX);
    Ok(())
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
) -> Result<Vec<u8>> {
    let header = base.header();
    let per_block = header.refcounts_per_block();
    let mut block = refcounts.block(index)?;
    for at in 0..per_block {
        let by = counts.get(index * per_block + at);
        if by != 0 {
            let count = refcount::get(&block, at, header.refcount_order)
                .checked_add_signed(by)
                .ok_or_else(|| base.damaged("a cluster is referenced more often than counted"))?;
            if !refcount::set(&mut block, at, header.refcount_order, count) {
                return Err(base.damaged("a cluster is referenced more often than its refcount can say"));
            }
        }
    }
    Ok(block)
}
