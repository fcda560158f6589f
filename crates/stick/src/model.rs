//! The numbers that make one stick slower than another.

use std::time::Duration;

/// Which stick to be. One request is served at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// No waiting: for preparing images, and for power cuts.
    Instant,
    /// What most sticks are: 30 MB/s written, 100 MB/s read, 0.4 ms a request. Its flash is mapped in erase blocks of
    /// 4 MiB, five of which can be written at a time: a random write of 4 KiB takes 73 ms, as on the sticks that
    /// this is modelled on.
    Cheap,
    /// A fast one: 150 MB/s written, 300 MB/s read, 0.1 ms a request, its flash mapped in pages.
    Good,
}

/// The speeds of a stick. Flash is written in pages; a part of a page costs as much as the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speeds {
    /// What a request costs before anything is moved; a flush costs only this.
    pub request: Duration,
    /// Bytes a second.
    pub write: u64,
    /// Bytes a second.
    pub read: u64,
    /// Bytes of a page.
    pub page: u64,
    /// How its flash is mapped, if not page by page.
    pub blocks: Option<EraseBlocks>,
}

/// Flash that is mapped in erase blocks. Pages of an erased block can be written once; to write elsewhere, or over a
/// page again, the block is closed: the rest of its old content is copied into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EraseBlocks {
    /// Bytes of a block, a multiple of the page.
    pub size: u64,
    /// How many can be written at the same time.
    pub open: usize,
    /// Bytes a second that are copied.
    pub copy: u64,
    /// What closing a block takes besides the copy: the erasing, and the new map. It completes the 73 ms.
    pub close: Duration,
}

impl Model {
    /// Its speeds; `None`: no waiting.
    pub(crate) fn speeds(self) -> Option<Speeds> {
        match self {
            Model::Instant => None,
            Model::Cheap => Some(Speeds {
                request: Duration::from_micros(400),
                write: 30_000_000,
                read: 100_000_000,
                page: 16 << 10,
                blocks: Some(EraseBlocks {
                    size: 4 << 20,
                    open: 5,
                    copy: 60_000_000,
                    close: Duration::from_micros(2400),
                }),
            }),
            Model::Good => Some(Speeds {
                request: Duration::from_micros(100),
                write: 150_000_000,
                read: 300_000_000,
                page: 16 << 10,
                blocks: None,
            }),
        }
    }
}
