//! The command line: words, flags and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::disk::args::DiskCommand;
use crate::drive::manifest::Size;

/// Shown under `--help` and in the man page.
const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  unexpected failure
   2  wrong usage
   3  no drive found, or its manifest is wrong
   4  the drive, or a disk image, is in use by another program
   5  the plan refuses: memory, CPUs, room, a window, a hypervisor or consent is missing
   6  an earlier session was left behind and needs a decision
   7  no usable hypervisor, it failed, or the guest can't start in it
   8  the guest did not shut down cleanly; its changes are kept
   9  the merge failed or was cancelled; old state and changes are intact
  10  a disk is damaged or not supported
  11  the drive is gone
  12  interrupted; a session that had begun is recoverable
  13  there is no display for the window, or it can't be drawn";

const EXAMPLES: &str = "\
Examples:
  pocketvm                              open the window, as a double-click does
  pocketvm run                          run the machine on this drive
  pocketvm run /media/me/STICK          run the machine on that drive
  pocketvm run --discard user           run, and forget what the session changed
  pocketvm run --headless --json        run from a script
  pocketvm plan                         show what a run would do, without doing it
  pocketvm recover --merge              save what a crashed session left behind";

/// A computer that lives on a USB stick.
#[derive(Debug, Parser)]
#[command(name = "pocketvm", version, max_term_width = 100, arg_required_else_help = !cfg!(feature = "gui"),
    after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do [default: open the window]
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to say it.
    #[command(flatten)]
    pub output: Output,
}

/// How a command speaks.
#[derive(Debug, Args, Clone, Copy)]
pub struct Output {
    /// Print JSON lines on standard output instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only warnings, errors and what was asked for; exit code 0 means that you may unplug
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the machine on a drive: start, work, shut down, save, unplug
    Run(RunArgs),
    /// Open the window, as a double-click does: start, work, close, unplug
    #[cfg(feature = "gui")]
    #[command(after_help = "Example:\n  pocketvm window /media/me/STICK")]
    Window(DriveArgs),
    /// Show what a run would do on this PC, without doing anything
    Plan(RunArgs),
    /// Show whether the drive is clean, in use, or waiting for a left-over session
    #[command(after_help = "Examples:\n  pocketvm status\n  pocketvm status --json /media/me/STICK")]
    Status(DriveArgs),
    /// Show which hypervisors and accelerators this PC has, and why others are not used
    #[command(
        after_help = "Examples:\n  pocketvm detect\n  pocketvm detect --fresh             prove every accelerator again"
    )]
    Detect(DetectArgs),
    /// Decide about what an earlier session left behind
    #[command(
        after_help = "Examples:\n  pocketvm recover                     show what was left behind\n  pocketvm recover --merge             save its changes to the drive\n  pocketvm recover --save-as ~/rescue  keep its overlays as files and clean up"
    )]
    Recover(RecoverArgs),
    /// Throw away what an earlier session left behind
    #[command(after_help = "Example:\n  pocketvm discard --yes /media/me/STICK")]
    Discard(DiscardArgs),
    /// Go back to the state before the last save, or to an earlier one
    #[command(
        after_help = "Examples:\n  pocketvm undo /media/me/STICK\n  pocketvm undo --to 2                 as after save 2 of `pocketvm history`"
    )]
    Undo(TravelArgs),
    /// Take the last undo back, or go forward to a later state
    #[command(
        after_help = "Examples:\n  pocketvm redo /media/me/STICK\n  pocketvm redo --to 4                 as after save 4 of `pocketvm history`"
    )]
    Redo(TravelArgs),
    /// Show the saves that can be undone or redone
    #[command(after_help = "Example:\n  pocketvm history --json")]
    History(DriveArgs),
    /// Give room that the disks do not need any more back to the drive; saves can't be undone afterwards
    #[command(
        after_help = "Examples:\n  pocketvm compact /media/me/STICK\n  pocketvm compact --disk user --yes"
    )]
    Compact(CompactArgs),
    /// Show the hypervisor's configuration as a run would use it
    Render(RunArgs),
    /// Show what is installed on the drive, and whether it fits a hypervisor
    #[command(
        after_help = "Examples:\n  pocketvm guest /media/me/STICK\n  pocketvm guest --plan-for virtualbox\n  pocketvm guest --json"
    )]
    Guest(GuestArgs),
    /// Check the drive's health: manifest, state and disks
    #[command(after_help = "Example:\n  pocketvm check /media/me/STICK")]
    Check(DriveArgs),
    /// Work on disk images, without a drive or a machine: merge, undo, check, map, …
    #[command(
        subcommand,
        after_help = "Examples:\n  pocketvm disk merge system.qcow2 changes.qcow2\n  pocketvm disk undo system.qcow2\n  pocketvm disk map --json changes.qcow2"
    )]
    Disk(DiskCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  pocketvm completions bash > ~/.local/share/bash-completion/completions/pocketvm"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    #[command(after_help = "Example:\n  pocketvm man | man -l -")]
    Man,
}

/// Which drive.
#[derive(Debug, Args, Clone, Default)]
pub struct DriveArgs {
    /// Folder of the drive [default: where this program lies, then the only attached drive]
    #[arg(value_hint = ValueHint::DirPath)]
    pub drive: Option<PathBuf>,
    /// Folder on this PC for sessions [default: $POCKETVM_SCRATCH, or the user's cache folder]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub scratch: Option<PathBuf>,
}

/// How far to go.
#[derive(Debug, Args, Clone)]
pub struct TravelArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Go to the state after save N, as `pocketvm history` counts; 0 is the one before the first
    #[arg(long, value_name = "N")]
    pub to: Option<usize>,
}

/// What to compact.
#[derive(Debug, Args, Clone)]
pub struct CompactArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Compact only this disk
    #[arg(long, value_name = "DISK")]
    pub disk: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// How to run.
#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  pocketvm run --memory '2 GiB' --cpus 2\n  pocketvm run --keep system --discard user\n  pocketvm run --headless --json --leftover merge\n  pocketvm run --hypervisor virtualbox --share ~/exchange"
)]
pub struct RunArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Keep this disk's changes, whatever the manifest says
    #[arg(long, value_name = "DISK")]
    pub keep: Vec<String>,
    /// Discard this disk's changes, whatever the manifest says
    #[arg(long, value_name = "DISK")]
    pub discard: Vec<String>,
    /// Open no window for the guest
    #[arg(long)]
    pub headless: bool,
    /// Guest memory, for instance '2 GiB'
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Guest CPUs
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Use this hypervisor: qemu, virtualbox, vmware or hyperv [default: the first that can, in the manifest's order]
    #[arg(long, value_name = "NAME")]
    pub hypervisor: Option<String>,
    /// Use this accelerator, for instance tcg
    #[arg(long, value_name = "NAME")]
    pub accelerator: Option<String>,
    /// Let the guest read and write this folder of the PC; not every hypervisor can, see `pocketvm plan`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub share: Option<PathBuf>,
    /// What to do first about a session that was left behind [default: ask, or stop]
    #[arg(long, value_name = "WHAT")]
    pub leftover: Option<Decision>,
    /// What to do if the guest does not shut down cleanly [default: ask, or stop]
    #[arg(long, value_name = "WHAT")]
    pub on_unclean: Option<Decision>,
    /// Start although another PC, or a lost folder, holds newer changes; they can't be merged afterwards
    #[arg(long)]
    pub abandon_session: bool,
    /// Accept that the session's changes, and copies of the disks where a hypervisor needs them, lie on this PC
    /// without encryption until they are saved
    #[arg(long)]
    pub accept_plain_scratch: bool,
}

/// What to look at.
#[derive(Debug, Args, Clone)]
pub struct GuestArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Show how it would be fitted to this hypervisor: qemu, virtualbox, vmware or hyperv. The PC need not have it
    #[arg(long, value_name = "NAME")]
    pub plan_for: Option<String>,
}

/// Where to look.
#[derive(Debug, Args, Clone)]
pub struct DetectArgs {
    /// Which drive's own hypervisor and remembered verdicts to use
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Prove every accelerator again instead of trusting the verdicts on the drive
    #[arg(long)]
    pub fresh: bool,
}

/// What to do with a left-over session.
#[derive(Debug, Args, Clone)]
pub struct RecoverArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Save the changes to the drive
    #[arg(long, group = "what")]
    pub merge: bool,
    /// Throw the changes away
    #[arg(long, group = "what")]
    pub discard: bool,
    /// Copy the overlays into this folder as separate images, then clean up
    #[arg(long, value_name = "DIR", group = "what", value_hint = ValueHint::DirPath)]
    pub save_as: Option<PathBuf>,
}

/// What to throw away.
#[derive(Debug, Args, Clone)]
pub struct DiscardArgs {
    /// Which drive.
    #[command(flatten)]
    pub drive: DriveArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Give up changes that lie on another PC, too
    #[arg(long)]
    pub abandon_session: bool,
}

/// A decision taken in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// Save the changes to the drive
    Merge,
    /// Throw the changes away
    Discard,
    /// Leave everything as it is and stop
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_documented() {
        for kind in crate::Kind::ALL {
            let code = format!("\n{:>4}  ", kind.exit_code());
            assert!(EXIT_CODES.contains(&code), "{kind:?} is missing");
        }
    }
}
