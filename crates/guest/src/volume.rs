//! What file system, encryption or other content a partition holds, by its signature.
//!
//! Only the superblock is read, for NTFS also the record of `$Volume`. Offsets: Linux's headers of each file system, and
//! util-linux' `libblkid/src/superblocks`, which looks at the same bytes.

use serde::Serialize;

use crate::bytes::{array, label, le16, le32, le64, uuid};
use crate::windows::ntfs;
use crate::{Disk, Result};

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "content")]
#[non_exhaustive]
pub enum Content {
    /// Windows' file system.
    Ntfs {
        /// Its name.
        label: Option<String>,
        /// Its serial number.
        serial: u64,
        /// It was not unmounted cleanly or is damaged; `None` if that can't be read.
        dirty: Option<bool>,
    },
    /// ext2, ext3 or ext4.
    Ext {
        /// 2, 3 or 4, by the features that it uses.
        version: u8,
        /// Its name.
        label: Option<String>,
        /// What `/etc/fstab` calls it.
        uuid: String,
    },
    /// FAT12, FAT16 or FAT32, an EFI system partition for instance.
    Fat {
        /// 12, 16 or 32.
        bits: u8,
        /// Its name.
        label: Option<String>,
        /// Its serial number.
        serial: u32,
    },
    /// exFAT.
    ExFat {
        /// Its serial number.
        serial: u32,
    },
    /// Btrfs.
    Btrfs {
        /// Its name.
        label: Option<String>,
        /// What `/etc/fstab` calls it.
        uuid: String,
    },
    /// XFS.
    Xfs {
        /// Its name.
        label: Option<String>,
        /// What `/etc/fstab` calls it.
        uuid: String,
    },
    /// Linux' swap.
    Swap {
        /// Its name.
        label: Option<String>,
        /// What `/etc/fstab` calls it.
        uuid: String,
        /// A hibernated Linux lies in it.
        suspended: bool,
    },
    /// Linux' encryption.
    Luks {
        /// 1 or 2.
        version: u16,
        /// Its name; version 2 only.
        label: Option<String>,
        /// What `/etc/crypttab` calls it.
        uuid: String,
    },
    /// A physical volume of Linux' volume manager.
    Lvm {
        /// As LVM writes it, with its dashes.
        uuid: String,
    },
    /// Windows' encryption.
    BitLocker,
    /// An optical disc.
    Iso9660 {
        /// Its name.
        label: Option<String>,
    },
    /// Nothing: it begins with zeroes only.
    Empty,
    /// None of these.
    Unknown,
}

impl Content {
    /// Its name, if it has one.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Content::Ntfs { label, .. }
            | Content::Ext { label, .. }
            | Content::Fat { label, .. }
            | Content::Btrfs { label, .. }
            | Content::Xfs { label, .. }
            | Content::Swap { label, .. }
            | Content::Luks { label, .. }
            | Content::Iso9660 { label } => label.as_deref(),
            Content::ExFat { .. }
            | Content::Lvm { .. }
            | Content::BitLocker
            | Content::Empty
            | Content::Unknown => None,
        }
    }

    /// What Linux calls it in `/etc/fstab` after `UUID=`, and `blkid` prints.
    #[must_use]
    pub fn uuid(&self) -> Option<String> {
        match self {
            Content::Ntfs { serial, .. } => Some(format!("{serial:016X}")),
            Content::Fat { serial, .. } | Content::ExFat { serial } => {
                Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF))
            }
            Content::Ext { uuid, .. }
            | Content::Btrfs { uuid, .. }
            | Content::Xfs { uuid, .. }
            | Content::Swap { uuid, .. }
            | Content::Luks { uuid, .. }
            | Content::Lvm { uuid } => Some(uuid.clone()),
            Content::BitLocker | Content::Iso9660 { .. } | Content::Empty | Content::Unknown => None,
        }
    }
}

/// Recognises what `volume` holds. What is too short or makes no sense is [`Content::Unknown`].
///
/// # Errors
/// The disk can't be read.
pub fn recognise<D: Disk + ?Sized>(volume: &D) -> Result<Content> {
    // All but Btrfs and discs are within the first eight sectors and, for swap, the end of the first page.
    let mut start = vec![0; usize::try_from(volume.size().min(8192)).unwrap_or(8192)];
    volume.read_at(0, &mut start)?;
    if let Some(content) = encrypted(&start).or_else(|| swap(&start)).or_else(|| lvm(&start)) {
        return Ok(content);
    }
    if ntfs::is_ntfs(&start) {
        return Ok(ntfs_content(volume, &start));
    }
    // FAT last: its signature is the weakest, and mkfs of the others leaves the first sector alone.
    let found = exfat(&start).or_else(|| xfs(&start)).or_else(|| ext(&start));
    if let Some(content) = found {
        return Ok(content);
    }
    if let Some(content) = btrfs(volume)? {
        return Ok(content);
    }
    if let Some(content) = iso9660(volume)? {
        return Ok(content);
    }
    Ok(fat(&start).unwrap_or(if start.iter().all(|byte| *byte == 0) {
        Content::Empty
    } else {
        Content::Unknown
    }))
}

fn ntfs_content<D: Disk + ?Sized>(volume: &D, start: &[u8]) -> Content {
    let opened = ntfs::Volume::open(volume).ok().flatten();
    let state = opened.and_then(|opened| opened.state().ok());
    Content::Ntfs {
        label: state.as_ref().and_then(|state| state.label.clone()),
        serial: le64(start, 0x48).unwrap_or(0),
        dirty: state.map(|state| state.dirty),
    }
}

/// Whether a volume that begins with `start` is BitLocker's. "BitLocker To Go" on a FAT is not told: Windows is never on one.
pub(crate) fn is_bitlocker(start: &[u8]) -> bool {
    start.get(3..11) == Some(b"-FVE-FS-")
}

fn encrypted(start: &[u8]) -> Option<Content> {
    if is_bitlocker(start) {
        return Some(Content::BitLocker);
    }
    if start.starts_with(b"LUKS\xBA\xBE") {
        let version = u16::from_be_bytes(array(start, 6)?);
        let label = if version == 2 { label(start.get(24..72)?) } else { None };
        let uuid = label_of_uuid(start.get(168..208)?)?;
        return Some(Content::Luks { version, label, uuid });
    }
    None
}

/// A UUID that is stored as text.
fn label_of_uuid(bytes: &[u8]) -> Option<String> {
    label(bytes).filter(|text| text.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '-'))
}

fn swap(start: &[u8]) -> Option<Content> {
    // The signature ends the first page; pages of other sizes than 4096 are of other processors.
    let suspended = match start.get(4086..4096)? {
        b"SWAPSPACE2" => false,
        // Written over the other one for the time of the sleep: by the kernel, and by uswsusp.
        b"S1SUSPEND\0" | b"S2SUSPEND\0" | b"ULSUSPEND\0" => true,
        _ => return None,
    };
    Some(Content::Swap { label: label(start.get(1052..1068)?), uuid: uuid(array(start, 1036)?), suspended })
}

fn lvm(start: &[u8]) -> Option<Content> {
    // The label may be in any of the first four sectors.
    let sector = start
        .chunks_exact(512)
        .take(4)
        .find(|sector| sector.starts_with(b"LABELONE") && sector[24..32] == *b"LVM2 001")?;
    let at = usize::try_from(le32(sector, 20)?).ok()?;
    let id = sector.get(at..at.checked_add(32)?)?;
    let id = id.iter().all(u8::is_ascii_alphanumeric).then(|| String::from_utf8_lossy(id))?;
    let mut uuid = String::new();
    for (at, letter) in id.chars().enumerate() {
        if matches!(at, 6 | 10 | 14 | 18 | 22 | 26) {
            uuid.push('-');
        }
        uuid.push(letter);
    }
    Some(Content::Lvm { uuid })
}

fn exfat(start: &[u8]) -> Option<Content> {
    (start.get(3..11)? == b"EXFAT   ").then_some(())?;
    Some(Content::ExFat { serial: le32(start, 100)? })
}

fn xfs(start: &[u8]) -> Option<Content> {
    start.starts_with(b"XFSB").then_some(())?;
    Some(Content::Xfs { label: label(start.get(108..120)?), uuid: uuid(array(start, 32)?) })
}

fn ext(start: &[u8]) -> Option<Content> {
    let block = start.get(1024..2048)?;
    (le16(block, 0x38)? == 0xEF53).then_some(())?;
    let (compatible, incompatible, read_only) = (le32(block, 0x5C)?, le32(block, 0x60)?, le32(block, 0x64)?);
    // What ext3 knows: filetype, recover, journal_dev, meta_bg; sparse_super, large_file, btree_dir.
    let version = match (incompatible & !0x1E, read_only & !0x7, compatible & 4) {
        (0, 0, 0) => 2,
        (0, 0, _) => 3,
        _ => 4,
    };
    Some(Content::Ext { version, label: label(block.get(0x78..0x88)?), uuid: uuid(array(block, 0x68)?) })
}

fn btrfs<D: Disk + ?Sized>(volume: &D) -> Result<Option<Content>> {
    const SUPERBLOCK: u64 = 0x1_0000;
    let mut block = [0; 0x400];
    if volume.size() < SUPERBLOCK + block.len() as u64 {
        return Ok(None);
    }
    volume.read_at(SUPERBLOCK, &mut block)?;
    if block[0x40..0x48] != *b"_BHRfS_M" {
        return Ok(None);
    }
    let uuid = array(&block, 0x20).map(uuid).unwrap_or_default();
    Ok(Some(Content::Btrfs { label: label(&block[0x12B..0x22B]), uuid }))
}

/// The first volume descriptor, in sector 16 of 2048 bytes (ECMA-119, section 8.4).
fn iso9660<D: Disk + ?Sized>(volume: &D) -> Result<Option<Content>> {
    const DESCRIPTOR: u64 = 16 * 2048;
    let mut block = [0; 72];
    if volume.size() < DESCRIPTOR + block.len() as u64 {
        return Ok(None);
    }
    volume.read_at(DESCRIPTOR, &mut block)?;
    Ok((block[1..6] == *b"CD001").then(|| Content::Iso9660 { label: label(&block[40..72]) }))
}

fn fat(start: &[u8]) -> Option<Content> {
    let (sector, cluster) = (u32::from(le16(start, 11)?), u32::from(*start.get(13)?));
    let (reserved, fats) = (u32::from(le16(start, 14)?), u32::from(*start.get(16)?));
    let sane = start.get(510..512)? == [0x55, 0xAA]
        && sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved > 0
        && (1..=2).contains(&fats)
        && *start.get(21)? >= 0xF0;
    if !sane {
        return None;
    }
    let roots = u32::from(le16(start, 17)?);
    let total = Some(u32::from(le16(start, 19)?)).filter(|total| *total != 0).or(le32(start, 32))?;
    let short = u32::from(le16(start, 22)?);
    let per_fat = if short == 0 { le32(start, 36)? } else { short };
    // The number of clusters alone tells FAT12, FAT16 and FAT32 apart (Microsoft's FAT specification 1.03, section 3.5).
    let root = roots.checked_mul(32)?.div_ceil(sector);
    let data = total.checked_sub(reserved.checked_add(fats.checked_mul(per_fat)?)?.checked_add(root)?)?;
    let bits = match data / cluster {
        ..4085 => 12,
        4085..65525 => 16,
        _ => 32,
    };
    let at = if short == 0 { 0x43 } else { 0x27 };
    let bits = if short == 0 { 32 } else { bits };
    let label = label(start.get(at + 4..at + 15)?).filter(|label| label != "NO NAME");
    Some(Content::Fat { bits, label, serial: le32(start, at)? })
}
