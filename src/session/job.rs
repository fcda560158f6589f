//! A job: steps that either all hold, or are taken back in reverse order.

use crate::Result;

type Undo = Box<dyn FnOnce() -> Result<()> + Send>;

/// Collects the inverse of each step that succeeded. Dropped before [`Job::complete`], it takes all of them back.
#[derive(Default)]
pub struct Job {
    undo: Vec<(&'static str, Undo)>,
}

impl Job {
    /// A job without steps.
    pub fn new() -> Job {
        Job::default()
    }

    /// Does one step, and remembers how to take it back should a later one fail.
    ///
    /// # Errors
    /// What the step failed with; nothing of it is remembered then.
    pub fn step<T>(
        &mut self,
        name: &'static str,
        action: impl FnOnce() -> Result<T>,
        undo: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<T> {
        tracing::debug!(step = name, "do");
        let value = action()?;
        self.undo.push((name, Box::new(undo)));
        Ok(value)
    }

    /// All steps hold: nothing will be taken back.
    pub fn complete(mut self) {
        self.undo.clear();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        for (name, undo) in self.undo.drain(..).rev() {
            tracing::debug!(step = name, "undo");
            if let Err(error) = undo() {
                tracing::warn!(step = name, %error, "could not be taken back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn run(fail_at: Option<usize>) -> Vec<String> {
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut job = Job::new();
        for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
            let (done, undone) = (said.clone(), said.clone());
            let result = job.step(
                name,
                || {
                    if fail_at == Some(index) {
                        return Err(crate::Error::new(crate::Kind::Unexpected, "no"));
                    }
                    done.lock().unwrap().push(format!("do {name}"));
                    Ok(())
                },
                move || {
                    undone.lock().unwrap().push(format!("undo {name}"));
                    Ok(())
                },
            );
            if result.is_err() {
                drop(job);
                return said.lock().unwrap().clone();
            }
        }
        job.complete();
        let said = said.lock().unwrap();
        said.clone()
    }

    #[test]
    fn a_failed_step_takes_the_earlier_ones_back_in_reverse() {
        assert_eq!(run(Some(2)), ["do a", "do b", "undo b", "undo a"]);
    }

    #[test]
    fn a_completed_job_takes_nothing_back() {
        assert_eq!(run(None), ["do a", "do b", "do c"]);
    }
}
