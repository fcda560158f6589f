//! Makes new generations live: one commit record, then the header blocks of all disks; and the way back from any
//! interruption of that.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::history::{Change, Flip, History, Kind, RawChange};
use super::{CommitFile, beneath, raw, work};
use crate::error::{Error, Result};
use crate::generation::BaseState;
use crate::qcow2::extensions::Extensions;
use crate::qcow2::header::{BLOCK, Header};
use crate::qcow2::image::{Image, Role, read_block};
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage};

/// What [`recover`](super::recover) found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// What was done.
    pub outcome: Outcome,
    /// The disks of the last flip and what they are at now.
    pub disks: Vec<RecoveredDisk>,
}

/// What a recovery did, for all disks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was to be done.
    Clean,
    /// The interrupted flip was finished: the disks are at the new generations.
    Finished,
    /// The interrupted flip was taken back: the disks are at the old generations.
    Undone,
    /// The last merge had been reported as done, but the device lost parts of it: the disks are back at the
    /// generations before. The user must be told.
    FellBack,
}

/// One disk after a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveredDisk {
    /// The caller's name for the disk.
    pub name: String,
    /// Where its base is.
    pub base: BasePath,
    /// Who wrote to it last, now.
    pub state: BaseState,
    /// Its header block was rewritten.
    pub repaired: bool,
}

/// What the first 512 bytes of a base are, compared with a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    From,
    To,
    /// Neither, because a write of ours was cut.
    Torn,
    /// Another program's header.
    Foreign,
}

/// Compares a header block with the two that a flip knows.
///
/// A cut write leaves a mixture of the two, or garbage. Another program, or a base restored from a copy, leaves a
/// header that parses: that is never written over.
fn classify(block: &[u8; BLOCK], change: &Change) -> Found {
    let (from, to) = (&change.from.header.0, &change.to.header.0);
    if block == from {
        return Found::From;
    }
    if block == to {
        return Found::To;
    }
    let mixture = block.iter().zip(from).zip(to).all(|((byte, from), to)| byte == from || byte == to);
    if mixture || !is_foreign(block, change) { Found::Torn } else { Found::Foreign }
}

/// Whether somebody else left a block that is neither of the two: another program, which clears the fence, or whoever
/// put back a copy of another generation. What has the fence and names neither that nor anything else is ours, torn.
fn is_foreign(block: &[u8; BLOCK], change: &Change) -> bool {
    let Ok(header) = Header::parse(block) else { return false };
    if !header.fenced() {
        return true;
    }
    let extensions = block.get(header.length as usize..).map(Extensions::parse);
    let generation = extensions.and_then(Result::ok).and_then(|found| found.generation);
    generation.is_some_and(|id| ![change.from.generation, change.to.generation].contains(&Some(id)))
}

/// Makes the flip's new generations live. `files` and `raw_files` are the open bases, in the order of the changes.
pub(super) fn perform<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    kind: Kind,
    disks: Vec<Change>,
    files: &[&R::File],
    raws: Vec<RawChange>,
    raw_files: &[&R::File],
) -> Result<()> {
    for (change, file) in disks.iter().zip(files) {
        if read_block(file)? != change.from.header.0 {
            return Err(Error::InUse { image: file.name().to_owned() });
        }
    }
    let before = history.clone();
    history.flip = Some(Flip { kind, pending: true, time: now(), note: commit.note.clone(), disks, raws });
    // From here on an error may come after the record has become durable.
    finish(commit, history, files, raw_files).map_err(|error| Error::Interrupted(Box::new(error)))?;
    history.discard_journals(&before);
    tidy(commit, history);
    Ok(())
}

/// Removes the journals that the record does not need any more. One that stays only takes room; the record knows it.
pub(super) fn tidy<R: Root, C: Storage>(commit: &CommitFile<R, C>, history: &mut History) {
    if history.discarded.is_empty() {
        return;
    }
    let removed = |path: &BasePath| commit.root.remove(path).is_ok();
    history.discarded = history.discarded.iter().filter(|path| !removed(path)).cloned().collect();
    if !history.discarded.is_empty() {
        // What is not recorded now is found again when it is: nothing but room is lost.
        let _ = commit.save(history);
    }
}

/// Seconds since 1970. A clock before that is no reason to keep a merge from its end.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn finish<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    files: &[&R::File],
    raw_files: &[&R::File],
) -> Result<()> {
    commit.save(history)?;
    let Some(flip) = &history.flip else { return Ok(()) };
    let mut seals = Vec::with_capacity(files.len());
    for (change, file) in flip.disks.iter().zip(files) {
        file.write_at(0, &change.to.header.0)?;
        seals.push((change.base.clone(), work::seal(file, flip.time)?));
    }
    for (change, file) in flip.raws.iter().zip(raw_files) {
        raw::apply(commit, change, file, !change.backwards)?;
        seals.push((change.base.clone(), work::seal(file, flip.time)?));
    }
    for file in files.iter().chain(raw_files) {
        file.flush()?;
    }
    history.settle(commit.keep);
    history.seals.extend(seals);
    commit.save(history)
}

/// Which way a recovery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Back,
}

/// Brings every disk of the last flip to one side of it; see [`recover`](super::recover).
pub(super) fn recover<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Recovery> {
    let mut history = commit.load()?;
    let before = history.clone();
    let Some(flip) = history.flip.clone() else {
        return Ok(Recovery { outcome: Outcome::Clean, disks: Vec::new() });
    };
    let mut foreign = Vec::new();
    let mut flip = flip;
    let mut files = Vec::with_capacity(flip.disks.len());
    let mut found = Vec::with_capacity(flip.disks.len());
    let mut there = Vec::with_capacity(flip.disks.len());
    for change in flip.disks {
        match look_at(commit, &change) {
            Ok((file, header)) if flip.pending || !is_replaced(&file, header, &change)? => {
                files.push(file);
                found.push(header);
                there.push(change);
            }
            // A base that was taken away or spoiled after the merge must not keep the others from being used. Whoever
            // needs this one is told why it can't be.
            Ok(_) => foreign.push(change.base),
            Err(error) if !flip.pending && is_lost(&error) => foreign.push(change.base),
            // It may be readable again later, so its history stays.
            Err(Error::Io(_)) if !flip.pending => {}
            Err(error) => return Err(error),
        }
    }
    flip.disks = there;
    let raw_files = open_raws(commit, &mut flip, &mut foreign)?;

    let direction = decide(commit, &flip, &files, &found)?;
    let mut disks = Vec::with_capacity(flip.disks.len());
    for ((change, file), found) in flip.disks.iter().zip(&files).zip(&found) {
        let (wanted, point) = match direction {
            Direction::Forward => (Found::To, &change.to),
            Direction::Back => (Found::From, &change.from),
        };
        let repaired = *found != wanted && *found != Found::Foreign;
        if repaired {
            file.write_at(0, &point.header.0)?;
        }
        if repaired || flip.pending {
            // A foreign base keeps its own time, which is not ours to vouch for.
            if *found != Found::Foreign {
                history.seals.insert(change.base.clone(), work::seal(file, flip.time)?);
            }
            file.flush()?;
        }
        if *found == Found::Foreign {
            foreign.push(change.base.clone());
        }
        let state = match Image::open(file, Role::Base) {
            Ok(image) => image.state(),
            // Another program may have made anything of it.
            Err(error) if *found == Found::Foreign && !flip.pending && is_lost(&error) => continue,
            Err(error) => return Err(error),
        };
        disks.push(RecoveredDisk { name: change.name.clone(), base: change.base.clone(), state, repaired });
    }

    if flip.pending || direction == Direction::Back {
        disks.extend(settle_raws(commit, &mut history, &flip, &raw_files, direction)?);
    }

    let repaired = disks.iter().any(|disk| disk.repaired);
    let outcome = match (direction, flip.pending) {
        (Direction::Forward, true) => Outcome::Finished,
        (Direction::Forward, false) if repaired => Outcome::Finished,
        (Direction::Forward, false) => Outcome::Clean,
        (Direction::Back, true) => Outcome::Undone,
        (Direction::Back, false) => Outcome::FellBack,
    };
    match direction {
        Direction::Forward => history.settle(commit.keep),
        Direction::Back => history.revert(),
    }
    if !foreign.is_empty() {
        // The kept sides of the flip are void as well.
        work::forget(&mut history, &foreign);
    }
    if history != before {
        commit.save(&mut history)?;
        history.discard_journals(&before);
        tidy(commit, &mut history);
    }
    Ok(Recovery { outcome, disks })
}

/// Opens the raw bases of a flip; those of a settled one that are not there any more drop out of it.
fn open_raws<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    flip: &mut Flip,
    foreign: &mut Vec<BasePath>,
) -> Result<BTreeMap<BasePath, R::File>> {
    let mut files = BTreeMap::new();
    for raw in &flip.raws {
        if files.contains_key(&raw.base) {
            continue;
        }
        match commit.root.open(&raw.base, Access::Exclusive) {
            Ok(file) => drop(files.insert(raw.base.clone(), file)),
            Err(error) if !flip.pending && is_lost(&error) => foreign.push(raw.base.clone()),
            Err(Error::Io(_)) if !flip.pending => {}
            Err(error) => return Err(error),
        }
    }
    flip.raws.retain(|raw| files.contains_key(&raw.base));
    Ok(files)
}

/// Brings the raw bases of a flip to one side of it, by their journals.
fn settle_raws<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    flip: &Flip,
    files: &BTreeMap<BasePath, R::File>,
    direction: Direction,
) -> Result<Vec<RecoveredDisk>> {
    let mut way: Vec<&RawChange> = flip.raws.iter().collect();
    if direction == Direction::Back {
        way.reverse();
    }
    let mut disks: Vec<RecoveredDisk> = Vec::new();
    for change in way {
        let file = &files[&change.base];
        let (generation, to_new) = match direction {
            Direction::Forward => (change.to, !change.backwards),
            Direction::Back => (change.from, change.backwards),
        };
        // Time and length may be the old ones although a part was written: after a cut only the journal can be trusted.
        raw::apply(commit, change, file, to_new)?;
        disks.retain(|disk| disk.base != change.base);
        disks.push(RecoveredDisk {
            name: change.name.clone(),
            base: change.base.clone(),
            state: BaseState::At { generation },
            repaired: true,
        });
    }
    for disk in &disks {
        let file = &files[&disk.base];
        let seal = work::seal(file, flip.time)?;
        file.flush()?;
        history.seals.insert(disk.base.clone(), seal);
    }
    Ok(disks)
}

/// Whether the raw bases of a flip can be brought to that side.
fn raws_hold<R: Root, C: Storage>(commit: &CommitFile<R, C>, flip: &Flip, side: Direction) -> Result<bool> {
    for change in &flip.raws {
        if side == Direction::Forward && !flip.pending {
            continue;
        }
        match commit.root.open(&change.journal.path, Access::Read) {
            Ok(journal) if raw::holds(&journal, &change.journal)? => {}
            Ok(_) => return Ok(false),
            Err(error) if is_lost(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Opens the base of a change and sees what its header is.
fn look_at<R: Root, C>(commit: &CommitFile<R, C>, change: &Change) -> Result<(R::File, Found)> {
    let file = commit.root.open(&change.base, Access::Write)?;
    file.forget_cache();
    let found = classify(&read_block(&file)?, change);
    Ok((file, found))
}

/// Neither the header nor the tables of either generation are there: something else has this name now.
fn is_replaced<S: Storage>(file: &S, found: Found, change: &Change) -> Result<bool> {
    let (from, to) = (change.from.fields(&change.base)?, change.to.fields(&change.base)?);
    Ok(found == Found::Torn
        && !change.to.tables.holds(file, &to, &from)?
        && !change.from.tables.holds(file, &from, &to)?)
}

/// The base is not what it was any more, as opposed to: it is in use, or the device fails just now.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
                | ErrorKind::UnexpectedEof
        ),
        Error::BadPath(_) | Error::Refused { .. } | Error::Damaged { .. } => true,
        _ => false,
    }
}

fn decide<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    flip: &Flip,
    files: &[R::File],
    found: &[Found],
) -> Result<Direction> {
    if found.contains(&Found::Foreign) {
        if !flip.pending {
            return Ok(Direction::Forward);
        }
        // The others follow the disk that we can't change: forward only if that program had found it flipped.
        for ((change, file), _) in
            flip.disks.iter().zip(files).zip(found).filter(|(_, found)| **found == Found::Foreign)
        {
            let there = Header::parse(&read_block(file)?).map(|header| header.l1_offset).ok();
            let (from, to) = (change.from.fields(&change.base)?, change.to.fields(&change.base)?);
            if there != Some(to.l1_offset) || from.l1_offset == to.l1_offset {
                return Ok(Direction::Back);
            }
        }
    }
    for side in [Direction::Forward, Direction::Back] {
        if all_hold(flip, files, found, side)? && raws_hold(commit, flip, side)? {
            return Ok(side);
        }
    }
    Err(Error::Damaged {
        what: "the device lost parts of both generations".to_owned(),
        image: flip.disks.iter().map(|change| change.base.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Whether the tables of that side of the flip are what they were, on every disk that is ours to change.
fn all_hold<S: Storage>(flip: &Flip, files: &[S], found: &[Found], side: Direction) -> Result<bool> {
    for ((change, file), found) in flip.disks.iter().zip(files).zip(found) {
        let (point, other) = match side {
            Direction::Forward => (&change.to, &change.from),
            Direction::Back => (&change.from, &change.to),
        };
        let (header, other) = (point.fields(&change.base)?, other.fields(&change.base)?);
        if *found == Found::Foreign || point.tables.holds(file, &header, &other)? {
            continue;
        }
        // The digest is of what the other side lacks. Where that one is lost, the old side has to speak for itself.
        if side == Direction::Forward || !beneath::is_whole(file, &point.header)? {
            return Ok(false);
        }
    }
    Ok(true)
}
