//! Going back to a kept generation and forward again, at the price of a flip.

use std::collections::BTreeMap;

use serde::Serialize;

use super::digest::TablesDigest;
use super::history::{Change, History, Kind, RawChange};
use super::{CommitFile, flip, raw, work};
use crate::error::{Error, Result};
use crate::generation::{BaseState, GenerationId};
use crate::qcow2::image::{Image, Role};
use crate::root::{BasePath, Root};
use crate::storage::{Access, Storage};

/// One merge that can be undone or redone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryStep {
    /// It is in effect; otherwise it was undone.
    pub applied: bool,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// What the caller noted.
    pub note: String,
    /// Bytes of the guest's that it brought, of all disks.
    pub changed: u64,
    /// The disks that changed together.
    pub disks: Vec<HistoryDisk>,
}

/// What a merge did to one disk, as far as history knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryDisk {
    /// The caller's name for the disk.
    pub name: String,
    /// Where its base is, relative to the record's root.
    pub base: String,
    /// Bytes of the guest's that changed.
    pub changed: u64,
    /// The generation before.
    pub from: Option<GenerationId>,
    /// The generation after.
    pub to: Option<GenerationId>,
}

/// The kept merges, oldest first.
///
/// # Errors
/// The record can't be read.
pub fn history<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Vec<HistoryStep>> {
    Ok(describe_steps(&commit.load()?))
}

pub(super) fn describe_steps(history: &History) -> Vec<HistoryStep> {
    let steps = history.steps.iter().enumerate();
    steps
        .map(|(at, step)| HistoryStep {
            applied: at < history.position,
            time: step.time,
            note: step.note.clone(),
            changed: (step.disks.iter().map(|change| change.changed))
                .chain(step.raws.iter().map(|raw| raw.changed))
                // A crafted record may say anything.
                .fold(0, u64::saturating_add),
            disks: step.disks.iter().map(describe).chain(step.raws.iter().map(describe_raw)).collect(),
        })
        .collect()
}

fn describe(change: &Change) -> HistoryDisk {
    HistoryDisk {
        name: change.name.clone(),
        base: change.base.to_string(),
        changed: change.changed,
        from: change.from.generation,
        to: change.to.generation,
    }
}

fn describe_raw(raw: &RawChange) -> HistoryDisk {
    HistoryDisk {
        name: raw.name.clone(),
        base: raw.base.to_string(),
        changed: raw.changed,
        from: Some(raw.from),
        to: Some(raw.to),
    }
}

/// Takes the last merge back, for all of its disks as one step. Returns what changed, `from` being the state left.
///
/// # Errors
/// [`Error::NoHistory`] if none is kept; [`Error::ForeignWriter`] if another program wrote to one of the bases.
pub fn undo<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Vec<HistoryDisk>> {
    let mut history = commit.load()?;
    let target = history.position.checked_sub(1);
    travel(commit, &mut history, target)
}

/// Puts the last merge that was undone into effect again. Returns what changed.
///
/// # Errors
/// As [`undo`].
pub fn redo<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Vec<HistoryDisk>> {
    let mut history = commit.load()?;
    let target = history.position + 1;
    travel(commit, &mut history, Some(target))
}

/// Goes to the state in which the first `applied` merges of [`history`](fn@history) are in effect: one flip, however
/// many merges lie between. Returns what changed; nothing if that is the state already.
///
/// # Errors
/// As [`undo`].
pub fn go_to<R: Root, C: Storage>(commit: &CommitFile<R, C>, applied: usize) -> Result<Vec<HistoryDisk>> {
    let mut history = commit.load()?;
    if applied == history.position {
        history.ensure_settled(commit.slots.name())?;
        return Ok(Vec::new());
    }
    travel(commit, &mut history, Some(applied))
}

fn travel<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    target: Option<usize>,
) -> Result<Vec<HistoryDisk>> {
    history.ensure_settled(commit.slots.name())?;
    let target = target
        .filter(|&target| target <= history.steps.len())
        .ok_or_else(|| Error::NoHistory(commit.slots.name().to_owned()))?;
    work::give_up(commit, history)?;
    let from = history.position;
    // One by one, in the direction of the journey.
    let mut way: Vec<Vec<Change>> = Vec::new();
    let mut raws: Vec<RawChange> = Vec::new();
    if target < from {
        for step in history.steps[target..from].iter().rev() {
            way.push(step.disks.iter().map(Change::reversed).collect());
            raws.extend(step.raws.iter().map(RawChange::reversed));
        }
    } else {
        for step in &history.steps[from..target] {
            way.push(step.disks.clone());
            raws.extend(step.raws.iter().cloned());
        }
    }
    let raw_files = open_raws(commit, history, &raws)?;
    let mut disks: Vec<Change> = Vec::new();
    for change in way.iter().flatten() {
        match disks.iter_mut().find(|known| known.base == change.base) {
            Some(known) => {
                known.to = change.to.clone();
                known.changed += change.changed;
            }
            None => disks.push(change.clone()),
        }
    }
    let mut images = Vec::with_capacity(disks.len());
    for change in &mut disks {
        let image = Image::open(commit.root.open(&change.base, Access::Write)?, Role::Base)?;
        let foreign = match image.state() {
            BaseState::Foreign { last } => Some(last),
            BaseState::At { generation } if !work::seal_holds(history, &change.base, image.storage())? => {
                Some(generation)
            }
            _ => None,
        };
        if let Some(last) = foreign {
            let image = image.storage().name().to_owned();
            work::distrust(history, std::slice::from_ref(&change.base));
            commit.save(history)?;
            return Err(Error::ForeignWriter { last, image });
        }
        if *image.block() != change.from.header.0 {
            return Err(Error::NoHistory(image.storage().name().to_owned()));
        }
        // Each generation on the way vouches for the tables that the next one shares with it.
        for step in way.iter().flatten().filter(|step| step.base == change.base) {
            let (from, to) = (step.from.fields(&step.base)?, step.to.fields(&step.base)?);
            if !step.to.tables.holds(image.storage(), &to, &from)? {
                return Err(image.damaged("the kept generation does not hold"));
            }
        }
        if way.len() > 1 {
            let (from, to) = (change.from.fields(&change.base)?, change.to.fields(&change.base)?);
            change.from.tables = TablesDigest::read(image.storage(), &from, &to)?;
            change.to.tables = TablesDigest::read(image.storage(), &to, &from)?;
        }
        images.push(image);
    }
    let described = disks.iter().map(describe).chain(raws.iter().map(describe_raw)).collect();
    let files: Vec<&R::File> = images.iter().map(Image::storage).collect();
    let raw_files: Vec<&R::File> = raws.iter().map(|raw| &raw_files[&raw.base]).collect();
    flip::perform(commit, history, Kind::Travel { from, to: target }, disks, &files, raws, &raw_files)?;
    Ok(described)
}

/// Opens the raw bases of a journey, each of which must be where it begins, and makes sure that every journal holds.
fn open_raws<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    raws: &[RawChange],
) -> Result<BTreeMap<BasePath, R::File>> {
    let mut files = BTreeMap::new();
    for raw in raws {
        if !files.contains_key(&raw.base) {
            let file = commit.root.open(&raw.base, Access::Exclusive)?;
            let image = file.name().to_owned();
            if !raw::is_ours(history, &raw.base, &file)? {
                work::distrust(history, std::slice::from_ref(&raw.base));
                commit.save(history)?;
                return Err(Error::ForeignWriter { last: raw.from, image });
            }
            if history.raws.get(&raw.base).is_none_or(|state| state.generation != raw.from) {
                return Err(Error::NoHistory(image));
            }
            files.insert(raw.base.clone(), file);
        }
        let journal = commit.root.open(&raw.journal.path, Access::Read)?;
        if !raw::holds(&journal, &raw.journal)? {
            let image = journal.name().to_owned();
            return Err(Error::Damaged { what: "the kept journal does not hold".to_owned(), image });
        }
    }
    Ok(files)
}
