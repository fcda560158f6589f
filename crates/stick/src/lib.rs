//! A simulated USB stick: what it costs to write to one, and what is left when the power fails.
//!
//! A [`Stick`] is a FUSE file system with the one file `disk`, put on a loop device with direct I/O and formatted as
//! ext4, exFAT or NTFS by the tools that a PC uses for a real one. Every request that reaches the device
//! passes a model of its timing ([`Model`]), is counted ([`Counters`]), and may meet a power cut ([`Cut`]).
//!
//! A development tool, for tests and benchmarks only; it needs root, `/dev/fuse` and loop devices.
#![cfg(target_os = "linux")]

mod cache;
mod device;
mod filesystem;
mod flash;
mod leftovers;
mod model;
mod random;
mod serve;
mod stick;

pub use cache::{Cut, Fate};
pub use device::{Control, Counters};
pub use filesystem::FileSystem;
pub use model::Model;
pub use random::Random;
pub use stick::Stick;
