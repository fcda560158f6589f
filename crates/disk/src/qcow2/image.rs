//! An open image: its header, its L1 table, and reading guest bytes.

use super::entry::{self, Entry, Run};
use super::extensions::Extensions;
use super::header::{BLOCK, Header, Problem};
use super::{be, compressed};
use crate::error::{Error, Refusal, Result};
use crate::generation::BaseState;
use crate::storage::{Storage, is_zero, read_padded};

/// What an image is used for; decides what is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is merged into.
    Base,
    /// It is read only; its backing file is never opened by us.
    Overlay,
}

/// An open image.
#[derive(Debug)]
pub struct Image<S> {
    storage: S,
    header: Header,
    extensions: Extensions,
    block: [u8; BLOCK],
    backing: Option<String>,
    l1: Vec<u64>,
    file_len: u64,
}

/// The L2 table that was read last: guest-ordered access needs no other.
#[derive(Debug, Default)]
pub struct TableCache {
    l1_index: Option<u64>,
    table: Option<Vec<u8>>,
}

/// Attaches the image to what is wrong with its header.
pub(crate) fn explain(problem: Problem, image: &str) -> Error {
    match problem {
        Problem::Refused(why) => Error::Refused { why, image: image.to_owned() },
        Problem::Damaged(what) => Error::Damaged { what, image: image.to_owned() },
    }
}

/// Reads the header block; a file shorter than that is no image.
pub(crate) fn read_block<S: Storage>(storage: &S) -> Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    read_padded(storage, 0, &mut block)?;
    Ok(block)
}

impl<S: Storage> Image<S> {
    /// Opens an image.
    ///
    /// # Errors
    /// It is damaged or has a feature that is not handled in this role.
    pub fn open(storage: S, role: Role) -> Result<Self> {
        let block = read_block(&storage)?;
        let problem = |problem| explain(problem, storage.name());
        let header = Header::parse(&block).map_err(problem)?;
        let area = Extensions::area(&header);
        let mut bytes = vec![0; (area.end - area.start) as usize];
        read_padded(&storage, area.start, &mut bytes)?;
        let extensions = Extensions::parse(&bytes).map_err(problem)?;
        let refuse = |why| Err(Error::Refused { why, image: storage.name().to_owned() });
        if role == Role::Base {
            if header.dirty() {
                return refuse(Refusal::Dirty);
            }
            if extensions.bitmaps {
                return refuse(Refusal::Bitmaps);
            }
        }
        let file_len = storage.len()?;
        let tables_end = [
            header.l1_offset + u64::from(header.l1_entries) * 8,
            header.refcount_table_offset + (u64::from(header.refcount_table_clusters) << header.cluster_bits),
        ];
        if tables_end.iter().any(|&end| end > file_len) {
            return refuse(Refusal::Truncated);
        }
        let backing = match header.backing {
            None => None,
            Some((offset, length)) => {
                let mut name = vec![0; length as usize];
                storage.read_at(offset, &mut name)?;
                Some(String::from_utf8_lossy(&name).into_owned())
            }
        };
        let mut l1 = vec![0; header.l1_entries as usize * 8];
        storage.read_at(header.l1_offset, &mut l1)?;
        let l1 = be::words(&l1);
        let tables = l1.iter().filter(|&&word| word & entry::OFFSET != 0).count() as u64;
        if tables > file_len.div_ceil(header.cluster_size()) {
            // Without this a small file could name one table millions of times, and a walk last for years.
            let what = format!("{tables} L2 tables do not fit the file");
            return Err(Error::Damaged { what, image: storage.name().to_owned() });
        }
        Ok(Image { storage, header, extensions, block, backing, l1, file_len })
    }

    /// The storage under it.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its header extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Its header block as read when it was opened.
    pub fn block(&self) -> &[u8; BLOCK] {
        &self.block
    }

    /// Its L1 table.
    pub fn l1(&self) -> &[u64] {
        &self.l1
    }

    /// The name of the backing file, as text of the image: never opened by us.
    pub fn backing(&self) -> Option<&str> {
        self.backing.as_deref()
    }

    /// Bytes of the file when it was opened.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Who wrote to it last.
    pub fn state(&self) -> BaseState {
        match self.extensions.generation {
            None => BaseState::Fresh,
            Some(generation) if self.header.fenced() => BaseState::At { generation },
            Some(last) => BaseState::Foreign { last },
        }
    }

    /// An error about this image.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { what: what.into(), image: self.storage.name().to_owned() }
    }

    /// Where the L2 table at `index` of the L1 table is.
    ///
    /// # Errors
    /// The entry is invalid.
    pub fn l2_offset(&self, index: u64) -> Result<Option<u64>> {
        match self.l1.get(index as usize) {
            None => Ok(None),
            Some(&word) => {
                entry::table_offset(word, &self.header, entry::COPIED).map_err(|what| self.damaged(what))
            }
        }
    }

    /// Reads the L2 table at `index` of the L1 table; none if there is none.
    ///
    /// # Errors
    /// The L1 entry is invalid or leads out of the file.
    pub fn l2_table(&self, index: u64) -> Result<Option<Vec<u8>>> {
        let Some(offset) = self.l2_offset(index)? else { return Ok(None) };
        let mut table = vec![0; self.header.cluster_size() as usize];
        self.storage.read_at(offset, &mut table).map_err(|error| self.cut_short(error))?;
        Ok(Some(table))
    }

    fn cut_short(&self, error: std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Error::Refused { why: Refusal::Truncated, image: self.storage.name().to_owned() };
        }
        error.into()
    }

    /// The L2 entry of the cluster with this guest number.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn entry(&self, cache: &mut TableCache, cluster: u64) -> Result<Entry> {
        self.load(cache, cluster / self.header.l2_entries())?;
        match &cache.table {
            None => Ok(Entry::Absent),
            Some(table) => Entry::parse(table, cluster % self.header.l2_entries(), &self.header)
                .map_err(|what| self.damaged(what)),
        }
    }

    fn load(&self, cache: &mut TableCache, index: u64) -> Result<()> {
        if cache.l1_index != Some(index) {
            cache.l1_index = None;
            cache.table = self.l2_table(index)?;
            cache.l1_index = Some(index);
        }
        Ok(())
    }

    /// Splits the guest bytes `start..end` into runs of one kind; beyond the virtual end everything is absent.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn runs(
        &self,
        cache: &mut TableCache,
        start: u64,
        end: u64,
        mut each: impl FnMut(u64, u64, Run),
    ) -> Result<()> {
        let size = self.header.cluster_size();
        let covered = end.min(self.header.size);
        let mut at = start;
        while at < covered {
            let base = at - at % size;
            let stop = (base + size).min(covered);
            let entry = self.entry(cache, at / size)?;
            entry.runs(at - base, stop - base, &self.header, |from, to, run| {
                each(base + from, base + to, run)
            });
            at = stop;
        }
        if at < end {
            each(at, end, Run::Absent);
        }
        Ok(())
    }

    /// Reads a run that begins at guest byte `start`; an absent one reads as zeroes.
    ///
    /// # Errors
    /// The image is damaged, or the device fails.
    pub fn read_run(&self, start: u64, run: Run, buf: &mut [u8]) -> Result<()> {
        match run {
            Run::Absent | Run::Zero => buf.fill(0),
            Run::Data { host } => {
                // The file may end inside of its last cluster.
                let last = host + (buf.len() as u64).max(1) - 1;
                if last - last % self.header.cluster_size() >= self.storage.len()? {
                    return Err(self.cut_short(std::io::ErrorKind::UnexpectedEof.into()));
                }
                read_padded(&self.storage, host, buf)?;
            }
            Run::Compressed { host, length } => {
                let mut packed = vec![0; length as usize];
                read_padded(&self.storage, host, &mut packed)?;
                let mut cluster = vec![0; self.header.cluster_size() as usize];
                compressed::unpack(self.header.compression, &packed, &mut cluster).map_err(|error| {
                    self.damaged(format!("a compressed cluster does not unpack ({error})"))
                })?;
                let within = (start % self.header.cluster_size()) as usize;
                let bytes = cluster.get(within..within + buf.len());
                buf.copy_from_slice(bytes.ok_or_else(|| self.damaged("a run leaves its cluster"))?);
            }
        }
        Ok(())
    }

    /// Reads guest bytes as an image without a backing file does.
    ///
    /// # Errors
    /// The image is damaged, or the device fails.
    pub fn read(&self, cache: &mut TableCache, start: u64, buf: &mut [u8]) -> Result<()> {
        let mut runs = Vec::new();
        self.runs(cache, start, start + buf.len() as u64, |from, to, run| runs.push((from, to, run)))?;
        for (from, to, run) in runs {
            self.read_run(from, run, &mut buf[(from - start) as usize..(to - start) as usize])?;
        }
        Ok(())
    }

    /// The first guest byte at or after `start` whose cluster has an entry; none if there is none.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn next_present(&self, cache: &mut TableCache, start: u64) -> Result<Option<u64>> {
        let (entries, size) = (self.header.l2_entries(), self.header.l2_entry_size());
        let mut cluster = start >> self.header.cluster_bits;
        loop {
            let first = (cluster / entries) as usize;
            let Some(skipped) = self.l1.iter().skip(first).position(|&word| word & !entry::COPIED != 0)
            else {
                return Ok(None);
            };
            let index = (first + skipped) as u64;
            cluster = cluster.max(index * entries);
            self.load(cache, index)?;
            let table = cache.table.as_deref().unwrap_or_default();
            let rest = table.get((cluster % entries) as usize * size..).unwrap_or_default();
            if let Some(slot) = rest.chunks_exact(size).position(|entry| !is_zero(entry)) {
                let at = ((cluster + slot as u64) << self.header.cluster_bits).max(start);
                return Ok(Some(at).filter(|&at| at < self.header.size));
            }
            cluster = (index + 1) * entries;
        }
    }
}
