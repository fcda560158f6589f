//! What the tests are written with: a bench (folder, file systems), drives, PCs, launchers, oracles.

mod bench;
mod drive;
mod guest;
mod launcher;
mod oracle;
mod processes;
#[cfg(feature = "gui")]
mod reader;
#[cfg(feature = "gui")]
mod screen;
mod serial;
mod stick;
#[cfg(feature = "gui")]
mod window;

pub use bench::{Bench, must};
pub use drive::{Drive, Options};
pub use guest::Line;
pub use launcher::{Finished, Launcher, Pc, program};
pub use oracle::{checksum, compare, image_check};
pub use processes::{kill_hypervisor, running, wait_until_gone};
#[cfg(feature = "gui")]
pub use reader::{Node, Reader};
#[cfg(feature = "gui")]
pub use screen::Screen;
pub use stick::{Stick, small_disk};
#[cfg(feature = "gui")]
pub use window::{Window, guest_says, put_program_on};
