//! `pocketvm disk`: the engine on plain files, without a drive or a machine. Parses, calls the engine, shows.
//!
//! The one view that calls `pocketvm_disk` itself: there is no session here whose steps it could hide.

use std::sync::Arc;

use serde::Serialize;

use super::args::Output;
use super::report;
use crate::Result;
use crate::session::controls::Controls;
use crate::session::event::{Event, Outcome, View};
use crate::session::history::Direction;

pub mod args;
mod compact;
mod estimate;
mod failure;
mod look;
mod map;
mod merge;
mod pairs;
mod progress;
mod record;
mod text;
mod travel;

use args::DiskCommand;

/// Where a command speaks, and hears that it is to stop.
pub struct Desk<'a> {
    /// Progress, notices and the last line.
    pub view: &'a dyn View,
    /// Wishes to stop.
    pub controls: &'a Arc<Controls>,
    /// How to say it.
    pub output: Output,
}

/// Does what the command line says; returns the exit code.
///
/// # Errors
/// What is refused or failed, with what is safe.
pub fn act(command: &DiskCommand, desk: &Desk<'_>) -> Result<u8> {
    match command {
        DiskCommand::Merge(args) => merge::merge(args, desk),
        DiskCommand::Undo(args) => travel::travel(args, Direction::Undo, desk),
        DiskCommand::Redo(args) => travel::travel(args, Direction::Redo, desk),
        DiskCommand::History(args) => travel::history(args, desk),
        DiskCommand::Compact(args) => compact::compact(args, desk),
        DiskCommand::Recover(args) => travel::recover(args, desk),
        DiskCommand::Check(args) => look::check(args, desk),
        DiskCommand::Info(args) => look::info(args, desk),
        DiskCommand::Map(args) => map::map(args, desk),
    }
}

impl Desk<'_> {
    /// What was asked for.
    fn answer<T: Serialize>(&self, event: &'static str, content: &T, text: impl FnOnce(&T)) {
        report::answer(self.output.json, event, content, text);
    }

    /// The last line of a command that changed something.
    fn done(&self, outcome: Outcome, text: &str) {
        self.view.show(&Event::Done { outcome, text: text.to_owned() });
    }

    /// From now on Ctrl-C and the like are wishes to stop.
    fn listen_to_signals(&self) -> Result<()> {
        super::pass_signals_on(self.controls)
    }
}
