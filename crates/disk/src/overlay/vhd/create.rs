//! Makes VHDs: a growing whole disk that is written in guest order, or a differencing disk over one.
//!
//! In the file: copy of the footer, dynamic header, block allocation table, the names of the parent, blocks, footer.

use std::path::Path;
use std::time::SystemTime;

use uuid::Uuid;

use super::{
    COOKIE, DIFFERENCING, DYNAMIC, FOOTER, FOOTER_SUM, HEADER, HEADER_COOKIE, HEADER_SUM, Head, SECTOR,
    UNUSED, VERSION, bitmap_len, checksum,
};
use crate::error::{Error, Refusal, Result};
use crate::overlay::output::{Appender, Entries, check_blocks};
use crate::overlay::source::Source;
use crate::qcow2::be;
use crate::storage::{Access, FileStorage, Storage, is_zero};

/// Bytes of a block: what all programs use.
pub(crate) const BLOCK: u64 = 2 << 20;
/// Bytes of a block that are not written if all of them are zero: the file has a hole there.
const PIECE: usize = 64 * 1024;
/// Hyper-V's limit.
const MAX_SIZE: u64 = 2040 << 30;
/// Seconds from 1970 to 2000, where the format's time begins.
const EPOCH: u64 = 946_684_800;
/// Where the block allocation table is.
const TABLE: u64 = (FOOTER + HEADER) as u64;
/// Names of the parent: absolute, and from the child's folder on, in UTF-16.
const ABSOLUTE: [u8; 4] = *b"W2ku";
const RELATIVE: [u8; 4] = *b"W2ru";
/// Room for the parent's name in the header, in UTF-16 units.
const MAX_NAME: usize = 256;
/// The longest path of a parent, in UTF-16 units.
const MAX_PATH: usize = 32 * 1024;

/// Entries of the block allocation table.
fn entries(size: u64) -> Result<u64> {
    if size == 0 || size > MAX_SIZE || !size.is_multiple_of(SECTOR) {
        return Err(Error::Input(format!("a VHD can't have a disk of {size} bytes")));
    }
    Ok(size.div_ceil(BLOCK))
}

/// Cylinders, heads and sectors, as the specification's appendix "CHS Calculation" has it.
fn geometry(size: u64) -> (u16, u8, u8) {
    let total = (size / SECTOR).min(65535 * 16 * 255);
    let (per_track, heads, tracks);
    if total >= 65535 * 16 * 63 {
        (per_track, heads) = (255, 16);
        tracks = total / per_track;
    } else {
        let fewest = (total / 17).div_ceil(1024).max(4);
        if total / 17 < fewest * 1024 && fewest <= 16 {
            (per_track, heads) = (17, fewest);
        } else if total / 31 < 16 * 1024 {
            (per_track, heads) = (31, 16);
        } else {
            (per_track, heads) = (63, 16);
        }
        tracks = total / per_track;
    }
    ((tracks / heads) as u16, heads as u8, per_track as u8)
}

/// The footer. VirtualBox reads a UUID as Windows stores it.
fn footer(size: u64, kind: u32, uuid: [u8; 16]) -> [u8; FOOTER] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut footer = [0; FOOTER];
    footer[..8].copy_from_slice(&COOKIE);
    // Reserved, and always set.
    be::put_u32(&mut footer, 8, 2);
    be::put_u32(&mut footer, 12, VERSION);
    be::put_u64(&mut footer, 16, FOOTER as u64);
    be::put_u32(&mut footer, 24, now.saturating_sub(EPOCH) as u32);
    // As Hyper-V signs. QEMU takes the size of anybody else's disk from its geometry, which is less.
    footer[28..32].copy_from_slice(b"win ");
    be::put_u32(&mut footer, 32, 0x000a_0000);
    footer[36..40].copy_from_slice(b"Wi2k");
    be::put_u64(&mut footer, 40, size);
    be::put_u64(&mut footer, 48, size);
    let (cylinders, heads, sectors) = geometry(size);
    footer[56..58].copy_from_slice(&cylinders.to_be_bytes());
    (footer[58], footer[59]) = (heads, sectors);
    be::put_u32(&mut footer, 60, kind);
    footer[68..84].copy_from_slice(&Uuid::from_bytes(uuid).to_bytes_le());
    let sum = checksum(&footer, FOOTER_SUM);
    be::put_u32(&mut footer, FOOTER_SUM, sum);
    footer
}

/// The dynamic header without a checksum.
fn header(entries: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&HEADER_COOKIE);
    be::put_u64(&mut header, 8, u64::MAX);
    be::put_u64(&mut header, 16, TABLE);
    be::put_u32(&mut header, 24, VERSION);
    be::put_u32(&mut header, 28, entries as u32);
    be::put_u32(&mut header, 32, BLOCK as u32);
    header
}

/// Writes footer, header and an empty table; returns where the table ends.
fn write_start<S: Storage>(
    storage: &S,
    footer: &[u8; FOOTER],
    mut header: [u8; HEADER],
    entries: u64,
) -> Result<u64> {
    let sum = checksum(&header, HEADER_SUM);
    be::put_u32(&mut header, HEADER_SUM, sum);
    let mut start = footer.to_vec();
    start.extend(header);
    let end = (TABLE + entries * 4).next_multiple_of(SECTOR);
    // At most 4 MiB: 2040 GiB in blocks of 2 MiB.
    start.resize(end as usize, UNUSED as u8);
    storage.write_at(0, &start)?;
    Ok(end)
}

/// A whole disk that is being written.
#[derive(Debug)]
pub(crate) struct Writer<'a, S> {
    storage: &'a S,
    footer: Vec<u8>,
    data: Appender<'a, S>,
    table: Entries<'a, S>,
}

impl<'a, S: Storage> Writer<'a, S> {
    /// Begins a whole disk of `size` bytes on an empty storage.
    ///
    /// # Errors
    /// The size is no multiple of 512, or too large; the device fails.
    pub fn new(storage: &'a S, size: u64, uuid: [u8; 16]) -> Result<Self> {
        let entries = entries(size)?;
        let footer = footer(size, DYNAMIC, uuid);
        let end = write_start(storage, &footer, header(entries), entries)?;
        Ok(Writer::after(storage, footer, entries, end))
    }

    /// Goes on after a beginning that ends at `end`.
    fn after(storage: &'a S, footer: [u8; FOOTER], entries: u64, end: u64) -> Self {
        let table = Entries::new(storage, TABLE, entries, UNUSED as u8);
        Writer { storage, footer: footer.to_vec(), data: Appender::new(storage, end), table }
    }

    /// Writes the block with this number, which is larger than the one before.
    ///
    /// # Errors
    /// The device fails.
    pub fn put(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        let sector = (self.data.end() / SECTOR) as u32;
        self.table.set(block, sector.to_be_bytes())?;
        self.data.put(&vec![0xff; bitmap_len(BLOCK) as usize])?;
        for piece in bytes.chunks(PIECE) {
            if is_zero(piece) { self.data.skip(piece.len() as u64)? } else { self.data.put(piece)? }
        }
        // The last one of the disk may be shorter.
        self.data.skip(BLOCK - bytes.len() as u64)
    }

    /// Writes the rest and makes all of it durable.
    ///
    /// # Errors
    /// The device fails.
    pub fn finish(mut self) -> Result<()> {
        self.data.put(&self.footer)?;
        self.data.finish()?;
        self.table.finish()?;
        Ok(self.storage.flush()?)
    }
}

/// Makes a differencing disk, named `uuid`, over the whole disk at `parent` (absolute), with these blocks by their number, in
/// order.
///
/// # Errors
/// The parent is no VHD that grows and stands alone; a block is not on it or not whole; the target exists, or there is no room.
pub(crate) fn create_child(
    target: &Path,
    uuid: [u8; 16],
    parent: &Path,
    blocks: &[(u64, &[u8])],
) -> Result<()> {
    let parent = Parent::read(parent, target)?;
    check_blocks(blocks, BLOCK, parent.head.size)?;
    let storage = FileStorage::create(target)?;
    let fill = || {
        let mut writer = parent.begin_child(&storage, uuid)?;
        blocks.iter().try_for_each(|(block, bytes)| writer.put(*block, bytes))?;
        writer.finish()
    };
    fill().inspect_err(|_| {
        // The first error is the one that matters.
        let _ = fs_err::remove_file(target);
    })
}

/// The disk that a child lies over.
#[derive(Debug)]
struct Parent {
    head: Head,
    /// Its file's name.
    name: Vec<u16>,
    /// Kinds of longer names, and these.
    locators: Vec<([u8; 4], Vec<u16>)>,
}

impl Parent {
    fn read(path: &Path, child: &Path) -> Result<Self> {
        let bad = || Error::Input(format!("the parent's path can't be written down: {}", path.display()));
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let (absolute, name) = match (path.to_str(), path.file_name().and_then(|name| name.to_str())) {
            (Some(absolute), Some(name)) if path.is_absolute() => (utf16(absolute), name),
            _ => return Err(bad()),
        };
        if absolute.len() > MAX_PATH || utf16(name).len() >= MAX_NAME {
            return Err(bad());
        }
        let mut locators = vec![(ABSOLUTE, absolute)];
        if path.parent() == child.parent() {
            locators.push((RELATIVE, utf16(&format!(".\\{name}"))));
        }
        let source = Source::new(FileStorage::open(path, Access::Read)?)?;
        if super::super::detect(&source)? != super::super::Format::Vhd {
            return Err(source.refuse(Refusal::NotParent));
        }
        let head = Head::read(&source)?;
        if head.differencing() {
            return Err(source.refuse(Refusal::NotParent));
        }
        Ok(Parent { head, name: utf16(name), locators })
    }

    fn begin_child<'a, S: Storage>(&self, storage: &'a S, uuid: [u8; 16]) -> Result<Writer<'a, S>> {
        let entries = entries(self.head.size)?;
        let footer = footer(self.head.size, DIFFERENCING, uuid);
        let mut header = header(entries);
        header[40..56].copy_from_slice(&self.head.footer[68..84]);
        header[56..60].copy_from_slice(&self.head.footer[24..28]);
        for (unit, at) in self.name.iter().zip((64..).step_by(2)) {
            header[at..at + 2].copy_from_slice(&unit.to_be_bytes());
        }
        let mut offset = (TABLE + entries * 4).next_multiple_of(SECTOR);
        let mut names = Vec::new();
        for ((kind, name), at) in self.locators.iter().zip((576..).step_by(24)) {
            let len = name.len() * 2;
            let room = len.next_multiple_of(SECTOR as usize);
            header[at..at + 4].copy_from_slice(kind);
            // The specification counts sectors; every program counts bytes.
            be::put_u32(&mut header, at + 4, room as u32);
            be::put_u32(&mut header, at + 8, len as u32);
            be::put_u64(&mut header, at + 16, offset + names.len() as u64);
            let end = names.len() + room;
            names.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
            names.resize(end, 0);
        }
        offset = write_start(storage, &footer, header, entries)?;
        storage.write_at(offset, &names)?;
        Ok(Writer::after(storage, footer, entries, offset + names.len() as u64))
    }
}
