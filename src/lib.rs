//! PocketVM: a computer that lives on a USB stick.
//!
//! Modules are layers, and imports point downwards only:
//! [`cli`], `gui` → [`session`] → [`hypervisor`], [`guest`] → [`drive`], [`host`] → the `pocketvm-disk` crate.

pub mod cli;
pub mod drive;
pub mod error;
pub mod guest;
#[cfg(feature = "gui")]
pub mod gui;
pub mod host;
pub mod hypervisor;
pub mod session;

pub use error::{Error, Kind, Result};
