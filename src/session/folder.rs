//! A session's private folder on the internal disk, locked by the launcher that works in it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use pocketvm_disk::OverlayFormat;
use uuid::Uuid;

use crate::drive::{SessionRecord, names};
use crate::host::scratch;
use crate::{Error, Kind, Result, host};

/// Cluster size of the paging disk, in bytes: QEMU's own default, good for the host's disk.
pub const CLUSTER: u64 = 64 * 1024;

/// Cluster sizes of overlays, in bytes. Within these bounds an overlay has the base's: a merge writes whole clusters of the
/// base, and would have to read from the stick what a finer overlay lacks of them, or write what a coarser one has too much.
const OVERLAY_CLUSTERS: std::ops::RangeInclusive<u64> = 16 * 1024..=64 * 1024;

/// The cluster size of an overlay over a base with clusters of `base` bytes; none if the base has no clusters.
pub fn overlay_cluster(base: Option<u64>) -> u64 {
    let (least, most) = (*OVERLAY_CLUSTERS.start(), *OVERLAY_CLUSTERS.end());
    base.unwrap_or(least).clamp(least, most)
}

/// Bytes that an overlay takes on this PC, beyond what an empty one does. Zero if it is not there.
pub fn unsaved(overlay: &Path) -> u64 {
    let Ok(info) = pocketvm_disk::inspect_overlay(overlay) else {
        return host::file::allocated(overlay).unwrap_or(0);
    };
    let taken = match info.format {
        // What the guest discarded is a hole.
        OverlayFormat::Qcow2 => host::file::allocated(overlay).unwrap_or(0),
        // The tables may be holes, and the file only grows.
        _ => fs_err::metadata(overlay).map_or(0, |file| file.len()),
    };
    taken.saturating_sub(info.tables)
}

/// A folder `<scratch>/<session id>/` that no other launcher works in while this value lives.
pub struct Folder {
    session: scratch::Session,
    lock: File,
}

impl Folder {
    /// Makes the folder, readable by this user only.
    ///
    /// # Errors
    /// It can't be made, or exists already.
    pub fn create(root: &scratch::Root, id: Uuid) -> Result<Folder> {
        Folder::lock(root.create(id)?)
    }

    /// Takes the folder of a left-over session.
    ///
    /// # Errors
    /// Another launcher works in it, or it can't be opened.
    pub fn lock(session: scratch::Session) -> Result<Folder> {
        let name = session.path().join(names::SCRATCH_LOCK);
        let lock =
            fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(name)?.into_parts().0;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { session, lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Kind::Busy,
                format!("another launcher is at work with this session: {}", session.path().display()),
            )
            .safe("nothing was changed")
            .hint("wait until it is done, or end it")),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.session.path()
    }

    /// The place of a disk's overlay.
    pub fn overlay(&self, disk: &str) -> PathBuf {
        self.session.overlay(disk)
    }

    /// Bytes that a disk's overlay takes on this PC, beyond what an empty one does.
    pub fn unsaved(&self, disk: &str) -> u64 {
        let (overlay, chip) = (self.overlay(disk), self.path().join(names::chip(disk)));
        // The memory of a chip gets its overlay at the end.
        unsaved(if overlay.exists() { &overlay } else { &chip })
    }

    /// The session as this PC recorded it; none if the launcher died before it wrote it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self) -> Result<Option<SessionRecord>> {
        self.session.read_record()
    }

    /// Records the session on this PC, durably.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, record: &SessionRecord) -> Result<()> {
        self.session.write_record(record)
    }

    /// Records the session on this PC if that is possible. What this tells is on the drive, too, or is found out again;
    /// a full disk must not keep a session from its end.
    pub fn note(&self, record: &SessionRecord) {
        if let Err(error) = self.write(record) {
            tracing::warn!(%error, "the session could not be recorded in its folder");
        }
    }

    /// Removes the paging disk and the copies of bases of `disks`, which are never needed again after the guest has ended: on
    /// a full disk that makes room.
    pub fn drop_temporaries<'a>(&self, disks: impl Iterator<Item = &'a str>) {
        let paging = self.overlay(names::PAGING_DISK);
        let copies = disks.flat_map(|disk| {
            names::OVERLAY_EXTENSIONS.map(|extension| self.path().join(names::copied_base(disk, extension)))
        });
        for path in copies.chain([paging]).filter(|path| path.exists()) {
            if let Err(error) = fs_err::remove_file(path) {
                tracing::warn!(%error, "a temporary disk could not be removed");
            }
        }
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// Something could not be removed; the text names it.
    pub fn wipe(self) -> Result<()> {
        // Windows does not remove a file that is open.
        drop(self.lock);
        self.session.wipe()
    }
}
