//! Volumes on Linux: `/proc/self/mountinfo` for what is mounted, sysfs for the bus, udev's data for ids.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::superblock;
use super::{Attachment, FileSystem, Room, Volume, mark};

/// One line of mountinfo (proc(5)).
#[derive(Debug, PartialEq)]
struct Mount {
    /// `major:minor` of the device; major 0 for file systems without one.
    number: String,
    point: PathBuf,
    read_only: bool,
    kind: String,
    source: PathBuf,
}

pub(super) fn volume_of(path: &Path) -> io::Result<Volume> {
    let mounts = mounts()?;
    // A later mount covers an earlier one at the same point; `max_by_key` returns the last of equal ones.
    let mount = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
        .ok_or_else(|| io::Error::other(format!("no mount point found for {}", path.display())))?;
    let Room { total, free } = room(path)?;
    let device = Device::of(mount);
    let known = device.as_ref().and_then(Device::file_system);
    let (file_system, id) = match known {
        Some((kind, id)) => (kind, Some(id)),
        None => (FileSystem::from_name(&mount.kind), None),
    };
    let serial = device.as_ref().and_then(Device::serial);
    let marks =
        [id.and_then(|id| mark("file-system-id", &id)), serial.and_then(|s| mark("linux-device-serial", &s))];
    Ok(Volume {
        mount_point: mount.point.clone(),
        device: Some(mount.source.display().to_string()),
        file_system,
        attachment: attachment(mount, device.as_ref()),
        read_only: mount.read_only,
        total,
        free,
        marks: marks.into_iter().flatten().collect(),
    })
}

pub(super) fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(path)?;
    // FUSE drivers may report no fragment size; then the block size counts (statvfs(3)).
    let unit = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
    Ok(Room { total: stat.f_blocks.saturating_mul(unit), free: stat.f_bavail.saturating_mul(unit) })
}

pub(super) fn mount_points() -> Vec<PathBuf> {
    let mounts = mounts().unwrap_or_default();
    mounts.into_iter().filter(|mount| mount.source.starts_with("/dev")).map(|mount| mount.point).collect()
}

fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs_err::read("/proc/self/mountinfo")?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let number = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let point = unescape(fields.nth(1)?);
    let options = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8(rest.next()?.to_vec()).ok()?;
    let source = unescape(rest.next()?);
    let read_only = |options: &[u8]| options.split(|b| *b == b',').any(|option| option == b"ro");
    // The mount may be read-only, or the whole file system under it.
    let read_only = read_only(options) || rest.next().is_some_and(read_only);
    Some(Mount { number, point: point.into(), read_only, kind, source: source.into() })
}

/// Spaces, tabs, newlines and backslashes are written as `\040`.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn attachment(mount: &Mount, device: Option<&Device>) -> Attachment {
    match mount.kind.as_str() {
        "tmpfs" | "ramfs" | "devtmpfs" => return Attachment::Memory,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "virtiofs" | "vboxsf" | "ceph" | "afs"
        | "ncpfs" | "fuse.sshfs" | "fuse.rclone" | "fuse.glusterfs" | "fuse.vmhgfs-fuse"
        | "fuse.gvfsd-fuse" | "davfs" => {
            return Attachment::Network;
        }
        // The root of a container.
        "overlay" => return Attachment::Internal,
        _ => {}
    }
    device.map_or(Attachment::Unknown, |device| device.attachment(0))
}

/// A block device in sysfs.
struct Device {
    /// Its real folder below `/sys/devices`, whose parents are the buses it hangs on.
    folder: PathBuf,
    number: String,
    /// Its node, if the mount names one.
    node: Option<PathBuf>,
}

impl Device {
    fn of(mount: &Mount) -> Option<Device> {
        let node = mount.source.starts_with("/dev").then(|| mount.source.clone());
        // FUSE and Btrfs mounts have an anonymous number; then the source's own counts.
        let number = if mount.number.starts_with("0:") {
            let stat = rustix::fs::stat(node.as_ref()?).ok()?;
            if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_block_device() {
                return None;
            }
            format!("{}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
        } else {
            mount.number.clone()
        };
        let folder = fs_err::canonicalize(format!("/sys/dev/block/{number}")).ok()?;
        Some(Device { folder, number, node })
    }

    /// Follows loop devices to their file and device-mapper to the devices below, at most a few times.
    fn attachment(&self, depth: u32) -> Attachment {
        if depth > 4 {
            return Attachment::Unknown;
        }
        if let Ok(file) = fs_err::read(self.folder.join("loop/backing_file")) {
            let file = PathBuf::from(OsString::from_vec(file.trim_ascii_end().to_vec()));
            return volume_of(&file).map_or(Attachment::Unknown, |volume| volume.attachment);
        }
        let below: Vec<Attachment> = fs_err::read_dir(self.folder.join("slaves"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs_err::canonicalize(entry.ok()?.path()).ok())
            .map(|folder| Device { folder, number: String::new(), node: None }.attachment(depth + 1))
            .collect();
        if let Some(worst) = below.iter().find(|below| **below != Attachment::Internal).or(below.first()) {
            return *worst;
        }
        let on_usb =
            self.folder.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"usb"));
        // `removable` is in the folder of the whole disk, which for a partition is the parent. USB SSDs say 0
        // there, hence the look at the bus.
        let says_removable = self.attribute("removable").as_deref() == Some("1");
        if on_usb || says_removable { Attachment::Removable } else { Attachment::Internal }
    }

    /// A text in the device's folder or, for a partition, the disk's.
    fn attribute(&self, name: &str) -> Option<String> {
        [Some(self.folder.as_path()), self.folder.parent()]
            .into_iter()
            .flatten()
            .find_map(|folder| fs_err::read_to_string(folder.join(name)).ok())
            .map(|text| text.trim().to_owned())
    }

    /// The serial number of the device, which for USB, NVMe and virtio stands in one of the parents' `serial`.
    fn serial(&self) -> Option<String> {
        // What a card reader tells is its own number; the card may come back in another reader.
        if self.attribute("device/model").is_some_and(|model| is_card_reader(&model)) {
            return None;
        }
        for folder in self.folder.ancestors().take_while(|folder| *folder != Path::new("/sys/devices")) {
            match fs_err::read_to_string(folder.join("serial")) {
                Ok(serial) if !serial.trim().is_empty() => return Some(serial),
                // The hubs above a USB device have numbers of their own, which belong to the port.
                _ if folder.join("idVendor").exists() => break,
                _ => {}
            }
        }
        self.udev("ID_SERIAL_SHORT")
    }

    /// Kind and id as udev found them when the device came, else as its first bytes say, where we may read them.
    fn file_system(&self) -> Option<(FileSystem, String)> {
        if let (Some(kind), Some(id)) = (self.udev("ID_FS_TYPE"), self.udev("ID_FS_UUID")) {
            return Some((FileSystem::from_name(&kind), id));
        }
        let node = self.node.clone().unwrap_or_else(|| PathBuf::from(format!("/dev/block/{}", self.number)));
        let mut bytes = Vec::new();
        let file = fs_err::File::open(node).ok()?;
        file.take(superblock::LENGTH as u64).read_to_end(&mut bytes).ok()?;
        superblock::recognise(&bytes)
    }

    /// A property in udev's data for this device.
    fn udev(&self, name: &str) -> Option<String> {
        let text = fs_err::read_to_string(format!("/run/udev/data/b{}", self.number)).ok()?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='));
        line.map(str::to_owned)
    }
}

/// Whether a SCSI model is that of a reader for cards, as far as its name tells.
fn is_card_reader(model: &str) -> bool {
    let model = model.to_ascii_uppercase();
    ["READER", "CARD", "CRW", "SD/MMC", "MULTI", "STORAGE DEVICE", "MASSSTORAGECLASS"]
        .iter()
        .any(|word| model.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_understood() {
        let line = br"36 35 8:17 / /media/me/My\040stick\134 rw,nosuid master:1 shared:2 - exfat /dev/sdb1 ro,errors=remount";
        let expected = Mount {
            number: "8:17".to_owned(),
            point: r"/media/me/My stick\".into(),
            read_only: true,
            kind: "exfat".to_owned(),
            source: "/dev/sdb1".into(),
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 8:17 / /media"), None);
    }

    #[test]
    fn an_escape_that_is_none_stays_as_it_is() {
        assert_eq!(unescape(br"a\04"), r"a\04");
        assert_eq!(unescape(br"a\999"), r"a\999");
        assert_eq!(unescape("ä\\011b".as_bytes()), "ä\tb");
    }

    #[test]
    fn memory_and_network_are_told_by_the_kind() {
        let mount = |kind: &str| Mount {
            number: "0:40".to_owned(),
            point: "/x".into(),
            read_only: false,
            kind: kind.to_owned(),
            source: "none".into(),
        };
        assert_eq!(attachment(&mount("tmpfs"), None), Attachment::Memory);
        assert_eq!(attachment(&mount("nfs4"), None), Attachment::Network);
        assert_eq!(attachment(&mount("zfs"), None), Attachment::Unknown);
    }

    #[test]
    fn a_disk_below_a_usb_port_is_removable_whatever_it_says() {
        let device = |folder: &str| Device { folder: folder.into(), number: String::new(), node: None };
        let stick = device(
            "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb1",
        );
        assert_eq!(stick.attachment(0), Attachment::Removable);
        let disk =
            device("/sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sdz/sdz1");
        assert_eq!(disk.attachment(0), Attachment::Internal);
    }

    /// A stick in a made-up sysfs: in a port of a hub whose number must not be taken for the stick's.
    fn stick(serial: Option<&str>, model: &str) -> (tempfile::TempDir, Device) {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("usb2");
        let stick = hub.join("2-1");
        let disk = stick.join("2-1:1.0/host6/block/sdb");
        std::fs::create_dir_all(disk.join("device")).unwrap();
        std::fs::create_dir(disk.join("sdb1")).unwrap();
        std::fs::write(disk.join("device/model"), model).unwrap();
        std::fs::write(hub.join("serial"), "0000:00:14.0\n").unwrap();
        std::fs::write(stick.join("idVendor"), "0781\n").unwrap();
        if let Some(serial) = serial {
            std::fs::write(stick.join("serial"), serial).unwrap();
        }
        (folder, Device { folder: disk.join("sdb1"), number: "none".to_owned(), node: None })
    }

    #[test]
    fn the_number_of_a_stick_is_its_own_and_not_that_of_a_port_or_reader() {
        let number = |serial, model| {
            let (_folder, device) = stick(serial, model);
            device.serial()
        };
        assert_eq!(number(Some("4C530001\n"), "Ultra"), Some("4C530001\n".to_owned()));
        assert_eq!(number(None, "Ultra"), None);
        assert_eq!(number(Some("058F63666485"), "USB3.0 CRW   -SD"), None);
        assert_eq!(number(Some("000000001536"), "STORAGE DEVICE  "), None);
    }

    #[test]
    fn what_is_in_memory_is_told_so() {
        let volume = Volume::of(Path::new("/dev/shm")).unwrap();
        assert_eq!(volume.attachment, Attachment::Memory, "{volume:?}");
    }
}
