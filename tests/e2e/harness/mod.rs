//! What the tests are written with: a bench (folder, file systems), drives, PCs, launchers, oracles.

mod bench;
mod drive;
mod guest;
mod launcher;
mod oracle;
mod processes;
mod reader;
mod screen;
mod serial;
mod stick;
mod window;

pub use bench::{Bench, must};
pub use drive::{Drive, Options};
pub use guest::Line;
pub use launcher::{Finished, Launcher, Pc, program};
pub use oracle::{checksum, compare, image_check};
pub use processes::{kill_hypervisor, running, wait_until_gone};
pub use reader::{Node, Reader};
pub use screen::Screen;
pub use stick::{Stick, small_disk};
pub use window::{Window, guest_says, put_program_on};
