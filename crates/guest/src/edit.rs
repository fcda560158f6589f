//! A change of a few bytes of a disk, as data: this crate plans, its caller writes.

use serde::Serialize;

/// A change of bytes in place. Whoever applies it compares `before` first, and writes nothing if the disk has other bytes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// Where the bytes are on the disk (not in the partition), in bytes.
    pub offset: u64,
    /// What is there.
    pub before: Vec<u8>,
    /// What is to be there; as long as `before`.
    pub after: Vec<u8>,
    /// What it means to the guest, for people.
    pub what: String,
}

impl Edit {
    /// Bytes that differ.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.before.iter().zip(&self.after).filter(|(before, after)| before != after).count() as u64
    }
}
