//! What a session says. The command line, the JSON stream and the window are views of these events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

pub use super::adapt::{Report, title_of};
use super::leftover::{Elsewhere, LeftBehind};
use super::plan::Plan;
use crate::hypervisor::{Candidate, Ending, GuestEvent};

/// The version of the JSON lines; rises when a field changes its meaning or goes away.
pub const STREAM_VERSION: u32 = 1;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A step of the session's life began or ended.
    Phase {
        /// Which.
        phase: Step,
        /// Began or ended.
        state: StepState,
        /// How long it took, in seconds; zero when it begins.
        seconds: f64,
    },
    /// A hypervisor was found, usable or not.
    Candidate {
        /// What was found.
        candidate: Candidate,
    },
    /// What a run would do.
    Plan {
        /// The plan.
        plan: Box<Plan>,
    },
    /// The session exists from here on: it is recorded on the drive and in scratch.
    Session {
        /// Its id.
        id: Uuid,
        /// Its folder on this PC.
        scratch: PathBuf,
    },
    /// The guest was fitted to the hypervisor.
    Adapted {
        /// What it is given, and what changes in it.
        adapted: Box<Report>,
    },
    /// Figures of a running guest, about once a second.
    Figures {
        /// Since the launch.
        seconds: u64,
        /// Bytes of this PC's memory that the hypervisor holds.
        memory: u64,
        /// Bytes that exist only on this PC, per disk.
        unsaved: BTreeMap<String, u64>,
        /// Free bytes where scratch lies.
        room: u64,
    },
    /// Something worth knowing.
    Notice {
        /// For programs.
        code: Notice,
        /// For people.
        text: String,
    },
    /// Something happened to the guest.
    Guest {
        /// What.
        guest: GuestEvent,
    },
    /// How far the disks are copied to this PC, for a hypervisor that can't read them on the drive.
    CopyProgress {
        /// Bytes done.
        done: u64,
        /// Bytes to do.
        total: u64,
    },
    /// How far a merge, or the compacting of one disk, is. `total` is known before the first byte is written.
    MergeProgress {
        /// Bytes done.
        done: u64,
        /// Bytes to do.
        total: u64,
    },
    /// A merge is complete and verified.
    Merged {
        /// Per kept disk.
        disks: Vec<MergedDisk>,
    },
    /// The disks went from one kept state to another.
    Moved {
        /// The number of the state before, as history counts.
        from: usize,
        /// The number of the state now.
        to: usize,
        /// What changed; nothing if the disks were there already.
        disks: Vec<MovedDisk>,
    },
    /// Room that bases did not need was given back to the drive.
    Compacted {
        /// Per compacted disk.
        disks: Vec<CompactedDisk>,
    },
    /// The end of a command, and the last line of its stream unless an `error` is.
    Done {
        /// For programs.
        outcome: Outcome,
        /// For people.
        text: String,
    },
    /// The command failed.
    Error {
        /// For programs.
        kind: crate::Kind,
        /// What failed.
        what: String,
        /// What is safe.
        safe: Option<String>,
        /// The one next thing to do.
        hint: Option<String>,
    },
}

impl Event {
    /// The event that tells a failure.
    pub fn error(error: &crate::Error) -> Event {
        Event::Error {
            kind: error.kind,
            what: error.to_string(),
            safe: error.safe.clone(),
            hint: error.hint.clone(),
        }
    }

    /// A notice.
    pub fn notice(code: Notice, text: impl Into<String>) -> Event {
        Event::Notice { code, text: text.into() }
    }
}

/// The steps of a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Which hypervisor and accelerator this PC has.
    Detect,
    /// What a run would do, and whether it may.
    Plan,
    /// Scratch, overlays, paging disk, configuration.
    Prepare,
    /// The hypervisor starts.
    Launch,
    /// The guest runs, until it has stopped.
    Run,
    /// Kept overlays become part of their bases.
    Merge,
    /// Every temporary goes.
    Wipe,
    /// Bases give back room that they do not need. Not a step of a session.
    Compact,
}

impl Step {
    /// The word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Step::Detect => "detect",
            Step::Plan => "plan",
            Step::Prepare => "prepare",
            Step::Launch => "launch",
            Step::Run => "run",
            Step::Merge => "merge",
            Step::Wipe => "wipe",
            Step::Compact => "compact",
        }
    }
}

/// Whether a step began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It begins.
    Started,
    /// It succeeded.
    Done,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// An accelerator is not used.
    Accelerator,
    /// The PC could not be kept awake.
    Awake,
    /// This drive is a copy and got an identity of its own.
    Cloned,
    /// The disks were found in the middle of a flip, and made whole.
    Recovered,
    /// The guest was asked to shut down.
    ShuttingDown,
    /// The guest is being forced off.
    Forcing,
    /// The host disk is full; the guest is paused.
    HostFull,
    /// There is room again; the guest goes on.
    HostRoom,
    /// The drive is gone; the guest is paused.
    DriveGone,
    /// The drive is back; the guest goes on.
    DriveBack,
    /// Another drive came, or this one changed meanwhile.
    DriveChanged,
    /// The unsaved changes may not fit on the drive.
    DriveRoom,
    /// A disk can't be read or written though the drive is there.
    DiskError,
    /// The hypervisor did not do what was asked.
    Hypervisor,
    /// The guest's kernel crashed.
    GuestPanicked,
    /// A guest that outlived its launcher was taken over.
    Adopted,
    /// What an earlier session left behind.
    Leftover,
    /// Session data on this PC is not encrypted.
    PlainScratch,
    /// A session elsewhere is given up.
    Abandoned,
    /// A base had no generation, or another program wrote to it: it is checked in full and gets a new one.
    Stamped,
    /// A save goes on where an earlier attempt was cut off.
    Resumed,
    /// A disk is left out.
    Skipped,
    /// What one of the machine's chips remembered can't be used.
    Chip,
    /// Something about the guest that does not fit this hypervisor, or any other PC.
    Fit,
}

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The changes are on the drive, the PC holds nothing.
    Saved,
    /// The changes were discarded as asked, the PC holds nothing.
    Discarded,
    /// The changes are kept as files apart from the drive.
    SetAside,
    /// Nothing was to be done.
    Clean,
    /// The disks are as before a save.
    Undone,
    /// The disks are as after a save that had been undone.
    Redone,
    /// Bases take no more room than they need.
    Compacted,
    /// Overlays became part of their bases; the overlays are still there.
    Merged,
}

/// What a merge did to one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergedDisk {
    /// Name of the disk.
    pub name: String,
    /// Bytes of guest data that changed.
    pub changed: u64,
    /// Bytes written to the drive, structures included.
    pub written: u64,
    /// Bytes of the disk that the base does not store any more.
    pub freed: u64,
    /// Bytes that were not written because the base held the same already.
    pub skipped: u64,
    /// Bytes that an interrupted merge had left on the drive already, and that were not written again.
    #[serde(skip_serializing_if = "is_zero")]
    pub reused: u64,
    /// The generation before.
    pub from: String,
    /// The generation now.
    pub to: String,
}

/// What hardly ever happens is not told each time.
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// What going to another state did to one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedDisk {
    /// Name of the disk.
    pub name: String,
    /// Bytes of guest data that the saves in between had changed.
    pub changed: u64,
    /// The generation before.
    pub from: Option<String>,
    /// The generation now; none if it is the state before the first use.
    pub to: Option<String>,
}

/// What compacting did to one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompactedDisk {
    /// Name of the disk.
    pub name: String,
    /// Bytes of the base's file before.
    pub before: u64,
    /// Bytes of it now.
    pub after: u64,
    /// Bytes that were moved for that.
    pub moved: u64,
    /// The generation now.
    pub generation: String,
}

/// Somebody who sees the session and may be asked.
pub trait View: Send + Sync {
    /// Shows an event. Must not block for long.
    fn show(&self, event: &Event);
    /// Asks for a decision. None means that nobody is there to decide.
    fn ask(&self, question: &Question) -> Option<Answer>;
}

/// A decision that only a person, or a flag, can take.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it is about.
    pub subject: Subject,
    /// The situation and what is safe, in sentences.
    pub text: String,
    /// What can be chosen, never with something destructive first.
    pub answers: Vec<Answer>,
}

/// What a question is about, for views that say it in their own words.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A session that was left behind on this PC.
    Leftover(LeftBehind),
    /// A session elsewhere whose changes are to be given up.
    GiveUp(Elsewhere),
    /// The guest did not end cleanly.
    Unclean(Ending),
    /// Changes lie unencrypted on this PC while the machine runs.
    PlainScratch {
        /// So does a copy of the disks with so many bytes.
        copied: Option<u64>,
    },
    /// What a command is about to do for good.
    Confirm,
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Save the changes to the drive.
    Merge,
    /// Throw the changes away.
    Discard,
    /// Leave everything as it is and decide later.
    Later,
    /// Yes, go on.
    Accept,
}
