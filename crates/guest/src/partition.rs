//! The partition table: MBR with logical partitions, GPT, or none at all.
//!
//! Sectors have 512 bytes, as on every virtual disk of the hypervisors that PocketVM knows. Sources: UEFI 2.10, chapter 5 (GPT,
//! protective MBR); for the MBR, the structure that every BIOS and Linux's `block/partitions/msdos.c` agree on.

use std::fmt;

use serde::Serialize;

use crate::bytes::{array, le32, le64, utf16};
use crate::volume::{self, Content};
use crate::{Disk, Error, Result};

pub use crate::bytes::Guid;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// More partitions than this are not read.
const MOST: usize = 128;
/// More logical partitions than this are not read: each is a hop to another sector.
const MOST_LOGICAL: u32 = 64;
/// Entries of a GPT take at most this much, in bytes; Windows and Linux write 16 KiB.
const LONGEST_ENTRIES: usize = 1 << 20;
/// An entry of a GPT is at least this long, in bytes.
const ENTRY: usize = 128;

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// How it is written.
    pub kind: Kind,
    /// What tells this disk from others: Windows finds its volumes by it.
    pub disk_signature: Option<Signature>,
    /// In the order of the table. An extended partition is not among them, the logical ones in it are.
    pub partitions: Vec<Partition>,
    /// Whether there is code that a BIOS would run.
    boot_code: bool,
}

/// How a partition table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A master boot record.
    Mbr,
    /// A GUID partition table.
    Gpt,
    /// None: the disk is empty, or one file system fills it.
    None,
}

/// What tells a disk from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signature {
    /// Of an MBR, at byte 440.
    Mbr(u32),
    /// Of a GPT.
    Gpt(Guid),
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// As Linux counts: from 1, logical ones from 5; 0 if there is no table.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Bytes; clipped to the disk.
    pub size: u64,
    /// What the table says is in it. [`volume::recognise`] looks.
    #[serde(rename = "type")]
    pub kind: Type,
    /// MBR: the BIOS starts from it. GPT: the attribute "legacy BIOS bootable".
    pub active: bool,
    /// GPT only; else empty.
    pub name: String,
    /// GPT only: what tells it from all other partitions, on any disk.
    pub id: Option<Guid>,
}

/// What a table says is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// The byte of an MBR.
    Mbr(u8),
    /// The GUID of a GPT.
    Gpt(Guid),
    /// There is no table.
    None,
}

impl Type {
    /// An EFI system partition.
    pub const EFI_SYSTEM: Type = Type::Gpt(Guid([
        0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
    ]));
    /// GRUB's partition on a GPT for a BIOS: "Hah!IdontNeedEFI".
    pub const BIOS_BOOT: Type = Type::Gpt(Guid(*b"Hah!IdontNeedEFI"));
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Mbr(byte) => write!(f, "0x{byte:02x}"),
            Type::Gpt(guid) => guid.fmt(f),
            Type::None => f.write_str("none"),
        }
    }
}

/// What can start from a disk; both for an image made for either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// An MBR with an active partition or boot code, or a GPT with GRUB's partition for a BIOS.
    pub bios: bool,
    /// There is an EFI system partition.
    pub uefi: bool,
}

impl Table {
    /// Reads the table of `disk`.
    ///
    /// # Errors
    /// The disk can't be read, or its protective MBR announces a GPT of which neither copy makes sense.
    pub fn read<D: Disk + ?Sized>(disk: &D) -> Result<Table> {
        if disk.size() < SECTOR {
            return Ok(Table::none(disk, &Content::Unknown));
        }
        let first = sector(disk, 0)?;
        // The boot sectors of NTFS and FAT also end in 55 AA, and their code can look like entries.
        let content = volume::recognise(disk)?;
        if matches!(
            content,
            Content::Ntfs { .. } | Content::Fat { .. } | Content::ExFat { .. } | Content::BitLocker
        ) || first[510..] != [0x55, 0xAA]
        {
            return Ok(Table::none(disk, &content));
        }
        let Some(entries) = entries(&first, disk.size()) else { return Ok(Table::none(disk, &content)) };
        let boot_code = first[..440].iter().any(|byte| *byte != 0);
        if entries.iter().any(|entry| entry.kind == 0xEE) {
            return gpt(disk, boot_code);
        }
        mbr(disk, &entries, boot_code, le32(&first, 440).unwrap_or(0))
    }

    /// No table; one partition if anything is known in it.
    fn none<D: Disk + ?Sized>(disk: &D, content: &Content) -> Table {
        let whole = Partition {
            number: 0,
            start: 0,
            size: disk.size(),
            kind: Type::None,
            active: false,
            name: String::new(),
            id: None,
        };
        let partitions =
            if matches!(content, Content::Unknown | Content::Empty) { Vec::new() } else { vec![whole] };
        Table { kind: Kind::None, disk_signature: None, partitions, boot_code: false }
    }

    /// What Linux calls a partition of this table (`PARTUUID=`); `None` if there is no table.
    #[must_use]
    pub fn part_uuid(&self, partition: &Partition) -> Option<String> {
        match (self.disk_signature?, partition.id) {
            (Signature::Gpt(_), id) => id.map(|id| id.to_string()),
            (Signature::Mbr(signature), _) => Some(format!("{signature:08x}-{:02x}", partition.number)),
        }
    }

    /// What can start from the disk.
    #[must_use]
    pub fn firmware(&self) -> Firmware {
        let has = |kind| self.partitions.iter().any(|partition| partition.kind == kind);
        // Windows writes boot code into a protective MBR too, where it only says that it can't start.
        let bios = match self.kind {
            Kind::Mbr => self.boot_code || self.partitions.iter().any(|partition| partition.active),
            Kind::Gpt => self.boot_code && has(Type::BIOS_BOOT),
            Kind::None => false,
        };
        Firmware { bios, uefi: has(Type::EFI_SYSTEM) || has(Type::Mbr(0xEF)) }
    }
}

/// An entry of an MBR or of a logical partition's record; sectors.
#[derive(Debug, Clone, Copy)]
struct Entry {
    active: bool,
    kind: u8,
    start: u64,
    size: u64,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }
}

/// The four entries of a record, empty ones with type 0. `None` if it is none: a flag other than 00 and 80, or nothing in it that
/// lies on the disk.
fn entries(record: &[u8; 512], disk: u64) -> Option<[Entry; 4]> {
    let mut entries = [Entry { active: false, kind: 0, start: 0, size: 0 }; 4];
    for (number, entry) in entries.iter_mut().enumerate() {
        let at = 446 + number * 16;
        if record[at] & 0x7F != 0 {
            return None;
        }
        *entry = Entry {
            active: record[at] == 0x80,
            kind: record[at + 4],
            start: le32(record, at + 8)?.into(),
            size: le32(record, at + 12)?.into(),
        };
        if entry.start == 0 || entry.size == 0 || entry.start >= disk / SECTOR {
            entry.kind = 0;
        }
    }
    entries.iter().any(|entry| entry.kind != 0).then_some(entries)
}

fn mbr<D: Disk + ?Sized>(disk: &D, entries: &[Entry; 4], boot_code: bool, signature: u32) -> Result<Table> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        if entry.kind != 0 && !entry.is_extended() {
            partitions.extend(partition(disk, number, entry.start, *entry));
        }
    }
    // Linux follows the first extended partition only; DOS allows no second.
    if let Some(extended) = entries.iter().find(|entry| entry.is_extended()) {
        logical(disk, *extended, &mut partitions)?;
    }
    Ok(Table { kind: Kind::Mbr, disk_signature: Some(Signature::Mbr(signature)), partitions, boot_code })
}

/// The logical partitions: each is in a record of its own, which also names the next, both counted from different places.
fn logical<D: Disk + ?Sized>(disk: &D, extended: Entry, partitions: &mut Vec<Partition>) -> Result<()> {
    let mut record = 0;
    let mut number = 5;
    for _ in 0..MOST_LOGICAL {
        let at = extended.start + record;
        if at >= disk.size() / SECTOR {
            break;
        }
        let bytes = sector(disk, at)?;
        let Some(entries) = (bytes[510..] == [0x55, 0xAA]).then(|| entries(&bytes, disk.size())).flatten()
        else {
            break;
        };
        let data = entries.iter().find(|entry| entry.kind != 0 && !entry.is_extended());
        if let Some(partition) = data.and_then(|data| partition(disk, number, at + data.start, *data)) {
            partitions.push(partition);
            number += 1;
        }
        // Only forwards, and only within the extended partition: a chain can't go in circles.
        match entries.iter().find(|entry| entry.is_extended()) {
            Some(next) if next.start > record && next.start < extended.size => record = next.start,
            _ => break,
        }
    }
    Ok(())
}

/// `entry` from sector `start` on, clipped to the disk; `None` if it begins beyond.
fn partition<D: Disk + ?Sized>(disk: &D, number: u32, start: u64, entry: Entry) -> Option<Partition> {
    let start = start * SECTOR;
    let left = disk.size().checked_sub(start).filter(|left| *left > 0)?;
    let size = left.min(entry.size * SECTOR);
    let kind = Type::Mbr(entry.kind);
    Some(Partition { number, start, size, kind, active: entry.active, name: String::new(), id: None })
}

fn gpt<D: Disk + ?Sized>(disk: &D, boot_code: bool) -> Result<Table> {
    let last = disk.size() / SECTOR - 1;
    for header in [1, last] {
        if let Some((signature, partitions)) = header_at(disk, header)? {
            let disk_signature = Some(Signature::Gpt(signature));
            return Ok(Table { kind: Kind::Gpt, disk_signature, partitions, boot_code });
        }
    }
    Err(Error::Damaged("both copies of the GUID partition table are damaged".into()))
}

/// The header in sector `at` and its partitions; `None` if it is no header, or contradicts itself.
fn header_at<D: Disk + ?Sized>(disk: &D, at: u64) -> Result<Option<(Guid, Vec<Partition>)>> {
    if at == 0 || at >= disk.size() / SECTOR {
        return Ok(None);
    }
    let header = sector(disk, at)?;
    let Some(head) = Header::parse(&header, at, disk.size()) else { return Ok(None) };
    let mut bytes = vec![0; head.count * head.entry];
    disk.read_at(head.entries, &mut bytes)?;
    if crc32(&bytes) != head.checksum {
        return Ok(None);
    }
    let entries = (1..).zip(bytes.chunks_exact(head.entry)).take(MOST);
    let partitions = entries.filter_map(|(number, entry)| gpt_entry(disk, number, entry)).collect();
    Ok(Some((head.guid, partitions)))
}

/// What is needed of a GPT's header.
struct Header {
    guid: Guid,
    /// Where the entries begin, in bytes.
    entries: u64,
    /// Entries, used or not.
    count: usize,
    /// Of all entries.
    checksum: u32,
    /// Bytes of an entry.
    entry: usize,
}

impl Header {
    fn parse(header: &[u8; 512], at: u64, disk: u64) -> Option<Header> {
        let size = le32(header, 12)?;
        // The checksum counts as zero in itself.
        let mut summed = *header;
        summed[16..20].fill(0);
        let sum = crc32(summed.get(..size as usize)?);
        if header[..8] != *b"EFI PART"
            || !(92..=512).contains(&size)
            || le64(header, 24)? != at
            || le32(header, 16)? != sum
        {
            return None;
        }
        let entry = usize::try_from(le32(header, 84)?).ok()?;
        if !(ENTRY..=4096).contains(&entry) || entry % ENTRY != 0 {
            return None;
        }
        let count = usize::try_from(le32(header, 80)?).ok()?;
        count.checked_mul(entry).filter(|length| *length <= LONGEST_ENTRIES)?;
        let entries = le64(header, 72)?.checked_mul(SECTOR)?;
        let end = entries.checked_add((count * entry) as u64)?;
        (entries >= 2 * SECTOR && end <= disk).then_some(())?;
        Some(Header { guid: Guid(array(header, 56)?), entries, count, checksum: le32(header, 88)?, entry })
    }
}

/// CRC-32 as UEFI wants it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// An entry of a GPT, clipped to the disk; `None` if it is not used or does not begin on the disk.
fn gpt_entry<D: Disk + ?Sized>(disk: &D, number: u32, entry: &[u8]) -> Option<Partition> {
    let kind: [u8; 16] = array(entry, 0)?;
    let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
    if kind == [0; 16] || first == 0 || last < first {
        return None;
    }
    let start = first.checked_mul(SECTOR)?;
    let left = disk.size().checked_sub(start).filter(|left| *left > 0)?;
    let size = (last - first).saturating_add(1).saturating_mul(SECTOR).min(left);
    // Attributes: UEFI 2.10, table 5.8.
    let active = le64(entry, 48)? & 4 != 0;
    let (kind, name, id) = (Type::Gpt(Guid(kind)), utf16(entry.get(56..128)?), Some(Guid(array(entry, 16)?)));
    Some(Partition { number, start, size, kind, active, name, id })
}

fn sector<D: Disk + ?Sized>(disk: &D, at: u64) -> Result<[u8; 512]> {
    let mut bytes = [0; 512];
    let at = at.checked_mul(SECTOR).ok_or(std::io::ErrorKind::UnexpectedEof);
    disk.read_at(at.map_err(std::io::Error::from)?, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: usize = 4096;

    fn entry(record: &mut [u8], number: usize, kind: u8, start: u32, size: u32) {
        let at = 446 + number * 16;
        record[at + 4] = kind;
        record[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        record[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
        record[510..512].copy_from_slice(&[0x55, 0xAA]);
    }

    fn record(disk: &mut [u8], sector: usize) -> &mut [u8] {
        &mut disk[sector * 512..][..512]
    }

    fn numbers(table: &Table) -> Vec<(u32, u64, u64)> {
        table
            .partitions
            .iter()
            .map(|found| (found.number, found.start / SECTOR, found.size / SECTOR))
            .collect()
    }

    #[test]
    fn logical_partitions_count_from_five() {
        let mut disk = vec![0; SECTORS * 512];
        entry(record(&mut disk, 0), 0, 0x07, 64, 100);
        entry(record(&mut disk, 0), 1, 0x05, 200, 1000);
        entry(record(&mut disk, 200), 0, 0x83, 8, 50);
        entry(record(&mut disk, 200), 1, 0x05, 300, 100);
        entry(record(&mut disk, 500), 0, 0x82, 8, 60);
        let table = Table::read(disk.as_slice()).unwrap();
        assert_eq!(table.kind, Kind::Mbr);
        assert_eq!(numbers(&table), [(1, 64, 100), (5, 208, 50), (6, 508, 60)]);
    }

    #[test]
    fn a_chain_of_logical_partitions_that_goes_back_ends() {
        let mut disk = vec![0; SECTORS * 512];
        entry(record(&mut disk, 0), 0, 0x05, 200, 1000);
        entry(record(&mut disk, 200), 0, 0x83, 8, 50);
        entry(record(&mut disk, 200), 1, 0x05, 300, 100);
        entry(record(&mut disk, 500), 0, 0x83, 8, 60);
        entry(record(&mut disk, 500), 1, 0x05, 300, 100);
        assert_eq!(numbers(&Table::read(disk.as_slice()).unwrap()), [(5, 208, 50), (6, 508, 60)]);
    }

    #[test]
    fn a_partition_that_ends_beyond_the_disk_is_clipped_and_one_beyond_it_is_none() {
        let mut disk = vec![0; SECTORS * 512];
        entry(record(&mut disk, 0), 0, 0x07, 4000, u32::MAX);
        entry(record(&mut disk, 0), 1, 0x07, 5000, 10);
        assert_eq!(numbers(&Table::read(disk.as_slice()).unwrap()), [(1, 4000, 96)]);
    }

    #[test]
    fn a_protective_record_without_a_table_is_an_error() {
        let mut disk = vec![0; SECTORS * 512];
        entry(record(&mut disk, 0), 0, 0xEE, 1, 4095);
        assert!(matches!(Table::read(disk.as_slice()), Err(Error::Damaged(_))));
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn an_empty_disk_has_no_table_and_no_partitions() {
        for size in [0, 100, 512, 1 << 20] {
            let table = Table::read(vec![0; size].as_slice()).unwrap();
            assert_eq!((table.kind, table.partitions.len()), (Kind::None, 0), "{size}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_first_sectors_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..8192), gpt: bool) {
            let mut bytes = bytes;
            if bytes.len() >= 1024 {
                bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
                if gpt {
                    bytes[450] = 0xEE;
                    bytes[512..520].copy_from_slice(b"EFI PART");
                }
            }
            let _ = Table::read(bytes.as_slice());
        }
    }
}
