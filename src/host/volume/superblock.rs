//! Recognises a file system and its id from the first bytes of its device, where the driver hides it (FUSE) and
//! no udev has looked. Ids are spelled as udev and `blkid` spell them.

use super::FileSystem;

/// As many bytes of a device as [`recognise`] looks at: Btrfs' superblock at 64 KiB is the farthest.
pub(super) const LENGTH: usize = 0x1_0000 + 0x100;

/// The file system that starts with `bytes`, and its id.
pub(super) fn recognise(bytes: &[u8]) -> Option<(FileSystem, String)> {
    let at = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
    let u32_at = |offset| at(offset, 4)?.try_into().ok().map(u32::from_le_bytes);
    let uuid_at = |offset| at(offset, 16)?.try_into().ok().map(|b| uuid::Uuid::from_bytes(b).to_string());
    let is = |offset, magic: &[u8]| at(offset, magic.len()) == Some(magic);
    // FAT's and exFAT's volume serial number, as every system shows it.
    let serial = |number: u32| format!("{:04X}-{:04X}", number >> 16, number & 0xffff);

    // exFAT specification, section 3.1: FileSystemName, VolumeSerialNumber.
    if is(3, b"EXFAT   ") {
        return Some((FileSystem::Exfat, serial(u32_at(0x64)?)));
    }
    if is(3, b"NTFS    ") {
        let number = at(0x48, 8)?.try_into().ok().map(u64::from_le_bytes)?;
        return Some((FileSystem::Ntfs, format!("{number:016X}")));
    }
    // "FAT: General Overview of On-Disk Format", BS_VolID and BS_FilSysType, of FAT32 and of FAT12/16.
    if is(0x52, b"FAT32   ") {
        return Some((FileSystem::Fat, serial(u32_at(0x43)?)));
    }
    if is(0x36, b"FAT1") {
        return Some((FileSystem::Fat, serial(u32_at(0x27)?)));
    }
    if is(0, b"XFSB") {
        return Some((FileSystem::Xfs, uuid_at(32)?));
    }
    // Linux, fs/ext4/ext4.h: s_magic and s_uuid in the superblock at 1024.
    if is(1024 + 0x38, &[0x53, 0xef]) {
        return Some((FileSystem::Ext, uuid_at(1024 + 0x68)?));
    }
    if is(0x1_0040, b"_BHRfS_M") {
        return Some((FileSystem::Btrfs, uuid_at(0x1_0020)?));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A new file system in a file, and what `blkid` says is its id.
    fn made_by(program: &str, args: &[&str]) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new(program).args(args).arg(&image).output();
        let made = made.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
        assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
        let blkid = Command::new("blkid").args(["-p", "-s", "UUID", "-o", "value"]).arg(&image).output();
        let blkid = blkid.unwrap_or_else(|error| panic!("this test needs blkid: {error}"));
        let id = String::from_utf8(blkid.stdout).unwrap().trim().to_owned();
        let mut bytes = std::fs::read(&image).unwrap();
        bytes.truncate(LENGTH);
        (bytes, id)
    }

    #[test]
    fn kind_and_id_are_what_blkid_says() {
        let cases = [
            ("mkfs.exfat", &[][..], FileSystem::Exfat),
            ("mkfs.vfat", &["-F", "32"], FileSystem::Fat),
            ("mkfs.vfat", &["-F", "16"], FileSystem::Fat),
            ("mkfs.ext4", &["-q"], FileSystem::Ext),
        ];
        for (program, args, kind) in cases {
            let (bytes, id) = made_by(program, args);
            assert_eq!(recognise(&bytes), Some((kind, id)), "{program} {args:?}");
        }
    }

    #[test]
    fn nothing_is_recognised_in_noise_or_in_a_device_that_ends_early() {
        assert_eq!(recognise(&[]), None);
        assert_eq!(recognise(&[0xff; LENGTH]), None);
        assert_eq!(recognise(b"\xeb\x76\x90EXFAT   "), None);
    }
}
