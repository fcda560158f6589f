//! The window as people and screen readers meet it, without a session behind it: what the session would say is said by
//! the tests, and what the window orders is looked at.
#![allow(missing_docs, clippy::unwrap_used)]

mod bench;
mod clicks;
mod facts;
mod languages;
mod pictures;
mod refusals;
mod scenes;
