//! What is installed on a drive, for people and programs. Reads only.

use std::path::PathBuf;

use pocketvm_guest::guest::{Guest, System, Volume};
use pocketvm_guest::linux::Scope;
use pocketvm_guest::windows::Mounted;
use serde::Serialize;
use uuid::Uuid;

use super::adapt::{self, Looked, Report};
use super::{Identity, Options};
use crate::drive::manifest::Disk;
use crate::drive::{Drive, names};
use crate::guest::{pagefile, swap};
use crate::hypervisor;
use crate::{Error, Kind, Result, host};

/// What is installed on a drive.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// The drive's folder.
    pub drive: PathBuf,
    /// The session of this PC whose changes are seen as well; none if none waits here.
    pub session: Option<Uuid>,
    /// What is on the system disk; none if there is none, or nothing is understood of it.
    pub guest: Option<Guest>,
    /// What is on the further disks, in their order.
    pub others: Vec<Vec<Volume>>,
    /// Whether the paging disk is used; none if the machine has none.
    pub paging: Option<Paging>,
    /// How it would be fitted to the hypervisor that was asked for.
    pub plan: Option<Planned>,
}

/// Whether the guest uses the paging disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paging {
    /// It does.
    pub used: bool,
    /// That, or what to do once so that it does; a sentence without a full stop.
    pub text: String,
}

/// How a guest would be fitted to a hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Planned {
    /// Thus.
    Fits {
        /// What it is given, and what would change.
        #[serde(flatten)]
        report: Report,
    },
    /// Nothing is known of the guest: it is given the usual hardware.
    Unknown,
    /// It can't start there.
    Refused {
        /// Why.
        what: String,
        /// The one next thing to do.
        hint: Option<String>,
    },
}

/// What is installed on a drive, with the changes of a session that waits on this PC. `plan_for` names a hypervisor.
///
/// # Errors
/// No drive, or its disks can't be read; there is no such hypervisor; the machine runs.
pub fn guest(options: &Options, plan_for: Option<&str>) -> Result<Installed> {
    let offered = plan_for.map(|name| {
        hypervisor::hardware(name).map(|offered| (name, offered)).ok_or_else(|| {
            let known = hypervisor::names().collect::<Vec<_>>().join(", ");
            Error::new(Kind::Usage, format!("there is no hypervisor of this name: {name}"))
                .hint(format!("use one of: {known}"))
        })
    });
    let offered = offered.transpose()?;
    let drive = Drive::open(&options.find_drive()?)?;
    let waiting = waiting(options, &drive)?;
    let overlay = |disk: &Disk| {
        let (_, folder) = waiting.as_ref()?;
        let overlays = names::OVERLAY_EXTENSIONS
            .map(|extension| folder.join(names::overlay(disk.name.as_str(), extension)));
        overlays.into_iter().find(|overlay| overlay.exists())
    };
    let looked = adapt::look(&drive, &overlay, Scope::All)?;
    let manifest = drive.manifest();
    let plan = match (&offered, &looked) {
        (None, _) => None,
        (Some((name, offered)), looked) => Some(
            match adapt::adapt_seen(manifest, name, offered, looked.as_ref()).map(|adapted| adapted.report) {
                Ok(Some(report)) => Planned::Fits { report },
                Ok(None) => Planned::Unknown,
                Err(error) => Planned::Refused { what: error.to_string(), hint: error.hint },
            },
        ),
    };
    let uuid = manifest.machine_uuid(Identity::peek(&drive)?.unwrap_or_default());
    let paging = manifest.paging.map(|_| paging(looked.as_ref(), uuid));
    let (guest, others) = looked.map_or((None, Vec::new()), |looked| (Some(looked.guest), looked.others));
    let session = waiting.map(|(id, _)| id);
    Ok(Installed { drive: drive.root().to_owned(), session, guest, others, paging, plan })
}

/// The session of this PC that the drive tells of, and its folder.
fn waiting(options: &Options, drive: &Drive) -> Result<Option<(Uuid, PathBuf)>> {
    let Some(record) = drive.read_session()?.filter(|record| record.host_id == host::facts::host_id()) else {
        return Ok(None);
    };
    let folder = options.find_scratch(drive.root())?.path().join(record.id.to_string());
    if !folder.is_dir() {
        return Ok(None);
    }
    if hypervisor::runs(&folder)? {
        return Err(Error::new(Kind::Busy, "the machine runs, and its disks change all the time")
            .hint("shut it down, or look again when it has ended"));
    }
    Ok(Some((record.id, folder)))
}

fn paging(looked: Option<&Looked>, machine: Uuid) -> Paging {
    let system = looked.and_then(|looked| looked.guest.starting());
    let (used, text) = match system {
        Some(System::Linux { linux, .. }) => {
            let used = linux.fstab.has_swap(swap::LABEL, None);
            let text = if used {
                "Linux swaps to the paging disk".to_owned()
            } else {
                format!(
                    "Linux does not swap to the paging disk; add this line to its /etc/fstab: LABEL={} none swap sw,nofail,x-systemd.device-timeout=5s 0 0",
                    swap::LABEL
                )
            };
            (used, text)
        }
        Some(System::Windows { windows, .. }) => {
            let ours = Mounted::Mbr { signature: pagefile::signature(machine), start: pagefile::START };
            let letter =
                windows.letters.iter().find(|letter| letter.volume == ours).map(|letter| letter.letter);
            let file = |letter: char| {
                let start = format!("{}:", letter.to_ascii_lowercase());
                windows.page_files.iter().any(|file| file.to_ascii_lowercase().starts_with(&start))
            };
            match letter {
                Some(letter) if file(letter) => (true, format!("Windows has its page file on the paging disk, {letter}:")),
                Some(letter) => (
                    false,
                    format!(
                        "Windows does not use the paging disk, {letter}:; set a page file there (System, Advanced, Performance, \
                         Virtual memory) and none on other disks"
                    ),
                ),
                None => (
                    false,
                    "Windows has not met the paging disk yet; start it once, then set a page file on the volume PAGING and keep the \
                     system disk's changes"
                        .to_owned(),
                ),
            }
        }
        None => (false, "Whether the guest uses the paging disk is not known".to_owned()),
    };
    Paging { used, text }
}
