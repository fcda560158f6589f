//! Writes one disk's new generation beside the old one: data, L2 tables, L1 table, refcount blocks and table, all
//! into clusters that no kept generation uses. Nothing of it is live until the header block is flipped.

use serde::Serialize;

use super::Progress;
use super::ahead::Ahead;
use super::alloc::{Allocator, Placement};
use super::base::{Base, Below};
use super::counts;
use super::digest::Digest;
use super::estimate::demand;
use super::free::FreeMap;
use super::hashes::{self, ClusterHash, Hashes, Output};
use super::history::Kept;
use super::writer;
use crate::error::{Error, Refusal, Result};
use crate::generation::GenerationId;
use crate::overlay::{Cache, Overlay};
use crate::qcow2::be;
use crate::qcow2::entry::{COPIED, Entry, Run};
use crate::qcow2::header::{BLOCK, Header};
use crate::qcow2::image::Image;
use crate::storage::{Storage, is_zero};

/// A file may grow for the sake of large writes while the drive has this many times the room that it takes.
const SPARE_ROOM: u64 = 4;
/// Words of an L1 table that are written at once.
const L1_PIECE: usize = 8192;

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
    /// Bytes that an interrupted merge had written to the base already, and that were found there.
    pub reused: u64,
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
    /// What its new data must read back as, if that is to be verified.
    pub data: Option<Digest>,
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

/// How a merge begins to write to one base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Bytes of the file before.
    pub len: u64,
    /// Where new clusters go.
    pub placement: Placement,
    /// An interrupted merge may have written the same already.
    pub resume: bool,
    /// The hash manifest is what we left.
    pub trusted: bool,
}

impl Start {
    /// A merge that begins anew: in one piece if there is plenty of room, else wherever some is free.
    ///
    /// # Errors
    /// A table is damaged, or the device fails.
    pub fn anew<S: Storage, O: Storage>(
        base: &Base<S>,
        overlay: &Overlay<O>,
        len: u64,
        trusted: bool,
    ) -> Result<Self> {
        let header = base.image.header();
        let plenty = match base.image.storage().room() {
            Some(room) => room / SPARE_ROOM >= demand(&base.image, len, overlay)?.bytes(header),
            None => false,
        };
        let placement = if plenty { Placement::Sequential } else { Placement::Frugal };
        Ok(Start { len, placement, resume: false, trusted })
    }
}

/// Writes the generation `next` of `base`: its content with that of `overlay` on top.
///
/// `kept` are the generations whose clusters must stay as they are, besides the current one. With `verify` a digest of
/// the data is taken as well.
///
/// # Errors
/// Nothing that fails here has changed any kept generation.
pub fn write<S: Storage, O: Storage>(
    base: &Base<S>,
    overlay: &Overlay<O>,
    kept: &[Kept],
    next: GenerationId,
    start: &Start,
    verify: bool,
    meter: &mut Meter<'_>,
) -> Result<Shadow> {
    let image = &base.image;
    let old = image.header();
    let size = overlay.virtual_size();
    let refuse = |why| Error::Refused { why, image: image.storage().name().to_owned() };
    if size < old.size {
        return Err(Error::Shrinks {
            overlay: size,
            base: old.size,
            image: image.storage().name().to_owned(),
        });
    }
    if size > old.size && base.size_below()?.is_some_and(|below| below > old.size) {
        return Err(refuse(Refusal::BackingLarger));
    }
    let l1_entries = old
        .l1_entries_for(size)
        .ok_or_else(|| Error::Input(format!("a base with such small clusters can't have {size} bytes")))?
        .max(old.l1_entries);
    let mut extensions = image.extensions().clone();
    if !start.trusted {
        extensions.hashes = None;
    }
    let free = FreeMap::new(image.storage(), old, start.len, extensions.hashes, kept)?;
    let mut allocator = Allocator::new(free, start.placement, old, image.storage().name());
    let mut digest = Digest::new();
    let mut header = old.clone();
    header.size = size;
    header.l1_entries = l1_entries;
    let mut data = verify.then(Digest::new);

    let (mut amounts, reused) = writer::with(image.storage(), start.resume, |writer| {
        let mut pass = Pass {
            base: image,
            below: base.reader_below(),
            overlay,
            size,
            out: Output { writer, allocator: &mut allocator },
            hashes: Hashes::open(image.storage(), old, extensions.hashes, size)?,
            digest: &mut digest,
            data: data.as_mut(),
            amounts: Amounts::default(),
            ahead: Ahead::default(),
            cache: Cache::default(),
            lower: vec![0; old.cluster_size() as usize],
            upper: vec![0; old.cluster_size() as usize],
        };
        let mut l1 = image.l1().to_vec();
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
        let hashes = pass.hashes.take();
        drop(pass);
        let mut out = Output { writer, allocator: &mut allocator };
        extensions.hashes = match hashes {
            Some(hashes) => hashes.finish(&mut out)?,
            None => None,
        };
        if changed {
            header.l1_offset = write_l1(&l1, &header, &mut out, &mut digest)?;
            drop(l1);
            // The refcounts are made from the difference of the trees, read from the storage.
            writer.finish()?;
            counts::write(image, &mut header, None, &mut allocator, writer, &mut digest, meter)?;
        }
        amounts.written = writer.written();
        Ok(amounts)
    })?;
    amounts.reused = reused;
    amounts.written -= reused;
    extensions.generation = Some(next);
    let block = header.encode(&extensions, image.backing()).map_err(refuse)?;
    Ok(Shadow { block, header, digest, data, amounts })
}

/// Writes an L1 table and returns its place.
pub(super) fn write_l1<S: Storage>(
    l1: &[u64],
    header: &Header,
    out: &mut Output<'_, '_, S>,
    digest: &mut Digest,
) -> Result<u64> {
    let offset = out.allocator.run(header.l1_clusters())? << header.cluster_bits;
    let mut at = offset;
    for piece in l1.chunks(L1_PIECE) {
        let bytes = be::bytes(piece);
        digest.add(&bytes);
        out.writer.put(at, &bytes)?;
        at += bytes.len() as u64;
    }
    let end = offset + (header.l1_clusters() << header.cluster_bits);
    out.writer.put(at, &vec![0; (end - at) as usize])?;
    Ok(offset)
}

/// One pass through the guest's disk.
struct Pass<'a, 'b, S, O> {
    base: &'a Image<S>,
    below: Below<'a, S>,
    overlay: &'a Overlay<O>,
    size: u64,
    out: Output<'b, 'a, S>,
    hashes: Option<Hashes<'a, S>>,
    digest: &'b mut Digest,
    data: Option<&'b mut Digest>,
    amounts: Amounts,
    ahead: Ahead,
    cache: Cache,
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
            self.ahead.announce(self.overlay, done)?;
            match self.fate(start, entry)? {
                Fate::Same => {}
                Fate::Empty => {
                    self.note(start, &ClusterHash::default())?;
                    self.amounts.freed += header.cluster_size();
                    if self.below.is_empty() {
                        Entry::put_absent(&mut new, slot, header);
                    } else {
                        Entry::put_zero(&mut new, slot, header);
                    }
                    changed = true;
                }
                Fate::New => {
                    let host = self.out.allocator.one()? << header.cluster_bits;
                    if let Some(data) = &mut self.data {
                        data.add(&self.upper);
                    }
                    self.out.writer.put(host, &self.upper)?;
                    Entry::put_data(&mut new, slot, header, host);
                    changed = true;
                }
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
        // Nothing of it is stored, and it reads as zeroes.
        let empty = match entry {
            Entry::Absent => self.below.is_empty(),
            Entry::Zero { host } => host.is_none(),
            _ => false,
        };
        let whole_zero = runs.iter().all(|(.., run)| *run == Run::Zero);
        if whole_zero {
            return Ok(if empty { Fate::Same } else { Fate::Empty });
        }
        // The old content is needed only where the overlay lets it through.
        let through = runs.iter().any(|&(from, _, run)| run == Run::Absent && from < header.size);
        if through && !empty {
            self.read_lower(start, entry)?;
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
            let stored = matches!(entry, Entry::Data { .. } | Entry::Compressed { .. } | Entry::Mixed { .. });
            if stored && hashes.is(cluster, &hash, &mut self.out)? {
                self.amounts.skipped += header.cluster_size();
                return Ok(Fate::Same);
            }
            hashes.set(cluster, &hash, &mut self.out)?;
        }
        Ok(Fate::New)
    }

    /// Reads into `lower` what the guest sees now of the base cluster that begins at guest byte `start`.
    fn read_lower(&mut self, start: u64, entry: Entry) -> Result<()> {
        let header = self.base.header();
        let mut parts = Vec::new();
        entry.runs(0, header.cluster_size(), header, |from, to, run| parts.push((from, to, run)));
        for (from, to, run) in parts {
            let part = &mut self.lower[from as usize..to as usize];
            if run == Run::Absent {
                self.below.read(start + from, part)?;
            } else {
                self.base.read_run(start + from, run, part)?;
            }
        }
        // What lies behind the old end is not content.
        let visible = header.size.saturating_sub(start).min(header.cluster_size()) as usize;
        self.lower[visible..].fill(0);
        Ok(())
    }
}
