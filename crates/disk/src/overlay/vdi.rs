//! VirtualBox's own format, VDI 1.1, as VirtualBox's sources define it (`src/VBox/Storage/VDICore.h`: `VDIPREHEADER`,
//! `VDIHEADER1PLUS`): a header, a map with one entry for each block, and blocks of one size behind it.

use super::blocks::{Block, Blocks, Pages, Shape, Table};
use super::source::{Source, le};
use crate::error::{Refusal, Result};
use crate::storage::Storage;

/// Where the signature is, behind a line of text.
pub(super) const SIGNATURE_AT: usize = 0x40;
pub(super) const SIGNATURE: [u8; 4] = 0xbeda_107f_u32.to_le_bytes();
/// Bytes that are read of the header: up to the fields that are used.
const HEADER: usize = 0x188;
/// Bytes of the smallest header of this version.
const SMALLEST: u32 = 0x148;
/// Image type: holds changes to another.
const DIFFERENCING: u32 = 4;
/// The image types: growing, fixed, undo and differencing.
const TYPES: std::ops::RangeInclusive<u32> = 1..=DIFFERENCING;
/// Bytes of a block.
const BLOCKS: std::ops::RangeInclusive<u64> = 4096..=256 << 20;
/// No disk is larger: as for VHDX.
const MAX_SIZE: u64 = 64 << 40;
/// The most bytes in front of each block.
const MAX_EXTRA: u64 = 1 << 20;
/// The block was never written.
const FREE: u32 = u32::MAX;
/// The block is zero and takes no room.
const ZERO: u32 = u32::MAX - 1;

/// Where blocks are.
#[derive(Debug)]
pub(super) struct BlockMap {
    /// Offset of the map in bytes.
    map: u64,
    /// Offset of the first block in bytes.
    data: u64,
    /// Bytes of a block with what stands in front of its data.
    stride: u64,
    extra: u64,
}

impl BlockMap {
    pub fn block<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<Block> {
        Ok(match u32::from_le_bytes(pages.word(source, self.map + index * 4)?) {
            FREE => Block::Absent,
            ZERO => Block::Zero,
            // 32 bits times less than 512 MiB.
            number => Block::Data { host: self.data + u64::from(number) * self.stride + self.extra },
        })
    }

    pub fn absent<S: Storage>(&self, source: &Source<S>, pages: &mut Pages, index: u64) -> Result<u64> {
        pages.skip(source, self.map + index * 4, 4, FREE as u8, u64::MAX)
    }
}

/// What the header says about the blocks, and whether it is a differencing disk.
fn read<S: Storage>(source: &Source<S>) -> Result<(Shape, BlockMap, bool)> {
    let mut bytes = [0; HEADER];
    source.fill(0, &mut bytes)?;
    let (minor, major) = (le::u16(&bytes, 0x44), le::u16(&bytes, 0x46));
    if (major, minor) != (1, 1) {
        return Err(source.refuse(Refusal::OverlayVersion(format!("VDI {major}.{minor}"))));
    }
    if le::u32(&bytes, 0x48) < SMALLEST {
        return Err(source.damaged("its header is too short"));
    }
    let kind = le::u32(&bytes, 0x4c);
    if !TYPES.contains(&kind) {
        return Err(source.damaged(format!("there is no VDI of type {kind}")));
    }
    let (map, data) = (u64::from(le::u32(&bytes, 0x154)), u64::from(le::u32(&bytes, 0x158)));
    let size = le::u64(&bytes, 0x170);
    let (block, extra) = (u64::from(le::u32(&bytes, 0x178)), u64::from(le::u32(&bytes, 0x17c)));
    let count = u64::from(le::u32(&bytes, 0x180));
    if size == 0 || size > MAX_SIZE || !size.is_multiple_of(512) {
        return Err(source.damaged(format!("a VDI can't have a disk of {size} bytes")));
    }
    if !block.is_power_of_two() || !BLOCKS.contains(&block) || extra > MAX_EXTRA {
        return Err(source.damaged(format!("it has blocks of {block} bytes and {extra} more")));
    }
    if count < size.div_ceil(block) {
        return Err(source.damaged("its block map is shorter than its disk"));
    }
    if map < HEADER as u64 || !map.is_multiple_of(4) || data < map + count * 4 {
        return Err(source.damaged("its block map lies in the header or in the data"));
    }
    source.ensure_inside(map, count * 4)?;
    let shape = Shape { size, block, sector: 512, data, tables: data };
    Ok((shape, BlockMap { map, data, stride: block + extra, extra }, kind == DIFFERENCING))
}

/// What the header says about the blocks.
pub(super) fn shape<S: Storage>(source: &Source<S>) -> Result<Shape> {
    Ok(read(source)?.0)
}

/// Opens a differencing disk.
pub(super) fn open<S: Storage>(source: Source<S>) -> Result<Blocks<S>> {
    let (shape, map, differencing) = read(&source)?;
    if !differencing {
        return Err(source.refuse(Refusal::WholeDisk));
    }
    Ok(Blocks::new(source, shape, Table::Vdi(map)))
}
