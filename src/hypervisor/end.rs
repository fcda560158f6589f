//! The end of a guest's process, as those who have to do with it see it.

use std::process::ExitStatus;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// One end, for several threads.
#[derive(Default)]
pub struct End {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    forced: bool,
    reached: bool,
    status: Option<ExitStatus>,
}

impl End {
    /// We are about to force it.
    pub fn force(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).forced = true;
    }

    /// It is there.
    pub fn reached(&self, status: Option<ExitStatus>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.reached, state.status) = (true, status);
        self.changed.notify_all();
    }

    /// Whether it came within `patience`.
    pub fn wait(&self, patience: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.reached);
        waited.unwrap_or_else(PoisonError::into_inner).0.reached
    }

    /// The exit status, if it is ours to know, and whether we forced the end.
    pub fn how(&self) -> (Option<ExitStatus>, bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.status, state.forced)
    }
}
