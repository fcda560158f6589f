//! Disks with a Windows as other programs make them, and what these programs read from them: for the tests of `pocketvm-guest` and of
//! the program. Nothing of Microsoft's is in them.
//!
//! A program that is missing is named with its package, and ends the test.
#![cfg(target_os = "linux")]
// It is part of tests: a surprise ends them.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod flavours;
pub mod hives;
pub mod image;
pub mod programs;
