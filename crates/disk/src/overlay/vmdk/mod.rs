//! VMware's hosted sparse extents, as "Virtual Disk Format 5.0" (VMware, 2011) describes them: "Hosted Sparse Extents", "Grain
//! Directory and Grain Tables", "The Descriptor File". VirtualBox and QEMU write the same.

mod create;
mod descriptor;

pub(crate) use create::{GRAIN, Ids, Writer, create_child};

use super::blocks::{Block, Blocks, Pages, Shape, Table};
use super::source::{Source, le};
use crate::error::{Refusal, Result};
use crate::storage::Storage;
use descriptor::Descriptor;

/// "KDMV": the signature of a sparse extent.
pub(super) const MAGIC: [u8; 4] = *b"KDMV";
const SECTOR: u64 = 512;
/// Bytes of the header.
const HEADER: usize = 512;
/// Entries of a grain table, in every file there is.
const ENTRIES: u64 = 512;
/// Flag: the bytes that a transfer as text would break are there to be looked at.
const NEWLINES: u32 = 1;
/// Flag: there is a second grain directory.
const REDUNDANT: u32 = 2;
/// Flag: the grain table entry 1 means a grain of zeroes.
const ZEROED: u32 = 4;
/// Flags: grains are compressed; markers stand between them.
const COMPRESSED: u32 = 3 << 16;
/// Bytes of a grain.
const GRAINS: std::ops::RangeInclusive<u64> = 4096..=2 << 20;
/// A grain table entry has 32 bits for a sector: what lies behind 2 TiB of the file can't be named.
const MAX_SIZE: u64 = 2 << 40;
/// Bytes of the longest embedded descriptor: those in use are 10 KiB.
const MAX_DESCRIPTOR: u64 = 1 << 20;

/// The header of a sparse extent (structure `SparseExtentHeader`), checked.
#[derive(Debug)]
struct Header {
    /// Virtual bytes.
    size: u64,
    grain: u64,
    zeroed: bool,
    /// Offset and length of the embedded descriptor, in bytes.
    descriptor: (u64, u64),
    /// Offset of the grain directory in bytes.
    directory: u64,
    /// Bytes of headers and tables.
    overhead: u64,
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// It is damaged, or has a feature that is not handled.
    fn read<S: Storage>(source: &Source<S>) -> Result<Self> {
        let mut bytes = [0; HEADER];
        source.fill(0, &mut bytes)?;
        let version = le::u32(&bytes, 4);
        if !(1..=3).contains(&version) {
            return Err(source.refuse(Refusal::OverlayVersion(format!("VMDK {version}"))));
        }
        let flags = le::u32(&bytes, 8);
        let directory = le::u64(&bytes, 56);
        // A directory at the end is that of a stream, whose grains are compressed.
        if flags & COMPRESSED != 0 || le::u16(&bytes, 77) != 0 || directory == u64::MAX {
            return Err(source.refuse(Refusal::CompressedOverlay));
        }
        if flags & NEWLINES != 0 && bytes[73..77] != *b"\n \r\n" {
            return Err(source.damaged("it was transferred as text"));
        }
        let sectors = |at| {
            le::u64(&bytes, at)
                .checked_mul(SECTOR)
                .ok_or_else(|| source.damaged("a number in the header is too large"))
        };
        let (size, grain) = (sectors(12)?, sectors(20)?);
        if size == 0 || size > MAX_SIZE {
            return Err(source.damaged(format!("a VMDK can't have a disk of {size} bytes")));
        }
        if !grain.is_power_of_two() || !GRAINS.contains(&grain) {
            return Err(source.damaged(format!("it has grains of {grain} bytes")));
        }
        if u64::from(le::u32(&bytes, 44)) != ENTRIES {
            return Err(source.damaged("its grain tables are not of 512 entries"));
        }
        let descriptor = (sectors(28)?, sectors(36)?);
        if descriptor.0 == 0 {
            return Err(source.refuse(Refusal::SeveralFiles));
        }
        if descriptor.1 == 0 || descriptor.1 > MAX_DESCRIPTOR {
            return Err(source.damaged("its descriptor is of no sensible length"));
        }
        let directory = directory
            .checked_mul(SECTOR)
            .filter(|&at| at != 0)
            .ok_or_else(|| source.damaged("its grain directory has no place"))?;
        let mut header =
            Header { size, grain, zeroed: flags & ZEROED != 0, descriptor, directory, overhead: 0 };
        let directory_len = header.tables() * 4;
        let mut ends = vec![(descriptor.0, descriptor.1), (directory, directory_len)];
        if flags & REDUNDANT != 0 {
            ends.push((sectors(48)?, directory_len));
        }
        header.overhead = sectors(64)?;
        for (offset, len) in ends {
            source.ensure_inside(offset, len)?;
            if offset < HEADER as u64 {
                return Err(source.damaged("a table lies in the header"));
            }
            // A writer that counts the tables wrongly must not make them look like data.
            header.overhead = header.overhead.max(offset + len);
        }
        Ok(header)
    }

    /// How many grain tables there are.
    fn tables(&self) -> u64 {
        self.size.div_ceil(self.grain * ENTRIES)
    }

    fn shape(&self) -> Shape {
        Shape {
            size: self.size,
            block: self.grain,
            sector: SECTOR,
            data: self.overhead,
            tables: self.overhead,
        }
    }

    /// Reads the embedded descriptor, which names the disk's size exactly: VirtualBox rounds that of the header up to grains.
    fn read_descriptor<S: Storage>(&mut self, source: &Source<S>) -> Result<Descriptor> {
        let bytes = source.bytes(self.descriptor.0, self.descriptor.1)?;
        let descriptor = Descriptor::parse(&bytes).map_err(|what| source.damaged(what))?;
        match descriptor.create_type.as_str() {
            "monolithicSparse" => {}
            "streamOptimized" => return Err(source.refuse(Refusal::CompressedOverlay)),
            _ => return Err(source.refuse(Refusal::SeveralFiles)),
        }
        let size = descriptor.sectors.checked_mul(SECTOR).filter(|&size| size > 0 && size <= self.size);
        match size {
            Some(size) if size.div_ceil(self.grain) == self.size.div_ceil(self.grain) => self.size = size,
            _ => return Err(source.damaged("its descriptor and its header name different sizes")),
        }
        Ok(descriptor)
    }
}

/// What the header and the descriptor say about the blocks.
pub(super) fn shape<S: Storage>(source: &Source<S>) -> Result<Shape> {
    Ok(read(source)?.0.shape())
}

fn read<S: Storage>(source: &Source<S>) -> Result<(Header, Descriptor)> {
    let mut header = Header::read(source)?;
    let descriptor = header.read_descriptor(source)?;
    Ok((header, descriptor))
}

/// Opens a sparse extent that holds changes.
pub(super) fn open<S: Storage>(source: Source<S>) -> Result<Blocks<S>> {
    let (header, descriptor) = read(&source)?;
    if !descriptor.has_parent() {
        return Err(source.refuse(Refusal::WholeDisk));
    }
    blocks(source, &header)
}

/// Opens a sparse extent, whatever it lies over.
pub(super) fn open_any<S: Storage>(source: Source<S>) -> Result<Blocks<S>> {
    let (header, _) = read(&source)?;
    blocks(source, &header)
}

fn blocks<S: Storage>(source: Source<S>, header: &Header) -> Result<Blocks<S>> {
    let tables = GrainTables { directory: header.directory, zeroed: header.zeroed };
    let mut pages = Pages::default();
    let most = source.len / (ENTRIES * 4);
    let mut there = 0;
    for index in 0..header.tables() {
        there += u64::from(tables.table(&source, &mut pages, index)?.is_some());
        if there > most {
            return Err(source.damaged("more grain tables are named than the file has room for"));
        }
    }
    Ok(Blocks::new(source, header.shape(), Table::Vmdk(tables)))
}

/// The grain directory and the grain tables that it leads to. The redundant ones say the same; they are not looked at.
#[derive(Debug)]
pub(super) struct GrainTables {
    directory: u64,
    zeroed: bool,
}

impl GrainTables {
    /// Where the grain table with this number is; none if there is none.
    fn table<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, table: u64) -> Result<Option<u64>> {
        let word = pages.word(source, self.directory + table * 4)?;
        let offset = u64::from(u32::from_le_bytes(word)) * SECTOR;
        if offset == 0 {
            return Ok(None);
        }
        source.ensure_inside(offset, ENTRIES * 4)?;
        Ok(Some(offset))
    }

    pub fn block<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, grain: u64) -> Result<Block> {
        let Some(table) = self.table(source, pages, grain / ENTRIES)? else { return Ok(Block::Absent) };
        let word = pages.word(source, table + grain % ENTRIES * 4)?;
        Ok(match u32::from_le_bytes(word) {
            0 => Block::Absent,
            1 if self.zeroed => Block::Zero,
            sector => Block::Data { host: u64::from(sector) * SECTOR },
        })
    }

    pub fn absent<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, grain: u64) -> Result<u64> {
        let rest = ENTRIES - grain % ENTRIES;
        match self.table(source, pages, grain / ENTRIES)? {
            None => Ok(rest),
            Some(table) => pages.skip(source, table + grain % ENTRIES * 4, 4, 0, rest),
        }
    }
}
