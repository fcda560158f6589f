//! Raw bases: the guest's bytes as they are, without tables that a new generation could stand beside. So a journal does what
//! the shadow does elsewhere: everything that changes, as it was and as it will be, is durable in a file of its own before
//! the base is touched. The price is honest: changed bytes are written three times, and going back writes them again.

use blake3::Hasher;

use super::digest::TablesDigest;
use super::history::{History, Journal, RawChange, RawState};
use super::shadow::{Amounts, Meter};
use super::{CommitFile, OpenDisk, flip, work, writer};
use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::overlay::Cache;
use crate::qcow2::be;
use crate::qcow2::entry::Run;
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage, read_padded};

const MAGIC: [u8; 8] = *b"PVMRAWJ\n";
const VERSION: u32 = 1;
/// Magic, version, reserved, length of the base before, length after, both generations.
const HEADER: usize = 8 + 4 + 4 + 8 + 8 + 16 + 16;
/// Offset and length of what follows twice: as it was, as it will be.
const EXTENT: usize = 8 + 8;
/// The most bytes of an extent.
const LARGE: usize = 1 << 20;
/// What is compared at once.
const BLOCK: usize = 4096;

/// A raw base, open, with its overlay.
pub struct OpenRaw<'d, O, F> {
    pub disk: &'d OpenDisk<O>,
    pub file: F,
}

/// Makes sure that each of `bases` (relative to the record's root), whose guest bytes lie in the file as they are, is at a
/// generation, and says which. A raw file has no room for its generation's name: the commit record keeps it, and the
/// length and time of the file are the only fence.
///
/// # Errors
/// A base can't be opened, or is in use.
pub fn stamp_raw<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    bases: &[&str],
) -> Result<Vec<GenerationId>> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    work::give_up(commit, &mut history)?;
    let mut generations = Vec::with_capacity(bases.len());
    let before = history.clone();
    for path in bases {
        let base = BasePath::new(path)?;
        let file = commit.root.open(&base, Access::Write)?;
        if let Some(state) = history.raws.get(&base)
            && is_ours(&history, &base, &file)?
        {
            generations.push(state.generation);
            continue;
        }
        work::forget(&mut history, std::slice::from_ref(&base));
        let generation = GenerationId::random();
        history.raws.insert(base.clone(), RawState { generation });
        history.distrusted.remove(&base);
        let seal = work::seal(&file, flip::now())?;
        file.flush()?;
        history.seals.insert(base, seal);
        generations.push(generation);
    }
    if history != before {
        commit.save(&mut history)?;
        flip::tidy(commit, &mut history);
    }
    Ok(generations)
}

/// Opens a raw base for a merge.
///
/// # Errors
/// It is at another generation, or another program wrote to it.
pub fn open<'d, R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    history: &History,
    disk: &'d OpenDisk<O>,
    state: &RawState,
) -> Result<OpenRaw<'d, O, R::File>> {
    // It is written in place: a guest that reads it would see that.
    let file = commit.root.open(&disk.base, Access::Exclusive)?;
    let image = file.name().to_owned();
    if !is_ours(history, &disk.base, &file)? {
        return Err(Error::ForeignWriter { last: state.generation, image });
    }
    if state.generation != disk.expected {
        let found = format!("generation {}", state.generation);
        return Err(Error::WrongGeneration { expected: disk.expected, found, image });
    }
    let (overlay, base) = (disk.overlay.virtual_size(), file.len()?);
    if overlay < base {
        return Err(Error::Shrinks { overlay, base, image });
    }
    Ok(OpenRaw { disk, file })
}

/// Whether a raw base is as we left it. Without a seal nobody can tell.
///
/// # Errors
/// The device fails.
pub fn is_ours<F: Storage>(history: &History, base: &BasePath, file: &F) -> Result<bool> {
    Ok(history.seals.contains_key(base) && work::seal_holds(history, base, file)?)
}

/// Where the journal of the step to a generation lies: beside its base.
pub fn journal_path(base: &BasePath, to: GenerationId) -> Result<BasePath> {
    BasePath::new(&format!("{base}.{to}.journal"))
}

/// Writes the journal of a merge, durable and read back. The base is not touched.
///
/// # Errors
/// Nothing that fails here has changed the base.
pub fn write_journal<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    raw: &OpenRaw<'_, O, R::File>,
    meter: &mut Meter<'_>,
) -> Result<(RawChange, Amounts)> {
    let OpenRaw { disk, file } = raw;
    let (before, after) = (file.len()?, disk.overlay.virtual_size());
    let path = journal_path(&disk.base, disk.next)?;
    // Left over from an attempt that was cut off.
    commit.root.remove(&path)?;
    let journal = commit.root.create(&path)?;
    let mut amounts = Amounts::default();
    let mut digest = Hasher::new();
    let (len, _) = writer::with(&journal, false, |writer| {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            writer.put(at, bytes)?;
            at += bytes.len() as u64;
            Ok::<(), Error>(())
        };
        put(&header(before, after, disk.expected, disk.next))?;
        for_each_difference(disk, file, before, &mut amounts, meter, &mut |offset, old, new| {
            let mut extent = [0; EXTENT];
            be::put_u64(&mut extent, 0, offset);
            be::put_u64(&mut extent, 8, new.len() as u64);
            put(&extent)?;
            put(old)?;
            put(new)
        })?;
        Ok(at)
    })?;
    journal.flush()?;
    journal.forget_cache();
    amounts.written = len;
    let digest = TablesDigest::from(digest.finalize());
    let journal_record = Journal { path, len, digest };
    if !holds(&journal, &journal_record)? {
        return Err(Error::NotKept { image: journal.name().to_owned() });
    }
    let change = RawChange {
        name: disk.name.clone(),
        base: disk.base.clone(),
        changed: amounts.changed,
        from: disk.expected,
        to: disk.next,
        backwards: false,
        journal: journal_record,
    };
    Ok((change, amounts))
}

fn header(before: u64, after: u64, from: GenerationId, to: GenerationId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    be::put_u32(&mut header, 8, VERSION);
    be::put_u64(&mut header, 16, before);
    be::put_u64(&mut header, 24, after);
    header[32..48].copy_from_slice(&from.to_bytes());
    header[48..64].copy_from_slice(&to.to_bytes());
    header
}

/// Hears of a difference: where it is, the old bytes, the new ones.
type EachDifference<'f> = dyn FnMut(u64, &[u8], &[u8]) -> Result<()> + 'f;

/// Calls `each` with everything that the overlay changes, in ascending order and pieces of bounded size.
fn for_each_difference<O: Storage, F: Storage>(
    disk: &OpenDisk<O>,
    file: &F,
    before: u64,
    amounts: &mut Amounts,
    meter: &mut Meter<'_>,
    each: &mut EachDifference<'_>,
) -> Result<()> {
    let overlay = &disk.overlay;
    let mut cache = Cache::default();
    let size = overlay.virtual_size();
    let step = overlay.step().max(BLOCK as u64);
    let mut at = 0;
    let mut old = Vec::new();
    while let Some(start) = overlay.next_present(&mut cache, at)? {
        at = (start - start % step + step).min(size);
        let mut runs = Vec::new();
        overlay.runs(&mut cache, start, at, |from, to, run| runs.push((from, to, run)))?;
        for (mut from, to, run) in runs.into_iter().filter(|(.., run)| *run != Run::Absent) {
            amounts.changed += to - from;
            let mut whole = vec![0; (to - from) as usize];
            overlay.read_run(from, run, &mut whole)?;
            for piece in whole.chunks(LARGE) {
                old.resize(piece.len(), 0);
                read_padded(file, from, &mut old)?;
                differences(from, &old, piece, before, amounts, each)?;
                from += piece.len() as u64;
            }
            meter.add(whole.len() as u64)?;
        }
        meter.check()?;
    }
    Ok(())
}

/// Splits a piece into the runs of blocks that differ.
fn differences(
    start: u64,
    old: &[u8],
    new: &[u8],
    before: u64,
    amounts: &mut Amounts,
    each: &mut EachDifference<'_>,
) -> Result<()> {
    let mut from = 0;
    while from < new.len() {
        let block = |at: usize| at..(at + BLOCK).min(new.len());
        let differs = |at: usize| old[block(at)] != new[block(at)];
        let mut to = from;
        while to < new.len() && differs(to) {
            to = block(to).end;
        }
        if to > from {
            each(start + from as u64, &old[from..to], &new[from..to])?;
            from = to;
        } else {
            from = block(from).end;
            // Zeroes behind the old end were never there.
            if start + (from as u64) <= before {
                amounts.skipped += BLOCK as u64;
            }
        }
    }
    Ok(())
}

/// Whether a journal reads as it was written.
///
/// # Errors
/// The device fails.
pub fn holds<F: Storage>(file: &F, journal: &Journal) -> Result<bool> {
    if file.len()? < journal.len || journal.len < HEADER as u64 {
        return Ok(false);
    }
    let mut hasher = Hasher::new();
    let mut piece = vec![0; LARGE];
    let mut at = 0;
    while at < journal.len {
        let part = &mut piece[..(journal.len - at).min(LARGE as u64) as usize];
        file.read_at(at, part)?;
        hasher.update(part);
        at += part.len() as u64;
    }
    Ok(TablesDigest::from(hasher.finalize()) == journal.digest)
}

/// Writes one side of a journal into its base, not durable yet. May be repeated.
///
/// # Errors
/// The journal is damaged or lost; the device fails.
pub fn apply<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    change: &RawChange,
    base: &R::File,
    to_new: bool,
) -> Result<()> {
    let journal = commit.root.open(&change.journal.path, Access::Read)?;
    let damaged = || Error::Damaged {
        what: "the journal of its last change does not hold".to_owned(),
        image: base.name().to_owned(),
    };
    if !holds(&journal, &change.journal)? {
        return Err(damaged());
    }
    let mut header = [0; HEADER];
    journal.read_at(0, &mut header)?;
    if header[..8] != MAGIC || be::u32(&header, 8) != VERSION {
        return Err(damaged());
    }
    let len = be::u64(&header, if to_new { 24 } else { 16 });
    let mut at = HEADER as u64;
    let mut bytes = Vec::new();
    while at < change.journal.len {
        let mut extent = [0; EXTENT];
        journal.read_at(at, &mut extent)?;
        let (offset, size) = (be::u64(&extent, 0), be::u64(&extent, 8));
        let end = offset.checked_add(size);
        if size == 0 || size > LARGE as u64 || end.is_none_or(|end| end > len.max(be::u64(&header, 24))) {
            return Err(damaged());
        }
        bytes.resize(size as usize, 0);
        at += EXTENT as u64;
        journal.read_at(at + if to_new { size } else { 0 }, &mut bytes)?;
        // Going back, what lies behind the old end is cut off.
        let part = len.saturating_sub(offset).min(size) as usize;
        if part > 0 {
            base.write_at(offset, &bytes[..part])?;
        }
        at += 2 * size;
    }
    if base.len()? != len {
        base.set_len(len)?;
    }
    Ok(())
}
