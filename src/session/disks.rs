//! The disks of a session in its folder: overlays that take the guest's writes, and the paging disk, in the format of the
//! hypervisor; and copies of the bases for one that can't read them on the drive.

use std::path::Path;

use pocketvm_disk::{CopyFormat, CreateOptions, Progress};
use uuid::Uuid;

use super::claim::{Claim, disk_error};
use super::folder::{CLUSTER, overlay_cluster};
use crate::drive::manifest::{Disk, Format};
use crate::drive::names;
use crate::guest::swap;
use crate::hypervisor::{Capabilities, DiskFormat, image_id};
use crate::{Error, Kind, Result};

/// Where a session's disks are made, and for whom.
pub struct Disks<'a> {
    /// The session's folder.
    pub folder: &'a Path,
    /// The session.
    pub session: Uuid,
    /// Of the hypervisor that is to use them.
    pub capabilities: Capabilities,
}

impl Disks<'_> {
    /// Makes the overlay of `disk` over its base, or over a copy of it.
    ///
    /// # Errors
    /// No room; the base can't be read; copying was stopped.
    pub fn make_overlay(&self, claim: &Claim, disk: &Disk, progress: &dyn Progress) -> Result<()> {
        let (name, extension) = (disk.name.as_str(), self.capabilities.overlay.extension());
        let overlay = self.folder.join(names::overlay(name, extension));
        let Some(format) = self.copies() else {
            let base = claim.base(disk)?;
            let options = CreateOptions {
                virtual_size: base.virtual_size,
                cluster_size: overlay_cluster(base.cluster_size),
                backing: Some((base.path, base.format.as_str())),
                content: &[],
            };
            return pocketvm_disk::create(&overlay, &options).map_err(disk_error);
        };
        // Refuses what a merge would refuse, and layers that leave the drive.
        claim.base(disk)?;
        let copy = self.folder.join(names::copied_base(name, extension));
        let id = |role| image_id(self.session, name, role).into_bytes();
        let root = claim.drive.root();
        pocketvm_disk::copy_base(
            root,
            disk.file.as_str(),
            base_format(disk.format),
            &copy,
            format,
            id("base"),
            progress,
        )
        .map_err(stopped)?;
        pocketvm_disk::create_child(&overlay, format, id("overlay"), &copy).map_err(disk_error)
    }

    /// Makes the paging disk with `size` bytes.
    ///
    /// # Errors
    /// No room, or a size that can't be.
    pub fn make_paging(&self, size: u64) -> Result<()> {
        let name = names::PAGING_DISK;
        let header = swap::header(size, Uuid::new_v4()).ok_or_else(|| {
            Error::new(Kind::Drive, format!("the paging disk can't have this size: {size} bytes"))
        })?;
        let path = self.folder.join(names::overlay(name, self.capabilities.overlay.extension()));
        let content: &[(u64, &[u8])] = &[(0, header.as_slice())];
        let made = match self.copies() {
            None => {
                let options =
                    CreateOptions { virtual_size: size, cluster_size: CLUSTER, backing: None, content };
                pocketvm_disk::create(&path, &options)
            }
            Some(format) => {
                let id = image_id(self.session, name, "overlay").into_bytes();
                pocketvm_disk::create_disk(&path, format, id, size, content)
            }
        };
        made.map_err(disk_error)
    }

    fn copies(&self) -> Option<CopyFormat> {
        copy_format(self.capabilities.overlay)
    }
}

/// The format of copies for a hypervisor that writes `overlay`; none if it reads the bases on the drive.
pub fn copy_format(overlay: DiskFormat) -> Option<CopyFormat> {
    match overlay {
        DiskFormat::Qcow2 => None,
        DiskFormat::Vmdk => Some(CopyFormat::Vmdk),
        DiskFormat::Vhd => Some(CopyFormat::Vhd),
    }
}

/// What the engine calls the format of a base.
pub fn base_format(format: Format) -> pocketvm_disk::BaseFormat {
    match format {
        Format::Qcow2 => pocketvm_disk::BaseFormat::Qcow2,
        Format::Raw => pocketvm_disk::BaseFormat::Raw,
    }
}

fn stopped(error: pocketvm_disk::Error) -> Error {
    match error {
        pocketvm_disk::Error::Cancelled => super::stopped_before(),
        error => disk_error(error),
    }
}
