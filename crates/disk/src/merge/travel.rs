//! Going back to a kept generation and forward again, at the price of a flip.

use serde::Serialize;

use super::history::{Change, History, Kind};
use super::{CommitFile, flip};
use crate::error::{Error, Result};
use crate::generation::{BaseState, GenerationId};
use crate::qcow2::image::{Image, Role};
use crate::root::Root;
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
            disks: step.disks.iter().map(describe).collect(),
        })
        .collect()
}

fn describe(change: &Change) -> HistoryDisk {
    HistoryDisk {
        name: change.name.clone(),
        base: change.base.to_string(),
        from: change.from.generation,
        to: change.to.generation,
    }
}

/// Takes the last merge back, for all of its disks as one step. Returns what changed, `from` being the state left.
///
/// # Errors
/// [`Error::NoHistory`] if none is kept; [`Error::ForeignWriter`] if another program wrote to one of the bases.
pub fn undo<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Vec<HistoryDisk>> {
    let mut history = commit.load()?;
    let step = history.position.checked_sub(1).and_then(|at| history.steps.get(at));
    let disks = step.map(|step| step.disks.iter().map(Change::reversed).collect());
    travel(commit, &mut history, Kind::Undo, disks)
}

/// Puts the last merge that was undone into effect again. Returns what changed.
///
/// # Errors
/// As [`undo`].
pub fn redo<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Vec<HistoryDisk>> {
    let mut history = commit.load()?;
    let disks = history.steps.get(history.position).map(|step| step.disks.clone());
    travel(commit, &mut history, Kind::Redo, disks)
}

fn travel<R: Root, C: Storage>(
    commit: &CommitFile<R, C>,
    history: &mut History,
    kind: Kind,
    disks: Option<Vec<Change>>,
) -> Result<Vec<HistoryDisk>> {
    history.ensure_settled(commit.slots.name())?;
    let disks = disks.ok_or_else(|| Error::NoHistory(commit.slots.name().to_owned()))?;
    let mut images = Vec::with_capacity(disks.len());
    for change in &disks {
        let image = Image::open(commit.root.open(&change.base, Access::Write)?, Role::Base)?;
        if let BaseState::Foreign { last } = image.state() {
            return Err(Error::ForeignWriter { last, image: image.storage().name().to_owned() });
        }
        if *image.block() != change.from.header.0 {
            return Err(Error::NoHistory(image.storage().name().to_owned()));
        }
        let (from, to) = (change.from.fields(&change.base)?, change.to.fields(&change.base)?);
        if !change.to.tables.holds(image.storage(), &to, &from)? {
            return Err(image.damaged("the kept generation does not hold"));
        }
        images.push(image);
    }
    let described = disks.iter().map(describe).collect();
    let files: Vec<&R::File> = images.iter().map(Image::storage).collect();
    flip::perform(commit, history, kind, disks, &files)?;
    Ok(described)
}
