//! What is installed on a guest's disks, read from outside: partitions, file systems, Windows or Linux, its drivers, its swap;
//! and the few bytes that fit it to the hardware of another hypervisor.
//!
//! Everything here reads a [`Disk`], whose content may be anybody's: sizes are bounded, offsets checked, nothing is executed and no
//! name in it leads out of it. Nothing is written: an edit is a plan of bytes, which the caller applies to an overlay.

pub mod apply;
mod bytes;
mod disk;
mod edit;
mod error;
pub mod fit;
pub mod guest;
mod hardware;
pub mod linux;
pub mod partition;
pub mod patch;
pub mod volume;
pub mod windows;

pub use bytes::Guid;
pub use disk::{Cursor, Disk, OwnedPart, Part};
pub use edit::Edit;
pub use error::{Error, Result};
pub use hardware::{Drivers, Hardware};
