//! What keeps a disk from being read.

/// What keeps a disk from being read. What a guest merely lacks, or a file system that is not known, is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk's device fails.
    #[error("the disk can't be read: {0}")]
    Disk(#[from] std::io::Error),
    /// What is on it contradicts itself; one clause.
    #[error("what is on the disk makes no sense: {0}")]
    Damaged(String),
    /// It is larger than anything honest.
    #[error("{0} is larger than what is read of it")]
    TooLarge(String),
    /// It is sound, but nothing that is handled here; a sentence without its full stop.
    #[error("{0}")]
    Unsupported(String),
}

/// A result of reading a disk.
pub type Result<T> = std::result::Result<T, Error>;
