//! The region table and the metadata region: where things are in a VHDX, and what disk it is.

use uuid::Uuid;

use super::{BLOCKS, MAX_SIZE, MIB, crc32c, guid};
use crate::error::{Refusal, Result};
use crate::overlay::source::{Source, le};
use crate::storage::Storage;

/// Where the two region tables are, and how long each is.
const TABLES: [u64; 2] = [192 << 10, 256 << 10];
const TABLE: u64 = 64 << 10;
/// The most entries of a region table or a metadata table.
const MAX_ENTRIES: usize = 2047;
/// What is required must be known (region table).
const REGION_REQUIRED: u32 = 1;
/// The same in a metadata table.
const ITEM_REQUIRED: u32 = 4;

const ALLOCATION_TABLE: Uuid = Uuid::from_u128(0x2dc27766_f623_4200_9d64_115e9bfd4a08);
const METADATA: Uuid = Uuid::from_u128(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);

const FILE_PARAMETERS: Uuid = Uuid::from_u128(0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b);
const DISK_SIZE: Uuid = Uuid::from_u128(0x2fa54224_cd1b_4876_b211_5dbed83bf4b8);
const DISK_ID: Uuid = Uuid::from_u128(0xbeca12ab_b2e6_4523_93ef_c309e000c746);
const LOGICAL_SECTOR: Uuid = Uuid::from_u128(0x8141bf1d_a96f_4709_ba47_f233a8faab5f);
const PHYSICAL_SECTOR: Uuid = Uuid::from_u128(0xcda348c7_445d_4471_9cc9_e9885251c556);
const PARENT_LOCATOR: Uuid = Uuid::from_u128(0xa8d35f2d_b30b_454d_abf7_d3d84834ab0c);

/// Offset and length of the regions (2.2.3).
#[derive(Debug)]
pub(super) struct Regions {
    /// The block allocation table.
    pub table: (u64, u64),
    pub metadata: (u64, u64),
}

impl Regions {
    pub fn read<S: Storage>(source: &Source<S>) -> Result<Self> {
        for offset in TABLES {
            let mut bytes = source.bytes(offset, TABLE)?;
            if bytes.starts_with(b"regi") && crc32c::holds(&mut bytes, 4) {
                return Regions::parse(source, &bytes);
            }
        }
        Err(source.damaged("neither of its region tables holds"))
    }

    fn parse<S: Storage>(source: &Source<S>, bytes: &[u8]) -> Result<Self> {
        let count = le::u32(bytes, 8) as usize;
        if count > MAX_ENTRIES {
            return Err(source.damaged(format!("its region table has {count} entries")));
        }
        let (mut table, mut metadata) = (None, None);
        for entry in bytes[16..].chunks_exact(32).take(count) {
            let (offset, len) = (le::u64(entry, 16), u64::from(le::u32(entry, 24)));
            let place = match guid(entry) {
                ALLOCATION_TABLE => &mut table,
                METADATA => &mut metadata,
                _ if le::u32(entry, 28) & REGION_REQUIRED != 0 => {
                    return Err(source.refuse(Refusal::OverlayVersion("VHDX with other regions".to_owned())));
                }
                _ => continue,
            };
            source.ensure_inside(offset, len)?;
            if offset < MIB || !offset.is_multiple_of(MIB) || len == 0 || place.is_some() {
                return Err(source.damaged("a region has no sensible place"));
            }
            *place = Some((offset, len));
        }
        match (table, metadata) {
            (Some(table), Some(metadata)) => {
                if table.0 < metadata.0 + metadata.1 && metadata.0 < table.0 + table.1 {
                    return Err(source.damaged("its regions overlap"));
                }
                Ok(Regions { table, metadata })
            }
            _ => Err(source.damaged("a region is missing")),
        }
    }
}

/// What disk it is (2.6).
#[derive(Debug)]
pub(super) struct Metadata {
    /// Virtual bytes.
    pub size: u64,
    /// Bytes of a block.
    pub block: u64,
    /// Bytes of a logical sector, which a sector bitmap counts in.
    pub sector: u64,
    pub has_parent: bool,
}

impl Metadata {
    pub fn read<S: Storage>(source: &Source<S>, region: (u64, u64)) -> Result<Self> {
        if region.1 < TABLE {
            return Err(source.damaged("its metadata region is too short"));
        }
        let table = source.bytes(region.0, TABLE)?;
        let count = usize::from(le::u16(&table, 10));
        if !table.starts_with(b"metadata") || count > MAX_ENTRIES {
            return Err(source.damaged("it has no metadata table"));
        }
        let (mut parameters, mut size, mut sector, mut locator) = (None, None, None, false);
        for entry in table[32..].chunks_exact(32).take(count) {
            let (offset, len) = (u64::from(le::u32(entry, 16)), u64::from(le::u32(entry, 20)));
            let number = |expected: u64| {
                if len != expected || offset < TABLE || offset + len > region.1 {
                    return Err(source.damaged("an item of its metadata has no sensible place"));
                }
                let mut bytes = source.bytes(region.0 + offset, len)?;
                bytes.resize(8, 0);
                Ok(le::u64(&bytes, 0))
            };
            match guid(entry) {
                FILE_PARAMETERS => parameters = Some(number(8)?),
                DISK_SIZE => size = Some(number(8)?),
                LOGICAL_SECTOR => sector = Some(number(4)?),
                // What a guest is told; where the parent may be is never followed.
                DISK_ID | PHYSICAL_SECTOR => {}
                PARENT_LOCATOR => locator = true,
                _ if le::u32(entry, 24) & ITEM_REQUIRED != 0 => {
                    return Err(source.refuse(Refusal::OverlayVersion("VHDX with other metadata".to_owned())));
                }
                _ => {}
            }
        }
        let (Some(parameters), Some(size), Some(sector)) = (parameters, size, sector) else {
            return Err(source.damaged("an item of its metadata is missing"));
        };
        let (block, flags) = (parameters & 0xffff_ffff, parameters >> 32);
        if !block.is_power_of_two() || !BLOCKS.contains(&block) {
            return Err(source.damaged(format!("it has blocks of {block} bytes")));
        }
        if sector != 512 && sector != 4096 {
            return Err(source.damaged(format!("it has sectors of {sector} bytes")));
        }
        if size == 0 || size > MAX_SIZE || !size.is_multiple_of(sector) {
            return Err(source.damaged(format!("a VHDX can't have a disk of {size} bytes")));
        }
        let has_parent = flags & 2 != 0;
        if has_parent && !locator {
            return Err(source.damaged("it has a parent, but does not say which"));
        }
        Ok(Metadata { size, block, sector, has_parent })
    }
}
