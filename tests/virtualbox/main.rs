//! VirtualBox, the real one: machines that run in its own interpreter, its list of machines before and after, and what it makes
//! of every template. The same drive runs in QEMU in turns.
//!
//! `scripts/virtualbox.sh` provides it; `POCKETVM_TEST_VIRTUALBOX` names the folder of its programs.
#![cfg(target_os = "linux")]
// A test's expectations are its asserts and unwraps; clippy's exception for tests does not see the bench.
#![allow(missing_docs, clippy::unwrap_used)]

mod adapt;
mod bench;
mod chips;
mod full;
mod killed;
mod sessions;
mod templates;
