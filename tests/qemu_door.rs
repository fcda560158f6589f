//! The QEMU door against a real QEMU with emulation and a guest of one boot sector.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "qemu_door/bench.rs"]
mod bench;
#[path = "qemu_door/disks.rs"]
mod disks;
#[path = "qemu_door/life.rs"]
mod life;
#[path = "qemu_door/proof.rs"]
mod proof;
#[path = "qemu_door/templates.rs"]
mod templates;
