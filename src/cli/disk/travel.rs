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
    /// The number of the state before.
    pub from: usize,
    /// The number of the state now.
    pub to: usize,
    /// What changed, `from` being the state that was left.
    pub disks: Vec<HistoryDisk>,
}

/// The answer of `disk history`.
#[derive(Serialize)]
pub struct Merges {
    /// The number of the state that the bases are in: that of the merge after which they were so; 0 if they are as
    /// before the first one.
    pub state: usize,
    /// Oldest first.
    pub merges: Vec<PastMerge>,
}

/// A merge that can be undone or redone.
#[derive(Serialize)]
pub struct PastMerge {
    /// Its number among the kept ones, from 1; also that of the state after it.
    pub number: usize,
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

/// Undoes or redoes a merge, or all of them down or up to a state, for all of their bases together.
///
/// # Errors
/// There is no such state in that direction, no merge on the way changed this base, or another program wrote to one of
/// the bases.
pub fn travel(args: &TravelArgs, direction: Direction, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), Some(&args.base))?;
    let base = place.base(&args.base)?;
    let commit = place.open(desk.view)?;
    let steps = pocketvm_disk::history(&commit).map_err(failure::looking)?;
    let from = state(&steps);
    let to = target(from, steps.len(), direction, args.to)
        .map_err(|what| refused(format!("{what}: {}", place.file.display())))?;
    let way = &steps[from.min(to)..from.max(to)];
    let touched = || way.iter().flat_map(|step| &step.disks);
    if !way.is_empty() && !touched().any(|disk| disk.base == base.name) {
        let mut others: Vec<&str> = touched().map(|disk| disk.base.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        let what = match way.len() {
            1 => "the merge that is to be taken".to_owned(),
            count => format!("the {count} merges that are to be taken"),
        };
        return Err(refused(format!("{what} did not change {}, but {}", base.name, others.join(", "))));
    }
    for disk in touched() {
        // A raw base is written in place: whoever reads it would see that.
        if commit.raw_generation(&disk.base).map_err(failure::looking)?.is_some() {
            place.base(&place.path_of(&disk.base))?.ensure_unused()?;
        }
    }
    let disks = pocketvm_disk::go_to(&commit, to).map_err(|error| failure::travelling(error, &place.file))?;
    let moved = Moved { from, to, disks };
    if !desk.output.quiet {
        desk.answer("disk-moved", &moved, text::moved);
    }
    let outcome = match direction {
        Direction::Undo => Outcome::Undone,
        Direction::Redo => Outcome::Redone,
    };
    desk.done(
        outcome,
        &match (direction, args.to) {
            (Direction::Undo, None) => "Undone. The bases are as before that merge".to_owned(),
            (Direction::Redo, None) => "Redone. The bases are as after that merge again".to_owned(),
            (_, Some(0)) => "The bases are as before the first of the kept merges".to_owned(),
            (_, Some(number)) => format!("The bases are as after merge {number}"),
        },
    );
    Ok(0)
}

/// The number of the state that the bases are in.
fn state(steps: &[HistoryStep]) -> usize {
    steps.iter().filter(|step| step.applied).count()
}

/// The number of the state to go to, `now` being that of the present one and `last` that of the last one.
///
/// # Errors
/// A sentence: there is none in that direction.
fn target(now: usize, last: usize, direction: Direction, to: Option<usize>) -> Result<usize, String> {
    match (direction, to) {
        (Direction::Undo, None) => {
            now.checked_sub(1).ok_or_else(|| "there is no merge that can be undone".to_owned())
        }
        (Direction::Redo, None) if now < last => Ok(now + 1),
        (Direction::Redo, None) => Err("there is no undone merge that can be redone".to_owned()),
        (_, Some(to)) if to > last => Err(match last {
            0 => format!("no merge is kept, so that there is no state {to}"),
            _ => format!("there is no state {to}, only those from 0 to {last}"),
        }),
        (Direction::Undo, Some(to)) if to > now => {
            Err(format!("the bases are in state {now}; forward to {to} leads redo"))
        }
        (Direction::Redo, Some(to)) if to < now => {
            Err(format!("the bases are in state {now}; back to {to} leads undo"))
        }
        (_, Some(to)) => Ok(to),
    }
}

fn refused(what: String) -> Error {
    Error::new(Kind::Usage, what)
        .safe("nothing was changed")
        .hint("see the merges with: pocketvm disk history --record FILE")
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
    let state = state(&steps);
    let merges = steps.into_iter().enumerate().map(|(at, step)| past(at + 1, step)).collect();
    let merges = Merges { state, merges };
    desk.answer("disk-history", &merges, text::history);
    Ok(0)
}

fn past(number: usize, step: HistoryStep) -> PastMerge {
    let HistoryStep { applied, time, note, changed, disks } = step;
    let time = i64::try_from(time).ok().and_then(|time| Timestamp::from_second(time).ok());
    PastMerge { number, in_effect: applied, time, note, changed, disks }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_merge_is_the_way_unless_a_state_is_named() {
        assert_eq!(target(2, 3, Direction::Undo, None), Ok(1));
        assert_eq!(target(2, 3, Direction::Redo, None), Ok(3));
        assert_eq!(target(2, 3, Direction::Undo, Some(0)), Ok(0));
        assert_eq!(target(0, 3, Direction::Redo, Some(3)), Ok(3));
        for direction in [Direction::Undo, Direction::Redo] {
            assert_eq!(target(2, 3, direction, Some(2)), Ok(2));
        }
    }

    #[test]
    fn a_state_in_the_other_direction_or_that_is_not_kept_is_refused() {
        let refused = |now, last, direction, to| target(now, last, direction, to).unwrap_err();
        assert_eq!(refused(0, 1, Direction::Undo, None), "there is no merge that can be undone");
        assert_eq!(refused(1, 1, Direction::Redo, None), "there is no undone merge that can be redone");
        assert_eq!(
            refused(2, 3, Direction::Undo, Some(3)),
            "the bases are in state 2; forward to 3 leads redo"
        );
        assert_eq!(refused(2, 3, Direction::Redo, Some(1)), "the bases are in state 2; back to 1 leads undo");
        assert_eq!(refused(2, 3, Direction::Redo, Some(4)), "there is no state 4, only those from 0 to 3");
        assert_eq!(refused(0, 0, Direction::Undo, Some(1)), "no merge is kept, so that there is no state 1");
    }
}
