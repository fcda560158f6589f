//! The window: a view of the session. It shows and asks; no step lives here.
//!
//! What the session says and what the user wants go into a [`model::Model`], which is a fold without any drawing;
//! [`screens`] draw it; [`desk`] is the thread that does what is ordered, so that nothing ever blocks a frame.

pub mod app;
pub mod desk;
pub mod log;
pub mod model;
pub mod report;
pub mod screens;
pub mod start;
pub mod theme;
pub mod words;

mod picture;
mod rate;
mod scene;
mod scratch;
mod seat;
mod signs;
mod widgets;

pub use start::open;
