//! Volumes on Windows.

use std::io;
use std::path::{Path, PathBuf};

use super::{Attachment, FileSystem, Room, Volume, mark};
use crate::host::windows::{self, DriveKind};

pub(super) fn volume_of(path: &Path) -> io::Result<Volume> {
    let root = windows::volume_root(path)?;
    let information = windows::volume_information(&root)?;
    let Room { total, free } = room(path)?;
    let attachment = match windows::drive_kind(&root) {
        DriveKind::Remote => Attachment::Network,
        DriveKind::Memory => Attachment::Memory,
        DriveKind::Removable => Attachment::Removable,
        // USB SSDs are "fixed": the bus decides.
        DriveKind::Fixed => match windows::is_external(&root) {
            Some(true) => Attachment::Removable,
            Some(false) => Attachment::Internal,
            None => Attachment::Unknown,
        },
        DriveKind::Unknown => Attachment::Unknown,
    };
    let file_system = FileSystem::from_name(&information.file_system);
    // On FAT and exFAT this is the number that Linux shows as the file system's id; of NTFS it is only a part.
    let serial = format!("{:04X}-{:04X}", information.serial >> 16, information.serial & 0xffff);
    let kind = match file_system {
        FileSystem::Fat | FileSystem::Exfat => "file-system-id",
        _ => "windows-volume-serial",
    };
    Ok(Volume {
        device: Some(root.display().to_string()),
        mount_point: root,
        file_system,
        attachment,
        read_only: information.read_only,
        total,
        free,
        marks: mark(kind, &serial).into_iter().collect(),
    })
}

pub(super) fn room(path: &Path) -> io::Result<Room> {
    // The call wants a folder.
    let folder = path.parent().filter(|_| path.is_file()).unwrap_or(path);
    let (total, free) = windows::room(folder)?;
    Ok(Room { total, free })
}

pub(super) fn mount_points() -> Vec<PathBuf> {
    let drives = windows::drive_letters().into_iter();
    drives
        .filter(|root| matches!(windows::drive_kind(root), DriveKind::Fixed | DriveKind::Removable))
        .collect()
}
