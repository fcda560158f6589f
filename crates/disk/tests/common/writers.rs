//! Small writers of the foreign formats, made from their specifications and not from the engine: they put blocks into an empty
//! differencing disk that another program made, whichever way that program would not.

use super::Random;
use super::minimal::crc32c;

/// Bytes that no other block has.
pub fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(len).collect()
}

pub fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The place of a grain's entry in the grain table of a VMDK ("Grain Directory and Grain Tables").
pub fn vmdk_entry(file: &[u8], grain: usize) -> usize {
    let directory = le64(file, 56) as usize * 512;
    let table = le32(file, directory + grain / 512 * 4) as usize * 512;
    table + grain % 512 * 4
}

/// The same in the redundant tables.
fn vmdk_redundant_entry(file: &[u8], grain: usize) -> usize {
    let directory = le64(file, 48) as usize * 512;
    let table = le32(file, directory + grain / 512 * 4) as usize * 512;
    table + grain % 512 * 4
}

/// Sets a grain to data, or to zeroes.
pub fn vmdk_grain(file: &mut Vec<u8>, grain: usize, data: Option<&[u8]>) {
    let entry = match data {
        None => {
            // The grain table entry for zeroes has to be announced.
            file[8] |= 4;
            1
        }
        Some(data) => {
            file.resize(file.len().next_multiple_of(65536), 0);
            let sector = (file.len() / 512) as u32;
            file.extend(data);
            file.resize(file.len().next_multiple_of(65536), 0);
            sector
        }
    };
    for at in [vmdk_entry(file, grain), vmdk_redundant_entry(file, grain)] {
        put(file, at, &entry.to_le_bytes());
    }
}

/// Sets a block of a VDI to data, or to zeroes (`VDICore.h`).
pub fn vdi_block(file: &mut Vec<u8>, block: usize, data: Option<&[u8]>) {
    let (map, start) = (le32(file, 0x154) as usize, le32(file, 0x158) as usize);
    let size = le32(file, 0x178) as usize;
    let number = match data {
        None => u32::MAX - 1,
        Some(data) => {
            let number = le32(file, 0x184);
            file.resize(start + number as usize * size, 0);
            file.extend(data);
            file.resize(start + (number as usize + 1) * size, 0);
            put(file, 0x184, &(number + 1).to_le_bytes());
            number
        }
    };
    put(file, map + block * 4, &number.to_le_bytes());
}

/// Adds a block to a VHD, of which the sectors that `bitmap` has are there ("Block Allocation Table and Data Blocks").
pub fn vhd_block(file: &mut Vec<u8>, block: usize, bitmap: &[u8], data: &[u8]) {
    let header = be64(file, 16) as usize;
    let table = be64(file, header + 16) as usize;
    let size = be32(file, header + 32) as usize;
    assert_eq!((bitmap.len(), data.len()), (512, size));
    let footer = file.split_off(file.len() - 512);
    let sector = (file.len() / 512) as u32;
    file.extend(bitmap);
    file.extend(data);
    file.extend(footer);
    put(file, table + block * 4, &sector.to_be_bytes());
}

/// Puts the checksum into a structure of a VHDX.
pub fn vhdx_sum(file: &mut [u8], start: usize, len: usize) {
    put(file, start + 4, &[0; 4]);
    let sum = crc32c(&file[start..start + len]);
    put(file, start + 4, &sum.to_le_bytes());
}

/// Offset of a region of a VHDX ([MS-VHDX] 2.2.3), by the first bytes of its GUID.
pub fn vhdx_region(file: &[u8], guid: u32) -> usize {
    (0..le32(file, 0x3_0008) as usize)
        .map(|index| 0x3_0010 + index * 32)
        .find(|&entry| le32(file, entry) == guid)
        .map(|entry| le64(file, entry + 16) as usize)
        .unwrap()
}

pub const VHDX_TABLE: u32 = 0x2dc2_7766;
pub const VHDX_METADATA: u32 = 0x8b7c_a206;

/// Where an item of the metadata is (2.6.1), by the first bytes of its GUID.
pub fn vhdx_item(file: &[u8], guid: u32) -> usize {
    let metadata = vhdx_region(file, VHDX_METADATA);
    (0..usize::from(file[metadata + 10]))
        .map(|index| metadata + 32 + index * 32)
        .find(|&entry| le32(file, entry) == guid)
        .map(|entry| metadata + le32(file, entry + 16) as usize)
        .unwrap()
}

/// Makes a growing VHDX, as QEMU writes it, a differencing one: it gets a parent locator (2.6.2.6), and is closed (2.2.2).
pub fn vhdx_differencing(file: &mut [u8]) {
    let parameters = vhdx_item(file, 0xcaa1_6737);
    file[parameters + 4] |= 2;
    let metadata = vhdx_region(file, VHDX_METADATA);
    let count = usize::from(file[metadata + 10]);
    file[metadata + 10] += 1;
    let entry = metadata + 32 + count * 32;
    let guid = 0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c_u128;
    put(file, entry, &uuid(guid));
    let (key, value) = (utf16("absolute_win32_path"), utf16("C:\\parent.vhdx"));
    put(file, entry + 16, &0xc000_u32.to_le_bytes());
    put(file, entry + 20, &(32 + key.len() as u32 + value.len() as u32).to_le_bytes());
    put(file, entry + 24, &4_u32.to_le_bytes());
    let locator = metadata + 0xc000;
    put(file, locator, &uuid(0xb04a_efb7_d19e_4a81_b789_25b8_e944_5913));
    put(file, locator + 18, &1_u16.to_le_bytes());
    put(file, locator + 20, &32_u32.to_le_bytes());
    put(file, locator + 24, &(32 + key.len() as u32).to_le_bytes());
    put(file, locator + 28, &(key.len() as u16).to_le_bytes());
    put(file, locator + 30, &(value.len() as u16).to_le_bytes());
    put(file, locator + 32, &[key, value].concat());
    for header in [0x1_0000, 0x2_0000] {
        put(file, header + 48, &[0; 16]);
        vhdx_sum(file, header, 4096);
    }
}

fn uuid(value: u128) -> [u8; 16] {
    let mut bytes = value.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Bytes of a block of a VHDX.
pub fn vhdx_block_size(file: &[u8]) -> usize {
    le32(file, vhdx_item(file, 0xcaa1_6737)) as usize
}

/// The place of a block's entry in the table (2.5), and of its chunk's sector bitmap.
pub fn vhdx_entries(file: &[u8], block: usize) -> (usize, usize) {
    let sector = le32(file, vhdx_item(file, 0x8141_bf1d)) as usize;
    let ratio = (1 << 23) * sector / vhdx_block_size(file);
    let table = vhdx_region(file, VHDX_TABLE);
    let chunk = block / ratio;
    (table + (block + chunk) * 8, table + ((chunk + 1) * (ratio + 1) - 1) * 8)
}

/// Sets what a block's entry says.
pub fn vhdx_state(file: &mut [u8], block: usize, state: u8) {
    let (entry, _) = vhdx_entries(file, block);
    file[entry] = state;
}

/// Adds a block, of which the sectors that `bitmap` has are there.
pub fn vhdx_block(file: &mut Vec<u8>, block: usize, bitmap: &[u8], data: &[u8]) {
    let (entry, chunk) = vhdx_entries(file, block);
    file.resize(file.len().next_multiple_of(1 << 20), 0);
    if le64(file, chunk) == 0 {
        let place = file.len() as u64;
        put(file, chunk, &(place | 6).to_le_bytes());
        file.resize(file.len() + (1 << 20), 0);
    }
    let bits = (le64(file, chunk) & !7) as usize;
    let sector = le32(file, vhdx_item(file, 0x8141_bf1d)) as usize;
    let ratio = (1 << 23) * sector / vhdx_block_size(file);
    put(file, bits + block % ratio * bitmap.len(), bitmap);
    let place = file.len() as u64;
    put(file, entry, &(place | 7).to_le_bytes());
    file.extend(data);
}
