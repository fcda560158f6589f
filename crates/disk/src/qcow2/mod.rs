//! The qcow2 format, as `docs/interop/qcow2.rst` of QEMU specifies it: reading, checking and creating images.

pub mod check;
mod compressed;
pub mod create;
pub mod entry;
pub mod extensions;
pub mod header;
pub mod image;
pub mod refcount;
pub mod references;

/// Big-endian numbers at fixed places of a slice that is known to be long enough.
pub(crate) mod be {
    /// The 32-bit number at `at`.
    pub(crate) fn u32(bytes: &[u8], at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u32::from_be_bytes(word)
    }

    /// The 64-bit number at `at`.
    pub(crate) fn u64(bytes: &[u8], at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_be_bytes(word)
    }

    /// Writes a 64-bit number at `at`.
    pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
        bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }

    /// Writes a 32-bit number at `at`.
    pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// A table of 64-bit numbers.
    pub(crate) fn words(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks_exact(8).map(|chunk| u64(chunk, 0)).collect()
    }

    /// The bytes of a table of 64-bit numbers.
    pub(crate) fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }
}
