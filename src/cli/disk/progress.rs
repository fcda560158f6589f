//! How far a merge, or compacting, is: passed on to the view, and the wish to stop to the engine.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pocketvm_disk::Progress;

use crate::session::controls::Controls;
use crate::session::event::{Event, View};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// Passes on how far long work is, now and then, and whether it is to stop.
pub struct Reporter<'a> {
    controls: &'a Controls,
    view: &'a dyn View,
    /// When that was last shown, and how far it was.
    last: Mutex<Option<(Instant, u64)>>,
}

impl<'a> Reporter<'a> {
    /// Of work that begins now.
    pub fn new(controls: &'a Controls, view: &'a dyn View) -> Reporter<'a> {
        Reporter { controls, view, last: Mutex::new(None) }
    }
}

impl Progress for Reporter<'_> {
    fn advance(&self, done: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match *last {
            None => true,
            Some((_, shown)) if done == total => shown != done,
            Some((when, _)) => when.elapsed() >= PROGRESS,
        };
        if is_due {
            *last = Some((Instant::now(), done));
            self.view.show(&Event::MergeProgress { done, total });
        }
    }

    fn is_cancelled(&self) -> bool {
        self.controls.is_stopping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::event::{Answer, Question};

    /// Remembers what progress it was shown.
    #[derive(Default)]
    struct Seen(Mutex<Vec<u64>>);

    impl View for Seen {
        fn show(&self, event: &Event) {
            if let Event::MergeProgress { done, .. } = event {
                self.0.lock().unwrap().push(*done);
            }
        }

        fn ask(&self, _question: &Question) -> Option<Answer> {
            None
        }
    }

    #[test]
    fn progress_is_shown_at_once_at_the_end_and_not_for_every_cluster_in_between() {
        let (controls, seen) = (Controls::new(), Seen::default());
        let reporter = Reporter::new(&controls, &seen);
        let start = Instant::now();
        for done in 0..=10_000 {
            reporter.advance(done, 10_000);
        }
        reporter.advance(10_000, 10_000);
        let most = start.elapsed().as_millis() / PROGRESS.as_millis() + 2;
        let shown = seen.0.lock().unwrap().clone();
        assert_eq!((shown.first(), shown.last()), (Some(&0), Some(&10_000)));
        assert!(shown.len() as u128 <= most, "{shown:?}");
        assert_eq!(shown.iter().filter(|&&done| done == 10_000).count(), 1);
    }
}
