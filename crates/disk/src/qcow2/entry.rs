//! L1, L2 and refcount table entries.

use super::be;
use super::header::Header;

/// The cluster is referenced exactly once.
pub const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Bits 9 to 55: a host offset.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Subclusters of a cluster in an extended L2 entry.
const SUBCLUSTERS: u64 = 32;

/// What an L2 entry says about its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: reads from the backing file, or zeroes without one.
    Absent,
    /// Reads as zeroes; a cluster may be set aside for it.
    Zero {
        /// The preallocated cluster.
        host: Option<u64>,
    },
    /// Plain data.
    Data {
        /// Where, in bytes.
        host: u64,
    },
    /// Compressed data.
    Compressed {
        /// Where, in bytes; not aligned.
        host: u64,
        /// At most this many bytes.
        length: u64,
    },
    /// Each of 32 subclusters on its own (lowest bit first).
    Mixed {
        /// The cluster, if any subcluster needs it.
        host: Option<u64>,
        /// Subclusters with data.
        data: u32,
        /// Subclusters that read as zeroes.
        zero: u32,
    },
}

/// The host offset of an L1 or refcount table entry; none for an empty one.
///
/// # Errors
/// Reserved bits are set, or the offset is not that of a cluster.
pub fn table_offset(word: u64, header: &Header, flags: u64) -> Result<Option<u64>, String> {
    let offset = word & !flags;
    if offset & !OFFSET != 0 || !offset.is_multiple_of(header.cluster_size()) {
        return Err(format!("a table entry is invalid ({word:#x})"));
    }
    Ok(Some(offset).filter(|&offset| offset != 0))
}

impl Entry {
    /// Reads the entry at `index` of an L2 table.
    ///
    /// # Errors
    /// Reserved bits are set, or offsets and flags contradict each other.
    pub fn parse(table: &[u8], index: u64, header: &Header) -> Result<Self, String> {
        let at = index as usize * header.l2_entry_size();
        let word = be::u64(table, at);
        let invalid = || Err(format!("an L2 entry is invalid ({word:#x})"));
        if word & COMPRESSED != 0 {
            if word & COPIED != 0 {
                return invalid();
            }
            let split = 62 - (header.cluster_bits - 8);
            let host = word & ((1 << split) - 1);
            let sectors = (word >> split) & ((1 << (header.cluster_bits - 8)) - 1);
            if host >= super::header::MAX_OFFSET {
                return invalid();
            }
            return Ok(Entry::Compressed { host, length: (sectors + 1) * 512 - host % 512 });
        }
        let zero_flag = word & 1 != 0;
        if zero_flag && (header.version == 2 || header.extended_l2()) {
            return invalid();
        }
        let Ok(host) = table_offset(word & !1, header, COPIED) else { return invalid() };
        if header.extended_l2() {
            let bitmap = be::u64(table, at + 8);
            let (data, zero) = (bitmap as u32, (bitmap >> 32) as u32);
            if data & zero != 0 || (host.is_none() && data != 0) {
                return invalid();
            }
            return Ok(match (host, data, zero) {
                (None, 0, 0) => Entry::Absent,
                (Some(host), u32::MAX, _) => Entry::Data { host },
                (host, 0, u32::MAX) => Entry::Zero { host },
                (host, data, zero) => Entry::Mixed { host, data, zero },
            });
        }
        Ok(match (host, zero_flag) {
            (host, true) => Entry::Zero { host },
            (None, false) => Entry::Absent,
            (Some(host), false) => Entry::Data { host },
        })
    }

    /// Writes an entry for plain data at `host`, referenced once.
    pub fn put_data(table: &mut [u8], index: u64, header: &Header, host: u64) {
        Entry::put(table, index, header, host | COPIED, u64::from(u32::MAX));
    }

    /// Writes an empty entry: what the backing file has, or zeroes without one.
    pub fn put_absent(table: &mut [u8], index: u64, header: &Header) {
        Entry::put(table, index, header, 0, 0);
    }

    /// Writes an entry that reads as zeroes whatever the backing file has, without a cluster. Version 3 only.
    pub fn put_zero(table: &mut [u8], index: u64, header: &Header) {
        let word = if header.extended_l2() { 0 } else { 1 };
        Entry::put(table, index, header, word, u64::from(u32::MAX) << 32);
    }

    /// Moves the cluster that an entry has to itself to `host`, and leaves everything else of the entry as it is.
    pub fn put_host(table: &mut [u8], index: u64, header: &Header, host: u64) {
        let at = index as usize * header.l2_entry_size();
        let word = be::u64(table, at);
        be::put_u64(table, at, (word & !OFFSET) | host | COPIED);
    }

    fn put(table: &mut [u8], index: u64, header: &Header, word: u64, bitmap: u64) {
        let at = index as usize * header.l2_entry_size();
        be::put_u64(table, at, word);
        if header.extended_l2() {
            be::put_u64(table, at + 8, bitmap);
        }
    }

    /// Whether the entry's raw words are the same as those of another table.
    pub fn same(a: &[u8], b: &[u8], index: u64, header: &Header) -> bool {
        let size = header.l2_entry_size();
        let range = index as usize * size..(index as usize + 1) * size;
        a[range.clone()] == b[range]
    }

    /// The host clusters that the entry references: the first and how many.
    pub fn clusters(&self, header: &Header) -> Option<(u64, u64)> {
        match *self {
            Entry::Absent => None,
            Entry::Data { host } => Some((host >> header.cluster_bits, 1)),
            Entry::Zero { host } | Entry::Mixed { host, .. } => {
                host.map(|host| (host >> header.cluster_bits, 1))
            }
            Entry::Compressed { host, length } => {
                let first = host >> header.cluster_bits;
                let last = (host + length - 1) >> header.cluster_bits;
                Some((first, last - first + 1))
            }
        }
    }

    /// Splits the bytes `from..to` of the cluster (offsets inside it) into runs of one kind each.
    pub fn runs(&self, from: u64, to: u64, header: &Header, mut each: impl FnMut(u64, u64, Run)) {
        let whole = match *self {
            Entry::Absent => Run::Absent,
            Entry::Zero { .. } => Run::Zero,
            Entry::Data { host } => Run::Data { host: host + from },
            Entry::Compressed { host, length } => Run::Compressed { host, length },
            Entry::Mixed { host, data, zero } => {
                let size = header.cluster_size() / SUBCLUSTERS;
                let mut at = from;
                while at < to {
                    let bit = at / size;
                    let end = ((bit + 1) * size).min(to);
                    let run = match host {
                        _ if zero >> bit & 1 == 1 => Run::Zero,
                        Some(host) if data >> bit & 1 == 1 => Run::Data { host: host + at },
                        _ => Run::Absent,
                    };
                    each(at, end, run);
                    at = end;
                }
                return;
            }
        };
        each(from, to, whole);
    }
}

/// Where a run of guest bytes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// From the backing file.
    Absent,
    /// Zeroes.
    Zero,
    /// The file's bytes from `host` on.
    Data {
        /// Where the run's first byte is.
        host: u64,
    },
    /// Out of a compressed cluster.
    Compressed {
        /// Where the compressed cluster begins.
        host: u64,
        /// At most this many bytes.
        length: u64,
    },
}
