//! The life of a session: detect, plan, prepare, launch, run, merge, wipe; and what to do about one that was cut short.
//!
//! Front ends call the functions here with [`Options`], see [`event::Event`]s and send [`controls::Controls`]. No step
//! lives anywhere else.

use std::path::{Path, PathBuf};

pub mod compact;
pub mod controls;
pub mod event;
pub mod guest;
pub mod history;
pub mod plan;
pub mod status;
pub mod supervision;

mod adapt;
mod base;
mod carried;
mod chips;
mod claim;
mod conclude;
mod detect;
mod devices;
mod disks;
mod folder;
mod job;
mod leftover;
mod prepare;
mod progress;
mod proposal;
mod run;
mod settle;
mod stage;
mod watch;

use uuid::Uuid;

use claim::Claim;
use controls::Controls;
use detect::Remember;
use event::{Answer, Event, Notice, Outcome, Question, Step, Subject, View};
use leftover::Leftover;
use plan::Plan;
use progress::Reporter;
use settle::Front;
use stage::stage;

use crate::drive::manifest::{Disk, Manifest};
use crate::drive::{self, Drive, Identity, Settings};
use crate::host::{self, scratch};
use crate::hypervisor::{self, Candidate, Needs, Rendered};
use crate::{Error, Kind, Result};

pub use leftover::{Elsewhere, Fate, LeftBehind, Place};
pub use settle::{Wish, recover};
pub use status::{Health, Status, check, status};

/// What a front end, or its user, decides about a session beforehand.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folder of the drive; none means to look for it.
    pub drive: Option<PathBuf>,
    /// Identity that the drive had when it was looked at; none means that any will do.
    pub identity: Option<Uuid>,
    /// Folder for sessions on this PC; none means the default.
    pub scratch: Option<PathBuf>,
    /// Disks to keep, whatever the manifest says.
    pub keep: Vec<String>,
    /// Disks to discard, whatever the manifest says.
    pub discard: Vec<String>,
    /// No window for the guest.
    pub headless: bool,
    /// Guest memory in bytes.
    pub memory: Option<u64>,
    /// Guest CPUs.
    pub cpus: Option<u32>,
    /// The hypervisor to use.
    pub hypervisor: Option<String>,
    /// The accelerator to use.
    pub accelerator: Option<String>,
    /// A folder of this PC that the guest may read and write.
    pub share: Option<PathBuf>,
    /// What to do about a session that was left behind; none means to ask.
    pub leftover: Option<Answer>,
    /// What to do if the guest does not shut down cleanly; none means to ask.
    pub on_unclean: Option<Answer>,
    /// Start although changes elsewhere are lost by it.
    pub abandon_session: bool,
    /// Unencrypted overlays on this PC are accepted.
    pub accept_plain_scratch: bool,
    /// Prove accelerators again.
    pub fresh_verdicts: bool,
}

impl Options {
    /// The drive's folder.
    ///
    /// # Errors
    /// No drive, or more than one, was found.
    pub fn find_drive(&self) -> Result<PathBuf> {
        drive::choose(self.drive.as_deref(), host::relaunch::origin().ok().as_deref())
    }

    /// The drive's folder, if the drive in it is the one that was looked at.
    ///
    /// # Errors
    /// As [`Options::find_drive`], and another drive is there now.
    pub fn find_meant_drive(&self) -> Result<PathBuf> {
        let root = self.find_drive()?;
        if self.identity.is_some() && Identity::peek(&Drive::open(&root)?)? != self.identity {
            return Err(Error::new(
                Kind::Drive,
                format!("another drive is plugged in now: {}", root.display()),
            )
            .safe("nothing was changed on it")
            .hint("look at it first"));
        }
        Ok(root)
    }

    /// The folder of this PC that the guest may use: absolute, without links.
    ///
    /// # Errors
    /// It is no folder, or lies on the drive, which a guest must not write to behind our back.
    pub fn find_share(&self, drive: &Path) -> Result<Option<PathBuf>> {
        let Some(named) = &self.share else { return Ok(None) };
        let refused = |why: &str| {
            Error::new(Kind::Usage, format!("{why}: {}", named.display()))
                .safe("nothing was started")
                .hint("name a folder of this PC with --share")
        };
        let path = host::file::canonical(named)
            .map_err(|error| refused("the folder to share can't be opened").because(error))?;
        if !path.is_dir() {
            return Err(refused("only a folder can be shared"));
        }
        if path.starts_with(drive) || drive.starts_with(&path) {
            return Err(refused("the drive itself can't be shared with its guest"));
        }
        Ok(Some(path))
    }

    /// The folder of all sessions on this PC.
    ///
    /// # Errors
    /// It is not on an internal, local, writable disk.
    pub fn find_scratch(&self, drive: &Path) -> Result<scratch::Root> {
        scratch::Root::choose(drive, self.scratch.as_deref())
    }
}

/// Runs the machine on a drive, from detection to "you may unplug".
///
/// # Errors
/// Every way in which that can fail; the error says what is safe and what to do next.
pub fn run(options: &Options, controls: &Controls, view: &dyn View) -> Result<Outcome> {
    let root = options.find_meant_drive()?;
    let scratch = options.find_scratch(&root)?;
    let claim = Claim::new(&root, view)?;
    let (claim, given_up) = settle_leftovers(claim, &scratch, options, controls, view)?;
    let detected = stage(view, Step::Detect, || {
        Ok(detect::detect(Some(&claim.drive), options.fresh_verdicts, Remember::Yes, view))
    })?;
    let chosen = detected.choose(&needs(claim.drive.manifest()), options, view);
    let plan = stage(view, Step::Plan, || {
        let plan = proposal::propose(&claim.drive, &scratch, chosen.as_ref().ok(), options)?;
        view.show(&Event::Plan { plan: Box::new(plan.clone()) });
        Ok(plan)
    })?;
    let (door, _) = chosen?;
    may_run(&plan, view)?;
    stop_if_wished(controls)?;
    if let Some(given_up) = given_up {
        view.show(&Event::notice(Notice::Abandoned, format!("Given up as asked: {given_up}")));
    }

    let template = prepare::template(&claim.drive, &door.candidate().hypervisor)?;
    let (prepared, door) = stage(view, Step::Prepare, || {
        let wanted = prepare::Wanted { plan: &plan, capabilities: door.capabilities(), options };
        let prepared = prepare::prepare(&claim, &wanted, &scratch, &Reporter::copying(controls, view))?;
        let door = carried::detach(door, prepared.folder.path())?;
        Ok((prepared, door))
    })?;
    // In this order, so that the folder is closed before the job removes it.
    let prepare::Prepared { job, folder, record, machine, adapted } = prepared;
    view.show(&Event::Session { id: record.id, scratch: folder.path().to_owned() });
    if let Some(adapted) = adapted {
        for note in &adapted.notes {
            view.show(&Event::notice(Notice::Fit, note.clone()));
        }
        view.show(&Event::Adapted { adapted: Box::new(adapted) });
    }
    stop_if_wished(controls)?;
    let launched = stage(view, Step::Launch, || {
        let rendered = door.render(&machine, &template)?;
        let running = door.launch(&machine, &rendered)?;
        Ok((settle::stay_awake(view), running))
    });
    let (_awake, running) = match launched {
        // A guest that can't be ended keeps its disks, whatever else went wrong.
        Err(error) if hypervisor::runs(folder.path()).unwrap_or(true) => {
            job.complete();
            return Err(error
                .safe("the drive is unchanged")
                .hint("see what became of it with: pocketvm recover"));
        }
        launched => launched?,
    };
    job.complete();
    let started = supervision::Supervision::launched(claim.drive.root());
    settle::run_and_conclude(claim, folder, record, running, started, Front { options, controls, view })
}

/// Decides about everything that earlier sessions left behind, until the drive is free for a new one; or free but for a
/// session elsewhere that is to be given up.
fn settle_leftovers(
    mut claim: Claim,
    scratch: &scratch::Root,
    options: &Options,
    controls: &Controls,
    view: &dyn View,
) -> Result<(Claim, Option<Error>)> {
    loop {
        let root = claim.drive.root().to_owned();
        let Leftover { here, away } = claim.leftover(scratch)?;
        if let Some(away) = &away {
            if options.abandon_session && here.is_none() {
                // Its record stays until that of the new session takes its place: a start that is refused changes nothing.
                return Ok((claim, Some(away.error())));
            }
            // What only needs cleaning up here is no reason to hide what is at stake elsewhere.
            if !options.abandon_session && here.as_ref().is_none_or(|here| !here.is_settled()) {
                return Err(away.error());
            }
        }
        let Some(here) = here else {
            return Ok((claim, None));
        };
        let answer = if here.is_settled() {
            Some(Answer::Merge)
        } else {
            view.show(&Event::notice(Notice::Leftover, here.explanation()));
            options.leftover.or_else(|| view.ask(&here.question()))
        };
        let wish = match answer {
            Some(Answer::Merge) => Wish::Merge,
            Some(Answer::Discard) => Wish::Discard,
            _ => return Err(here.undecided()),
        };
        settle::settle(claim, here, &wish, Front { options, controls, view })?;
        claim = Claim::new(&root, view)?;
    }
}

fn may_run(plan: &Plan, view: &dyn View) -> Result<()> {
    if let Some(refusal) = plan.refusals.first() {
        return Err(Error::new(Kind::Refused, refusal.what.clone())
            .safe("nothing was changed on the drive or this PC")
            .hint(refusal.hint.clone()));
    }
    if plan.needs_consent {
        let mut text = "While the machine runs, its changes lie on this PC's disk without encryption, readable by you and this PC's \
                administrators; after a crash they stay there until you recover or discard them, and deleted files can \
                leave traces"
            .to_owned();
        if let Some(copied) = plan.copied {
            text.push_str(&format!(
                ". So does a copy of the machine's disks, {}, because {} can't read them on the drive",
                indicatif::HumanBytes(copied),
                plan.hypervisor
                    .as_ref()
                    .map_or("the hypervisor", |choice| hypervisor::title(&choice.hypervisor))
            ));
        }
        let question = Question {
            subject: Subject::PlainScratch { copied: plan.copied },
            text,
            answers: vec![Answer::Later, Answer::Accept],
        };
        if view.ask(&question) != Some(Answer::Accept) {
            return Err(Error::new(Kind::Refused, "nobody accepted unencrypted changes on this PC")
                .safe("nothing was changed on the drive or this PC")
                .hint("accept it with --accept-plain-scratch, or for every PC with `scratch: {plain: accepted}` in pocketvm.yaml"));
        }
    } else if plan.plain_scratch {
        // The drive's owner accepted it; whoever owns this PC should at least read it.
        let text = "This session's changes lie on this PC without encryption until they are saved";
        view.show(&Event::notice(Notice::PlainScratch, text));
    }
    Ok(())
}

fn stop_if_wished(controls: &Controls) -> Result<()> {
    match controls.take() {
        None => Ok(()),
        Some(_) => Err(stopped_before()),
    }
}

fn stopped_before() -> Error {
    Error::new(Kind::Interrupted, "stopped before the machine was started")
        .safe("nothing was changed on the drive, and this PC holds nothing")
        .hint("start it again with: pocketvm run")
}

/// What a run would do. Nothing is written on the drive or the PC.
///
/// # Errors
/// No drive, or its manifest or disks are wrong. Refusals are in the plan.
pub fn plan(options: &Options, view: &dyn View) -> Result<Plan> {
    let drive = Drive::open(&options.find_drive()?)?;
    let scratch = options.find_scratch(drive.root())?;
    let detected = detect::detect(Some(&drive), options.fresh_verdicts, Remember::No, view);
    let chosen = detected.choose(&needs(drive.manifest()), options, view);
    let mut plan = proposal::propose(&drive, &scratch, chosen.as_ref().ok(), options)?;
    if let Err(error) = chosen {
        let hint = error.hint.clone().unwrap_or_default();
        plan.refusals.insert(0, plan::Refusal::new(plan::Reason::NoHypervisor, error.to_string(), hint));
    }
    if let Some(refusal) = status::refusal(&drive, &scratch)? {
        plan.refusals.insert(0, refusal);
    }
    Ok(plan)
}

/// The drives that are attached.
pub fn drives() -> Vec<PathBuf> {
    drive::attached()
}

/// How the window is to look and speak, as kept on a drive.
///
/// # Errors
/// No drive, or its manifest is wrong.
pub fn settings(options: &Options) -> Result<Settings> {
    Ok(Drive::open(&options.find_drive()?)?.read_settings())
}

/// The machine's picture as it is in its file. None: there is none, or it can't be read.
///
/// # Errors
/// No drive, or its manifest is wrong.
pub fn picture(options: &Options) -> Result<Option<Vec<u8>>> {
    let drive = Drive::open(&options.find_drive()?)?;
    Ok(drive.picture().unwrap_or_else(|error| {
        tracing::warn!(%error, "the picture is not shown");
        None
    }))
}

/// Keeps on a drive how the window looks and speaks.
///
/// # Errors
/// No drive, or it can't be written.
pub fn remember(options: &Options, settings: &Settings) -> Result<()> {
    Drive::open(&options.find_drive()?)?.write_settings(settings)
}

/// What this PC has, usable or not.
///
/// # Errors
/// A drive was named, and can't be opened.
pub fn detect(options: &Options, view: &dyn View) -> Result<Vec<Candidate>> {
    // Without a drive the PC can still be asked; with a wrong one the user should know.
    let drive = match (options.find_drive(), &options.drive) {
        (Ok(root), _) => Some(Drive::open(&root)?),
        (Err(error), Some(_)) => return Err(error),
        (Err(_), None) => None,
    };
    // Verdicts are written only by the one who holds the drive.
    let lock = drive.as_ref().and_then(|drive| drive.lock().ok());
    let remember = if lock.is_some() { Remember::Yes } else { Remember::No };
    Ok(detect::detect(drive.as_ref(), options.fresh_verdicts, remember, view).candidates)
}

/// The hypervisor's configuration as a run would use it. Nothing is written or executed by rendering.
///
/// # Errors
/// As [`plan()`], and mistakes in the template.
pub fn render(options: &Options, view: &dyn View) -> Result<Rendered> {
    let drive = Drive::open(&options.find_drive()?)?;
    let scratch = options.find_scratch(drive.root())?;
    let detected = detect::detect(Some(&drive), options.fresh_verdicts, Remember::No, view);
    let door = detected.choose(&needs(drive.manifest()), options, view)?;
    let plan = proposal::propose(&drive, &scratch, Some(&door), options)?;
    let identity = Identity::peek(&drive)?.unwrap_or_default();
    let wanted = prepare::Wanted { plan: &plan, capabilities: door.0.capabilities(), options };
    // No session has this id: it is the machine's.
    let folder = scratch.path().join(drive.manifest().machine_uuid(identity).to_string());
    let adapted = wanted.adapt(&drive)?;
    let machine = prepare::machine(identity, &drive, &wanted, &adapted, &folder)?;
    door.0.render(&machine, &prepare::template(&drive, &door.0.candidate().hypervisor)?)
}

/// What the machine of a manifest can't do without.
fn needs(manifest: &Manifest) -> Needs {
    let mut controllers: Vec<&'static str> =
        system_disks(manifest).map(|disk| disk.controller.as_str()).collect();
    if manifest.paging.is_some() {
        controllers.push(paging_controller(manifest));
    }
    Needs { controllers, firmware: manifest.machine.firmware.as_str() }
}

/// The paging disk is on the controller that the guest surely has a driver for.
fn paging_controller(manifest: &Manifest) -> &'static str {
    system_disks(manifest).next().map_or(hypervisor::ANY, |disk| disk.controller.as_str())
}

/// The disks that the guest's system sees.
fn system_disks(manifest: &Manifest) -> impl Iterator<Item = &Disk> {
    manifest.disks.iter().filter(|disk| !disk.controller.is_chip())
}
