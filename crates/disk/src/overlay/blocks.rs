//! A differencing disk as a table of blocks of one size: what all formats but qcow2 have in common.

use super::source::Source;
use super::{Format, vdi, vhd, vhdx, vmdk};
use crate::error::Result;
use crate::qcow2::entry::Run;
use crate::storage::{Storage, read_padded};

/// Bytes of a piece of a table that is held in memory.
const PAGE: u64 = 16 * 1024;
/// Bytes that are compared at once.
const PIECE: usize = 512;
/// Pieces that are held: of a directory, a table and a bitmap, and one to spare.
const PAGES: usize = 4;

/// An open differencing disk.
#[derive(Debug)]
pub struct Blocks<S> {
    source: Source<S>,
    shape: Shape,
    table: Table,
}

/// What the header of a differencing disk says about all its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes that the guest sees.
    pub size: u64,
    /// Bytes of a block, not zero.
    pub block: u64,
    /// Bytes of a sector, for blocks that are present in parts.
    pub sector: u64,
    /// Where a block may begin: behind the headers and tables.
    pub data: u64,
    /// Bytes of headers and tables in a file without a block.
    pub tables: u64,
}

/// The table, in the format's own way.
#[derive(Debug)]
pub(super) enum Table {
    Vmdk(vmdk::GrainTables),
    Vdi(vdi::BlockMap),
    Vhd(vhd::AllocationTable),
    Vhdx(vhdx::AllocationTable),
}

/// What a table says about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// It reads from the parent.
    Absent,
    /// It reads as zeroes.
    Zero,
    /// The file's bytes from `host` on.
    Data { host: u64 },
    /// Each sector on its own: where a bit is set, from `host` on, else from the parent.
    Sectors {
        /// Where the block's first sector is.
        host: u64,
        /// Where the byte with the bits of the first sectors is.
        bitmap: u64,
    },
}

/// Pieces of the tables that were read last.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Offset in the file, a multiple of [`PAGE`], and content; the one that was used last is in front.
    held: Vec<(u64, Vec<u8>)>,
}

impl Pages {
    /// The bytes from `offset` to the end of their page. What lies behind the file's end reads as zeroes.
    fn at<S: Storage>(&mut self, source: &Source<S>, offset: u64) -> Result<&[u8]> {
        let start = offset - offset % PAGE;
        if self.held.first().is_none_or(|(held, _)| *held != start) {
            let page = match self.held.iter().position(|(held, _)| *held == start) {
                Some(index) => self.held.remove(index),
                None => {
                    self.held.truncate(PAGES - 1);
                    let mut page = vec![0; PAGE as usize];
                    read_padded(&source.storage, start, &mut page)?;
                    (start, page)
                }
            };
            self.held.insert(0, page);
        }
        let page = self.held.first().map(|(_, page)| page.as_slice()).unwrap_or_default();
        Ok(page.get((offset - start) as usize..).unwrap_or_default())
    }

    /// How many entries of `width` bytes from `offset` on, at least one and at most `most`, have to be passed over because
    /// all their bytes are `fill`, as those of absent blocks are. Looks at one page only.
    pub fn skip<S: Storage>(
        &mut self,
        source: &Source<S>,
        offset: u64,
        width: u64,
        fill: u8,
        most: u64,
    ) -> Result<u64> {
        let bytes = self.at(source, offset)?;
        let bytes = &bytes[..most.saturating_mul(width).min(bytes.len() as u64) as usize];
        // Pieces are compared quickly, and single bytes where they differ only.
        let filled = [fill; PIECE];
        let alike = bytes.chunks(PIECE).take_while(|piece| **piece == filled[..piece.len()]).count() * PIECE;
        let rest = bytes.get(alike..).unwrap_or_default();
        let more = rest.iter().take(PIECE).take_while(|&&byte| byte == fill).count();
        Ok(((alike.min(bytes.len()) + more) as u64 / width).max(1))
    }

    /// The `N` bytes at `offset`, which is a multiple of `N`, and `N` a power of two: they are in one page.
    pub fn word<const N: usize, S: Storage>(&mut self, source: &Source<S>, offset: u64) -> Result<[u8; N]> {
        let bytes = self.at(source, offset)?;
        bytes.first_chunk().copied().ok_or_else(|| source.damaged("a table is not aligned"))
    }
}

impl<S: Storage> Blocks<S> {
    pub(super) fn new(source: Source<S>, shape: Shape, table: Table) -> Self {
        Blocks { source, shape, table }
    }

    pub(super) fn format(&self) -> Format {
        match self.table {
            Table::Vmdk(_) => Format::Vmdk,
            Table::Vdi(_) => Format::Vdi,
            Table::Vhd(_) => Format::Vhd,
            Table::Vhdx(_) => Format::Vhdx,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.shape.size
    }

    pub(super) fn block_size(&self) -> u64 {
        self.shape.block
    }

    pub(super) fn storage(&self) -> &S {
        &self.source.storage
    }

    fn count(&self) -> u64 {
        self.shape.size.div_ceil(self.shape.block)
    }

    /// What the table says about the block with this number, checked.
    fn block(&self, pages: &mut Pages, index: u64) -> Result<Block> {
        let block = match &self.table {
            Table::Vmdk(tables) => tables.block(&self.source, pages, index)?,
            Table::Vdi(map) => map.block(&self.source, pages, index)?,
            Table::Vhd(table) => table.block(&self.source, pages, index)?,
            Table::Vhdx(table) => table.block(&self.source, pages, index)?,
        };
        let (start, host) = match block {
            Block::Absent | Block::Zero => return Ok(block),
            Block::Data { host } => (host, host),
            Block::Sectors { host, bitmap } => (host.min(bitmap), host),
        };
        if start < self.shape.data {
            return Err(self.source.damaged(format!("block {index} lies in the tables")));
        }
        // Nothing needs the part of the last block that lies behind the disk's end.
        let visible = self.shape.size.saturating_sub(index * self.shape.block).min(self.shape.block);
        self.source.ensure_inside(host, visible)?;
        Ok(block)
    }

    /// How many blocks from one on that is absent are absent as well, as far as a look at the table tells.
    fn absent(&self, pages: &mut Pages, index: u64) -> Result<u64> {
        match &self.table {
            Table::Vmdk(tables) => tables.absent(&self.source, pages, index),
            Table::Vdi(map) => map.absent(&self.source, pages, index),
            Table::Vhd(table) => table.absent(&self.source, pages, index),
            Table::Vhdx(table) => table.absent(&self.source, pages, index),
        }
    }

    /// The first block from `index` on that is not absent.
    fn next_block(&self, pages: &mut Pages, mut index: u64) -> Result<Option<(u64, Block)>> {
        while index < self.count() {
            match self.block(pages, index)? {
                Block::Absent => index += self.absent(pages, index)?,
                block => return Ok(Some((index, block))),
            }
        }
        Ok(None)
    }

    /// Looks at every entry once. Without this a small file could name one block millions of times, and a merge last for
    /// years; and a file that was cut off would be noticed half-way.
    pub(super) fn ensure_sound(&self) -> Result<()> {
        let most = self.source.len.div_ceil(self.shape.block);
        let mut pages = Pages::default();
        let (mut stored, mut at) = (0_u64, 0);
        while let Some((index, block)) = self.next_block(&mut pages, at)? {
            stored += u64::from(block != Block::Zero);
            if stored > most {
                return Err(self.source.damaged("more blocks are named than the file has room for"));
            }
            at = index + 1;
        }
        Ok(())
    }

    pub(super) fn next_present(&self, pages: &mut Pages, start: u64) -> Result<Option<u64>> {
        let found = self.next_block(pages, start / self.shape.block)?;
        Ok(found.map(|(index, _)| (index * self.shape.block).max(start)).filter(|&at| at < self.shape.size))
    }

    pub(super) fn runs(
        &self,
        pages: &mut Pages,
        start: u64,
        end: u64,
        mut each: impl FnMut(u64, u64, Run),
    ) -> Result<()> {
        let covered = end.min(self.shape.size);
        let mut at = start;
        while at < covered {
            let index = at / self.shape.block;
            let base = index * self.shape.block;
            let stop = base.saturating_add(self.shape.block).min(covered);
            match self.block(pages, index)? {
                Block::Absent => each(at, stop, Run::Absent),
                Block::Zero => each(at, stop, Run::Zero),
                Block::Data { host } => each(at, stop, Run::Data { host: host + (at - base) }),
                Block::Sectors { host, bitmap } => {
                    let mut from = at;
                    while from < stop {
                        let (to, there) = self.same_sectors(pages, bitmap, from - base, stop - base)?;
                        let run = if there { Run::Data { host: host + (from - base) } } else { Run::Absent };
                        each(from, base + to, run);
                        from = base + to;
                    }
                }
            }
            at = stop;
        }
        if at < end {
            each(at, end, Run::Absent);
        }
        Ok(())
    }

    /// How far, from the block's byte `from` and at most to `stop`, the sectors are there, or not there.
    fn same_sectors(&self, pages: &mut Pages, bitmap: u64, from: u64, stop: u64) -> Result<(u64, bool)> {
        let sector = self.shape.sector;
        let mut index = from / sector;
        let there = self.is_there(pages, bitmap, index)?;
        loop {
            index += 1;
            let at = index * sector;
            if at >= stop {
                return Ok((stop, there));
            }
            if self.is_there(pages, bitmap, index)? != there {
                return Ok((at, there));
            }
        }
    }

    /// Whether the file has the sector with this number of a block.
    fn is_there(&self, pages: &mut Pages, bitmap: u64, sector: u64) -> Result<bool> {
        let [byte] = pages.word(&self.source, bitmap + sector / 8)?;
        // A VHD counts from the highest bit on.
        let bit = if matches!(self.table, Table::Vhd(_)) { 7 - sector % 8 } else { sector % 8 };
        Ok(byte >> bit & 1 == 1)
    }

    pub(super) fn read_run(&self, run: Run, buf: &mut [u8]) -> Result<()> {
        match run {
            Run::Absent | Run::Zero => buf.fill(0),
            Run::Data { host } => self.source.fill(host, buf)?,
            Run::Compressed { .. } => return Err(self.source.damaged("a block is compressed")),
        }
        Ok(())
    }
}
