//! `pocketvm disk` on plain files: the real program, with QEMU's own tools as oracles. Needs `qemu-img` and `qemu-io`
//! (package qemu-utils), no root.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "disk_cli/bench.rs"]
mod bench;
#[path = "disk_cli/cancelled.rs"]
mod cancelled;
#[path = "disk_cli/compact.rs"]
mod compact;
#[path = "disk_cli/help.rs"]
mod help;
#[path = "disk_cli/history.rs"]
mod history;
#[path = "disk_cli/look.rs"]
mod look;
#[path = "disk_cli/merge.rs"]
mod merge;
#[path = "disk_cli/raw.rs"]
mod raw;
#[path = "disk_cli/recovery.rs"]
mod recovery;
#[path = "disk_cli/refusals.rs"]
mod refusals;
