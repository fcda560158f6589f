//! What a merge would do at most, without doing anything.

use serde::Serialize;

use super::free::FreeMap;
use super::hashes;
use super::history::Kept;
use super::{CommitFile, MergeDisk, OpenDisk, open_overlays};
use crate::error::Result;
use crate::overlay::{Cache, Overlay};
use crate::qcow2::entry::Run;
use crate::qcow2::header::Header;
use crate::qcow2::image::{Image, Role};
use crate::root::Root;
use crate::storage::{Access, Storage};

/// What a merge would do at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Sum over the disks.
    pub changed: u64,
    /// Sum over the disks.
    pub grows: u64,
    /// In the order of the call.
    pub disks: Vec<DiskEstimate>,
}

/// What a merge would do to one disk at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskEstimate {
    /// The caller's name for it.
    pub name: String,
    /// Bytes of the overlay to deal with: the total that progress counts to.
    pub changed: u64,
    /// Bytes by which the base file may have to grow: what must be free on its drive. With several times as much, a
    /// merge takes more of it for the sake of large writes.
    pub grows: u64,
}

/// Says what [`merge`](super::merge) would do with the same arguments.
///
/// # Errors
/// An image can't be read.
pub fn estimate(commit: &CommitFile, disks: &[MergeDisk]) -> Result<Estimate> {
    estimate_images(commit, &open_overlays(disks)?)
}

/// As [`estimate`], on any storage.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_images<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    disks: &[OpenDisk<O>],
) -> Result<Estimate> {
    let history = commit.load()?;
    let mut estimates = Vec::with_capacity(disks.len());
    for disk in disks {
        let changed = changed_bytes(&disk.overlay)?;
        if history.raws.contains_key(&disk.base) {
            let size = commit.root.open(&disk.base, Access::Read)?.len()?;
            // The journal, with what was and what will be; a head for each piece is far less than a block.
            let journal = 2 * changed + changed / 64 + 65536;
            let grows = journal + disk.overlay.virtual_size().saturating_sub(size);
            estimates.push(DiskEstimate { name: disk.name.clone(), changed, grows });
            continue;
        }
        let base = Image::open(commit.root.open(&disk.base, Access::Read)?, Role::Base)?;
        let begun = history.work.iter().find(|work| work.base == disk.base);
        let len = begun.map_or(base.file_len(), |work| work.len.min(base.file_len()));
        estimates.push(DiskEstimate {
            name: disk.name.clone(),
            changed,
            grows: growth(&base, &disk.overlay, &history.kept(&disk.base)?, len)?,
        });
    }
    Ok(Estimate {
        changed: estimates.iter().map(|disk| disk.changed).sum(),
        grows: estimates.iter().map(|disk| disk.grows).sum(),
        disks: estimates,
    })
}

/// Calls `each` with every run of the overlay that does not come from its backing file.
fn for_each_change<O: Storage>(overlay: &Overlay<O>, mut each: impl FnMut(u64, u64, Run)) -> Result<()> {
    let mut cache = Cache::default();
    let (step, size) = (overlay.step(), overlay.virtual_size());
    let mut at = 0;
    while let Some(start) = overlay.next_present(&mut cache, at)? {
        at = (start - start % step + step).min(size);
        overlay.runs(&mut cache, start, at, |from, to, run| {
            if run != Run::Absent {
                each(from, to, run);
            }
        })?;
    }
    Ok(())
}

/// Bytes of the overlay that hold data or explicit zeroes.
pub(super) fn changed_bytes<O: Storage>(overlay: &Overlay<O>) -> Result<u64> {
    let mut bytes = 0;
    for_each_change(overlay, |from, to, _| bytes += to - from)?;
    Ok(bytes)
}

/// The clusters that a new generation takes at most.
pub(super) struct Demand {
    /// One by one.
    singles: u64,
    /// In long runs, which scattered free clusters may not offer.
    runs: u64,
}

impl Demand {
    /// Bytes, should all of them be behind the end of the file.
    pub(super) fn bytes(&self, header: &Header) -> u64 {
        (self.singles + self.runs) * header.cluster_size()
    }
}

/// What merging `overlay` into `base` takes at most.
///
/// `len` is the base's file as it is, without what an interrupted merge has appended.
pub(super) fn demand<S: Storage, O: Storage>(
    base: &Image<S>,
    len: u64,
    overlay: &Overlay<O>,
) -> Result<Demand> {
    let header = base.header();
    let size = header.cluster_size();
    let coverage = header.l2_coverage();
    let (mut data, mut tables) = (0, 0);
    let (mut next_cluster, mut next_table) = (0, 0);
    for_each_change(overlay, |from, to, run| {
        if !matches!(run, Run::Zero) {
            let (first, end) = ((from / size).max(next_cluster), to.div_ceil(size));
            data += end.saturating_sub(first);
            next_cluster = next_cluster.max(end);
        }
        let (first, end) = ((from / coverage).max(next_table), to.div_ceil(coverage));
        tables += end.saturating_sub(first);
        next_table = next_table.max(end);
    })?;
    // One more of each for the cluster at the end of a base that grows.
    let mut singles = data + tables + 2;
    let l1_entries =
        header.l1_entries_for(overlay.virtual_size()).unwrap_or(header.l1_entries).max(header.l1_entries);
    let mut runs = (u64::from(l1_entries) * 8).div_ceil(size);
    if let Some(chunks) = hashes::chunks(header, overlay.virtual_size()) {
        // An L2 table describes as many clusters as two chunks do.
        singles += (tables * 3).min(chunks);
        runs += hashes::table_clusters(header, chunks);
    }
    let file_clusters = len.div_ceil(size);
    let mut blocks = 0;
    for _ in 0..3 {
        blocks = (file_clusters + singles + runs + blocks + 2).div_ceil(header.refcounts_per_block());
    }
    runs += (blocks * 8).div_ceil(size).max(u64::from(header.refcount_table_clusters));
    Ok(Demand { singles: singles + blocks, runs })
}

fn growth<S: Storage, O: Storage>(
    base: &Image<S>,
    overlay: &Overlay<O>,
    kept: &[Kept],
    len: u64,
) -> Result<u64> {
    let header = base.header();
    let demand = demand(base, len, overlay)?;
    let free = FreeMap::new(base.storage(), header, len, base.extensions().hashes, kept)?.count()?;
    let whole = (demand.singles.saturating_sub(free) + demand.runs) * header.cluster_size();
    // What an interrupted merge has appended takes room already.
    Ok(whole.saturating_sub(base.file_len().saturating_sub(len)))
}
