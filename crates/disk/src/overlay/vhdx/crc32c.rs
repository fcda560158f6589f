//! The checksum of VHDX headers: CRC-32C (Castagnoli), bit by bit reflected, as RFC 3720 appendix B.4 has it.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// Whether a structure has its checksum, of four bytes, at `at`. It counts as zero there, and is zero afterwards.
pub(super) fn holds(bytes: &mut [u8], at: usize) -> bool {
    let mut stored = [0; 4];
    stored.copy_from_slice(&bytes[at..at + 4]);
    bytes[at..at + 4].fill(0);
    crc32c(bytes) == u32::from_le_bytes(stored)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
