//! One door per hypervisor. Callers ask for capabilities, never for names.
//!
//! A [`Hypervisor`] turns a [`Machine`] into a running guest and reports what happens to it as [`GuestEvent`]s.
//! It knows nothing of drives, manifests or sessions: paths come in as values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use serde::{Deserialize, Serialize};

use crate::Result;

pub mod qemu;

/// The longest template of any hypervisor, in bytes; no honest one comes near it.
pub const MAX_TEMPLATE: u64 = 64 * 1024;

/// What a hypervisor can do, so that callers need not know which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// A paused guest's base can be opened again under another path.
    pub reopen_base: bool,
    /// The guest can be paused and resumed.
    pub pause: bool,
    /// A running guest can be taken over by a new launcher after the old one died.
    pub adopt: bool,
    /// The guest's discards reach the overlay.
    pub discard: bool,
    /// It can show the guest in a window on this PC.
    pub window: bool,
    /// The keys that give mouse and keyboard back to this PC when its window has taken them; none without a window.
    pub release_keys: Option<&'static str>,
}

/// A hypervisor found on this PC, usable or not: what `detect` lists.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// `qemu`, …: also the key of its template.
    pub hypervisor: String,
    /// As the program reports it, for instance `7.2.22`.
    pub version: Option<String>,
    /// The program that would be started.
    pub program: PathBuf,
    /// Where it was found: `path`, `well-known`, `registry`, `drive`.
    pub found_in: &'static str,
    /// In order of preference; the first usable one is taken.
    pub accelerators: Vec<Accelerator>,
    /// Why this candidate can't be used at all.
    pub rejected: Option<Rejection>,
}

impl Candidate {
    /// It can be started with at least one accelerator.
    pub fn is_usable(&self) -> bool {
        self.rejected.is_none() && self.accelerator().is_some()
    }

    /// The accelerator to use: the best one that is not rejected.
    pub fn accelerator(&self) -> Option<&Accelerator> {
        self.accelerators.iter().find(|accelerator| accelerator.rejected.is_none())
    }
}

/// Where to look besides the PC's own places.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The drive's `runtime` folder (or the verified copy of it), with `<os>-<arch>/<hypervisor>/` inside.
    pub carried: Option<PathBuf>,
}

/// Every hypervisor on this PC and on the drive that there is a door for, best first, each accelerator with its
/// verdict. Verdicts of earlier proofs are looked up in `remembered`, new ones are added to it. Takes at most 3 s, a few
/// tens of milliseconds when all is remembered. `say` is told what is being tried, in whole sentences without a full stop.
pub fn detect(places: &Places, remembered: &mut Verdicts, say: &dyn Fn(&str)) -> Vec<Candidate> {
    qemu::detect(places, remembered, say)
}

/// Takes over a guest that still runs in `scratch` after its launcher died; `Ok(None)` if none does.
///
/// # Errors
/// A guest runs there but can't be reached.
pub fn adopt(scratch: &std::path::Path) -> Result<Option<Running>> {
    qemu::adopt(scratch)
}

/// Whether a guest was ever started in `scratch`, whatever became of it.
///
/// # Errors
/// Scratch can't be read.
pub fn was_started(scratch: &std::path::Path) -> Result<bool> {
    qemu::was_started(scratch)
}

/// Whether a guest that was started in `scratch` still runs.
///
/// # Errors
/// Scratch can't be read.
pub fn runs(scratch: &std::path::Path) -> Result<bool> {
    qemu::runs(scratch)
}

/// How the guest that was started in `scratch` ended, also if no launcher was there to see it; none if none was started
/// there or if it still runs.
///
/// # Errors
/// Scratch can't be read.
pub fn ending(scratch: &std::path::Path) -> Result<Option<Ending>> {
    qemu::ending(scratch)
}

/// The door to `candidate`.
///
/// # Errors
/// The candidate is rejected, or there is no door for it.
pub fn open(candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
    match candidate.hypervisor.as_str() {
        "qemu" => Ok(Box::new(qemu::Qemu::new(candidate)?)),
        other => Err(crate::Error::new(crate::Kind::Hypervisor, format!("there is no door for {other}"))),
    }
}

/// One accelerator of a candidate and the verdict on it.
#[derive(Debug, Clone, Serialize)]
pub struct Accelerator {
    /// `kvm`, `whpx`, `hvf`, `tcg`, …
    pub name: String,
    /// Work units a second as proved by the payload, in thousands of loops.
    pub rate: Option<u64>,
    /// Why it is not used; none means that it is usable.
    pub rejected: Option<Rejection>,
    /// The verdict was remembered from an earlier proof on this host with this version.
    pub remembered: bool,
}

/// Why something can't be used, and the fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// One clause, for people.
    pub reason: String,
    /// The one thing to do about it, if there is one.
    pub fix: Option<String>,
}

/// A remembered proof of one accelerator. Kept by the caller; what it is worth is decided in the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Hash over program path, version and accelerator name (and the accelerator's device permissions).
    pub key: String,
    /// As in [`Accelerator::rate`].
    pub rate: Option<u64>,
    /// As in [`Accelerator::rejected`].
    pub rejected: Option<Rejection>,
}

/// Proofs remembered for one host.
pub type Verdicts = BTreeMap<String, Verdict>;

/// A machine to run, complete: nothing is looked up later.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The name people know it by; goes into the window title. Any Unicode text.
    pub name: String,
    /// SMBIOS UUID.
    pub uuid: uuid::Uuid,
    /// Ethernet address, `52:54:00:…`.
    pub mac: String,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The accelerator to use.
    pub accelerator: String,
    /// `pc` facts the template may use: firmware is `bios` for now.
    pub firmware: String,
    /// No window on the host.
    pub headless: bool,
    /// In boot order; the first is the system disk.
    pub disks: Vec<MachineDisk>,
    /// Private folder of the session, for sockets and logs.
    pub scratch: PathBuf,
    /// The guest's serial port is written to this file in scratch.
    pub serial_log: PathBuf,
    /// Free variables of the manifest for the template (`hypervisors.qemu.variables`), strings only.
    pub variables: BTreeMap<String, String>,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineDisk {
    /// `system`, `user`, `paging`, …: unique, `[a-z0-9-]{1,16}`.
    pub name: String,
    /// The qcow2 image that takes the writes.
    pub overlay: PathBuf,
    /// Its base, opened read-only; none for the paging disk.
    pub base: Option<Base>,
    /// The controller the guest boots from: `ahci`, `virtio`, `ide`.
    pub controller: String,
}

/// The read-only image under an overlay, with everything that shows through it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Base {
    /// Where it is now.
    pub path: PathBuf,
    /// `qcow2` or `raw`.
    pub format: String,
    /// The layers below it, the next one first; none if it stands alone. Only these are opened, whatever name of a backing
    /// file an image has.
    pub below: Vec<Layer>,
}

/// A read-only image below a base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Where it is now.
    pub path: PathBuf,
    /// `qcow2`, or `raw` for the lowest one.
    pub format: String,
}

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

/// A rendered configuration: what `render` shows and `launch` uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// The program.
    pub program: PathBuf,
    /// Its argument vector, without the program.
    pub args: Vec<String>,
}

/// A hypervisor that can be used on this PC.
pub trait Hypervisor: Send + Sync {
    /// What was found.
    fn candidate(&self) -> &Candidate;
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Renders the configuration of `machine` from the text of a template. Executes nothing.
    ///
    /// # Errors
    /// A template that names an unknown variable, an option that is not on the list of safe ones, a path that is
    /// not one of the machine's, or that leaves out a disk or its `stop` policies.
    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered>;
    /// Starts the guest.
    ///
    /// # Errors
    /// The program can't be started, or ends before it answers; the text holds what it said.
    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running>;
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
