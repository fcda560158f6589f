//! Answers about a drive that change nothing: how it stands, and whether it is healthy.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use super::Options;
use super::claim::disk_error;
use super::leftover;
use super::plan::Refusal;
use crate::drive::LastSession;
use crate::drive::{Drive, Identity, names};
use crate::host::scratch;
use crate::{Error, Kind, Result};

/// How a drive stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its folder.
    pub drive: PathBuf,
    /// Name of its machine.
    pub machine: String,
    /// Its identity; none before the first session.
    pub identity: Option<Uuid>,
    /// The state in a word.
    pub state: State,
    /// The state in sentences.
    pub text: String,
    /// The one next thing to do, if there is one.
    pub hint: Option<String>,
    /// The last session that ended well.
    pub last: Option<LastSession>,
}

/// The state of a drive in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Everything is saved.
    Clean,
    /// A launcher is at work.
    InUse,
    /// A session was left behind on this PC.
    LeftOver,
    /// A session was left behind elsewhere.
    Elsewhere,
}

/// How the drive stands.
///
/// # Errors
/// No drive, or its manifest or records can't be read.
pub fn status(options: &Options) -> Result<Status> {
    let drive = Drive::open(&options.find_drive()?)?;
    let scratch = options.find_scratch(drive.root())?;
    let (state, text, hint) = state(&drive, &scratch)?;
    Ok(Status {
        drive: drive.root().to_owned(),
        machine: drive.manifest().machine.name.as_str().to_owned(),
        identity: Identity::peek(&drive)?,
        state,
        text,
        hint,
        last: drive.read_last_session()?,
    })
}

fn state(drive: &Drive, scratch: &scratch::Root) -> Result<(State, String, Option<String>)> {
    let told = |state, error: Error| (state, error.to_string(), error.hint);
    if let Some(holder) = drive.holder()? {
        let text = format!("The drive is in use by {holder}");
        return Ok((State::InUse, text, Some("finish the session there, or wait until it has ended".into())));
    }
    if is_interrupted(drive)? {
        let text =
            "A save was interrupted on this drive; the next command that uses it completes or undoes it"
                .into();
        return Ok((State::LeftOver, text, Some("do that now with: pocketvm recover".into())));
    }
    let Some(identity) = Identity::peek(drive)? else {
        return Ok((State::Clean, "The drive is clean. It was not used yet".into(), None));
    };
    let found = match leftover::find(drive, identity, scratch) {
        Ok(found) => found,
        Err(error) if error.kind == Kind::Busy => return Ok(told(State::InUse, error)),
        Err(error) => return Err(error),
    };
    Ok(match (found.here, found.away) {
        (Some(here), Some(away)) => {
            let (state, text, hint) = told(State::Elsewhere, away.error());
            (state, format!("{text}. Besides: {}", here.explanation()), hint)
        }
        (Some(here), None) => told(State::LeftOver, here.undecided()),
        (None, Some(away)) => told(State::Elsewhere, away.error()),
        (None, None) => (State::Clean, "The drive is clean. Everything is saved".into(), None),
    })
}

/// Whether a save was cut short between the first and the last of its writes that count.
fn is_interrupted(drive: &Drive) -> Result<bool> {
    let path = drive.state_path(names::COMMIT)?;
    if !path.exists() {
        return Ok(false);
    }
    pocketvm_disk::CommitFile::is_interrupted(&path).map_err(disk_error)
}

/// Why a run would stop before its plan, because of an earlier session or another launcher.
pub(super) fn refusal(drive: &Drive, scratch: &scratch::Root) -> Result<Option<Refusal>> {
    let (state, text, hint) = state(drive, scratch)?;
    Ok((state != State::Clean).then(|| Refusal::new(text, hint.unwrap_or_default())))
}

/// The health of a drive.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Its folder.
    pub drive: PathBuf,
    /// Its disks.
    pub disks: Vec<DiskHealth>,
}

/// The health of a disk.
#[derive(Debug, Clone, Serialize)]
pub struct DiskHealth {
    /// Its name.
    pub name: String,
    /// The base's path on the drive.
    pub file: String,
    /// Size as the guest sees it, in bytes.
    pub size: u64,
    /// Size of the file, in bytes.
    pub file_size: u64,
    /// Its generation; none before the first session.
    pub generation: Option<String>,
    /// What is wrong, in sentences; empty if nothing is.
    pub problems: Vec<String>,
}

impl Health {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.disks.iter().all(|disk| disk.problems.is_empty())
    }
}

fn problems(report: pocketvm_disk::CheckReport) -> Vec<String> {
    let mut problems = report.errors;
    let more = report.error_count.saturating_sub(problems.len() as u64);
    if more > 0 {
        problems.push(format!("and {more} more of the kind"));
    }
    if report.leaks > 0 {
        problems.push(format!("{} clusters are lost room; nothing else is wrong with them", report.leaks));
    }
    problems
}

/// Checks the drive's disks: that we support them, and that their tables agree with themselves. Reads only.
///
/// # Errors
/// No drive, its manifest is wrong, or a launcher is at work on it.
pub fn check(options: &Options) -> Result<Health> {
    let drive = Drive::open(&options.find_drive()?)?;
    if let Some(holder) = drive.holder()? {
        return Err(Error::new(Kind::Busy, format!("the drive is in use by {holder}"))
            .safe("nothing was changed")
            .hint("check it when that session has ended"));
    }
    drive.read_session()?;
    if is_interrupted(&drive)? {
        return Err(Error::new(Kind::Leftover, "a save was interrupted on this drive")
            .safe("the next command that uses it completes or undoes it")
            .hint("do that now with: pocketvm recover"));
    }
    let mut disks = vec![];
    for disk in &drive.manifest().disks {
        let path = drive.resolve(&disk.file)?;
        let mut health = DiskHealth {
            name: disk.name.as_str().to_owned(),
            file: disk.file.as_str().to_owned(),
            size: 0,
            file_size: 0,
            generation: None,
            problems: vec![],
        };
        match pocketvm_disk::inspect(&path).and_then(|info| Ok((info, pocketvm_disk::check(&path)?))) {
            Ok((info, report)) => {
                health.size = info.virtual_size;
                health.file_size = info.file_size;
                health.generation = info.state.generation().map(|id| id.to_string());
                health.problems = problems(report);
            }
            Err(error) => health.problems.push(error.to_string()),
        }
        disks.push(health);
    }
    Ok(Health { drive: drive.root().to_owned(), disks })
}
