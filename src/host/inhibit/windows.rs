//! Windows: a thread that says it needs the system. What it says holds until it ends. Log-off can't be held off
//! without a window; it reaches the launcher as a signal.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::host::windows;

/// The thread, which ends when its sender is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    keep: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn hold(_why: &str) -> Result<Hold, String> {
    let (keep, kept) = channel::<()>();
    let (answer, answered) = channel();
    let run = move || {
        let held = windows::keep_awake();
        if answer.send(held).is_ok() && held {
            // An error is the sender being dropped, which is what this waits for.
            let _ = kept.recv();
        }
    };
    let thread = std::thread::Builder::new().name("keep awake".to_owned()).spawn(run);
    let thread = thread.map_err(|error| error.to_string())?;
    match answered.recv() {
        Ok(true) => Ok(Hold { keep: Some(keep), thread: Some(thread) }),
        _ => Err("the system refused".to_owned()),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.keep.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
