//! Volumes on macOS: `statfs` for what is mounted, `diskutil` for the bus and the ids.

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Attachment, FileSystem, Room, Volume, mark};

/// `MNT_RDONLY` and `MNT_LOCAL` of `sys/mount.h`.
const READ_ONLY: u32 = 0x0000_0001;
const LOCAL: u32 = 0x0000_1000;

pub(super) fn volume_of(path: &Path) -> io::Result<Volume> {
    let stat = rustix::fs::statfs(path)?;
    let text = |bytes: &[std::ffi::c_char]| {
        let bytes: Vec<u8> = bytes.iter().map(|c| c.cast_unsigned()).collect();
        CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let device = text(&stat.f_mntfromname);
    let Room { total, free } = room(path)?;
    let info = Info::of(&device);
    let attachment = if stat.f_flags & LOCAL == 0 { Attachment::Network } else { info.attachment() };
    Ok(Volume {
        mount_point: text(&stat.f_mntonname).into(),
        file_system: FileSystem::from_name(&text(&stat.f_fstypename)),
        attachment,
        read_only: stat.f_flags & READ_ONLY != 0,
        total,
        free,
        marks: info.text("VolumeUUID").and_then(|id| mark("macos-volume-id", id)).into_iter().collect(),
        device: Some(device),
    })
}

pub(super) fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Room {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

pub(super) fn mount_points() -> Vec<PathBuf> {
    let volumes = fs_err::read_dir("/Volumes").into_iter().flatten();
    volumes.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// What `diskutil info -plist` says; an XML property list of plain keys, of which three are looked at.
struct Info(String);

impl Info {
    fn of(device: &str) -> Info {
        let output = Command::new("/usr/sbin/diskutil").args(["info", "-plist", device]).output();
        Info(output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default())
    }

    /// The element after `<key>name</key>`.
    fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!("<key>{name}</key>"))?;
        rest.trim_start().lines().next()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.element(name)?.strip_prefix("<string>")?.split('<').next()
    }

    fn attachment(&self) -> Attachment {
        match (self.element("Internal"), self.element("RemovableMediaOrExternalDevice")) {
            (_, Some("<true/>")) | (Some("<false/>"), _) => Attachment::Removable,
            (Some("<true/>"), _) => Attachment::Internal,
            _ => Attachment::Unknown,
        }
    }
}
