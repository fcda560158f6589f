//! A claimed drive: opened, locked for us, with a known identity, its disks whole.

use std::path::{Path, PathBuf};

use pocketvm_disk::{CommitFile, GenerationId};
use uuid::Uuid;

use super::base::Base;
use super::event::{Event, Notice, View};
use super::leftover::{self, Leftover};
use crate::drive::manifest::{Disk, Verify};
use crate::drive::{self, Drive, SessionRecord, names};
use crate::host::{self, scratch};
use crate::{Error, Kind, Result};

/// A drive that nobody else uses while this value lives.
pub struct Claim {
    /// The drive.
    pub drive: Drive,
    /// Who it is.
    pub identity: Uuid,
    /// Its folder below its volume; empty if it is the volume's root. Found out while the drive is surely there.
    pub folder: PathBuf,
    /// Where merges are recorded.
    pub commit: CommitFile,
    _lock: drive::DriveLock,
}

impl Claim {
    /// Claims the drive at `root`, and finishes or undoes a flip that was interrupted.
    ///
    /// # Errors
    /// No drive there, in use by another launcher, or its state is damaged.
    pub fn new(root: &Path, view: &dyn View) -> Result<Claim> {
        let drive = Drive::open(root)?;
        let lock = drive.lock()?;
        let identity = drive::Identity::ensure(&drive)?;
        if let drive::Origin::Cloned { was } = identity.origin {
            view.show(&Event::notice(
                Notice::Cloned,
                format!("This drive is a copy of another one and is a drive of its own from now on (copied from {was})"),
            ));
        }
        let path = drive.root().join(names::STATE).join(names::COMMIT);
        let commit = CommitFile::open(&path, drive.root())
            .map_err(disk_error)?
            .noting(&host::facts::host_name())
            .keeping(drive.manifest().saves.keep as usize)
            .verifying(drive.manifest().saves.verify == Verify::Data);
        let told = match pocketvm_disk::recover(&commit).map_err(disk_error)?.outcome {
            pocketvm_disk::Outcome::Clean => None,
            pocketvm_disk::Outcome::Finished => {
                Some("An interrupted save was found on the drive and is now complete")
            }
            pocketvm_disk::Outcome::Undone => {
                Some("An interrupted save was found on the drive; its disks are as before that save")
            }
            pocketvm_disk::Outcome::FellBack => Some(
                "The drive had reported the last save as written but lost parts of it; its disks are as before that \
                 save. Do not trust this drive with your only copy",
            ),
        };
        if let Some(text) = told {
            view.show(&Event::notice(Notice::Recovered, text));
        }
        let folder = folder_below_volume(drive.root());
        Ok(Claim { identity: identity.id, drive, folder, commit, _lock: lock })
    }

    /// Whether the drive is still attached.
    pub fn is_there(&self) -> bool {
        host::whole::is_there(&self.drive.root().join(names::MANIFEST))
    }

    /// Records the session on the drive.
    ///
    /// # Errors
    /// [`Kind::Gone`] if the drive is; [`Kind::Leftover`] if it tells of another session whose changes are at stake; else
    /// it can't be written.
    pub fn record(&self, record: &SessionRecord) -> Result<()> {
        let write = || {
            if let Some(other) = self.other_at_stake(record.id)? {
                let what = format!(
                    "the drive was used on {} meanwhile, and that session is not saved yet",
                    other.host_name
                );
                return Err(Error::new(Kind::Leftover, what)
                    .safe("both sessions' changes are intact, each on its PC")
                    .hint(
                        "save that one first; or keep this one as files with: pocketvm recover --save-as DIR",
                    ));
            }
            self.drive.write_session(record)
        };
        write().map_err(|error| if self.is_there() { error } else { gone().because(error) })
    }

    /// Another session than `id` that the drive tells of, if its changes are at stake: its record must stay.
    ///
    /// # Errors
    /// The drive can't be read.
    pub fn other_at_stake(&self, id: Uuid) -> Result<Option<SessionRecord>> {
        let Some(other) = self.drive.read_session()?.filter(|other| other.id != id) else { return Ok(None) };
        Ok(leftover::is_at_stake(&self.drive, &other).then_some(other))
    }

    /// The base of a disk and what lies below it.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn base(&self, disk: &Disk) -> Result<Base> {
        Base::open(&self.drive, disk)
    }

    /// The generation of a disk's base; none if it is fresh or another program wrote to it.
    ///
    /// # Errors
    /// As [`Base::generation`].
    pub fn generation(&self, disk: &Disk) -> Result<Option<GenerationId>> {
        Base::generation(&self.drive, disk)
    }

    /// What earlier sessions left behind, with the folders of sessions in `scratch`.
    ///
    /// # Errors
    /// As [`leftover::find`].
    pub fn leftover(&self, scratch: &scratch::Root) -> Result<Leftover> {
        leftover::find(&self.drive, self.identity, scratch)
    }

    /// Everything written so far is on the drive, and nothing of ours holds it any more.
    ///
    /// # Errors
    /// The drive did not take it.
    pub fn release(self) -> Result<()> {
        self.flush()
    }

    /// Everything written so far is on the drive.
    ///
    /// # Errors
    /// The drive did not take it.
    pub fn flush(&self) -> Result<()> {
        host::whole::flush_volume(self.drive.root()).map_err(|error| {
            Error::new(Kind::Gone, "the drive did not confirm that everything is written")
                .hint("unplug it with the system's own eject, then check it with: pocketvm check")
                .because(error)
        })
    }
}

/// The drive's folder below the volume that it lies on; empty if the system does not tell.
fn folder_below_volume(root: &Path) -> PathBuf {
    let volume = host::volume::Volume::of(root).ok();
    volume
        .and_then(|volume| root.strip_prefix(&volume.mount_point).ok().map(Path::to_owned))
        .unwrap_or_default()
}

/// The drive went away while a session's changes lie on this PC.
pub fn gone() -> Error {
    Error::new(Kind::Gone, "the drive is gone")
        .safe("the changes are intact on this PC, and the drive is as before the session")
        .hint("plug the drive in again, then: pocketvm recover --merge")
}

/// An engine failure as the package tells it.
pub fn disk_error(error: pocketvm_disk::Error) -> Error {
    use pocketvm_disk::Error::{Interrupted, Unrecovered};
    let told = Error::new(Kind::Disk, error.to_string());
    match (&error, error.hint()) {
        (Interrupted(_) | Unrecovered(_), _) => told
            .safe("the disks are at the state before or after, never between")
            .hint("finish it with: pocketvm recover"),
        (_, Some(hint)) => told.hint(hint),
        (_, None) => told,
    }
}
