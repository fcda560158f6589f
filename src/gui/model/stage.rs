//! What the session is doing, and how it failed.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use jiff::Timestamp;

use super::run::Run;
use crate::gui::rate::Rate;
use crate::session::event::{Answer, Outcome, Question, Step, Subject};
use crate::{Error, Kind};

/// What the session is doing.
pub enum Stage {
    /// The drive and the PC are looked at.
    Looking,
    /// Several drives are there.
    Choosing(Vec<PathBuf>),
    /// A drive is there; [`Model::status`](super::Model::status) says how it stands.
    Ready,
    /// A step that is neither running nor saving.
    Working(Option<Step>),
    /// The guest runs.
    Running,
    /// The session waits for a decision.
    Asked(Asked),
    /// Changes are being saved.
    Saving(Saving),
    /// It ended well, and the drive is free.
    Done(Outcome),
    /// It ended otherwise.
    Failed(Failure),
}

/// A question of the session's and the way to answer it.
pub struct Asked {
    /// The question.
    pub question: Question,
    pub(super) reply: Sender<Option<Answer>>,
}

/// How far saving, or copying the disks to this PC, is.
#[derive(Debug, Clone, Default)]
pub struct Saving {
    /// Bytes done.
    pub done: u64,
    /// Bytes to do, once that is known.
    pub total: Option<u64>,
    /// Bytes a second, once that can be told.
    pub speed: Option<u64>,
    /// Seconds that are left, once that can be told.
    pub left: Option<u64>,
    rate: Rate,
}

impl Saving {
    pub(super) fn on_progress(&mut self, done: u64, total: u64, now: Timestamp) {
        (self.done, self.total) = (done, Some(total));
        self.rate.note(done, now);
        self.speed = self.rate.per_second();
        self.left = self.speed.map(|speed| total.saturating_sub(done).div_ceil(speed.max(1)));
    }
}

impl Asked {
    /// Bytes that an answer could throw away.
    pub fn at_stake(&self, run: &Run) -> u64 {
        match &self.question.subject {
            Subject::Leftover(left) => left.total(),
            Subject::GiveUp(away) => away.unsaved,
            _ => run.total(),
        }
    }
}

/// A failure, in the session's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub kind: Kind,
    /// What failed.
    pub what: String,
    /// What is safe.
    pub safe: Option<String>,
    /// What to do, as on the command line.
    pub hint: Option<String>,
    /// What is safe, as far as the window saw it happen.
    pub safety: Safety,
}

/// What is safe after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Nothing was begun yet.
    Before,
    /// No guest was started by this session.
    Unchanged,
    /// The guest ran, and its changes are on this PC.
    Kept,
    /// The changes are on this PC, and perhaps on the drive, too.
    Either,
    /// The changes are on the drive.
    Saved,
    /// Nothing was asked for that writes to a disk.
    Untouched,
    /// Only the session's own words can tell.
    Told,
}

impl Failure {
    /// `error` as a window tells it.
    pub fn of(error: &Error, safety: Safety) -> Failure {
        Failure {
            kind: error.kind,
            what: error.to_string(),
            safe: error.safe.clone(),
            hint: error.hint.clone(),
            safety,
        }
    }
}
