//! Passes on how far long work on the drive is, and whether it is to stop.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pocketvm_disk::Progress;

use super::controls::Controls;
use super::event::{Event, View};

/// The views need no more than some pictures a second, and a JSON reader not a line per cluster.
const INTERVAL_MS: u128 = 100;

/// From the engine to a view, and from the controls to the engine.
pub struct Reporter<'a> {
    controls: &'a Controls,
    view: &'a dyn View,
    last: Mutex<Instant>,
}

impl<'a> Reporter<'a> {
    /// Of work that begins now.
    pub fn new(controls: &'a Controls, view: &'a dyn View) -> Reporter<'a> {
        Reporter { controls, view, last: Instant::now().into() }
    }
}

impl Progress for Reporter<'_> {
    fn advance(&self, done: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if done == total || last.elapsed().as_millis() >= INTERVAL_MS {
            *last = Instant::now();
            self.view.show(&Event::MergeProgress { done, total });
        }
    }

    fn is_cancelled(&self) -> bool {
        self.controls.is_stopping()
    }
}
