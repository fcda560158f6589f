//! The smallest differencing disk of each format, byte for byte from its specification: for tests that break them, and as seeds
//! of the fuzz targets. Each has data in block 0 and in block 5, and the others are the parent's.

/// A file of one format.
pub struct Minimal {
    pub name: &'static str,
    pub file: Vec<u8>,
    /// Bytes of a block.
    pub block: usize,
    /// Where headers and tables are: these are worth breaking.
    pub tables: Vec<std::ops::Range<usize>>,
}

/// Blocks of each disk.
pub const BLOCKS: usize = 16;

pub fn all() -> [Minimal; 4] {
    [vmdk(), vdi(), vhd(), vhdx()]
}

fn put(file: &mut [u8], at: usize, value: &[u8]) {
    file[at..at + value.len()].copy_from_slice(value);
}

/// Grains of 4 KiB: header, descriptor, grain directory, grain table, grains.
pub fn vmdk() -> Minimal {
    let block = 4096;
    let mut file = vec![0; 2 * 4096 + 2 * block];
    put(&mut file, 0, b"KDMV");
    put(&mut file, 4, &1_u32.to_le_bytes());
    put(&mut file, 8, &5_u32.to_le_bytes());
    put(&mut file, 12, &((BLOCKS * block / 512) as u64).to_le_bytes());
    put(&mut file, 20, &((block / 512) as u64).to_le_bytes());
    put(&mut file, 28, &1_u64.to_le_bytes());
    put(&mut file, 36, &2_u64.to_le_bytes());
    put(&mut file, 44, &512_u32.to_le_bytes());
    put(&mut file, 56, &3_u64.to_le_bytes());
    put(&mut file, 64, &16_u64.to_le_bytes());
    put(&mut file, 73, b"\n \r\n");
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=00000002\ncreateType=\"monolithicSparse\"\n\
         RW {} SPARSE \"a.vmdk\"\nddb.adapterType = \"ide\"\n",
        BLOCKS * block / 512
    );
    put(&mut file, 512, text.as_bytes());
    put(&mut file, 3 * 512, &4_u32.to_le_bytes());
    put(&mut file, 4 * 512, &16_u32.to_le_bytes());
    put(&mut file, 4 * 512 + 5 * 4, &24_u32.to_le_bytes());
    // A grain of zeroes.
    put(&mut file, 4 * 512 + 7 * 4, &1_u32.to_le_bytes());
    file[2 * 4096..3 * 4096].fill(1);
    file[3 * 4096..].fill(5);
    Minimal { name: "vmdk", file, block, tables: vec![0..512, 512..4 * 512 + BLOCKS * 4] }
}

/// Blocks of 4 KiB: header, map, blocks.
pub fn vdi() -> Minimal {
    let block = 4096;
    let mut file = vec![0; 1024 + 2 * block];
    put(&mut file, 0x40, &0xbeda_107f_u32.to_le_bytes());
    put(&mut file, 0x44, &0x0001_0001_u32.to_le_bytes());
    put(&mut file, 0x48, &400_u32.to_le_bytes());
    put(&mut file, 0x4c, &4_u32.to_le_bytes());
    put(&mut file, 0x154, &512_u32.to_le_bytes());
    put(&mut file, 0x158, &1024_u32.to_le_bytes());
    put(&mut file, 0x170, &((BLOCKS * block) as u64).to_le_bytes());
    put(&mut file, 0x178, &(block as u32).to_le_bytes());
    put(&mut file, 0x180, &(BLOCKS as u32).to_le_bytes());
    put(&mut file, 0x184, &2_u32.to_le_bytes());
    file[512..512 + BLOCKS * 4].fill(0xff);
    put(&mut file, 512, &0_u32.to_le_bytes());
    put(&mut file, 512 + 5 * 4, &1_u32.to_le_bytes());
    // A block of zeroes.
    put(&mut file, 512 + 7 * 4, &(u32::MAX - 1).to_le_bytes());
    file[1024..1024 + block].fill(1);
    file[1024 + block..].fill(5);
    Minimal { name: "vdi", file, block, tables: vec![0x40..0x50, 0x150..0x1c8, 512..512 + BLOCKS * 4] }
}

/// Blocks of 4 KiB: copy of the footer, dynamic header, table, blocks with their bitmaps, footer.
pub fn vhd() -> Minimal {
    let block = 4096;
    let size = ((BLOCKS * block) as u64).to_be_bytes();
    let mut file = vec![0; 2048 + 2 * (512 + block) + 512];
    put(&mut file, 0, b"conectix");
    put(&mut file, 8, &2_u32.to_be_bytes());
    put(&mut file, 12, &0x0001_0000_u32.to_be_bytes());
    put(&mut file, 16, &512_u64.to_be_bytes());
    put(&mut file, 40, &size);
    put(&mut file, 48, &size);
    put(&mut file, 60, &4_u32.to_be_bytes());
    put(&mut file, 512, b"cxsparse");
    put(&mut file, 512 + 8, &[0xff; 8]);
    put(&mut file, 512 + 16, &1536_u64.to_be_bytes());
    put(&mut file, 512 + 24, &0x0001_0000_u32.to_be_bytes());
    put(&mut file, 512 + 28, &(BLOCKS as u32).to_be_bytes());
    put(&mut file, 512 + 32, &(block as u32).to_be_bytes());
    file[1536..2048].fill(0xff);
    put(&mut file, 1536, &4_u32.to_be_bytes());
    put(&mut file, 1536 + 5 * 4, &13_u32.to_be_bytes());
    file[2048] = 0xff;
    file[2560..2560 + block].fill(1);
    file[13 * 512] = 0x0f;
    file[14 * 512..14 * 512 + block].fill(5);
    let mut minimal =
        Minimal { name: "vhd", file, block, tables: vec![0..96, 512..512 + 768, 1536..1536 + BLOCKS * 4] };
    minimal.file = with_sums(minimal.file);
    minimal
}

/// Blocks of 1 MiB: headers, region tables, table, metadata, blocks.
pub fn vhdx() -> Minimal {
    const MIB: usize = 1 << 20;
    let mut file = vec![0; 5 * MIB];
    put(&mut file, 0, b"vhdxfile");
    for (header, sequence) in [(0x1_0000, 1_u64), (0x2_0000, 2)] {
        put(&mut file, header, b"head");
        put(&mut file, header + 8, &sequence.to_le_bytes());
        put(&mut file, header + 66, &1_u16.to_le_bytes());
    }
    let guid = |value: u128| {
        let mut bytes = value.to_be_bytes();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    };
    for regions in [0x3_0000, 0x4_0000] {
        put(&mut file, regions, b"regi");
        put(&mut file, regions + 8, &2_u32.to_le_bytes());
        let entries = [
            (0x2dc27766_f623_4200_9d64_115e9bfd4a08, MIB, 0x1_0000_u32),
            (0x8b7ca206_4790_4b9a_b8fe_575f050f886e, 2 * MIB, 0x2_0000),
        ];
        for ((id, offset, len), at) in entries.into_iter().zip((regions + 16..).step_by(32)) {
            put(&mut file, at, &guid(id));
            put(&mut file, at + 16, &(offset as u64).to_le_bytes());
            put(&mut file, at + 24, &len.to_le_bytes());
            put(&mut file, at + 28, &1_u32.to_le_bytes());
        }
    }
    let metadata = 2 * MIB;
    put(&mut file, metadata, b"metadata");
    put(&mut file, metadata + 10, &4_u16.to_le_bytes());
    let parameters = (MIB as u64 + (2 << 32)).to_le_bytes();
    let size = ((BLOCKS * MIB) as u64).to_le_bytes();
    let items: [(u128, &[u8]); 4] = [
        (0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b, &parameters),
        (0x2fa54224_cd1b_4876_b211_5dbed83bf4b8, &size),
        (0x8141bf1d_a96f_4709_ba47_f233a8faab5f, &512_u32.to_le_bytes()),
        (0xa8d35f2d_b30b_454d_abf7_d3d84834ab0c, &[0; 20]),
    ];
    for (index, (id, value)) in items.into_iter().enumerate() {
        let (entry, offset) = (metadata + 32 + index * 32, 0x1_0000 + index * 32);
        put(&mut file, entry, &guid(id));
        put(&mut file, entry + 16, &(offset as u32).to_le_bytes());
        put(&mut file, entry + 20, &(value.len() as u32).to_le_bytes());
        put(&mut file, entry + 24, &4_u32.to_le_bytes());
        put(&mut file, metadata + offset, value);
    }
    // Block 7 is of zeroes; 4096 blocks are a chunk, but the disk ends before.
    put(&mut file, MIB, &((3 * MIB) as u64 + 6).to_le_bytes());
    put(&mut file, MIB + 5 * 8, &((4 * MIB) as u64 + 6).to_le_bytes());
    put(&mut file, MIB + 7 * 8, &2_u64.to_le_bytes());
    file[3 * MIB..4 * MIB].fill(1);
    file[4 * MIB..5 * MIB].fill(5);
    let tables = vec![
        0x1_0000..0x1_0050,
        0x3_0000..0x3_0050,
        MIB..MIB + BLOCKS * 8,
        metadata..metadata + 32 + 4 * 32,
        metadata + 0x1_0000..metadata + 0x1_0060,
    ];
    Minimal { name: "vhdx", file: with_sums(file), block: MIB, tables }
}

/// The file with all checksums made to hold: what is broken behind them is to be found by the fields' own checks.
pub fn with_sums(mut file: Vec<u8>) -> Vec<u8> {
    if file.starts_with(b"conectix") && file.len() >= 2048 {
        let header = u64::from_be_bytes(file[16..24].try_into().unwrap_or_default());
        if let Ok(at) = usize::try_from(header)
            && file.get(at..at.saturating_add(1024)).is_some()
        {
            sum_be(&mut file, at, 1024, at + 36);
        }
        sum_be(&mut file, 0, 512, 64);
        let end = file.len() - 512;
        file.copy_within(0..512, end);
    }
    if file.starts_with(b"vhdxfile") {
        for (start, len) in [(0x1_0000, 4096), (0x2_0000, 4096), (0x3_0000, 0x1_0000), (0x4_0000, 0x1_0000)] {
            if file.len() >= start + len {
                put(&mut file, start + 4, &[0; 4]);
                let sum = crc32c(&file[start..start + len]);
                put(&mut file, start + 4, &sum.to_le_bytes());
            }
        }
    }
    file
}

fn sum_be(file: &mut [u8], start: usize, len: usize, at: usize) {
    put(file, at, &[0; 4]);
    let sum: u32 = file[start..start + len].iter().map(|&byte| u32::from(byte)).sum();
    put(file, at, &(!sum).to_be_bytes());
}

/// CRC-32C, by four bits at a time.
pub fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = [
        0x0000_0000,
        0x105e_c76f,
        0x20bd_8ede,
        0x30e3_49b1,
        0x417b_1dbc,
        0x5125_dad3,
        0x61c6_9362,
        0x7198_540d,
        0x82f6_3b78,
        0x92a8_fc17,
        0xa24b_b5a6,
        0xb215_72c9,
        0xc38d_26c4,
        0xd3d3_e1ab,
        0xe330_a81a,
        0xf36e_6f75,
    ];
    let half = |crc: u32| TABLE[(crc & 15) as usize] ^ (crc >> 4);
    !bytes.iter().fold(u32::MAX, |crc, &byte| half(half(crc ^ u32::from(byte))))
}
