//! `disk undo`, `redo`, `history` and `recover`: what a record can bring back.

use jiff::Timestamp;
use pocketvm_disk::{CommitFile, HistoryDisk, HistoryStep};
use serde::Serialize;

use super::args::{RecordArgs, TravelArgs};
use super::record::{Place, recovered};
use super::{Desk, failure, text};
use crate::session::event::Outcome;
use crate::session::history::Direction;
use crate::{Error, Kind, Result};

/// The answer of `disk undo` and `disk redo`.
#[derive(Serialize)]
pub struct Moved {
    /// What changed, `from` being the state that was left.
    pub disks: Vec<HistoryDisk>,
}

/// The answer of `disk history`.
#[derive(Serialize)]
pub struct Merges {
    /// Oldest first.
    pub merges: Vec<PastMerge>,
}

/// A merge that can be undone or redone.
#[derive(Serialize)]
pub struct PastMerge {
    /// Its changes are part of the bases now; otherwise it was undone.
    pub in_effect: bool,
    /// When it was made.
    pub time: Option<Timestamp>,
    /// What was noted with it.
    pub note: String,
    /// Bytes of the guest's that it brought.
    pub changed: u64,
    /// The bases that changed together.
    pub disks: Vec<HistoryDisk>,
}

/// Undoes or redoes a merge, for all of its bases together.
///
/// # Errors
/// There is none, it did not change this base, or another program wrote to one of its bases.
pub fn travel(args: &TravelArgs, direction: Direction, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), Some(&args.base))?;
    let base = place.base(&args.base)?;
    let commit = place.open(desk.view)?;
    let steps = pocketvm_disk::history(&commit).map_err(failure::looking)?;
    let step = match direction {
        Direction::Undo => steps.iter().rfind(|step| step.applied),
        Direction::Redo => steps.iter().find(|step| !step.applied),
    };
    let refuse = |what: String| {
        Error::new(Kind::Usage, what)
            .safe("nothing was changed")
            .hint("see the merges with: pocketvm disk history --record FILE")
    };
    let Some(step) = step else {
        return Err(refuse(match direction {
            Direction::Undo => format!("there is no merge that can be undone: {}", place.file.display()),
            Direction::Redo => {
                format!("there is no undone merge that can be redone: {}", place.file.display())
            }
        }));
    };
    if !step.disks.iter().any(|disk| disk.base == base.name) {
        let others: Vec<&str> = step.disks.iter().map(|disk| disk.base.as_str()).collect();
        return Err(refuse(format!(
            "the merge that is to be taken did not change {}, but {}",
            base.name,
            others.join(", ")
        )));
    }
    let disks = match direction {
        Direction::Undo => pocketvm_disk::undo(&commit),
        Direction::Redo => pocketvm_disk::redo(&commit),
    }
    .map_err(|error| failure::travelling(error, &place.file))?;
    let moved = Moved { disks };
    if !desk.output.quiet {
        desk.answer("disk-moved", &moved, text::moved);
    }
    match direction {
        Direction::Undo => desk.done(Outcome::Undone, "Undone. The bases are as before that merge"),
        Direction::Redo => desk.done(Outcome::Redone, "Redone. The bases are as after that merge again"),
    }
    Ok(0)
}

/// Shows the merges that can be undone or redone. Does not hold the record.
///
/// # Errors
/// There is no record, or it can't be read.
pub fn history(args: &RecordArgs, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), args.base.as_deref())?;
    place.must_exist()?;
    place.settle(desk.view)?;
    let steps = CommitFile::peek_history(&place.file).map_err(failure::looking)?;
    let merges = Merges { merges: steps.into_iter().map(past).collect() };
    desk.answer("disk-history", &merges, text::history);
    Ok(0)
}

fn past(step: HistoryStep) -> PastMerge {
    let HistoryStep { applied, time, note, changed, disks } = step;
    let time = i64::try_from(time).ok().and_then(|time| Timestamp::from_second(time).ok());
    PastMerge { in_effect: applied, time, note, changed, disks }
}

/// Finishes or takes back what was interrupted, and verifies the last merge.
///
/// # Errors
/// There is no record, another program holds it, or parts of both generations are lost.
pub fn recover(args: &RecordArgs, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), args.base.as_deref())?;
    if let Some(base) = &args.base {
        place.base(base)?;
    }
    let (commit, recovery) = place.open_and_recover()?;
    // Each merge here is a new one: none goes on where another was cut off.
    pocketvm_disk::give_up(&commit).map_err(|error| failure::travelling(error, &place.file))?;
    if !desk.output.quiet || recovered(recovery.outcome).is_some() {
        desk.answer("disk-recovered", &recovery, text::recovery);
    }
    Ok(0)
}
