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
    tell: fn(done: u64, total: u64) -> Event,
}

impl<'a> Reporter<'a> {
    /// Of work on the drive's disks that begins now.
    pub fn new(controls: &'a Controls, view: &'a dyn View) -> Reporter<'a> {
        let tell = |done, total| Event::MergeProgress { done, total };
        Reporter { controls, view, last: Instant::now().into(), tell }
    }

    /// Of disks that are copied to this PC from now on.
    pub fn copying(controls: &'a Controls, view: &'a dyn View) -> Reporter<'a> {
        Reporter { tell: |done, total| Event::CopyProgress { done, total }, ..Reporter::new(controls, view) }
    }
}

impl Progress for Reporter<'_> {
    fn advance(&self, done: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if done == total || last.elapsed().as_millis() >= INTERVAL_MS {
            *last = Instant::now();
            self.view.show(&(self.tell)(done, total));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.controls.is_stopping()
    }
}
