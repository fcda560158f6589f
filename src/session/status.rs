//! Answers about a drive that change nothing: how it stands, and whether it is healthy.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use super::Options;
use super::base::{self, Base};
use super::claim::disk_error;
use super::leftover::{self, Elsewhere, LeftBehind};
use super::plan::{Reason, Refusal};
use crate::drive::manifest::Format;
use crate::drive::{Drive, Identity, LastSession, names};
use crate::host::scratch;
use crate::hypervisor::Layer;
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
    /// A session that was left behind on this PC; none with [`State::LeftOver`] means that a save was cut short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<LeftBehind>,
    /// A session that was left behind elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Elsewhere>,
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
    /// A session was left behind on this PC, or a save was cut short.
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
    let Standing { state, text, hint, here, away } = state(&drive, &scratch)?;
    Ok(Status {
        drive: drive.root().to_owned(),
        machine: drive.manifest().machine.name.as_str().to_owned(),
        identity: Identity::peek(&drive)?,
        state,
        text,
        hint,
        here,
        away,
        last: drive.read_last_session()?,
    })
}

/// The state of a drive, with what is known of the sessions that make it so.
struct Standing {
    state: State,
    text: String,
    hint: Option<String>,
    here: Option<LeftBehind>,
    away: Option<Elsewhere>,
}

impl Standing {
    fn new(state: State, text: impl Into<String>, hint: Option<String>) -> Standing {
        Standing { state, text: text.into(), hint, here: None, away: None }
    }
}

fn state(drive: &Drive, scratch: &scratch::Root) -> Result<Standing> {
    let told = |state, error: Error| Standing::new(state, error.to_string(), error.hint);
    if let Some(holder) = drive.holder()? {
        let hint = "finish the session there, or wait until it has ended".into();
        return Ok(Standing::new(State::InUse, format!("The drive is in use by {holder}"), Some(hint)));
    }
    if is_interrupted(drive)? {
        let text =
            "A save was interrupted on this drive; the next command that uses it completes or undoes it";
        return Ok(Standing::new(State::LeftOver, text, Some("do that now with: pocketvm recover".into())));
    }
    let Some(identity) = Identity::peek(drive)? else {
        return Ok(Standing::new(State::Clean, "The drive is clean. It was not used yet", None));
    };
    let found = match leftover::find(drive, identity, scratch) {
        Ok(found) => found,
        Err(error) if error.kind == Kind::Busy => return Ok(told(State::InUse, error)),
        Err(error) => return Err(error),
    };
    let standing = match (&found.here, &found.away) {
        (Some(here), Some(away)) => {
            let standing = told(State::Elsewhere, away.error());
            Standing { text: format!("{}. Besides: {}", standing.text, here.explanation()), ..standing }
        }
        (Some(here), None) => told(State::LeftOver, here.undecided()),
        (None, Some(away)) => told(State::Elsewhere, away.error()),
        (None, None) => Standing::new(State::Clean, "The drive is clean. Everything is saved", None),
    };
    let here = found.here.as_ref().map(|here| here.describe());
    let away = found.away.as_ref().map(|away| away.describe());
    Ok(Standing { here, away, ..standing })
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
    let Standing { state, text, hint, .. } = state(drive, scratch)?;
    Ok((state != State::Clean).then(|| Refusal::new(Reason::Unsettled, text, hint.unwrap_or_default())))
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
    /// What that file is.
    pub format: Format,
    /// Size as the guest sees it, in bytes.
    pub size: u64,
    /// Size of the file, in bytes.
    pub file_size: u64,
    /// Its generation; none before the first session.
    pub generation: Option<String>,
    /// The layers below the base, the next one first.
    pub below: Vec<Layer>,
    /// What is wrong, in sentences; empty if nothing is.
    pub problems: Vec<String>,
}

impl Health {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.disks.iter().all(|disk| disk.problems.is_empty())
    }
}

/// Checks the drive's disks: that we support them and everything that shows through them, and that their tables agree with
/// themselves. Reads only.
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
        // What can't be opened is told of by its problems.
        let base = Base::open(&drive, disk).ok();
        let of_base = |value: fn(&Base) -> u64| base.as_ref().map(value).unwrap_or_default();
        disks.push(DiskHealth {
            name: disk.name.as_str().to_owned(),
            file: disk.file.as_str().to_owned(),
            format: disk.format,
            size: of_base(|base| base.virtual_size),
            file_size: of_base(|base| base.file_size),
            generation: base.as_ref().and_then(|base| base.generation).map(|id| id.to_string()),
            below: base.map(|base| base.below).unwrap_or_default(),
            problems: base::problems(&drive, disk),
        });
    }
    Ok(Health { drive: drive.root().to_owned(), disks })
}
