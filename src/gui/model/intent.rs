//! What the user can want.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::drive::Settings;
use crate::session::event::Answer;
use crate::session::history::Direction;

/// What the user wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// Look at the drive and the PC again.
    Look,
    /// Use this drive.
    Drive(PathBuf),
    /// Start the session.
    Start,
    /// Guest memory in MiB.
    Memory(u64),
    /// Guest CPUs.
    Cpus(u32),
    /// Use this hypervisor with this accelerator.
    RunOn {
        /// The hypervisor.
        hypervisor: String,
        /// The accelerator.
        accelerator: String,
    },
    /// Everything as proposed: memory, CPUs, accelerator.
    Proposed,
    /// Keep, or discard, the changes to this disk.
    Keep(String, bool),
    /// Changes may lie on this PC without encryption.
    Consent(bool),
    /// Use another folder on this PC; the user chooses it.
    Scratch,
    /// Shut the guest down.
    ShutDown,
    /// Force the guest off, for sure.
    ForceOff,
    /// Stop what is under way as soon as that is safe.
    Stop,
    /// Answer the session's question.
    Answer(Answer),
    /// Save a left-over session, or finish an interrupted save.
    Save,
    /// Remove the temporary files of a left-over session that has nothing to save.
    TidyUp,
    /// Throw a left-over session away, for sure.
    Discard,
    /// Keep a left-over session as files; the user chooses where.
    SaveAs,
    /// Give up a session elsewhere, for sure.
    GiveUp,
    /// Go to a state of the history, for sure.
    Travel(Direction, Option<usize>),
    /// Ask first.
    Ask(Confirm),
    /// Do not do what was asked about.
    Dismiss,
    /// Show a page.
    Show(Page),
    /// Unfold or fold details.
    Unfold(bool),
    /// Copy the report.
    CopyReport,
    /// Look and speak like this.
    Settings(Settings),
    /// The window's close button, or its key.
    Close,
    /// Stop as soon as that is safe, and close.
    CloseNow,
    /// Close as soon as what is under way is done.
    CloseLater,
}

/// What lies over the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Nothing.
    Main,
    /// Saves, undo and redo.
    History,
    /// What happened.
    Log,
    /// How the window looks and speaks.
    Settings,
    /// What this program is.
    About,
}

/// A question of the window's own. What is destructive is asked for here, and never the default.
#[derive(Debug, Clone, PartialEq)]
pub enum Confirm {
    /// The guest is to be forced off.
    Force,
    /// The changes of a left-over session are to be thrown away.
    Discard(u64),
    /// The answer to the session's question throws changes away.
    DiscardAnswer(u64),
    /// A session elsewhere is to be given up.
    GiveUp(String),
    /// The disks are to go back to the state with this number, before the save of that time.
    Undo(usize, Option<Timestamp>),
    /// The window is to close.
    Close,
}

/// What a folder was chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The folder of all sessions on this PC.
    Scratch,
    /// Where a left-over session is kept as files.
    SaveAs,
}
