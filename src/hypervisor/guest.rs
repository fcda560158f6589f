//! A running guest: what happens to it, and its levers.

use std::sync::mpsc::Receiver;

use serde::Serialize;

use super::machine::Base;
use crate::Result;

/// What happens to a running guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum GuestEvent {
    /// The guest runs (started or resumed).
    Running,
    /// The guest is paused on request.
    Paused,
    /// The guest restarted.
    Reset,
    /// The guest's kernel panicked.
    Panicked,
    /// A disk could not be written or read; the guest is paused.
    DiskError {
        /// Name of the disk.
        disk: String,
        /// The host disk is full (writes go to scratch).
        no_space: bool,
        /// It was a read (reads may go to the drive).
        read: bool,
        /// The hypervisor's words.
        reason: String,
    },
    /// The guest is going down or was told to.
    ShuttingDown {
        /// The guest itself powered off: a clean end.
        by_guest: bool,
    },
    /// The hypervisor's process ended. Always the last event.
    Ended(Ending),
}

/// How a guest's run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    /// The guest powered itself off.
    PoweredOff,
    /// We, or somebody on this PC, ended it.
    Forced,
    /// The guest's kernel panicked.
    Panicked,
    /// However it ended, not all that the guest wrote is where it should be: somebody took a snapshot, or changed its disks, by
    /// the hypervisor's own means. What is here is older.
    WrittenElsewhere {
        /// What was found.
        detail: String,
    },
    /// The guest powered itself off without shutting down: it is hibernated, which only the same PC could wake it from.
    Hibernated {
        /// How that is avoided.
        detail: String,
    },
    /// The hypervisor died.
    HypervisorDied {
        /// Exit status or signal, and the last lines it said.
        detail: String,
    },
}

/// Figures of a running guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Bytes of host memory that the hypervisor's process holds.
    pub memory: u64,
}

/// A running guest: the levers and what they cause.
pub struct Running {
    /// The levers. All are requests: what happened comes as an event.
    pub guest: Box<dyn Guest>,
    /// What happens, in order; ends after [`GuestEvent::Ended`].
    pub events: Receiver<GuestEvent>,
}

/// The levers of a running guest. Usable from any thread.
pub trait Guest: Send + Sync {
    /// The hypervisor's process id.
    fn process_id(&self) -> u32;
    /// Presses the ACPI power button.
    ///
    /// # Errors
    /// The hypervisor does not answer.
    fn shut_down(&self) -> Result<()>;
    /// Ends the guest now. Not a clean end.
    ///
    /// # Errors
    /// The hypervisor does not answer and could not be killed.
    fn force_off(&self) -> Result<()>;
    /// Pauses the guest.
    ///
    /// # Errors
    /// The hypervisor does not answer.
    fn pause(&self) -> Result<()>;
    /// Lets a paused guest go on; retries what failed.
    ///
    /// # Errors
    /// The hypervisor does not answer.
    fn resume(&self) -> Result<()>;
    /// Opens the base of `disk`, and the layers below it, again where `base` says that they are now, under a paused guest.
    ///
    /// # Errors
    /// The hypervisor can't open one of them; the guest stays paused.
    fn reopen_base(&self, disk: &str, base: &Base) -> Result<()>;
    /// Figures of now.
    ///
    /// # Errors
    /// The hypervisor does not answer.
    fn figures(&self) -> Result<Figures>;
}
