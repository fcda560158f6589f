//! The fixed fields of a header, and the header block: the 512 bytes that alone decide which tables are live.

use serde::{Deserialize, Serialize};

use super::be;
use super::extensions::Extensions;
use crate::error::Refusal;

/// Bytes of the header block, the only part of a base that is ever written in place.
pub const BLOCK: usize = 512;

const MAGIC: u32 = 0x5146_49fb;
/// Version 3 fields up to and including the compression type, padded to a multiple of 8.
const V3_LENGTH: usize = 112;
const V2_LENGTH: u32 = 72;

/// Lazy refcounts were not written.
const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
const INCOMPATIBLE_KNOWN: u64 = 0x1f;

/// Our autoclear bit, the fence: a writer that does not know it clears it.
pub const AUTOCLEAR_FENCE: u64 = 1 << 54;

/// QEMU's own limits; a table beyond them is hostile or broken.
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// Host offsets have 56 bits in every table.
pub const MAX_OFFSET: u64 = 1 << 56;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Raw deflate.
    Zlib,
    /// Zstandard frames.
    Zstd,
}

/// What a header block says, checked: every size and offset is in range and aligned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Cluster size as a power of two, 9 to 21.
    pub cluster_bits: u32,
    /// Virtual size in bytes.
    pub size: u64,
    /// Entries of the L1 table.
    pub l1_entries: u32,
    /// Where the L1 table is.
    pub l1_offset: u64,
    /// Where the refcount table is.
    pub refcount_table_offset: u64,
    /// Clusters of the refcount table.
    pub refcount_table_clusters: u32,
    /// Refcount width as a power of two, 0 to 6.
    pub refcount_order: u32,
    /// Incompatible feature bits.
    pub incompatible: u64,
    /// Compatible feature bits.
    pub compatible: u64,
    /// Autoclear feature bits.
    pub autoclear: u64,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Where the header extensions begin.
    pub length: u32,
    /// Offset and length of the backing file's name, in bytes.
    pub backing: Option<(u64, u32)>,
}

/// What is wrong with a header: a feature, or damage said as a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A feature that is not handled.
    Refused(Refusal),
    /// A contradiction.
    Damaged(String),
}

impl From<Refusal> for Problem {
    fn from(why: Refusal) -> Self {
        Problem::Refused(why)
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem::Damaged(what.to_owned())) }
}

impl Header {
    /// Reads the fixed fields.
    ///
    /// # Errors
    /// A feature that is not handled, or a value out of range.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, Problem> {
        if be::u32(block, 0) != MAGIC {
            return Err(Refusal::NotQcow2.into());
        }
        let version = be::u32(block, 4);
        if !matches!(version, 2 | 3) {
            return Err(Refusal::Version(version).into());
        }
        let v3 = version == 3;
        let incompatible = if v3 { be::u64(block, 72) } else { 0 };
        refuse_features(incompatible)?;
        let length = if v3 { be::u32(block, 100) } else { V2_LENGTH };
        ensure(!v3 || (length >= 104 && length % 8 == 0), "the header length is out of range")?;
        if length as usize > V3_LENGTH {
            let rest = block.get(V3_LENGTH..length as usize).ok_or(Refusal::UnknownFields)?;
            if rest.iter().any(|&byte| byte != 0) {
                return Err(Refusal::UnknownFields.into());
            }
        }
        let method = if v3 && length > 104 { block[104] } else { 0 };
        let compression = match method {
            0 => Compression::Zlib,
            1 => Compression::Zstd,
            other => return Err(Refusal::Compression(other).into()),
        };
        ensure(
            (method != 0) == (incompatible & INCOMPATIBLE_COMPRESSION != 0),
            "its compression method and its feature bit disagree",
        )?;
        if be::u32(block, 32) != 0 {
            return Err(Refusal::Encrypted.into());
        }
        if be::u32(block, 60) != 0 {
            return Err(Refusal::Snapshots(be::u32(block, 60)).into());
        }
        let header = Header {
            version,
            cluster_bits: be::u32(block, 20),
            size: be::u64(block, 24),
            l1_entries: be::u32(block, 36),
            l1_offset: be::u64(block, 40),
            refcount_table_offset: be::u64(block, 48),
            refcount_table_clusters: be::u32(block, 56),
            refcount_order: if v3 { be::u32(block, 96) } else { 4 },
            incompatible,
            compatible: if v3 { be::u64(block, 80) } else { 0 },
            autoclear: if v3 { be::u64(block, 88) } else { 0 },
            compression,
            length,
            backing: Some((be::u64(block, 8), be::u32(block, 16))).filter(|&(offset, _)| offset != 0),
        };
        header.check_ranges()?;
        Ok(header)
    }

    fn check_ranges(&self) -> Result<(), Problem> {
        ensure((9..=21).contains(&self.cluster_bits), "its cluster size is out of range")?;
        ensure(!self.extended_l2() || self.cluster_bits >= 14, "its clusters are too small for subclusters")?;
        ensure(self.refcount_order <= 6, "its refcount width is out of range")?;
        ensure(u64::from(self.l1_entries) * 8 <= MAX_L1_BYTES, "its L1 table is too large")?;
        let covered = u128::from(self.l1_entries) * u128::from(self.l2_coverage());
        ensure(u128::from(self.size) <= covered, "its L1 table is too small for its size")?;
        ensure(self.size <= MAX_OFFSET, "its size is out of range")?;
        ensure(self.aligned(self.l1_offset), "its L1 table is misplaced")?;
        ensure(self.l1_entries == 0 || self.l1_offset != 0, "its L1 table is missing")?;
        let table = u64::from(self.refcount_table_clusters) << self.cluster_bits;
        ensure(table != 0 && self.refcount_table_offset != 0, "its refcount table is missing")?;
        ensure(table <= MAX_REFCOUNT_TABLE_BYTES, "its refcount table is too large")?;
        ensure(self.aligned(self.refcount_table_offset), "its refcount table is misplaced")?;
        if let Some((offset, length)) = self.backing {
            let end = offset.checked_add(u64::from(length));
            ensure(
                length <= 1023
                    && offset >= u64::from(self.length)
                    && end.is_some_and(|end| end <= self.cluster_size()),
                "the name of its backing file is misplaced",
            )?;
        }
        Ok(())
    }

    fn aligned(&self, offset: u64) -> bool {
        offset.is_multiple_of(self.cluster_size()) && offset < MAX_OFFSET
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether L2 entries have 16 bytes and describe 32 subclusters each.
    pub fn extended_l2(&self) -> bool {
        self.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0
    }

    /// Bytes of an L2 entry.
    pub fn l2_entry_size(&self) -> usize {
        if self.extended_l2() { 16 } else { 8 }
    }

    /// Entries of an L2 table.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size() / self.l2_entry_size() as u64
    }

    /// Virtual bytes that one L2 table describes.
    pub fn l2_coverage(&self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }

    /// Entries an L1 table needs for `size` virtual bytes; none if that is more than any L1 table may have.
    pub fn l1_entries_for(&self, size: u64) -> Option<u32> {
        let entries = size.div_ceil(self.l2_coverage());
        (entries * 8 <= MAX_L1_BYTES).then_some(entries as u32)
    }

    /// Clusters of the L1 table.
    pub fn l1_clusters(&self) -> u64 {
        (u64::from(self.l1_entries) * 8).div_ceil(self.cluster_size())
    }

    /// Clusters that one refcount block describes.
    pub fn refcounts_per_block(&self) -> u64 {
        (self.cluster_size() * 8) >> self.refcount_order
    }

    /// Entries of the refcount table.
    pub fn refcount_table_entries(&self) -> u64 {
        (u64::from(self.refcount_table_clusters) << self.cluster_bits) / 8
    }

    /// The most clusters a refcount table may have.
    pub fn max_refcount_table_clusters(&self) -> u64 {
        MAX_REFCOUNT_TABLE_BYTES / self.cluster_size()
    }

    /// Whether the fence stands: nobody who does not know it has written.
    pub fn fenced(&self) -> bool {
        self.autoclear & AUTOCLEAR_FENCE != 0
    }

    /// Turns a version 2 header into the equal version 3 one.
    pub fn upgrade(&mut self) {
        self.version = 3;
        self.length = V3_LENGTH as u32;
    }

    /// The header block of a version 3 image with these extensions, and with the name of its backing file behind them.
    ///
    /// # Errors
    /// [`Refusal::HeaderTooLong`] if they do not fit.
    pub fn encode(&self, extensions: &Extensions, backing: Option<&str>) -> Result<[u8; BLOCK], Refusal> {
        let mut block = [0; BLOCK];
        let bytes = extensions.encode();
        let end = V3_LENGTH + bytes.len();
        let mut header = self.clone();
        let name = backing.unwrap_or_default().as_bytes();
        header.backing = backing.map(|name| (end as u64, name.len() as u32));
        header.put_fields(&mut block);
        let whole = end + name.len();
        let place = block.get_mut(V3_LENGTH..whole).ok_or(Refusal::HeaderTooLong(whole))?;
        place[..bytes.len()].copy_from_slice(&bytes);
        place[bytes.len()..].copy_from_slice(name);
        Ok(block)
    }

    /// Writes the fixed fields of a version 3 header.
    pub fn put_fields(&self, block: &mut [u8]) {
        be::put_u32(block, 0, MAGIC);
        be::put_u32(block, 4, 3);
        let (backing_offset, backing_length) = self.backing.unwrap_or_default();
        be::put_u64(block, 8, backing_offset);
        be::put_u32(block, 16, backing_length);
        be::put_u32(block, 20, self.cluster_bits);
        be::put_u64(block, 24, self.size);
        be::put_u32(block, 36, self.l1_entries);
        be::put_u64(block, 40, self.l1_offset);
        be::put_u64(block, 48, self.refcount_table_offset);
        be::put_u32(block, 56, self.refcount_table_clusters);
        be::put_u64(block, 72, self.incompatible);
        be::put_u64(block, 80, self.compatible);
        be::put_u64(block, 88, self.autoclear);
        be::put_u32(block, 96, self.refcount_order);
        be::put_u32(block, 100, V3_LENGTH as u32);
        block[104] = match self.compression {
            Compression::Zlib => 0,
            Compression::Zstd => 1,
        };
    }
}

fn refuse_features(incompatible: u64) -> Result<(), Refusal> {
    let unknown = incompatible & !INCOMPATIBLE_KNOWN;
    if unknown != 0 {
        return Err(Refusal::UnknownFeatures(unknown));
    }
    if incompatible & INCOMPATIBLE_CORRUPT != 0 {
        return Err(Refusal::Corrupt);
    }
    if incompatible & INCOMPATIBLE_DATA_FILE != 0 {
        return Err(Refusal::ExternalData);
    }
    Ok(())
}

impl Header {
    /// Whether refcounts may be out of date (the dirty bit of lazy refcounts).
    pub fn dirty(&self) -> bool {
        self.incompatible & INCOMPATIBLE_DIRTY != 0
    }
}

/// A header block as it is stored in records: hexadecimal, without the zeroes at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderBlock(pub [u8; BLOCK]);

impl TryFrom<String> for HeaderBlock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut block = [0; BLOCK];
        if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > BLOCK * 2 {
            return Err("not a header block".to_owned());
        }
        for (index, byte) in block.iter_mut().enumerate().take(text.len() / 2) {
            *byte =
                u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|error| error.to_string())?;
        }
        Ok(HeaderBlock(block))
    }
}

impl From<HeaderBlock> for String {
    fn from(block: HeaderBlock) -> String {
        let used = block.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        block.0[..used].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
