//! Back to a state before a save, and forward again, at the price of rewriting a header.

use jiff::Timestamp;
use pocketvm_disk::HistoryStep;
use serde::Serialize;

use super::Options;
use super::claim::{Claim, disk_error};
use super::event::{Event, MovedDisk, Outcome, View};
use super::leftover::Leftover;
use crate::drive::{Drive, names};
use crate::{Error, Kind, Result};

/// The saves that can be undone or redone, and the state that the disks are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// The number of the state that the disks are in: that of the save after which they were so; 0 if they are as before the
    /// first one.
    pub state: usize,
    /// Oldest first.
    pub saves: Vec<Save>,
}

/// A save that can be undone or redone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Save {
    /// Its number among the kept ones, from 1; also that of the state after it.
    pub number: usize,
    /// Its changes are part of the disks now; otherwise it was undone.
    pub in_effect: bool,
    /// When it was made.
    pub time: Option<Timestamp>,
    /// Name of the PC that made it.
    pub host_name: String,
    /// Bytes of the guest's that it brought.
    pub changed: u64,
    /// Names of the disks that changed together.
    pub disks: Vec<String>,
}

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a state before the present one.
    Undo,
    /// To one that was undone.
    Redo,
}

/// The saves that can be undone or redone. Reads only.
///
/// # Errors
/// No drive, or its records can't be read.
pub fn history(options: &Options) -> Result<History> {
    let drive = Drive::open(&options.find_drive()?)?;
    let path = drive.state_path(names::COMMIT)?;
    let steps = match path.exists() {
        true => pocketvm_disk::CommitFile::peek_history(&path).map_err(disk_error)?,
        false => vec![],
    };
    Ok(describe(steps))
}

fn describe(steps: Vec<HistoryStep>) -> History {
    let saves: Vec<Save> = steps
        .into_iter()
        .enumerate()
        .map(|(at, step)| Save {
            number: at + 1,
            in_effect: step.applied,
            time: i64::try_from(step.time).ok().and_then(|time| Timestamp::from_second(time).ok()),
            host_name: step.note,
            changed: step.changed,
            disks: step.disks.into_iter().map(|disk| disk.name).collect(),
        })
        .collect();
    History { state: saves.iter().filter(|save| save.in_effect).count(), saves }
}

/// Goes one save back or forward, or to the state with the number `to`; all disks together, however many saves lie between.
///
/// # Errors
/// There is no such state in that direction, a session is unfinished, or another program wrote to a disk.
pub fn travel(
    options: &Options,
    direction: Direction,
    to: Option<usize>,
    view: &dyn View,
) -> Result<Outcome> {
    let claim = claim_idle(options, view)?;
    let known = describe(pocketvm_disk::history(&claim.commit).map_err(disk_error)?);
    let target = target(&known, direction, to)?;
    // A record whose changes have landed would come to life again by an undo.
    claim.drive.write_clean(None)?;
    let moved = pocketvm_disk::go_to(&claim.commit, target).map_err(|error| match error {
        pocketvm_disk::Error::NoHistory(_) => nowhere(direction),
        error @ pocketvm_disk::Error::Interrupted(_) => disk_error(error),
        error => disk_error(error).safe("the disks are as they were"),
    })?;
    let disks = moved.into_iter().map(|disk| MovedDisk {
        name: disk.name,
        changed: disk.changed,
        from: disk.from.map(|id| id.to_string()),
        to: disk.to.map(|id| id.to_string()),
    });
    view.show(&Event::Moved { from: known.state, to: target, disks: disks.collect() });
    claim.release()?;
    Ok(match direction {
        Direction::Undo => Outcome::Undone,
        Direction::Redo => Outcome::Redone,
    })
}

/// The drive, claimed, with no session that waits for anything, here or elsewhere.
///
/// # Errors
/// There is one, or the drive can't be claimed.
pub(super) fn claim_idle(options: &Options, view: &dyn View) -> Result<Claim> {
    let root = options.find_meant_drive()?;
    let scratch = options.find_scratch(&root)?;
    let claim = Claim::new(&root, view)?;
    let Leftover { here, away } = claim.leftover(&scratch)?;
    if let Some(away) = away {
        return Err(away.error());
    }
    if let Some(here) = here {
        return Err(here.undecided());
    }
    Ok(claim)
}

/// The number of the state to go to.
fn target(known: &History, direction: Direction, to: Option<usize>) -> Result<usize> {
    let last = known.saves.len();
    let refuse = |what: String| {
        Err(Error::new(Kind::Usage, what)
            .safe("nothing was changed")
            .hint("see the saves with: pocketvm history"))
    };
    match (direction, to) {
        (Direction::Undo, None) => known.state.checked_sub(1).ok_or_else(|| nowhere(direction)),
        (Direction::Redo, None) => {
            Some(known.state + 1).filter(|&to| to <= last).ok_or_else(|| nowhere(direction))
        }
        (_, Some(to)) if to > last => match last {
            0 => refuse(format!("no save is kept, so that there is no other state to go to: {to}")),
            _ => refuse(format!("there is no such state, only those from 0 to {last}: {to}")),
        },
        (Direction::Undo, Some(to)) if to > known.state => {
            refuse(format!("the disks are in state {}; go forward with redo: {to}", known.state))
        }
        (Direction::Redo, Some(to)) if to < known.state => {
            refuse(format!("the disks are in state {}; go back with undo: {to}", known.state))
        }
        (_, Some(to)) => Ok(to),
    }
}

fn nowhere(direction: Direction) -> Error {
    let what = match direction {
        Direction::Undo => "there is no save that can be undone",
        Direction::Redo => "there is no undone save that can be redone",
    };
    Error::new(Kind::Usage, what).safe("nothing was changed").hint("see the saves with: pocketvm history")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many saves, of which the first `state` are in effect.
    fn known(saves: usize, state: usize) -> History {
        let step = |at: usize| HistoryStep {
            applied: at < state,
            time: 1_790_000_000,
            note: "pc".into(),
            changed: 5,
            disks: vec![],
        };
        describe((0..saves).map(step).collect())
    }

    #[test]
    fn a_state_has_the_number_of_the_save_before_it() {
        let known = known(3, 2);
        assert_eq!(known.state, 2);
        let numbers: Vec<(usize, bool)> =
            known.saves.iter().map(|save| (save.number, save.in_effect)).collect();
        assert_eq!(numbers, [(1, true), (2, true), (3, false)]);
    }

    #[test]
    fn one_step_is_the_way_unless_a_number_is_given() {
        let known = known(3, 2);
        assert_eq!(target(&known, Direction::Undo, None).unwrap(), 1);
        assert_eq!(target(&known, Direction::Redo, None).unwrap(), 3);
        assert_eq!(target(&known, Direction::Undo, Some(0)).unwrap(), 0);
        assert_eq!(target(&known, Direction::Redo, Some(3)).unwrap(), 3);
        for direction in [Direction::Undo, Direction::Redo] {
            assert_eq!(target(&known, direction, Some(2)).unwrap(), 2);
        }
    }

    #[test]
    fn a_state_in_the_other_direction_or_beyond_the_kept_ones_is_refused() {
        let known = known(3, 2);
        let refused = |direction, to| target(&known, direction, to).unwrap_err().what;
        assert_eq!(refused(Direction::Undo, Some(3)), "the disks are in state 2; go forward with redo: 3");
        assert_eq!(refused(Direction::Redo, Some(1)), "the disks are in state 2; go back with undo: 1");
        assert_eq!(refused(Direction::Redo, Some(4)), "there is no such state, only those from 0 to 3: 4");
    }

    #[test]
    fn without_saves_there_is_nowhere_to_go() {
        let known = known(0, 0);
        for direction in [Direction::Undo, Direction::Redo] {
            assert_eq!(target(&known, direction, None).unwrap_err().kind, Kind::Usage);
            assert_eq!(target(&known, direction, Some(1)).unwrap_err().kind, Kind::Usage);
        }
        assert_eq!(target(&known, Direction::Undo, Some(0)).unwrap(), 0);
    }
}
