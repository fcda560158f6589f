//! Writes one disk's new generation beside the old one: data, L2 tables, L1 table, refcount blocks and table, all
//! into clusters that no kept generation uses. Nothing of it is live until the header block is flipped.

use serde::Serialize;

use super::Progress;
use super::alloc::{Allocator, Placement};
use super::counts;
use super::digest::Digest;
use super::estimate::demand;
use super::free::FreeMap;
use super::hashes::{self, ClusterHash, Hashes, Output};
use super::history::Kept;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::qcow2::be;
use crate::qcow2::entry::{COPIED, Entry, Run};
use crate::qcow2::header::{BLOCK, Header};
use crate::qcow2::image::{Image, TableCache};
use crate::storage::{Storage, is_zero};

/// A file may grow for the sake of large writes while the drive has this many times the room that it takes.
const SPARE_ROOM: u64 = 4;

/// What a merge did to one disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Bytes of the overlay that hold data or explicit zeroes.
    pub changed: u64,
    /// Bytes written to the base, with all tables.
    pub written: u64,
    /// Virtual bytes that the base does not store any more: discarded, or all zero now.
    pub freed: u64,
    /// Virtual bytes that were not written because the base holds the same already.
    pub skipped: u64,
}

/// A new generation that is written, but not live.
#[derive(Debug)]
pub struct Shadow {
    /// The header block that makes it live.
    pub block: [u8; BLOCK],
    /// The same, as fields.
    pub header: Header,
    /// What its tables must read back as.
    pub digest: Digest,
    /// What was done.
    pub amounts: Amounts,
}

/// How far a merge of several disks is.
pub struct Meter<'a> {
    progress: &'a dyn Progress,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    /// Nothing done yet of `total` bytes.
    pub fn new(progress: &'a dyn Progress, total: u64) -> Self {
        progress.advance(0, total);
        Meter { progress, done: 0, total }
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the caller wants to stop.
    pub fn add(&mut self, bytes: u64) -> Result<()> {
        self.done += bytes;
        self.progress.advance(self.done, self.total.max(self.done));
        self.check()
    }

    /// Stops if the caller wants to.
    ///
    /// # Errors
    /// [`Error::Cancelled`]
    pub fn check(&self) -> Result<()> {
        if self.progress.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Writes the generation `next` of `base`: its content with that of `overlay` on top.
///
/// `kept` are the generations whose clusters must stay as they are, besides the current one.
///
/// # Errors
/// Nothing that fails here has changed any kept generation.
pub fn write<S: Storage, O: Storage>(
    base: &Image<S>,
    overlay: &Image<O>,
    kept: &[Kept],
    next: GenerationId,
    meter: &mut Meter<'_>,
) -> Result<Shadow> {
    let old = base.header();
    let size = overlay.header().size;
    if size < old.size {
        return Err(Error::Shrinks {
            overlay: size,
            base: old.size,
            image: base.storage().name().to_owned(),
        });
    }
    let l1_entries = old
        .l1_entries_for(size)
        .ok_or_else(|| Error::Input(format!("a base with such small clusters can't have {size} bytes")))?
        .max(old.l1_entries);
    let mut writer = Writer::new(base.storage());
    let mut extensions = base.extensions().clone();
    let mut allocator = allocator(base, overlay, kept)?;
    let mut digest = Digest::new();
    let mut header = old.clone();
    header.size = size;
    header.l1_entries = l1_entries;

    let mut pass = Pass {
        base,
        overlay,
        size,
        out: Output { writer: &mut writer, allocator: &mut allocator },
        hashes: Hashes::open(base.storage(), old, extensions.hashes, size)?,
        digest: &mut digest,
        amounts: Amounts::default(),
        cache: TableCache::default(),
        lower: vec![0; old.cluster_size() as usize],
        upper: vec![0; old.cluster_size() as usize],
    };
    let mut l1 = base.l1().to_vec();
    l1.resize(l1_entries as usize, 0);
    let mut changed = l1_entries != old.l1_entries;
    let mut at = 0;
    while let Some(start) = pass.next_change(at)? {
        let index = start / old.l2_coverage();
        if let Some(word) = pass.table(index, meter)? {
            l1[index as usize] = word;
            changed = true;
        }
        at = (index + 1) * old.l2_coverage();
    }
    let mut amounts = pass.amounts;
    extensions.hashes = match pass.hashes {
        Some(hashes) => hashes.finish(&mut pass.out)?,
        None => None,
    };

    if changed {
        let mut bytes = be::bytes(&l1);
        digest.add(&bytes);
        bytes.resize((header.l1_clusters() << old.cluster_bits) as usize, 0);
        header.l1_offset = allocator.run(header.l1_clusters())? << old.cluster_bits;
        writer.put(header.l1_offset, &bytes)?;
        // The refcounts are made from the difference of the trees, read from the storage.
        writer.finish()?;
        counts::write(base, &mut header, &mut allocator, &mut writer, &mut digest, meter)?;
    }
    writer.finish()?;
    amounts.written = writer.written();
    extensions.generation = Some(next);
    let block = header
        .encode(&extensions)
        .map_err(|why| Error::Refused { why, image: base.storage().name().to_owned() })?;
    Ok(Shadow { block, header, digest, amounts })
}

/// Finds room: in one piece if there is plenty, else wherever some is free.
fn allocator<'a, S: Storage, O: Storage>(
    base: &'a Image<S>,
    overlay: &Image<O>,
    kept: &[Kept],
) -> Result<Allocator<'a, S>> {
    let header = base.header();
    let free = FreeMap::new(base.storage(), header, base.extensions().hashes, kept)?;
    let plenty = match base.storage().room() {
        Some(room) => room / SPARE_ROOM >= demand(base, overlay)?.bytes(header),
        None => false,
    };
    let placement = if plenty { Placement::Sequential } else { Placement::Frugal };
    Ok(Allocator::new(free, placement, header, base.storage().name()))
}

/// One pass through the guest's disk.
struct Pass<'a, 'b, S, O> {
    base: &'a Image<S>,
    overlay: &'a Image<O>,
    size: u64,
    out: Output<'b, 'a, S>,
    hashes: Option<Hashes<'a, S>>,
    digest: &'b mut Digest,
    amounts: Amounts,
    cache: TableCache,
    lower: Vec<u8>,
    upper: Vec<u8>,
}

/// What becomes of one cluster of the base.
enum Fate {
    /// Nothing changes.
    Same,
    /// It reads as zeroes and needs no storage.
    Empty,
    /// The bytes in `upper` are its new content.
    New,
}

impl<S: Storage, O: Storage> Pass<'_, '_, S, O> {
    /// The next guest byte, from `at` on, where the overlay may change the base.
    fn next_change(&mut self, at: u64) -> Result<Option<u64>> {
        let present = self.overlay.next_present(&mut self.cache, at)?;
        // A base that grows must not show what lies behind its old end in its last cluster.
        let old_end = self.base.header().size;
        let tail = self.size > old_end
            && !old_end.is_multiple_of(self.base.header().cluster_size())
            && old_end >= at;
        Ok(present.into_iter().chain(tail.then_some(old_end)).min())
    }

    /// Makes the new L2 table at `index`; returns its L1 entry if it differs from the old one.
    fn table(&mut self, index: u64, meter: &mut Meter<'_>) -> Result<Option<u64>> {
        let header = self.base.header();
        let old = self.base.l2_table(index)?;
        let mut new = old.clone().unwrap_or_else(|| vec![0; header.cluster_size() as usize]);
        let mut changed = false;
        let table_start = index * header.l2_coverage();
        let mut at = table_start;
        while let Some(next) = self.next_change(at)? {
            let slot = (next - table_start) / header.cluster_size();
            if slot >= header.l2_entries() {
                break;
            }
            let start = table_start + slot * header.cluster_size();
            at = start + header.cluster_size();
            let entry = Entry::parse(&new, slot, header).map_err(|what| self.base.damaged(what))?;
            let done = self.amounts.changed;
            let host = match self.fate(start, entry)? {
                Fate::Same => None,
                Fate::Empty => {
                    self.note(start, &ClusterHash::default())?;
                    self.amounts.freed += header.cluster_size();
                    Some(None)
                }
                Fate::New => {
                    let host = self.out.allocator.one()? << header.cluster_bits;
                    self.out.writer.put(host, &self.upper)?;
                    Some(Some(host))
                }
            };
            if let Some(host) = host {
                Entry::put(&mut new, slot, header, host);
                changed = true;
            }
            if self.amounts.changed != done {
                meter.add(self.amounts.changed - done)?;
            }
        }
        meter.check()?;
        if !changed {
            return Ok(None);
        }
        if is_zero(&new) {
            return Ok(Some(0));
        }
        let host = self.out.allocator.one()? << header.cluster_bits;
        self.digest.add(&new);
        self.out.writer.put(host, &new)?;
        Ok(Some(host | COPIED))
    }

    /// Notes the hash of the base cluster at guest byte `start`.
    fn note(&mut self, start: u64, hash: &ClusterHash) -> Result<()> {
        match &mut self.hashes {
            Some(hashes) => hashes.set(start >> self.base.header().cluster_bits, hash, &mut self.out),
            None => Ok(()),
        }
    }

    /// Decides on the base cluster that begins at guest byte `start`.
    fn fate(&mut self, start: u64, entry: Entry) -> Result<Fate> {
        let header = self.base.header();
        let end = start + header.cluster_size();
        let mut runs: Vec<(u64, u64, Run)> = Vec::new();
        self.overlay
            .runs(&mut self.cache, start, end.min(self.size), |from, to, run| runs.push((from, to, run)))?;
        self.amounts.changed +=
            runs.iter().filter(|(.., run)| *run != Run::Absent).map(|(from, to, _)| to - from).sum::<u64>();
        let grown = end.min(self.size) > header.size && start < header.size;
        if !grown && runs.iter().all(|(.., run)| *run == Run::Absent) {
            return Ok(Fate::Same);
        }
        let empty = matches!(entry, Entry::Absent | Entry::Zero { host: None });
        let whole_zero = runs.iter().all(|(.., run)| *run == Run::Zero);
        if whole_zero {
            return Ok(if empty { Fate::Same } else { Fate::Empty });
        }
        // The old content is needed only where the overlay lets it through.
        let through = runs.iter().any(|&(from, _, run)| run == Run::Absent && from < header.size);
        if through && !empty {
            let mut parts = Vec::new();
            entry.runs(0, header.cluster_size(), header, |from, to, run| parts.push((from, to, run)));
            for (from, to, run) in parts {
                self.base.read_run(start + from, run, &mut self.lower[from as usize..to as usize])?;
            }
            // What lies behind the old end is not content.
            let visible = header.size.saturating_sub(start).min(header.cluster_size()) as usize;
            self.lower[visible..].fill(0);
        } else {
            self.lower.fill(0);
        }
        self.upper.copy_from_slice(&self.lower);
        for (from, to, run) in runs {
            if run != Run::Absent {
                let part = &mut self.upper[(from - start) as usize..(to - start) as usize];
                self.overlay.read_run(from, run, part)?;
            }
        }
        if is_zero(&self.upper) {
            return Ok(if empty { Fate::Same } else { Fate::Empty });
        }
        if through && !empty && !grown && self.upper == self.lower {
            self.amounts.skipped += header.cluster_size();
            return Ok(Fate::Same);
        }
        if let Some(hashes) = &mut self.hashes {
            let (cluster, hash) = (start >> header.cluster_bits, hashes::hash(&self.upper));
            if !empty && hashes.is(cluster, &hash, &mut self.out)? {
                self.amounts.skipped += header.cluster_size();
                return Ok(Fate::Same);
            }
            hashes.set(cluster, &hash, &mut self.out)?;
        }
        Ok(Fate::New)
    }
}
