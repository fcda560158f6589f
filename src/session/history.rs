//! Back to the state before the last save, and forward again, at the price of rewriting a header.

use jiff::Timestamp;
use serde::Serialize;

use super::Options;
use super::claim::{Claim, disk_error};
use super::event::{Outcome, View};
use super::leftover::Leftover;
use crate::drive::{Drive, names};
use crate::{Error, Kind, Result};

/// A save that can be undone or redone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Save {
    /// Its changes are part of the disks now; otherwise it was undone.
    pub in_effect: bool,
    /// When it was made.
    pub time: Option<Timestamp>,
    /// Name of the PC that made it.
    pub host_name: String,
    /// Names of the disks that changed together.
    pub disks: Vec<String>,
}

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the state before the last save.
    Undo,
    /// To the state after the save that was undone last.
    Redo,
}

/// The saves that can be undone or redone, oldest first. Reads only.
///
/// # Errors
/// No drive, or its records can't be read.
pub fn history(options: &Options) -> Result<Vec<Save>> {
    let drive = Drive::open(&options.find_drive()?)?;
    let path = drive.state_path(names::COMMIT)?;
    if !path.exists() {
        return Ok(vec![]);
    }
    let steps = pocketvm_disk::CommitFile::peek_history(&path).map_err(disk_error)?;
    Ok(steps
        .into_iter()
        .map(|step| Save {
            in_effect: step.applied,
            time: i64::try_from(step.time).ok().and_then(|time| Timestamp::from_second(time).ok()),
            host_name: step.note,
            disks: step.disks.into_iter().map(|disk| disk.name).collect(),
        })
        .collect())
}

/// Undoes or redoes a save, for all of its disks together.
///
/// # Errors
/// There is none, a session is unfinished, or another program wrote to a disk.
pub fn travel(options: &Options, direction: Direction, view: &dyn View) -> Result<Outcome> {
    let root = options.find_drive()?;
    let scratch = options.find_scratch(&root)?;
    let claim = Claim::new(&root, view)?;
    let Leftover { here, away } = claim.leftover(&scratch)?;
    if let Some(away) = away {
        return Err(away.error());
    }
    if let Some(here) = here {
        return Err(here.undecided());
    }
    // A record whose changes have landed would come to life again by an undo.
    claim.drive.write_clean(None)?;
    let gone = match direction {
        Direction::Undo => pocketvm_disk::undo(&claim.commit),
        Direction::Redo => pocketvm_disk::redo(&claim.commit),
    };
    gone.map_err(|error| match error {
        pocketvm_disk::Error::NoHistory(_) => {
            let what = match direction {
                Direction::Undo => "there is no save that can be undone",
                Direction::Redo => "there is no undone save that can be redone",
            };
            Error::new(Kind::Usage, what)
                .safe("nothing was changed")
                .hint("see the saves with: pocketvm history")
        }
        error @ pocketvm_disk::Error::Interrupted(_) => disk_error(error),
        error => disk_error(error).safe("the disks are as they were"),
    })?;
    claim.release()?;
    Ok(match direction {
        Direction::Undo => Outcome::Undone,
        Direction::Redo => Outcome::Redone,
    })
}
