//! What the tests are written with: a bench (folder, file systems), drives, PCs, launchers, oracles.

mod bench;
mod drive;
mod guest;
mod launcher;
mod oracle;
mod processes;
mod serial;
mod stick;

pub use bench::{Bench, must};
pub use drive::{Drive, Options};
pub use guest::Line;
pub use launcher::{Finished, Launcher, Pc, program};
pub use oracle::{checksum, compare, image_check};
pub use processes::{kill_hypervisor, running, wait_until_gone};
pub use stick::{Stick, small_disk};
