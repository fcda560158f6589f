//! The disks of a session in its folder: overlays that take the guest's writes, and the paging disk, in the format of the
//! hypervisor; and copies of the bases for one that can't read them on the drive.

use std::path::Path;

use pocketvm_disk::{CopyFormat, CreateOptions, Progress};
use pocketvm_guest::apply::Changed;
use uuid::Uuid;

use super::adapt;
use super::claim::{Claim, disk_error};
use super::folder::{CLUSTER, overlay_cluster};
use crate::drive::manifest::{Disk, Format};
use crate::drive::names;
use crate::guest::{pagefile, swap};
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
    /// Makes the overlay of `disk` over its base, or over a copy of it, with what is `changed` in the guest.
    ///
    /// # Errors
    /// No room; the base can't be read; copying was stopped.
    pub fn make_overlay(
        &self,
        claim: &Claim,
        disk: &Disk,
        changed: &Changed,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (name, extension) = (disk.name.as_str(), self.capabilities.overlay.extension());
        let overlay = self.folder.join(names::overlay(name, extension));
        let Some(format) = self.copies() else {
            let base = claim.base(disk)?;
            let cluster_size = overlay_cluster(base.cluster_size);
            let content = adapt::content(&claim.drive, disk, changed, cluster_size)?;
            let content: Vec<_> = content.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
            let options = CreateOptions {
                virtual_size: base.virtual_size,
                cluster_size,
                backing: Some((base.path, base.format.as_str())),
                content: &content,
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
        let content = adapt::content(&claim.drive, disk, changed, format.block_size())?;
        pocketvm_disk::create_child(&overlay, format, id("overlay"), &copy, &content).map_err(disk_error)
    }

    /// Makes the paging disk with `size` bytes: swap for a Linux, a volume for the page file of a Windows on the machine with this
    /// UUID.
    ///
    /// # Errors
    /// No room, or a size that can't be.
    pub fn make_paging(&self, size: u64, windows_on: Option<Uuid>) -> Result<()> {
        let name = names::PAGING_DISK;
        let content = match windows_on {
            Some(machine) => pagefile::content(size, machine)?,
            None => swap::header(size, Uuid::new_v4()).map(|header| vec![(0, header)]),
        };
        let content = content.ok_or_else(|| {
            let what = format!("the paging disk of this guest can't have this size: {size} bytes");
            Error::new(Kind::Drive, what).hint("give it at least 64 MiB in pocketvm.yaml")
        })?;
        let content: Vec<_> = content.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        let path = self.folder.join(names::overlay(name, self.capabilities.overlay.extension()));
        let made = match self.copies() {
            None => {
                let options = CreateOptions {
                    virtual_size: size,
                    cluster_size: CLUSTER,
                    backing: None,
                    content: &content,
                };
                pocketvm_disk::create(&path, &options)
            }
            Some(format) => {
                let id = image_id(self.session, name, "overlay").into_bytes();
                pocketvm_disk::create_disk(&path, format, id, size, &content)
            }
        };
        made.map_err(disk_error)
    }

    fn copies(&self) -> Option<CopyFormat> {
        copies(&self.capabilities)
    }
}

/// The format of copies for a hypervisor; none if it reads the bases on the drive.
pub fn copies(capabilities: &Capabilities) -> Option<CopyFormat> {
    match capabilities.overlay {
        _ if capabilities.reads_drive => None,
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
