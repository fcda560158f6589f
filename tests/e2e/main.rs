//! End-to-end tests: the real program, real QEMU, a real Linux guest, real file systems.
//!
//! They need root (loop devices and FUSE mounts); `make test` installs everything else. Each test has its own
//! folder, drive and PCs; what it started or mounted is gone when it ends, passed or failed.
#![cfg(target_os = "linux")]
// A test's expectations are its asserts and unwraps; clippy's exception for tests does not see the harness.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod harness;

mod accelerators;
mod bases;
mod chips;
mod compact;
mod drive_gone;
mod guest_ends;
mod history;
mod installed;
mod killed;
mod merge;
mod refusals;
mod room;
mod sessions;
mod soak;
mod two_pcs;
mod views;
#[cfg(feature = "gui")]
mod window;
mod windows_guest;
