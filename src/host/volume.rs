//! The volumes of this PC: what file system a path lies on, how it is attached, and what room it has.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

#[cfg(target_os = "macos")]
#[path = "volume/macos.rs"]
mod platform;
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "volume/linux.rs"]
mod platform;
#[cfg(windows)]
#[path = "volume/windows.rs"]
mod platform;
#[cfg(all(unix, not(target_os = "macos")))]
mod superblock;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Where it is mounted (Windows: its root, `E:\`).
    pub mount_point: PathBuf,
    /// What is mounted, as the system calls it: `/dev/sdb1`, `server:/export`, ….
    pub device: Option<String>,
    /// What file system it is.
    pub file_system: FileSystem,
    /// How it is attached to this PC.
    pub attachment: Attachment,
    /// Nothing can be written.
    pub read_only: bool,
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this user can still write.
    pub free: u64,
    /// Properties that stay the same wherever the volume is plugged in and mounted, each with the name of its kind.
    /// Two systems may know different kinds of the same volume; only equal kinds can be compared.
    pub marks: Vec<(String, String)>,
}

/// File systems as far as their differences matter here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext2, ext3, ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// NTFS, by whatever driver.
    Ntfs,
    /// APFS.
    Apfs,
    /// HFS+.
    Hfs,
    /// exFAT, by whatever driver.
    Exfat,
    /// FAT32 and its older kin.
    Fat,
    /// Any other, as the system calls it.
    Other(String),
}

/// How a volume is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attachment {
    /// A disk that stays in this PC.
    Internal,
    /// Something people pull out: USB, card readers, optical disks.
    Removable,
    /// A network share, or a folder shared from a virtual machine's host.
    Network,
    /// In the PC's memory.
    Memory,
    /// The system does not say.
    Unknown,
}

impl FileSystem {
    /// From a system's name for it, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> FileSystem {
        match name.to_ascii_lowercase().as_str() {
            "ext2" | "ext3" | "ext4" => FileSystem::Ext,
            "xfs" => FileSystem::Xfs,
            "btrfs" => FileSystem::Btrfs,
            "ntfs" | "ntfs3" | "refs" => FileSystem::Ntfs,
            "apfs" => FileSystem::Apfs,
            "hfs" | "hfsplus" => FileSystem::Hfs,
            "exfat" => FileSystem::Exfat,
            "vfat" | "msdos" | "fat" | "fat12" | "fat16" | "fat32" => FileSystem::Fat,
            other => FileSystem::Other(other.to_owned()),
        }
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            FileSystem::Ext => "ext4",
            FileSystem::Xfs => "XFS",
            FileSystem::Btrfs => "Btrfs",
            FileSystem::Ntfs => "NTFS",
            FileSystem::Apfs => "APFS",
            FileSystem::Hfs => "HFS+",
            FileSystem::Exfat => "exFAT",
            FileSystem::Fat => "FAT32",
            FileSystem::Other(name) => name,
        }
    }

    /// Most bytes a file can have, where that is less than any disk image needs: 4 GiB - 1 on FAT32.
    #[must_use]
    pub fn max_file(&self) -> Option<u64> {
        (*self == FileSystem::Fat).then_some(u64::from(u32::MAX))
    }

    /// The number of a file stays the same for its life, so that it tells a file from its copy. On FAT and exFAT
    /// the drivers invent the numbers at every mount.
    #[must_use]
    pub fn has_stable_file_numbers(&self) -> bool {
        matches!(
            self,
            FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Ntfs | FileSystem::Apfs
        )
    }
}

impl Volume {
    /// The volume on which `path` lies. The path must exist.
    ///
    /// # Errors
    /// The path does not exist, or the system does not answer.
    pub fn of(path: &Path) -> io::Result<Volume> {
        platform::volume_of(&super::file::canonical(path)?)
    }

    /// Whether `other` is the same mounted volume.
    #[must_use]
    pub fn is_same(&self, other: &Volume) -> bool {
        self.mount_point == other.mount_point
    }
}

/// Bytes that this user can still write to the volume of `path`. Cheap enough for a tick.
///
/// # Errors
/// The path does not exist, or its device is gone.
pub fn free(path: &Path) -> io::Result<u64> {
    platform::room(path).map(|room| room.free)
}

/// Where volumes are mounted on which a drive could lie: no pseudo file systems, no network shares (a dead
/// server would block every look at them).
#[must_use]
pub fn mount_points() -> Vec<PathBuf> {
    platform::mount_points()
}

/// Room on a volume, in bytes.
struct Room {
    total: u64,
    free: u64,
}

/// A mark whose value is the same text on every system: without spaces at the ends, none if nothing is left.
fn mark(kind: &str, value: &str) -> Option<(String, String)> {
    let value: String = value.trim().chars().filter(|c| !c.is_control()).take(128).collect();
    (!value.is_empty()).then(|| (kind.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_of_a_folder_has_room_and_a_mount_point_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = crate::host::file::canonical(folder.path()).unwrap();
        let volume = Volume::of(&path).unwrap();
        assert!(path.starts_with(&volume.mount_point), "{volume:?}");
        assert!(volume.total >= volume.free && volume.total > 0, "{volume:?}");
        assert!(!volume.read_only);
        assert!(volume.is_same(&Volume::of(&path).unwrap()));
        assert!(free(&path).unwrap() <= volume.total);
    }

    #[test]
    fn a_path_that_does_not_exist_has_no_volume() {
        assert!(Volume::of(Path::new("/nowhere/at/all")).is_err());
        assert!(free(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn only_fat_limits_the_size_of_a_file() {
        assert_eq!(FileSystem::from_name("vfat").max_file(), Some(4_294_967_295));
        for name in ["exfat", "ext4", "NTFS", "apfs", "zfs"] {
            assert_eq!(FileSystem::from_name(name).max_file(), None);
        }
    }

    #[test]
    fn a_mark_is_a_short_clean_text() {
        assert_eq!(mark("serial", " AB 12\n"), Some(("serial".to_owned(), "AB 12".to_owned())));
        assert_eq!(mark("serial", " \n"), None);
    }
}
