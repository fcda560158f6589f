//! Microsoft's newer format, VHDX, as [MS-VHDX] describes it: file structure (2.2), block allocation table (2.5), metadata
//! region (2.6). All numbers are little-endian.

mod crc32c;
mod region;

use uuid::Uuid;

use super::blocks::{Block, Blocks, Pages, Shape, Table};
use super::source::{Source, le};
use crate::error::{Refusal, Result};
use crate::storage::Storage;
use region::{Metadata, Regions};

/// The signature of the file type identifier.
pub(super) const MAGIC: [u8; 8] = *b"vhdxfile";
/// What everything in the file is aligned to.
const MIB: u64 = 1 << 20;
/// Where the two headers are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER: usize = 4096;
/// Sectors that one sector bitmap block, of one MiB, describes.
const CHUNK_SECTORS: u64 = 1 << 23;
/// Bytes of a block.
const BLOCKS: std::ops::RangeInclusive<u64> = MIB..=256 * MIB;
const MAX_SIZE: u64 = 64 << 40;

/// What is used of the current header.
struct Header {
    sequence: u64,
    log: (u64, u64),
    has_log: bool,
}

/// The header that holds and has the higher sequence number (2.2.2).
fn header<S: Storage>(source: &Source<S>) -> Result<Header> {
    let mut current: Option<Header> = None;
    for offset in HEADERS {
        let mut bytes = [0; HEADER];
        source.fill(offset, &mut bytes)?;
        if !bytes.starts_with(b"head") || !crc32c::holds(&mut bytes, 4) {
            continue;
        }
        let sequence = le::u64(&bytes, 8);
        if current.as_ref().is_some_and(|current| current.sequence >= sequence) {
            continue;
        }
        let (log_version, version) = (le::u16(&bytes, 64), le::u16(&bytes, 66));
        if (log_version, version) != (0, 1) {
            return Err(source.refuse(Refusal::OverlayVersion(format!("VHDX {version}.{log_version}"))));
        }
        current = Some(Header {
            sequence,
            log: (le::u64(&bytes, 72), u64::from(le::u32(&bytes, 68))),
            has_log: bytes[48..64] != [0; 16],
        });
    }
    current.ok_or_else(|| source.damaged("neither of its headers holds"))
}

/// Everything that is read before the table.
struct Head {
    header: Header,
    regions: Regions,
    metadata: Metadata,
}

impl Head {
    fn read<S: Storage>(source: &Source<S>) -> Result<Self> {
        let header = header(source)?;
        let regions = Regions::read(source)?;
        let metadata = Metadata::read(source, regions.metadata)?;
        Ok(Head { header, regions, metadata })
    }

    fn taken(&self) -> [(u64, u64); 3] {
        [self.header.log, self.regions.table, self.regions.metadata]
    }

    fn shape(&self) -> Shape {
        let Metadata { size, block, sector, .. } = self.metadata;
        let end = self.taken().iter().map(|(offset, len)| offset.saturating_add(*len)).max();
        Shape { size, block, sector, data: MIB, tables: end.unwrap_or(MIB) }
    }
}

/// What the headers say about the blocks.
pub(super) fn shape<S: Storage>(source: &Source<S>) -> Result<Shape> {
    Ok(Head::read(source)?.shape())
}

/// Opens a differencing disk.
pub(super) fn open<S: Storage>(source: Source<S>) -> Result<Blocks<S>> {
    let head = Head::read(&source)?;
    if !head.metadata.has_parent {
        return Err(source.refuse(Refusal::WholeDisk));
    }
    if head.header.has_log {
        // What it holds belongs into the tables.
        return Err(source.refuse(Refusal::UnfinishedLog));
    }
    let shape = head.shape();
    let ratio = CHUNK_SECTORS * shape.sector / shape.block;
    let chunks = shape.size.div_ceil(shape.block).div_ceil(ratio);
    if chunks * (ratio + 1) * 8 > head.regions.table.1 {
        return Err(source.damaged("its block allocation table is shorter than its disk"));
    }
    let table = AllocationTable {
        table: head.regions.table.0,
        ratio,
        bits: shape.block / shape.sector / 8,
        block: shape.block,
        taken: head.taken(),
    };
    Ok(Blocks::new(source, shape, Table::Vhdx(table)))
}

/// The block allocation table: the entries of a chunk's blocks, then that of its sector bitmap, and so on (2.5).
#[derive(Debug)]
pub(super) struct AllocationTable {
    table: u64,
    /// Blocks of a chunk.
    ratio: u64,
    /// Bytes of a sector bitmap that describe one block.
    bits: u64,
    block: u64,
    /// Offset and length of the log and the regions, where no block may lie.
    taken: [(u64, u64); 3],
}

impl AllocationTable {
    /// An entry's state, and the place that it names.
    fn entry<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<(u64, u64)> {
        let word = u64::from_le_bytes(pages.word(source, self.table + index * 8)?);
        Ok((word & 7, word & !(MIB - 1)))
    }

    /// Makes sure that what an entry names is a block of its own.
    fn ensure_apart<S: Storage>(&self, source: &Source<S>, host: u64, len: u64) -> Result<()> {
        let end = host.saturating_add(len);
        let apart = |&(offset, len): &(u64, u64)| end <= offset || host >= offset.saturating_add(len);
        if host < MIB || !self.taken.iter().all(apart) {
            return Err(source.damaged("a block lies in the tables"));
        }
        Ok(())
    }

    pub fn absent<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<u64> {
        let (chunk, within) = (index / self.ratio, index % self.ratio);
        pages.skip(source, self.table + (index + chunk) * 8, 8, 0, self.ratio - within)
    }

    pub fn block<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<Block> {
        let (chunk, within) = (index / self.ratio, index % self.ratio);
        let (state, host) = self.entry(source, pages, index + chunk)?;
        match state {
            0 => Ok(Block::Absent),
            // Undefined, zero, unmapped: what may be anything is best nothing.
            1..=3 => Ok(Block::Zero),
            6 => {
                self.ensure_apart(source, host, self.block)?;
                Ok(Block::Data { host })
            }
            7 => {
                self.ensure_apart(source, host, self.block)?;
                let (state, bitmap) = self.entry(source, pages, (chunk + 1) * (self.ratio + 1) - 1)?;
                if state != 6 {
                    return Err(source.damaged("a block is there in parts, but does not say in which"));
                }
                self.ensure_apart(source, bitmap, MIB)?;
                source.ensure_inside(bitmap, MIB)?;
                Ok(Block::Sectors { host, bitmap: bitmap + within * self.bits })
            }
            state => Err(source.damaged(format!("a block is in state {state}, which does not exist"))),
        }
    }
}

/// A GUID as it is stored.
fn guid(bytes: &[u8]) -> Uuid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[..16]);
    Uuid::from_bytes_le(guid)
}
