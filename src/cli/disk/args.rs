//! The command line of `pocketvm disk`: words, flags and their help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint, value_parser};
use pocketvm_disk::GenerationId;

/// Most merges that can stay undoable.
const MOST_KEPT: i64 = 64;

const ABOUT_RECORDS: &str = "\
A base and its record belong together: the record holds what undo needs, and what a merge must spare. By default it is \
`pocketvm.commit` in the folder of the (first) base, made by the first merge. All bases of a record lie in its folder or \
below. Every command first finishes, or takes back, what was interrupted there, and says so.";

/// The commands on disk images.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Make overlays part of their bases, all in one step that a power cut can't tear
    #[command(
        override_usage = "pocketvm disk merge [OPTIONS] BASE OVERLAY [BASE OVERLAY]...",
        after_help = MERGE_EXAMPLES,
        after_long_help = format!("{MERGE_EXAMPLES}\n\n{ABOUT_RECORDS}")
    )]
    Merge(MergeArgs),
    /// Take the last merge back, or all of them down to a state, for all of their bases together
    #[command(after_help = UNDO_EXAMPLES, after_long_help = format!("{UNDO_EXAMPLES}\n\n{ABOUT_RECORDS}"))]
    Undo(TravelArgs),
    /// Put the merge that was undone last into effect again, or all of them up to a state
    #[command(after_help = REDO_EXAMPLES, after_long_help = format!("{REDO_EXAMPLES}\n\n{ABOUT_RECORDS}"))]
    Redo(TravelArgs),
    /// Show the merges that can be undone or redone, with their numbers
    #[command(
        after_help = "Examples:\n  pocketvm disk history system.qcow2\n  pocketvm disk history --record images/pocketvm.commit --json"
    )]
    History(RecordArgs),
    /// Make a base's file as short as what it holds allows; no merge before that can be undone afterwards
    #[command(
        after_help = COMPACT_EXAMPLES,
        after_long_help = format!("{COMPACT_EXAMPLES}\n\n{ABOUT_COMPACTING}\n\n{ABOUT_RECORDS}")
    )]
    Compact(CompactArgs),
    /// Finish or take back what was interrupted, and verify that the storage kept the last merge
    #[command(
        after_help = "Examples:\n  pocketvm disk recover system.qcow2\n  pocketvm disk recover --record images/pocketvm.commit"
    )]
    Recover(RecordArgs),
    /// Compare every reference in an image's tables with its count; exit code 10 if there are errors
    #[command(
        after_help = "Examples:\n  pocketvm disk check system.qcow2\n  pocketvm disk check --json overlay.qcow2"
    )]
    Check(ImageArgs),
    /// Show what an image says about itself
    #[command(
        after_help = "Examples:\n  pocketvm disk info system.qcow2\n  pocketvm disk info --json overlay.qcow2"
    )]
    Info(ImageArgs),
    /// Show where each part of an image's disk comes from: data, zero, compressed, or absent
    #[command(
        after_help = "Examples:\n  pocketvm disk map overlay.qcow2\n  pocketvm disk map --json overlay.qcow2 | grep '\"data\"'",
        long_about = "Show where each part of an image's disk comes from\n\n\
            data        in the image file, from the offset `host` on\n\
            compressed  in the image file\n\
            zero        known to be zero\n\
            absent      not in this image: from its backing file, or zero without one"
    )]
    Map(ImageArgs),
}

const MERGE_EXAMPLES: &str = "\
Examples:
  pocketvm disk merge system.qcow2 changes.qcow2             as qemu-img commit, but atomic
  pocketvm disk merge --dry-run system.qcow2 changes.qcow2   show how much that would be
  pocketvm disk merge --keep 5 system.qcow2 changes.qcow2    five merges can be undone
  pocketvm disk merge --raw data.img data.img changes.qcow2  data.img is a raw disk
  pocketvm disk merge a/system.qcow2 s.qcow2 b/user.qcow2 u.qcow2 --record pocketvm.commit";

const UNDO_EXAMPLES: &str = "\
Examples:
  pocketvm disk undo system.qcow2
  pocketvm disk undo --to 2 system.qcow2    as after merge 2 of `pocketvm disk history`
  pocketvm disk undo --record images/pocketvm.commit images/a/system.qcow2";

const REDO_EXAMPLES: &str = "\
Examples:
  pocketvm disk redo system.qcow2
  pocketvm disk redo --to 4 system.qcow2    as after merge 4 of `pocketvm disk history`";

const COMPACT_EXAMPLES: &str = "\
Examples:
  pocketvm disk compact system.qcow2
  pocketvm disk compact --record images/pocketvm.commit images/a/system.qcow2";

const ABOUT_COMPACTING: &str = "\
What lies at the end of the file moves into free room further ahead, as a new generation with the same content, and the \
file is cut. The room of what could be undone is given up for that, before anything else. An overlay of the base stays \
good, but not its generation: do not use --expect with the one before.";

/// Which record.
#[derive(Debug, Args, Clone)]
pub struct RecordOption {
    /// The record of merges; bases lie in or below its folder [default: pocketvm.commit beside the first image]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub record: Option<PathBuf>,
}

/// What to merge, and how.
#[derive(Debug, Args, Clone)]
pub struct MergeArgs {
    /// Pairs of a base and the overlay to merge into it: a qcow2 image, or a differencing VMDK, VDI, VHD or VHDX. Overlays
    /// are only read; the name of the backing file in them is not looked at
    #[arg(required = true, num_args = 2.., value_names = ["BASE", "OVERLAY"], value_hint = ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
    /// Which record.
    #[command(flatten)]
    pub record: RecordOption,
    /// This base is a raw disk, not qcow2; once for each of them. Its changes are written three times, and until a merge
    /// that was interrupted is recovered, such a base may be torn
    #[arg(long, value_name = "BASE", value_hint = ValueHint::FilePath)]
    pub raw: Vec<PathBuf>,
    /// Refuse to merge onto another generation than this; once for each base, in order
    #[arg(long, value_name = "GENERATION")]
    pub expect: Vec<GenerationId>,
    /// Words for the history [default: the name of this PC]
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How many merges of the record stay undoable, this one included. More take more room
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u8).range(1..=MOST_KEPT))]
    pub keep: u8,
    /// Read the new data back from the storage, too, before it counts. Tables always are
    #[arg(long)]
    pub verify: bool,
    /// Show how much there is to do and how much the bases may grow, without doing it
    #[arg(long)]
    pub dry_run: bool,
}

/// A base and its record.
#[derive(Debug, Args, Clone)]
pub struct TravelArgs {
    /// A base that the merge, or one of them, changed
    #[arg(value_hint = ValueHint::FilePath)]
    pub base: PathBuf,
    /// Go to the state after merge N, as `pocketvm disk history` counts; 0 is the one before the first
    #[arg(long, value_name = "N")]
    pub to: Option<usize>,
    /// Which record.
    #[command(flatten)]
    pub record: RecordOption,
}

/// What to compact.
#[derive(Debug, Args, Clone)]
pub struct CompactArgs {
    /// The base
    #[arg(value_hint = ValueHint::FilePath)]
    pub base: PathBuf,
    /// Which record.
    #[command(flatten)]
    pub record: RecordOption,
}

/// A record, by its name or by a base.
#[derive(Debug, Args, Clone)]
pub struct RecordArgs {
    /// A base of the record
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "record")]
    pub base: Option<PathBuf>,
    /// Which record.
    #[command(flatten)]
    pub record: RecordOption,
}

/// One image.
#[derive(Debug, Args, Clone)]
pub struct ImageArgs {
    /// The qcow2 image: a base or an overlay
    #[arg(value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Which record.
    #[command(flatten)]
    pub record: RecordOption,
}
