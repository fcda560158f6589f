//! What is in this PC: its facts, volumes, scratch, signals and sleep. All code that differs by platform is here.

pub mod channel;
pub mod child;
pub mod display;
pub mod env;
pub mod facts;
pub mod file;
pub mod inhibit;
pub mod instance;
mod machine_id;
mod private;
pub mod programs;
pub mod relaunch;
pub mod scratch;
pub mod signals;
pub mod sound;
pub mod volume;
pub mod whole;
#[cfg(windows)]
mod windows;
