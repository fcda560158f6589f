//! The way from a view, or a signal, into a session that is under way.

use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::supervision::{Control, Input};

/// Takes wishes at any time from any thread. While a guest runs they go to its supervision at once; else they mean
/// "stop as soon as it is safe", and the step that is under way asks for them.
#[derive(Default)]
pub struct Controls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: Option<Sender<Input>>,
    wished: Option<Control>,
    /// A guest has ended: what is only meant for one comes too late.
    over: bool,
}

impl Controls {
    /// Nobody wishes anything yet.
    pub fn new() -> Controls {
        Controls::default()
    }

    /// Passes a wish on.
    pub fn send(&self, control: Control) {
        let mut state = self.state();
        let taken = state.run.as_ref().is_some_and(|run| run.send(Input::Control(control)).is_ok());
        let is_late = state.over && matches!(control, Control::ShutDown | Control::ForceOff);
        if !taken && !is_late {
            state.wished = Some(control);
        }
    }

    /// Whether somebody wished to stop since the last call.
    pub fn take(&self) -> Option<Control> {
        self.state().wished.take()
    }

    /// Whether somebody wishes to stop.
    pub fn is_stopping(&self) -> bool {
        self.state().wished.is_some()
    }

    /// From now on wishes go to a supervision.
    pub(super) fn attach(&self, run: Sender<Input>) {
        let mut state = self.state();
        if let Some(control) = state.wished.take() {
            let _ = run.send(Input::Control(control));
        }
        state.run = Some(run);
        state.over = false;
    }

    /// The guest has ended.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        state.run = None;
        state.over = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_wish_before_the_launch_reaches_the_run() {
        let (controls, (run, inputs)) = (Controls::new(), mpsc::channel());
        controls.send(Control::ShutDown);
        assert!(controls.is_stopping());
        controls.attach(run);
        assert!(!controls.is_stopping());
        assert_eq!(inputs.try_recv(), Ok(Input::Control(Control::ShutDown)));
    }

    #[test]
    fn a_shutdown_that_comes_when_the_guest_has_ended_does_not_stop_the_save() {
        let (controls, (run, _inputs)) = (Controls::new(), mpsc::channel());
        controls.attach(run);
        controls.detach();
        controls.send(Control::ShutDown);
        controls.send(Control::ForceOff);
        assert!(!controls.is_stopping());
        controls.send(Control::Interrupt);
        assert!(controls.is_stopping());
    }

    #[test]
    fn a_wish_after_the_run_is_kept_for_the_merge() {
        let (controls, (run, inputs)) = (Controls::new(), mpsc::channel());
        controls.attach(run);
        controls.send(Control::Interrupt);
        controls.detach();
        controls.send(Control::Terminate);
        assert_eq!(inputs.try_iter().count(), 1);
        assert_eq!(controls.take(), Some(Control::Terminate));
        assert_eq!(controls.take(), None);
    }
}
