//! A registry hive, read only, cell by cell from its file: it is never held in memory as a whole.
//!
//! Source: M. Suhanov, "Windows registry file format specification", which hivex and libregf agree with. A hive is a base block of
//! 4096 bytes and bins of cells; a cell is found by its offset behind the base block. Content may be hostile: cells are checked
//! against the bins, lists of lists have one level, and a budget bounds how much is read of one hive.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::bytes::{le16, le32, utf16};
use crate::{Disk, Error, Result};

/// Where the bins begin; offsets in a hive count from here.
const BINS: u64 = 4096;
/// A larger hive is not read, in bytes: Windows can't load one into a boot loader's memory.
const LARGEST: u64 = 512 << 20;
/// What is read at once, and kept, in bytes.
const CHUNK: u64 = 16 << 10;
/// Chunks that are kept: 16 MiB.
const KEPT: usize = 1024;
/// Chunks that are read of one hive, in all: the largest hive twice.
const MOST_CHUNKS: u32 = 65_536;
/// Cells that are read of one hive, in all. Of a real SYSTEM, some ten thousands are.
const MOST_CELLS: u32 = 2_000_000;
/// A key has at most this many subkeys or values that are looked at.
const MOST_CHILDREN: usize = 65_536;
/// Longer data of a value is not read, in bytes: it would be in several cells.
const LONGEST_DATA: u32 = 16_344;
/// A path in a hive has at most this many parts, as in Windows.
const DEEPEST: usize = 512;

/// Whether a hive was written completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Yes.
    Whole,
    /// Its sequence numbers differ: changes are in its log files.
    Partly,
    /// The checksum of its base block is wrong.
    Torn,
}

/// A hive in `file`.
#[derive(Debug)]
pub struct Hive<F> {
    file: F,
    root: u32,
    /// Bytes of all bins.
    bins: u32,
    written: Written,
    chunks: RefCell<HashMap<u64, Box<[u8]>>>,
    chunks_left: Cell<u32>,
    cells_left: Cell<u32>,
}

/// A key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub name: String,
    subkeys: Option<u32>,
    values: Option<(u32, u32)>,
}

/// A value.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its name; empty for the default value.
    pub name: String,
    /// Its type: [`SZ`], [`DWORD`] and so on.
    pub kind: u32,
    /// Bytes of its data.
    pub size: u32,
    data: Data,
}

/// Where the data of a value is.
#[derive(Debug, Clone, Copy)]
enum Data {
    /// In the value's cell; where in the file, and the bytes.
    Inline(u64, [u8; 4]),
    /// In a cell of its own.
    Cell(u32),
}

/// REG_SZ.
pub const SZ: u32 = 1;
/// REG_EXPAND_SZ.
pub const EXPAND_SZ: u32 = 2;
/// REG_BINARY.
pub const BINARY: u32 = 3;
/// REG_DWORD, little-endian.
pub const DWORD: u32 = 4;
/// REG_MULTI_SZ.
pub const MULTI_SZ: u32 = 7;

impl Value {
    /// A REG_DWORD of four bytes that are in the value's own cell: the number, and where it is in the file, in bytes.
    #[must_use]
    pub fn number(&self) -> Option<(u32, u64)> {
        match self.data {
            Data::Inline(at, bytes) if self.kind == DWORD && self.size == 4 => {
                Some((u32::from_le_bytes(bytes), at))
            }
            _ => None,
        }
    }
}

impl<F: Disk> Hive<F> {
    /// The hive in `file`.
    ///
    /// # Errors
    /// It can't be read, is no hive of a kind that Windows 2000 and later write, or is larger than 512 MiB.
    pub fn open(file: F) -> Result<Self> {
        let mut base = [0; 512];
        if file.size() < BINS {
            return Err(damaged("a registry hive without its first page"));
        }
        file.read_at(0, &mut base)?;
        let field = |at| le32(&base, at).unwrap_or(0);
        let sane = base.starts_with(b"regf")
            && field(20) == 1
            && (2..=6).contains(&field(24))
            && field(28) == 0
            && field(32) == 1;
        if !sane {
            return Err(damaged("the first page of a registry hive"));
        }
        let (root, bins) = (field(36), field(40));
        if u64::from(bins) > LARGEST {
            return Err(Error::TooLarge("a registry hive".into()));
        }
        if u64::from(bins) > file.size() - BINS {
            return Err(damaged("a registry hive, which is cut short"));
        }
        let written = if checksum(&base) != field(508) {
            Written::Torn
        } else if field(4) != field(8) {
            Written::Partly
        } else {
            Written::Whole
        };
        let (chunks_left, cells_left) = (Cell::new(MOST_CHUNKS), Cell::new(MOST_CELLS));
        Ok(Hive { file, root, bins, written, chunks: RefCell::default(), chunks_left, cells_left })
    }

    /// Whether it was written completely.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &F {
        &self.file
    }

    /// The root key.
    ///
    /// # Errors
    /// It can't be read or makes no sense.
    pub fn root(&self) -> Result<Key> {
        self.key(self.root)
    }

    /// The key below `key` with this path, parts separated by `\`, letters in any case.
    ///
    /// # Errors
    /// A key on the way can't be read or makes no sense, or very much was read already.
    pub fn find(&self, key: &Key, path: &str) -> Result<Option<Key>> {
        let mut found = key.clone();
        for part in path.split('\\').take(DEEPEST) {
            match self.children(&found)?.into_iter().find(|child| child.name.eq_ignore_ascii_case(part)) {
                Some(child) => found = child,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The subkeys of `key`.
    ///
    /// # Errors
    /// They can't be read or make no sense, or very much was read already.
    pub fn children(&self, key: &Key) -> Result<Vec<Key>> {
        let mut children = Vec::new();
        let Some(list) = key.subkeys else { return Ok(children) };
        let list = self.list(list)?;
        if list.of_lists {
            for at in list.cells {
                let list = self.list(at)?;
                if list.of_lists {
                    return Err(damaged("a list of lists of lists in a registry hive"));
                }
                self.add_keys(&list, &mut children)?;
            }
        } else {
            self.add_keys(&list, &mut children)?;
        }
        Ok(children)
    }

    fn add_keys(&self, list: &List, keys: &mut Vec<Key>) -> Result<()> {
        if keys.len() + list.cells.len() > MOST_CHILDREN {
            return Err(Error::TooLarge("a registry key".into()));
        }
        for at in &list.cells {
            keys.push(self.key(*at)?);
        }
        Ok(())
    }

    /// The values of `key`.
    ///
    /// # Errors
    /// They can't be read or make no sense, or very much was read already.
    pub fn values(&self, key: &Key) -> Result<Vec<Value>> {
        let Some((count, list)) = key.values else { return Ok(Vec::new()) };
        let length = count as usize * 4;
        let list = self.cell(list, length)?;
        if list.len() < length {
            return Err(damaged("a list of values in a registry hive"));
        }
        list.chunks_exact(4).map(|at| self.value_at(le32(at, 0).unwrap_or(u32::MAX))).collect()
    }

    /// The value of `key` with this name, letters in any case.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn value(&self, key: &Key, name: &str) -> Result<Option<Value>> {
        Ok(self.values(key)?.into_iter().find(|value| value.name.eq_ignore_ascii_case(name)))
    }

    /// The data of `value`; `None` if it is longer than what fits into one cell.
    ///
    /// # Errors
    /// It can't be read or makes no sense, or very much was read already.
    pub fn data(&self, value: &Value) -> Result<Option<Vec<u8>>> {
        match value.data {
            Data::Inline(_, bytes) => Ok(Some(bytes[..bytes.len().min(value.size as usize)].to_vec())),
            Data::Cell(_) if value.size > LONGEST_DATA => Ok(None),
            Data::Cell(at) => {
                let data = self.cell(at, value.size as usize)?;
                if data.len() == value.size as usize {
                    Ok(Some(data))
                } else {
                    Err(damaged("the data of a registry value"))
                }
            }
        }
    }

    /// The text of the value of `key` with this name; `None` if there is none, or if it is no text.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn text(&self, key: &Key, name: &str) -> Result<Option<String>> {
        let Some(value) = self.value(key, name)?.filter(|value| matches!(value.kind, SZ | EXPAND_SZ)) else {
            return Ok(None);
        };
        Ok(self.data(&value)?.map(|data| utf16(&data)))
    }

    /// The number of the value of `key` with this name; `None` if there is none, or if it is no REG_DWORD.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn number(&self, key: &Key, name: &str) -> Result<Option<u32>> {
        Ok(self.value(key, name)?.and_then(|value| value.number()).map(|(number, _)| number))
    }

    fn key(&self, at: u32) -> Result<Key> {
        let wrong = || damaged("a key of a registry hive");
        // 76 bytes and a name of at most 256 letters.
        let cell = self.cell(at, 76 + 512)?;
        if !cell.starts_with(b"nk") {
            return Err(wrong());
        }
        let field = |at| le32(&cell, at).ok_or_else(wrong);
        let name = name(
            &cell,
            76,
            le16(&cell, 72).ok_or_else(wrong)?,
            le16(&cell, 2).ok_or_else(wrong)? & 0x20 != 0,
        );
        let (subkeys, values) = (field(20)?, field(36)?);
        if values as usize > MOST_CHILDREN {
            return Err(Error::TooLarge("a registry key".into()));
        }
        Ok(Key {
            name: name.ok_or_else(wrong)?,
            subkeys: (subkeys > 0).then_some(field(28)?),
            values: (values > 0).then_some((values, field(40)?)),
        })
    }

    fn list(&self, at: u32) -> Result<List> {
        let wrong = || damaged("a list of keys in a registry hive");
        let head = self.cell(at, 4)?;
        // lf and lh have a hint or a hash of each name too.
        let (entry, of_lists) = match head.get(..2) {
            Some(b"lf" | b"lh") => (8, false),
            Some(b"li") => (4, false),
            Some(b"ri") => (4, true),
            _ => return Err(wrong()),
        };
        let length = 4 + entry * usize::from(le16(&head, 2).ok_or_else(wrong)?);
        let cell = self.cell(at, length)?;
        if cell.len() < length {
            return Err(wrong());
        }
        let cells = cell[4..].chunks_exact(entry).filter_map(|entry| le32(entry, 0)).collect();
        Ok(List { of_lists, cells })
    }

    fn value_at(&self, at: u32) -> Result<Value> {
        let wrong = || damaged("a value of a registry hive");
        // 20 bytes and a name; a longer one than this is none that is looked for.
        let cell = self.cell(at, 20 + 1024)?;
        if !cell.starts_with(b"vk") {
            return Err(wrong());
        }
        let field = |at| le32(&cell, at).ok_or_else(wrong);
        let (size, kind) = (field(4)?, field(12)?);
        let letters = le16(&cell, 2).ok_or_else(wrong)?;
        let name = name(&cell, 20, letters.min(1024), le16(&cell, 16).ok_or_else(wrong)? & 1 != 0)
            .ok_or_else(wrong)?;
        let inline = size & 0x8000_0000 != 0;
        let size = size & 0x7FFF_FFFF;
        if inline && size > 4 {
            return Err(wrong());
        }
        let data = if inline {
            // Behind the length of the cell.
            Data::Inline(BINS + u64::from(at) + 4 + 8, field(8)?.to_le_bytes())
        } else {
            Data::Cell(field(8)?)
        };
        Ok(Value { name, kind, size, data })
    }

    /// The content of the cell at `at`, at most `most` bytes of it.
    fn cell(&self, at: u32, most: usize) -> Result<Vec<u8>> {
        let left = self.cells_left.get().checked_sub(1).ok_or_else(too_much)?;
        self.cells_left.set(left);
        let wrong = || damaged("a reference in a registry hive that leads nowhere");
        if !at.is_multiple_of(8) || u64::from(at) + 4 > u64::from(self.bins) {
            return Err(wrong());
        }
        let mut size = [0; 4];
        self.read(BINS + u64::from(at), &mut size)?;
        // A cell in use has a negative size, which counts the size too.
        let size = i32::from_le_bytes(size)
            .checked_neg()
            .and_then(|size| u32::try_from(size).ok())
            .ok_or_else(wrong)?;
        if size < 8 || u64::from(at) + u64::from(size) > u64::from(self.bins) {
            return Err(wrong());
        }
        let mut content = vec![0; most.min(size as usize - 4)];
        self.read(BINS + u64::from(at) + 4, &mut content)?;
        Ok(content)
    }

    /// Reads through the chunks. All of `buf` is in the bins.
    fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let mut chunks = self.chunks.borrow_mut();
        while !buf.is_empty() {
            let number = offset / CHUNK;
            if !chunks.contains_key(&number) {
                self.chunks_left.set(self.chunks_left.get().checked_sub(1).ok_or_else(too_much)?);
                let length = CHUNK.min(BINS + u64::from(self.bins) - number * CHUNK);
                let mut chunk = vec![0; length as usize].into_boxed_slice();
                self.file.read_at(number * CHUNK, &mut chunk)?;
                if chunks.len() >= KEPT {
                    chunks.clear();
                }
                chunks.insert(number, chunk);
            }
            let chunk = chunks
                .get(&number)
                .and_then(|chunk| chunk.get((offset % CHUNK) as usize..))
                .unwrap_or_default();
            let now = chunk.len().min(buf.len());
            if now == 0 {
                return Err(damaged("a registry hive, which is cut short"));
            }
            let (head, rest) = buf.split_at_mut(now);
            head.copy_from_slice(&chunk[..now]);
            offset += now as u64;
            buf = rest;
        }
        Ok(())
    }
}

/// A list of subkeys, or of such lists.
struct List {
    of_lists: bool,
    cells: Vec<u32>,
}

/// The name of `length` bytes at `at`: a byte for each letter, as Latin-1, or UTF-16.
fn name(cell: &[u8], at: usize, length: u16, bytes: bool) -> Option<String> {
    let name = cell.get(at..at + usize::from(length))?;
    Some(if bytes { name.iter().copied().map(char::from).collect() } else { utf16(name) })
}

/// The checksum of a base block: all words before it, by exclusive or, but never 0 or -1.
fn checksum(base: &[u8; 512]) -> u32 {
    let sum = base[..508].chunks_exact(4).filter_map(|word| le32(word, 0)).fold(0, |sum, word| sum ^ word);
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

fn damaged(what: &str) -> Error {
    Error::Damaged(what.to_owned())
}

fn too_much() -> Error {
    Error::TooLarge("a registry hive, followed through all its references,".into())
}
