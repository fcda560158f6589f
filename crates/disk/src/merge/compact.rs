//! Gives room that a base no longer needs back to its drive's file system: what lies at the end of the file moves into
//! free room further ahead, as a new generation beside the old one, and then the file is cut.

use serde::Serialize;

use super::alloc::{Allocator, Placement};
use super::base::Base;
use super::digest::{Digest, TablesDigest};
use super::free::FreeMap;
use super::hashes::{self, Hashes, Output};
use super::history::{Change, History, Kind, Point};
use super::shadow::{Meter, write_l1};
use super::{CommitFile, Progress, counts, flip, verify, work, writer};
use crate::error::{Error, Result};
use crate::generation::{BaseState, GenerationId};
use crate::qcow2::entry::{COPIED, Entry};
use crate::qcow2::extensions::HashRoot;
use crate::qcow2::header::{Header, HeaderBlock};
use crate::qcow2::image::Image;
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage, is_zero, read_padded};

/// What compacting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
    /// Bytes that were moved.
    pub moved: u64,
    /// The generation now; a new one if anything was moved.
    pub generation: GenerationId,
}

/// Makes the file of `base` (relative to the record's root) as short as what it holds allows. Its content stays as it is.
///
/// The kept generations are given up first, because their clusters are what lies between: nothing can be undone
/// afterwards. The caller sees to it that no overlay is left that was made from the present generation: it can't be
/// merged any more.
///
/// Compressed clusters stay where they are, and so does everything before the last of them.
///
/// # Errors
/// The base has no generation, another program wrote to it, or one of its generations is pinned; the device fails or has
/// no room; cancelled. Whatever fails, the content is there; the history may be given up already.
pub fn compact<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    base: &str,
    progress: &dyn Progress,
) -> Result<Compacted> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    let path = BasePath::new(base)?;
    if history.pins.values().flatten().any(|pinned| pinned.base == path) {
        return Err(Error::Input(format!("a pinned generation keeps the room of its base: {path}")));
    }
    work::give_up(commit, &mut history)?;
    // A guest that reads the base would read clusters that are used for something else soon.
    let opened = Base::open(&commit.root, &path, Access::Exclusive)?;
    let image = &opened.image;
    let generation = match image.state() {
        BaseState::At { generation } => generation,
        BaseState::Foreign { last } => {
            return Err(Error::ForeignWriter { last, image: image.storage().name().to_owned() });
        }
        BaseState::Fresh => {
            return Err(Error::Input(format!("a base without a generation is not compacted: {path}")));
        }
    };
    let trusted = work::ensure_trusted(&mut history, &path, image)?;
    let before = image.storage().len()?;
    let root = image.extensions().hashes.filter(|_| trusted);
    let cut = plan(image, root)?;
    if cut.is_none() && !is_worth_cutting(image, root)? {
        return Ok(Compacted { before, after: before, moved: 0, generation });
    }
    // From here on the clusters of the kept generations are free, which has to be durable before they are used.
    work::forget(&mut history, std::slice::from_ref(&path));
    commit.save(&mut history)?;

    let mut done = Compacted { before, after: before, moved: 0, generation };
    let mut header = image.header().clone();
    let mut root = root;
    if let Some(cut) = cut {
        let (change, moved, new_root) =
            shadow(&opened, &path, root, cut, generation, progress).inspect_err(|_| {
                // What was appended is garbage that takes room. Nothing refers to it, should this fail.
                let _ = image.storage().set_len(before);
            })?;
        header = change.to.fields(&path)?;
        root = new_root;
        done = Compacted { moved, generation: change.to.generation.unwrap_or(generation), ..done };
        let files = [image.storage()];
        flip::perform(commit, &mut history, Kind::Compact, vec![change], &files, Vec::new(), &[])?;
    }
    done.after = cut_off(commit, &mut history, &path, image.storage(), &header, root)?;
    Ok(done)
}

/// The cluster at which the file can end, if that is worth moving anything.
fn plan<S: Storage>(image: &Image<S>, root: Option<HashRoot>) -> Result<Option<u64>> {
    let (header, storage) = (image.header(), image.storage());
    let mut free = FreeMap::new(storage, header, image.file_len(), root, &[])?;
    let end = used_end(&mut free)?;
    let used = end - free.count_between(0, end)?;
    let mut tables = 0;
    let mut compressed_end = 0;
    for index in 0..image.l1().len() as u64 {
        let Some(table) = image.l2_table(index)? else { continue };
        tables += 1;
        for slot in 0..header.l2_entries() {
            let entry = Entry::parse(&table, slot, header).map_err(|what| image.damaged(what))?;
            if let (Entry::Compressed { .. }, Some((first, count))) = (entry, entry.clusters(header)) {
                compressed_end = compressed_end.max(first + count);
            }
        }
    }
    // The new tables are made beside the old ones: at most all of them.
    let chunks = root.map_or(0, |root| {
        let chunks = u64::from(root.chunks);
        chunks + hashes::table_clusters(header, chunks)
    });
    let blocks = used.div_ceil(header.refcounts_per_block()) + 2;
    let own = tables + header.l1_clusters() + chunks + 2 * blocks + u64::from(header.refcount_table_clusters);
    let cut = (used + own).max(compressed_end);
    // Below a hundredth it is not worth a flip.
    Ok((cut + end / 100 < end).then_some(cut))
}

/// Whether the file has much behind its last cluster that the present generation uses.
fn is_worth_cutting<S: Storage>(image: &Image<S>, root: Option<HashRoot>) -> Result<bool> {
    let mut free = FreeMap::new(image.storage(), image.header(), image.file_len(), root, &[])?;
    let end = used_end(&mut free)?;
    Ok(end + end / 100 < free.file_end())
}

/// The cluster behind the last one that is used.
fn used_end<S: Storage>(free: &mut FreeMap<'_, S>) -> Result<u64> {
    let mut end = free.file_end();
    while end > 1 && !free.is_occupied(end - 1)? {
        end -= 1;
    }
    Ok(end)
}

/// Writes the same content with nothing at `cut` or behind it, durable and verified.
fn shadow<S: Storage>(
    base: &Base<S>,
    path: &BasePath,
    root: Option<HashRoot>,
    cut: u64,
    from: GenerationId,
    progress: &dyn Progress,
) -> Result<(Change, u64, Option<HashRoot>)> {
    let image = &base.image;
    let (old, storage) = (image.header(), image.storage());
    let mut extensions = image.extensions().clone();
    extensions.hashes = root;
    let free = FreeMap::new(storage, old, image.file_len(), extensions.hashes, &[])?;
    let mut behind = FreeMap::new(storage, old, image.file_len(), extensions.hashes, &[])?;
    let end = behind.file_end();
    let total = end - cut - behind.count_between(cut, end)?;
    let mut meter = Meter::new(progress, total << old.cluster_bits);
    let mut allocator = Allocator::new(free, Placement::Frugal, old, storage.name());
    let (mut header, mut digest, mut data) = (old.clone(), Digest::new(), Digest::new());

    let (moved, _) = writer::with(storage, false, |writer| {
        let mut out = Output { writer, allocator: &mut allocator };
        let mut mover = Mover { image, cut, out: &mut out, data: &mut data, moved: 0 };
        let mut l1 = image.l1().to_vec();
        for index in 0..l1.len() as u64 {
            if let Some(word) = mover.table(index, &mut digest, &mut meter)? {
                l1[index as usize] = word;
            }
        }
        let moved = mover.moved;
        if let Some(mut hashes) = Hashes::open(storage, old, extensions.hashes, old.size)? {
            hashes.move_before(cut << old.cluster_bits, &mut out)?;
            extensions.hashes = hashes.finish(&mut out)?;
        }
        header.l1_offset = write_l1(&l1, &header, &mut out, &mut digest)?;
        writer.finish()?;
        counts::write(image, &mut header, Some(cut), &mut allocator, writer, &mut digest, &meter)?;
        Ok(moved)
    })?;
    // Else the file would only have grown. What was written is garbage; nothing has changed.
    if allocator.position() > cut || !ends_before(&header, cut) {
        return Err(Error::Input(format!("there is too little room inside the base to compact it: {path}")));
    }
    storage.flush()?;
    storage.forget_cache();
    let tables = digest.finish();
    if !tables.holds(storage, &header, old)?
        || !verify::data_holds(storage, old, &header, &data.finish(), || meter.check())?
    {
        return Err(Error::NotKept { image: storage.name().to_owned() });
    }
    let next = GenerationId::random();
    extensions.generation = Some(next);
    let block = header
        .encode(&extensions, image.backing())
        .map_err(|why| Error::Refused { why, image: storage.name().to_owned() })?;
    let change = Change {
        name: path.as_str().to_owned(),
        base: path.clone(),
        changed: 0,
        from: Point {
            generation: Some(from),
            header: HeaderBlock(*image.block()),
            tables: TablesDigest::read(storage, old, &header)?,
        },
        to: Point { generation: Some(next), header: HeaderBlock(block), tables },
    };
    Ok((change, moved, extensions.hashes))
}

/// Whether the tables whose place the header names lie before `cut`.
fn ends_before(header: &Header, cut: u64) -> bool {
    let l1 = (header.l1_offset >> header.cluster_bits) + header.l1_clusters();
    let refcounts =
        (header.refcount_table_offset >> header.cluster_bits) + u64::from(header.refcount_table_clusters);
    l1.max(refcounts) <= cut
}

/// Moves what lies at `cut` or behind it.
struct Mover<'m, 'b, 'a, S> {
    image: &'a Image<S>,
    cut: u64,
    out: &'m mut Output<'b, 'a, S>,
    data: &'m mut Digest,
    moved: u64,
}

impl<S: Storage> Mover<'_, '_, '_, S> {
    /// Makes the L2 table at `index` anew if it, or anything that it names, has to move; returns its L1 entry then.
    fn table(&mut self, index: u64, digest: &mut Digest, meter: &mut Meter<'_>) -> Result<Option<u64>> {
        let header = self.image.header();
        let Some(offset) = self.image.l2_offset(index)? else { return Ok(None) };
        let Some(mut table) = self.image.l2_table(index)? else { return Ok(None) };
        let mut changed = self.is_behind(offset);
        let mut cluster = vec![0; header.cluster_size() as usize];
        for slot in 0..header.l2_entries() {
            let entry = Entry::parse(&table, slot, header).map_err(|what| self.image.damaged(what))?;
            match entry {
                Entry::Data { host } | Entry::Mixed { host: Some(host), .. } if self.is_behind(host) => {
                    read_padded(self.image.storage(), host, &mut cluster)?;
                    let place = self.out.allocator.one()? << header.cluster_bits;
                    self.out.writer.put(place, &cluster)?;
                    self.data.add(&cluster);
                    Entry::put_host(&mut table, slot, header, place);
                    self.moved += header.cluster_size();
                    meter.add(header.cluster_size())?;
                    changed = true;
                }
                // Set aside for what reads as zeroes: the zeroes stay, the cluster goes.
                Entry::Zero { host: Some(host) } if self.is_behind(host) => {
                    Entry::put_zero(&mut table, slot, header);
                    changed = true;
                }
                _ => {}
            }
        }
        meter.check()?;
        if !changed {
            return Ok(None);
        }
        if is_zero(&table) {
            return Ok(Some(0));
        }
        let place = self.out.allocator.one()? << header.cluster_bits;
        digest.add(&table);
        self.out.writer.put(place, &table)?;
        Ok(Some(place | COPIED))
    }

    fn is_behind(&self, offset: u64) -> bool {
        offset >> self.image.header().cluster_bits >= self.cut
    }
}

/// Cuts off what nothing uses, once a durable record says that the generation before is gone. Returns the length then.
fn cut_off<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    path: &BasePath,
    storage: &R::File,
    header: &Header,
    root: Option<HashRoot>,
) -> Result<u64> {
    work::forget(history, std::slice::from_ref(path));
    commit.save(history)?;
    let len = storage.len()?;
    let end = used_end(&mut FreeMap::new(storage, header, len, root, &[])?)? << header.cluster_bits;
    if end < len {
        storage.set_len(end)?;
    }
    history.seals.insert(path.clone(), work::seal(storage, flip::now())?);
    storage.flush()?;
    commit.save(history)?;
    flip::tidy(commit, history);
    storage.len().map_err(Error::from)
}
