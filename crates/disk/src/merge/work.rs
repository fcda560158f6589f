//! A merge that has begun to write, none of which is live: recorded before the first write, so that the next one can go
//! on where this one was cut off, or give its room back.

use super::alloc::Placement;
use super::base::Base;
use super::free::FreeMap;
use super::history::{History, Seal, WorkDisk};
use super::raw::{self, OpenRaw};
use super::shadow::Start;
use super::{CommitFile, OpenDisk};
use crate::error::{Error, Refusal, Result};
use crate::generation::BaseState;
use crate::qcow2::check::check_image;
use crate::qcow2::image::{Image, Role};
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage};

/// Seconds by which a seal lies in the past, so that whoever writes right after us leaves another time even on a file system
/// that counts in steps of two seconds.
const SEAL_AGE: i64 = 10;

/// Records that the merge of `disks` into `bases` begins, durable before the first write, and says how.
///
/// A base whose seal is broken, although its fence stands, was written to by a program that does not keep to the
/// format: its tables are checked, and its hash manifest and kept generations are forgotten.
///
/// # Errors
/// A base is damaged; the device fails.
pub(super) fn begin<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    disks: &[&OpenDisk<O>],
    bases: &[Base<R::File>],
    raws: &[OpenRaw<'_, O, R::File>],
) -> Result<Vec<Start>> {
    let mut trusted = Vec::with_capacity(bases.len());
    for (disk, base) in disks.iter().zip(bases) {
        trusted.push(ensure_trusted(history, &disk.base, &base.image)?);
    }
    let raw_disks = raws.iter().map(|raw| raw.disk);
    let all: Vec<&OpenDisk<O>> = disks.iter().copied().chain(raw_disks).collect();
    let same = history.has_begun(all.iter().map(|disk| (&disk.base, disk.expected, disk.next)));
    if same && trusted.iter().all(|&trusted| trusted) {
        let mut starts = Vec::with_capacity(bases.len());
        for (work, base) in history.work.iter().zip(bases) {
            let len = begun_len(history, &work.base, &base.image)?;
            starts.push(len.map(|len| Start { len, placement: work.placement, resume: true, trusted: true }));
        }
        if let Some(starts) = starts.into_iter().collect() {
            return Ok(starts);
        }
    }
    let mut starts = Vec::with_capacity(bases.len());
    let mut work = Vec::with_capacity(bases.len());
    for ((disk, base), trusted) in disks.iter().zip(bases).zip(trusted) {
        let len = cut_off(history, &disk.base, &base.image)?.unwrap_or(base.image.file_len());
        let start = Start::anew(base, &disk.overlay, len, trusted)?;
        starts.push(start);
        work.push(WorkDisk {
            base: disk.base.clone(),
            from: disk.expected,
            next: disk.next,
            len,
            placement: start.placement,
        });
    }
    history.work.retain(|old| disks.iter().all(|disk| disk.base != old.base));
    give_up(commit, history)?;
    // A raw base is not written to before its journal is recorded: its seal stays. What has begun is the journal.
    work.extend(raws.iter().map(|raw| WorkDisk {
        base: raw.disk.base.clone(),
        from: raw.disk.expected,
        next: raw.disk.next,
        len: 0,
        placement: Placement::Sequential,
    }));
    history.work = work;
    for disk in disks {
        history.seals.remove(&disk.base);
    }
    commit.save(history)?;
    Ok(starts)
}

/// Whether a base is as we left it, as far as its file's length and time tell.
pub(super) fn seal_holds<S: Storage>(history: &History, base: &BasePath, file: &S) -> Result<bool> {
    if history.distrusted.contains(base) {
        return Ok(false);
    }
    match history.seals.get(base) {
        Some(seal) => Ok(seal.holds(file.len()?, file.modified()?)),
        // A merge has begun to write, or the record is new.
        None => Ok(true),
    }
}

/// Whether anything that we knew of a base's content can be believed. If not, its tables are checked before they are.
///
/// # Errors
/// The tables are damaged, or the device fails.
pub(super) fn ensure_trusted<S: Storage>(
    history: &mut History,
    base: &BasePath,
    image: &Image<S>,
) -> Result<bool> {
    if seal_holds(history, base, image.storage())? {
        return Ok(true);
    }
    let report = check_image(image)?;
    if report.error_count > 0 {
        let why = Refusal::Inconsistent(report.error_count);
        return Err(Error::Refused { why, image: image.storage().name().to_owned() });
    }
    distrust(history, std::slice::from_ref(base));
    Ok(false)
}

/// Forgets the kept generations of `bases`, and how they were left.
pub(super) fn forget(history: &mut History, bases: &[BasePath]) {
    let before = history.clone();
    history.void(bases);
    history.flip = None;
    history.seals.retain(|base, _| !bases.contains(base));
    history.discard_journals(&before);
}

/// Another program wrote to `bases`: forgets their kept generations, and that anything of what we knew of their content
/// is true, until the next generation of ours.
pub(super) fn distrust(history: &mut History, bases: &[BasePath]) {
    forget(history, bases);
    history.distrusted.extend(bases.iter().cloned());
}

/// Marks a base's file as left by us, and says how. To be made durable by a flush afterwards.
pub(super) fn seal<S: Storage>(file: &S, time: u64) -> Result<Seal> {
    let modified = i64::try_from(time).unwrap_or_default().saturating_sub(SEAL_AGE) & !1;
    file.set_modified(modified)?;
    // Should the file system not take a time, what it shows instead has to do.
    let modified = file.modified()?.unwrap_or(modified);
    Ok(Seal { len: file.len()?, modified })
}

/// Gives the room of an interrupted merge back, as far as its bases can be opened, and forgets it. To be saved by the
/// caller.
pub(super) fn give_up<R: Root, C: Storage>(commit: &CommitFile<R, C>, history: &mut History) -> Result<()> {
    for disk in history.work.clone() {
        if history.raws.contains_key(&disk.base) {
            let _ = commit.root.remove(&raw::journal_path(&disk.base, disk.next)?);
            continue;
        }
        // One that is not there takes no room that anybody could use.
        let Ok(file) = commit.root.open(&disk.base, Access::Write) else { continue };
        let Ok(image) = Image::open(file, Role::Base) else { continue };
        cut_off(history, &disk.base, &image)?;
    }
    history.work.clear();
    Ok(())
}

/// Cuts off what an interrupted merge has appended to an open base, and says how long it is then; none if it has not.
fn cut_off<S: Storage>(history: &History, base: &BasePath, image: &Image<S>) -> Result<Option<u64>> {
    let len = begun_len(history, base, image)?.filter(|&len| len < image.file_len());
    if let Some(len) = len {
        image.storage().set_len(len)?;
    }
    Ok(len)
}

/// How long an open base was when a merge began to write to it; none if none has, or if the record can't be true. A record
/// that is not ours must not cost anything that is.
fn begun_len<S: Storage>(history: &History, base: &BasePath, image: &Image<S>) -> Result<Option<u64>> {
    let Some(work) = history.work.iter().find(|work| work.base == *base) else { return Ok(None) };
    // Only while the generation is that one's is everything behind the length garbage.
    if image.state() != (BaseState::At { generation: work.from }) {
        return Ok(None);
    }
    let (header, kept) = (image.header(), history.kept(base)?);
    let hashes = image.extensions().hashes;
    let mut free = FreeMap::new(image.storage(), header, image.file_len(), hashes, &kept)?;
    let behind = work.len.div_ceil(header.cluster_size())..free.file_end();
    let garbage = behind.end.saturating_sub(behind.start);
    let free = free.count_between(behind.start, behind.end)?;
    Ok((garbage == free).then_some(work.len.min(image.file_len())))
}
