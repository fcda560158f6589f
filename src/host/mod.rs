//! What is in this PC: its facts, volumes, scratch, signals and sleep. All code that differs by platform is here.

pub mod channel;
pub mod child;
pub mod env;
pub mod facts;
pub mod file;
mod machine_id;
pub mod programs;
pub mod volume;
