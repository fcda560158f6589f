//! One door per hypervisor. Callers ask for capabilities, never for names.
//!
//! A [`Hypervisor`] turns a [`Machine`] into a running guest and reports what happens to it as [`GuestEvent`]s.
//! It knows nothing of drives, manifests or sessions: paths come in as values.
//!
//! A new hypervisor is a folder here, a template, a line in `DOORS`, and a name in the manifest.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Kind, Result};

mod capabilities;
mod end;
mod found;
mod guest;
pub mod hyperv;
mod machine;
pub mod qemu;
mod record;
mod rendering;
mod tail;
pub mod virtualbox;
pub mod vmware;

pub use capabilities::{ANY, Capabilities, CardNames, DiskFormat, MOST_PORTS, Needs, Offer, Offered};
use record::Started;

pub use found::{Accelerator, Candidate, Places, Rejection, Verdict, Verdicts};
pub use guest::{Ending, Figures, Guest, GuestEvent, Running};
pub use machine::{Base, Boot, Chips, Devices, Layer, Machine, MachineDisk, image_id};

/// The longest template of any hypervisor, in bytes; no honest one comes near it.
pub const MAX_TEMPLATE: u64 = 64 * 1024;

/// Every door.
const DOORS: &[&dyn Door] = &[&qemu::DOOR, &virtualbox::DOOR, &vmware::DOOR, &hyperv::DOOR];

/// What is known of a hypervisor without having it: how to find it, and what became of a guest that it ran.
pub(crate) trait Door: Sync {
    /// `qemu`, …: the key in the manifest.
    fn name(&self) -> &'static str;
    /// As people write it.
    fn title(&self) -> &'static str;
    /// The built-in template.
    fn template(&self) -> Template;
    /// The hardware that it can give a guest.
    fn hardware(&self) -> Offered;
    /// Every one on this PC and on the drive, best first. Takes at most 3 s; never opens a window.
    fn detect(
        &self,
        places: &Places,
        remembered: &mut Verdicts,
        say: &(dyn Fn(&str) + Sync),
    ) -> Vec<Candidate>;
    /// The door to `candidate`.
    fn open(&self, candidate: Candidate) -> Result<Box<dyn Hypervisor>>;
    /// Whether a guest may have run in `scratch`, where a record says that one was to be started.
    fn ran(&self, _scratch: &Path) -> Result<bool> {
        Ok(true)
    }
    /// Takes over a guest that still runs in `scratch` after its launcher died; `Ok(None)` if none does.
    fn adopt(&self, scratch: &Path) -> Result<Option<Running>>;
    /// Whether the guest that `started` tells of still runs in `scratch`. Not always is it the process that was started.
    fn runs(&self, _scratch: &Path, started: &Started) -> Result<bool> {
        Ok(started.process.is_alive())
    }
    /// How the guest that was started in `scratch` ended; none if it still runs.
    fn ending(&self, scratch: &Path) -> Result<Option<Ending>>;
    /// Brings the files of `chips` up to date with what the machine in `scratch`, which does not run, left in files of the
    /// hypervisor's own. Says, chip by chip, what can't be used.
    fn collect(&self, _scratch: &Path, _chips: &Chips) -> Result<Vec<Unusable>> {
        Ok(Vec::new())
    }
    /// Takes back what the hypervisor was told about the machine in `scratch`, which does not run.
    fn forget(&self, scratch: &Path) -> Result<()>;
}

/// The door of the hypervisor called `name`.
fn door(name: &str) -> Option<&'static dyn Door> {
    DOORS.iter().find(|door| door.name() == name).copied()
}

/// A template as the program brings it along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Its file name in the drive's folder of templates.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The names of all hypervisors that there is a door for, in the order in which they are tried unless said otherwise.
pub fn names() -> impl Iterator<Item = &'static str> {
    DOORS.iter().map(|door| door.name())
}

/// As people write the name of a hypervisor.
#[must_use]
pub fn title(name: &str) -> &str {
    door(name).map_or(name, |door| door.title())
}

/// The built-in template of a hypervisor; none if there is no door for it.
#[must_use]
pub fn template(name: &str) -> Option<Template> {
    door(name).map(|door| door.template())
}

/// The hardware that a hypervisor can give a guest, whether this PC has one or not; none if there is no door for it.
#[must_use]
pub fn hardware(name: &str) -> Option<Offered> {
    door(name).map(|door| door.hardware())
}

/// Every hypervisor on this PC and on the drive that there is a door for, each accelerator with its verdict: those in
/// `order` first, and in that order. Verdicts of earlier proofs are looked up in `remembered`, new ones are added to it.
/// All doors look at once: takes at most 3 s, a few tens of milliseconds when all is remembered. `say` is told what is
/// being tried, in whole sentences without a full stop.
pub fn detect(
    places: &Places,
    order: &[String],
    remembered: &mut Verdicts,
    say: &(dyn Fn(&str) + Sync),
) -> Vec<Candidate> {
    let known = &*remembered;
    let found: Vec<(Vec<Candidate>, Verdicts)> = std::thread::scope(|scope| {
        let look = |door: &'static dyn Door| {
            scope.spawn(move || {
                let mut verdicts = known.clone();
                (door.detect(places, &mut verdicts, say), verdicts)
            })
        };
        let looking: Vec<_> = DOORS.iter().map(|door| look(*door)).collect();
        // A door that fails has found nothing.
        looking.into_iter().filter_map(|door| door.join().ok()).collect()
    });
    let mut candidates = Vec::new();
    for (mut some, verdicts) in found {
        candidates.append(&mut some);
        remembered.extend(verdicts);
    }
    let rank = |name: &str| order.iter().position(|wished| wished == name).unwrap_or(usize::MAX);
    for candidate in &mut candidates {
        if rank(&candidate.hypervisor) == usize::MAX && candidate.rejected.is_none() {
            candidate.rejected = Some(Rejection {
                reason: "the drive's owner does not want it".into(),
                fix: Some("add it to `hypervisors: {order: …}` in pocketvm.yaml".into()),
            });
        }
    }
    // Each door has its usable ones first.
    candidates.sort_by_key(|candidate| rank(&candidate.hypervisor));
    candidates
}

/// Takes over a guest that still runs in `scratch` after its launcher died; `Ok(None)` if none does.
///
/// # Errors
/// A guest runs there but can't be reached.
pub fn adopt(scratch: &Path) -> Result<Option<Running>> {
    let Some(started) = record::started(scratch)? else { return Ok(None) };
    match door(&started.hypervisor) {
        Some(door) => door.adopt(scratch),
        None if started.process.is_alive() => {
            let what = format!(
                "a guest still runs in a hypervisor that this version does not know: {}",
                started.hypervisor
            );
            Err(Error::new(Kind::Hypervisor, what)
                .safe("its changes are in scratch")
                .hint("use the version of PocketVM that started it, or shut the guest down there"))
        }
        None => Ok(None),
    }
}

/// Whether a guest was ever started in `scratch`, whatever became of it. A record that is damaged proves it as well as any.
///
/// # Errors
/// Scratch can't be read.
pub fn was_started(scratch: &Path) -> Result<bool> {
    Ok(record::exists(scratch)? && door_of(scratch)?.map_or(Ok(true), |door| door.ran(scratch))?)
}

/// Whether a guest that was started in `scratch` still runs.
///
/// # Errors
/// Scratch can't be read.
pub fn runs(scratch: &Path) -> Result<bool> {
    let Some(started) = record::started(scratch)? else { return Ok(false) };
    match door(&started.hypervisor) {
        Some(door) => door.runs(scratch, &started),
        None => Ok(started.process.is_alive()),
    }
}

/// How the guest that was started in `scratch` ended, also if no launcher was there to see it; none if none was started
/// there or if it still runs.
///
/// # Errors
/// Scratch can't be read.
pub fn ending(scratch: &Path) -> Result<Option<Ending>> {
    door_of(scratch)?.map_or(Ok(None), |door| door.ending(scratch))
}

/// What a chip was left with can't be used: its file stays as it was before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The chip's file.
    pub file: PathBuf,
    /// Why, in a clause.
    pub why: String,
}

/// Brings the files of `chips` up to date with what the machine in `scratch`, which does not run, left behind. Can be called
/// again.
///
/// # Errors
/// The machine runs; scratch can't be read or written.
pub fn collect(scratch: &Path, chips: &Chips) -> Result<Vec<Unusable>> {
    if runs(scratch)? {
        return Err(Error::new(Kind::Busy, "the machine still runs").safe("nothing was changed"));
    }
    let mut unusable = Vec::new();
    for door in doors_of(scratch)? {
        unusable.append(&mut door.collect(scratch, chips)?);
    }
    Ok(unusable)
}

/// Takes back what the hypervisor was told about the machine in `scratch`, which does not run. Can be called again.
///
/// # Errors
/// The hypervisor still knows it.
pub fn forget(scratch: &Path) -> Result<()> {
    doors_of(scratch)?.into_iter().try_for_each(|door| door.forget(scratch))
}

/// The door of the guest that was started in `scratch`; all of them if the record does not tell which, none if there was none.
fn doors_of(scratch: &Path) -> Result<Vec<&'static dyn Door>> {
    match door_of(scratch)? {
        Some(door) => Ok(vec![door]),
        None if record::exists(scratch)? => Ok(DOORS.to_vec()),
        None => Ok(Vec::new()),
    }
}

/// The door of the guest that was started in `scratch`.
fn door_of(scratch: &Path) -> Result<Option<&'static dyn Door>> {
    let Some(started) = record::started(scratch)? else { return Ok(None) };
    Ok(door(&started.hypervisor))
}

/// The door to `candidate`.
///
/// # Errors
/// The candidate is rejected, or there is no door for it.
pub fn open(candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
    if let Some(rejection) = &candidate.rejected {
        let what = format!("{}: {}", rejection.reason, candidate.program.display());
        let error = Error::new(Kind::Hypervisor, what);
        return Err(match &rejection.fix {
            Some(fix) => error.hint(fix),
            None => error,
        });
    }
    match door(&candidate.hypervisor) {
        Some(door) => door.open(candidate),
        None => Err(Error::new(Kind::Hypervisor, format!("there is no door for {}", candidate.hypervisor))),
    }
}

/// A rendered configuration: what `render` shows and `launch` uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// The program.
    pub program: PathBuf,
    /// Its argument vector, without the program.
    pub args: Vec<String>,
    /// Files that are written to the session's folder before the program starts.
    pub files: Vec<RenderedFile>,
}

/// A file of a rendered configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RenderedFile {
    /// Its name in the session's folder.
    pub name: String,
    /// Its text.
    pub content: String,
}

impl RenderedFile {
    /// Writes all of `files` into `folder`, for this user only.
    ///
    /// # Errors
    /// No room, or the folder can't be written.
    pub(crate) fn write_all(files: &[RenderedFile], folder: &Path) -> Result<()> {
        for file in files {
            let path = folder.join(&file.name);
            crate::host::file::overwrite_atomically(&path, file.content.as_bytes())?;
        }
        Ok(())
    }
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
    /// not one of the machine's, or that leaves out a disk or what makes it safe.
    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered>;
    /// Starts the guest.
    ///
    /// # Errors
    /// The program can't be started, or ends before it answers; the text holds what it said.
    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running>;
}
