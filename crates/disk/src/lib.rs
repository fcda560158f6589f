//! qcow2 images and the shadow merge: an overlay becomes part of its base in one atomic step.
//!
//! A base is never overwritten. [`merge()`] writes every changed cluster, and the tables that lead to them, into
//! clusters that no kept generation uses; makes them durable; and then rewrites the header block of each base,
//! which alone decides which tables are live. A small record on the same drive ([`CommitFile`]) makes the header
//! blocks of several bases change as one, and lets [`recover`] finish or undo that after a power cut.
//!
//! The crate knows images, overlays and generations; nothing of virtual machines. It opens only the files that
//! its caller names: a backing file's name in an image is text.
//!
//! A guest may also run in another hypervisor: [`copy_base`] copies a base into a format of its, [`create_child`] makes the
//! differencing disk that takes the guest's writes, and that is merged like any other overlay.
//!
//! Formats are described in `docs/formats.md`, the argument for atomicity in `docs/merge.md`.

mod copy;
mod error;
mod generation;
mod inspect;
pub mod merge;
pub mod overlay;
pub mod qcow2;
pub mod record;
pub mod root;
pub mod storage;
mod view;

pub use copy::{BaseFormat, Copied, CopyFormat, copy_base, copy_size, create_child, create_disk, read_base};
pub use error::{Error, Refusal, Result};
pub use generation::{BaseState, GenerationId};
pub use inspect::{ImageInfo, inspect};
pub use merge::{
    Amounts, CommitFile, Compacted, DiskEstimate, Estimate, HistoryDisk, HistoryStep, LayerName, MergeDisk,
    Merged, MergedDisk, Outcome, Progress, RecoveredDisk, Recovery, compact, estimate, give_up, go_to,
    history, layers, merge, pin, recover, redo, stamp, stamp_raw, undo, unpin,
};
pub use overlay::{Format as OverlayFormat, Overlay, OverlayInfo, inspect_overlay};
pub use qcow2::check::{CheckReport, check};
pub use qcow2::create::{CreateOptions, create};
pub use view::View;
