//! A running machine: what the helper tells of it, and the levers.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use process_wrap::std::ChildWrapper;

use super::events::{self, Said};
use super::helper::{self, Helper};
use super::launch;
use super::record::Record;
use crate::host::child;
use crate::hypervisor::end::End;
use crate::hypervisor::rendering::plain;
use crate::hypervisor::{Base, Ending, Figures, Guest, GuestEvent, Running};
use crate::{Error, Kind, Result};

/// A word is obeyed within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine is off within this time after it was turned off.
const OFF_PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries to reach a machine whose helper ended: it goes on without one.
const BETWEEN_HELPERS: Duration = Duration::from_secs(3);

/// The way to the helper of now.
struct Channel {
    input: Option<ChildStdin>,
    answers: Receiver<(u64, String)>,
    number: u64,
}

/// Reports what happens to the machine from now on; `first` was said already.
pub fn attend(scratch: &Path, record: Record, helper: Helper, first: Option<Said>) -> Running {
    let (sender, receiver) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let end = Arc::new(End::default());
    let worker = Arc::new(AtomicU32::new(0));
    let (input, output, process) = helper.split();
    let channel = Arc::new(Mutex::new(Channel { input: Some(input), answers, number: 0 }));
    let guest = HyperVGuest {
        channel: Arc::clone(&channel),
        worker: Arc::clone(&worker),
        helper: process.id(),
        end: Arc::clone(&end),
    };
    let attendant = Attendant { scratch: scratch.to_owned(), record, sender, answer, channel, worker, end };
    if let Some(Said::State { state, pid }) = first {
        attendant.on_state(&state, pid);
    }
    thread::spawn(move || attendant.attend(output, process));
    Running { guest: Box::new(guest), events: receiver }
}

/// The thread that listens.
struct Attendant {
    scratch: PathBuf,
    record: Record,
    sender: Sender<GuestEvent>,
    answer: Sender<(u64, String)>,
    channel: Arc<Mutex<Channel>>,
    worker: Arc<AtomicU32>,
    end: Arc<End>,
}

impl Attendant {
    fn attend(self, mut output: BufReader<ChildStdout>, mut process: Box<dyn ChildWrapper>) {
        let ending = loop {
            let ending = self.listen(&mut output);
            self.channel.lock().unwrap_or_else(PoisonError::into_inner).input = None;
            let _ = process.start_kill();
            let _ = process.wait();
            match ending {
                Some(ending) => break ending,
                // The helper is gone, the machine need not be.
                None => match self.again() {
                    Ok(helper) => {
                        let (input, new, other) = helper.split();
                        self.channel.lock().unwrap_or_else(PoisonError::into_inner).input = Some(input);
                        (output, process) = (new, other);
                    }
                    Err(ending) => break ending,
                },
            }
        };
        // A receiver that is gone changes nothing.
        let _ = self.sender.send(GuestEvent::Ended(ending));
        self.end.reached(None);
    }

    fn on_state(&self, state: &str, pid: u32) {
        self.worker.store(pid, Ordering::Relaxed);
        if let Some(event) = events::event_of(state) {
            let _ = self.sender.send(event);
        }
    }

    /// Reports until the machine has ended; none if only the helper did.
    fn listen(&self, output: &mut BufReader<ChildStdout>) -> Option<Ending> {
        loop {
            match helper::next(output)? {
                Said::State { state, pid } => self.on_state(&state, pid),
                Said::Done { number, error } => {
                    let _ = self.answer.send((number, error));
                }
                Said::Off(off) => {
                    return Some(events::ending(&off, &self.record.overlays, self.end.how().1));
                }
                Said::Gone => {
                    let detail = "somebody removed the machine from Hyper-V".into();
                    return Some(Ending::HypervisorDied { detail });
                }
                Said::Failed { error } => {
                    tracing::warn!(error = %plain(&error), "the helper for Hyper-V can't go on");
                    return None;
                }
                Said::Created(_) => {}
            }
        }
    }

    /// Reaches the machine again, or finds out how it ended. A machine that can't be reached but may run is waited for.
    fn again(&self) -> std::result::Result<Helper, Ending> {
        loop {
            match launch::ending(&self.scratch) {
                Ok(Some(Ending::HypervisorDied { .. })) if self.end.how().1 => return Err(Ending::Forced),
                Ok(Some(ending)) => return Err(ending),
                Ok(None) => match launch::attach(&self.record, &self.scratch) {
                    Ok(helper) => return Ok(helper),
                    Err(error) => tracing::warn!(%error, "Hyper-V can't be reached"),
                },
                Err(error) => tracing::warn!(%error, "Hyper-V can't be reached"),
            }
            thread::sleep(BETWEEN_HELPERS);
        }
    }
}

struct HyperVGuest {
    channel: Arc<Mutex<Channel>>,
    /// The process that runs the machine; 0 while it is not known.
    worker: Arc<AtomicU32>,
    helper: u32,
    end: Arc<End>,
}

impl HyperVGuest {
    /// Sends a word and waits until it was obeyed.
    fn tell(&self, word: &str) -> Result<()> {
        let failed =
            |why: &str| Error::new(Kind::Hypervisor, format!("Hyper-V refuses: {word}")).because(plain(why));
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.number += 1;
        let number = channel.number;
        let input = channel.input.as_mut().ok_or_else(|| failed("its helper is being started again"))?;
        helper::send(input, &format!("{number} {word}")).map_err(|error| failed(&error.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match channel.answers.recv_timeout(left) {
                // An answer to an earlier word that took too long.
                Ok((other, _)) if other != number => {}
                Ok((_, error)) if error.is_empty() => return Ok(()),
                Ok((_, error)) => return Err(failed(&error)),
                Err(_) => return Err(failed("it does not answer")),
            }
        }
    }
}

impl Guest for HyperVGuest {
    fn process_id(&self) -> u32 {
        match self.worker.load(Ordering::Relaxed) {
            0 => self.helper,
            worker => worker,
        }
    }

    /// Asks the guest's shutdown service: Hyper-V has no power button.
    fn shut_down(&self) -> Result<()> {
        self.tell("shutdown").map_err(|error| {
            error.hint("shut the guest down from inside; for this button it needs Hyper-V's shutdown service (hv_utils)")
        })
    }

    fn force_off(&self) -> Result<()> {
        self.end.force();
        self.tell("off")?;
        if self.end.wait(OFF_PATIENCE) {
            return Ok(());
        }
        Err(Error::new(Kind::Hypervisor, "Hyper-V does not turn the machine off")
            .safe("its changes are in scratch"))
    }

    fn pause(&self) -> Result<()> {
        self.tell("pause")
    }

    fn resume(&self) -> Result<()> {
        self.tell("resume")
    }

    /// The guest works on a copy of the base, on this PC's own disk: there is nothing to open again.
    fn reopen_base(&self, _disk: &str, _base: &Base) -> Result<()> {
        Ok(())
    }

    fn figures(&self) -> Result<Figures> {
        child::memory(self.process_id())
            .map(|memory| Figures { memory })
            .ok_or_else(|| Error::new(Kind::Hypervisor, "Hyper-V has ended the machine"))
    }
}
