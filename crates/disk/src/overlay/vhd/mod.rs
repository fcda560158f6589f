//! Microsoft's older format, VHD, as the "Virtual Hard Disk Image Format Specification" 1.0 (Microsoft, 2006) describes it: "Hard
//! Disk Footer Format", "Dynamic Disk Header Format", "Block Allocation Table and Data Blocks". All numbers are big-endian.

mod create;

pub(crate) use create::{BLOCK, Writer, create_child};

use super::blocks::{Block, Blocks, Pages, Shape, Table};
use super::source::Source;
use crate::error::{Refusal, Result};
use crate::qcow2::be;
use crate::storage::Storage;

/// The signature of the footer, a copy of which begins every file that grows.
pub(super) const COOKIE: [u8; 8] = *b"conectix";
/// The signature of the dynamic header.
const HEADER_COOKIE: [u8; 8] = *b"cxsparse";
const VERSION: u32 = 0x0001_0000;
const SECTOR: u64 = 512;
const FOOTER: usize = 512;
const HEADER: usize = 1024;
/// Where a footer, and a dynamic header, has its checksum.
const FOOTER_SUM: usize = 64;
const HEADER_SUM: usize = 36;
const LOCATORS: usize = 8;
/// Disk types: growing, and holding changes to another.
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;
/// Bytes of a block; all there is has 512 KiB or 2 MiB.
const BLOCKS: std::ops::RangeInclusive<u64> = 4096..=256 << 20;
/// A table entry has 32 bits for a sector.
const MAX_SIZE: u64 = 2 << 40;
/// The block was never written.
const UNUSED: u32 = u32::MAX;

/// The one's complement of the sum of all bytes but the checksum's own.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |part: &[u8]| part.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&bytes[at..at + 4]))
}

/// What is used of the footer and the dynamic header, checked.
#[derive(Debug)]
struct Head {
    footer: [u8; FOOTER],
    size: u64,
    block: u64,
    /// Offset of the block allocation table in bytes.
    table: u64,
    data: u64,
    tables: u64,
}

/// The footer at the end, or its copy at the beginning: while blocks are added there may be none at the end.
fn read_footer<S: Storage>(source: &Source<S>) -> Result<[u8; FOOTER]> {
    let mut footer = [0; FOOTER];
    for offset in [source.len.saturating_sub(SECTOR), 0] {
        source.fill(offset, &mut footer)?;
        if footer.starts_with(&COOKIE) && be::u32(&footer, FOOTER_SUM) == checksum(&footer, FOOTER_SUM) {
            return Ok(footer);
        }
    }
    Err(source.damaged("neither its footer nor the copy of it holds"))
}

impl Head {
    fn read<S: Storage>(source: &Source<S>) -> Result<Self> {
        let footer = read_footer(source)?;
        let version = be::u32(&footer, 12);
        if version != VERSION {
            return Err(source.refuse(Refusal::OverlayVersion(format!("VHD {version:#x}"))));
        }
        if !matches!(be::u32(&footer, 60), DYNAMIC | DIFFERENCING) {
            return Err(source.refuse(Refusal::WholeDisk));
        }
        let size = be::u64(&footer, 48);
        if size == 0 || size > MAX_SIZE || !size.is_multiple_of(SECTOR) {
            return Err(source.damaged(format!("a VHD can't have a disk of {size} bytes")));
        }
        let at = be::u64(&footer, 16);
        let mut header = [0; HEADER];
        source.fill(at, &mut header)?;
        if at < FOOTER as u64
            || !header.starts_with(&HEADER_COOKIE)
            || be::u32(&header, HEADER_SUM) != checksum(&header, HEADER_SUM)
        {
            return Err(source.damaged("its dynamic header does not hold"));
        }
        let version = be::u32(&header, 24);
        if version != VERSION {
            return Err(source.refuse(Refusal::OverlayVersion(format!("VHD {version:#x}"))));
        }
        let (table, entries) = (be::u64(&header, 16), u64::from(be::u32(&header, 28)));
        let block = u64::from(be::u32(&header, 32));
        if !block.is_power_of_two() || !BLOCKS.contains(&block) {
            return Err(source.damaged(format!("it has blocks of {block} bytes")));
        }
        if entries < size.div_ceil(block) {
            return Err(source.damaged("its block allocation table is shorter than its disk"));
        }
        source.ensure_inside(table, entries * 4)?;
        if !table.is_multiple_of(SECTOR) || (table < at + HEADER as u64 && at < table + entries * 4) {
            return Err(source.damaged("its block allocation table lies in the header"));
        }
        let data = (at + HEADER as u64).max(table + entries * 4);
        let tables = locators_end(&header).max(data.next_multiple_of(SECTOR)) + FOOTER as u64;
        Ok(Head { footer, size, block, table, data, tables })
    }

    fn differencing(&self) -> bool {
        be::u32(&self.footer, 60) == DIFFERENCING
    }

    fn shape(&self) -> Shape {
        let Head { size, block, data, tables, .. } = *self;
        Shape { size, block, sector: SECTOR, data, tables }
    }
}

/// Where the names of the parent end. They are never followed, and only counted.
fn locators_end(header: &[u8; HEADER]) -> u64 {
    let ends = (0..LOCATORS).map(|index| {
        let at = 576 + index * 24;
        let len = u64::from(be::u32(header, at + 8)).next_multiple_of(SECTOR);
        if be::u32(header, at) == 0 { 0 } else { be::u64(header, at + 16).saturating_add(len) }
    });
    // What can't be true is not counted.
    ends.filter(|&end| end < 64 << 20).max().unwrap_or(0)
}

/// Bytes of the bitmap in front of a block of `block` bytes, in whole sectors.
fn bitmap_len(block: u64) -> u64 {
    (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
}

/// What the headers say about the blocks.
pub(super) fn shape<S: Storage>(source: &Source<S>) -> Result<Shape> {
    Ok(Head::read(source)?.shape())
}

/// Opens a differencing disk.
pub(super) fn open<S: Storage>(source: Source<S>) -> Result<Blocks<S>> {
    let head = Head::read(&source)?;
    if !head.differencing() {
        return Err(source.refuse(Refusal::WholeDisk));
    }
    let table = AllocationTable { table: head.table, bitmap: bitmap_len(head.block) };
    Ok(Blocks::new(source, head.shape(), Table::Vhd(table)))
}

/// The block allocation table.
#[derive(Debug)]
pub(super) struct AllocationTable {
    table: u64,
    /// Bytes of the bitmap in front of each block.
    bitmap: u64,
}

impl AllocationTable {
    pub fn block<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<Block> {
        Ok(match u32::from_be_bytes(pages.word(source, self.table + index * 4)?) {
            UNUSED => Block::Absent,
            sector => {
                let bitmap = u64::from(sector) * SECTOR;
                Block::Sectors { host: bitmap + self.bitmap, bitmap }
            }
        })
    }

    pub fn absent<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<u64> {
        pages.skip(source, self.table + index * 4, 4, UNUSED as u8, u64::MAX)
    }
}
