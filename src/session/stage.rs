//! Tells the beginning and the end of a step, with its time.

use std::time::Instant;

use super::event::{Event, Step, StepState, View};
use crate::Result;

/// Does `work` as one step of the session's life. A step that fails has no end; the error tells of it.
pub fn stage<T>(view: &dyn View, phase: Step, work: impl FnOnce() -> Result<T>) -> Result<T> {
    view.show(&Event::Phase { phase, state: StepState::Started, seconds: 0.0 });
    let start = Instant::now();
    let value = work()?;
    // Milliseconds are as fine as anybody reads.
    let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    view.show(&Event::Phase { phase, state: StepState::Done, seconds });
    Ok(value)
}
