//! Brings a session to its end: one whose guest just ran, or one that was left behind.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::adapt;
use super::chips;
use super::claim::{Claim, disk_error, gone};
use super::controls::Controls;
use super::event::{Answer, Event, Notice, Outcome, Question, Step, Subject, View};
use super::folder::Folder;
use super::leftover::{Away, Here, Leftover, Standing};
use super::run::{Supervised, SupervisedDisk, supervise};
use super::stage::stage;
use super::supervision::{Control, Started, Supervision};
use super::watch::Sought;
use super::{Options, conclude};
use crate::drive::manifest::Manifest;
use crate::drive::{Phase, SessionRecord, names};
use crate::host::inhibit::Inhibitor;
use crate::hypervisor::{self, Ending, Running};
use crate::{Error, Kind, Result, host};

/// What to do with a left-over session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Save its changes to the drive.
    Merge,
    /// Throw its changes away.
    Discard,
    /// Keep its overlays as files in this folder.
    SaveAs(PathBuf),
}

/// Those in front of a session: what they decided beforehand, what they wish while it runs, and where they see it.
#[derive(Clone, Copy)]
pub struct Front<'a> {
    /// Decided beforehand.
    pub options: &'a Options,
    /// Wishes.
    pub controls: &'a Controls,
    /// What is seen.
    pub view: &'a dyn View,
}

/// Decides about everything that earlier sessions left behind; without a wish the view is asked.
///
/// # Errors
/// Nobody decided, or what was decided failed. The session stays recoverable then.
pub fn recover(
    options: &Options,
    wish: Option<Wish>,
    controls: &Controls,
    view: &dyn View,
) -> Result<Outcome> {
    let root = options.find_meant_drive()?;
    let scratch = options.find_scratch(&root)?;
    let mut outcome = Outcome::Clean;
    // What was wished for was meant for the session that the user knew of.
    let mut wish = wish;
    loop {
        let claim = Claim::new(&root, view)?;
        let Leftover { here, away } = claim.leftover(&scratch)?;
        let here = match (here, away) {
            (Some(here), Some(away)) if wish == Some(Wish::Merge) && !here.is_settled() => {
                drop(here);
                return Err(away.shuts_out());
            }
            (Some(here), _) => here,
            (None, Some(away)) if outcome != Outcome::Clean => {
                // What was here is settled; what is elsewhere is not this command's business.
                view.show(&Event::notice(Notice::Leftover, away.error().to_string()));
                return Ok(outcome);
            }
            (None, Some(away)) => {
                if let (Some(Wish::SaveAs(target)), Some(session)) = (&wish, &away.session) {
                    // A copy only: the session stays for the drive that it belongs to.
                    save_as(&Folder::lock(session.clone())?, &away.record, claim.drive.manifest(), target)?;
                    return Ok(Outcome::SetAside);
                }
                give_up(&claim, &away, wish.as_ref(), options, view)?;
                claim.release()?;
                return Ok(Outcome::Discarded);
            }
            (None, None) => {
                claim.drive.write_clean(None)?;
                claim.release()?;
                return Ok(outcome);
            }
        };
        let is_settled = here.is_settled();
        let wished = match &wish {
            Some(wish) => wish.clone(),
            None if here.is_settled() => Wish::Merge,
            None => match view.ask(&here.question()) {
                Some(Answer::Merge) => Wish::Merge,
                Some(Answer::Discard) => Wish::Discard,
                _ => return Err(here.undecided()),
            },
        };
        controls.take();
        let settled = settle(claim, here, &wished, Front { options, controls, view })?;
        if !is_settled && matches!(wished, Wish::Discard | Wish::SaveAs(_)) {
            wish = None;
        }
        // Saving is what the last line should tell, if anything was saved.
        if outcome != Outcome::Saved {
            outcome = settled;
        }
    }
}

/// Gives up a session whose changes are elsewhere, if that is what the user wants: that PC is told so when the drive
/// comes back to it.
fn give_up(
    claim: &Claim,
    found: &Away,
    wish: Option<&Wish>,
    options: &Options,
    view: &dyn View,
) -> Result<()> {
    let away = found.error();
    let question = Question {
        subject: Subject::GiveUp(found.describe()),
        text: format!("{away}. Giving it up can't be taken back"),
        answers: vec![Answer::Later, Answer::Discard],
    };
    let is_wished = wish == Some(&Wish::Discard)
        && (options.abandon_session || view.ask(&question) == Some(Answer::Discard));
    if !is_wished {
        return Err(away);
    }
    view.show(&Event::notice(Notice::Abandoned, format!("Given up as asked: {away}")));
    claim.drive.write_clean(None)?;
    // What that session had begun to save can't be gone on with any more.
    pocketvm_disk::give_up(&claim.commit).map_err(disk_error)
}

/// Does what was decided about a left-over session.
///
/// # Errors
/// It can't be done; the session stays recoverable.
pub fn settle(claim: Claim, here: Here, wish: &Wish, front: Front<'_>) -> Result<Outcome> {
    let _awake = stay_awake(front.view);
    if let Some(running) = hypervisor::adopt(here.folder.path())? {
        return settle_running(claim, here, running, wish, front);
    }
    match (wish, &here.standing) {
        (_, Standing::Landed) => conclude::tidy(claim, here.folder, here.record, front.view),
        (_, Standing::Wiping) => conclude::discard(claim, here.folder, here.record, front.view),
        (Wish::Discard, _) => conclude::discard(claim, here.folder, here.record, front.view),
        (Wish::SaveAs(target), _) => {
            save_as(&here.folder, &here.record, claim.drive.manifest(), target)?;
            conclude::set_aside(claim, here.folder, here.record, front.view)
        }
        (Wish::Merge, Standing::Moved { .. } | Standing::Unreadable { .. }) => Err(here.undecided()),
        (Wish::Merge, Standing::Mergeable) if here.record.phase == Phase::Preparing => {
            conclude::discard(claim, here.folder, here.record, front.view)
        }
        (Wish::Merge, Standing::Mergeable) => {
            conclude::merge(claim, here.folder, here.record, front.controls, front.view)
        }
    }
}

/// A guest that outlived its launcher: take it over and end it as wished.
fn settle_running(
    claim: Claim,
    here: Here,
    running: Running,
    wish: &Wish,
    front: Front<'_>,
) -> Result<Outcome> {
    let (text, control) = match wish {
        Wish::Discard => {
            ("The machine still runs although its launcher is gone; it is forced off", Control::ForceOff)
        }
        _ => (
            "The machine still runs although its launcher is gone; it is taken over and shut down",
            Control::ShutDown,
        ),
    };
    front.view.show(&Event::notice(Notice::Adopted, text));
    if *wish == Wish::Merge {
        // Also makes the drive tell of a session that it had forgotten, by which it is recognised while the guest runs.
        claim.record(&here.record)?;
    }
    front.controls.send(control);
    match wish {
        Wish::Merge => {
            let started = Supervision::adopted(claim.drive.root());
            run_and_conclude(claim, here.folder, here.record, running, started, front)
        }
        Wish::Discard | Wish::SaveAs(_) => {
            let started = Supervision::adopted(claim.drive.root());
            let (claim, record, _) = run_guest(claim, &here.folder, here.record, running, started, front)?;
            let claim = claim.ok_or_else(gone)?;
            let Wish::SaveAs(target) = wish else {
                return conclude::discard(claim, here.folder, record, front.view);
            };
            save_as(&here.folder, &record, claim.drive.manifest(), target)?;
            conclude::set_aside(claim, here.folder, record, front.view)
        }
    }
}

/// Runs a launched guest to its end, then merges and wipes, or leaves a recoverable session.
///
/// # Errors
/// The guest did not end cleanly and nobody decided to merge; the drive is gone; the merge failed.
pub fn run_and_conclude(
    claim: Claim,
    folder: Folder,
    record: SessionRecord,
    running: Running,
    started: Started,
    front: Front<'_>,
) -> Result<Outcome> {
    let (claim, record, ran) =
        stage(front.view, Step::Run, || run_guest(claim, &folder, record, running, started, front))?;
    if ran.interrupted {
        return Err(Error::new(Kind::Interrupted, "the session was ended by this PC")
            .safe("its changes are intact on this PC")
            .hint("save them with: pocketvm recover --merge"));
    }
    let claim = claim.ok_or_else(gone)?;
    if ran.clean {
        return conclude::merge(claim, folder, record, front.controls, front.view);
    }
    if let Ending::WrittenElsewhere { .. } = ran.ending {
        // What is here is older than what the guest saw last: to merge it would pass for saving.
        return Err(Error::new(Kind::Unclean, ran.how)
            .safe("the drive is as before the session, and everything is on this PC")
            .hint("take what you need out of the machine in the hypervisor's own window, then throw the session away with: pocketvm discard"));
    }
    let text = format!(
        "{}. Its changes are intact on this PC, but may hold half-written files, as after a power cut",
        ran.how
    );
    let answers = vec![Answer::Later, Answer::Merge, Answer::Discard];
    let question = Question { subject: Subject::Unclean(ran.ending.clone()), text, answers };
    let answer = front.options.on_unclean.or_else(|| front.view.ask(&question));
    // What was wished while the guest ran is not meant for the merge that was chosen just now.
    front.controls.take();
    match answer {
        Some(Answer::Merge) => conclude::merge(claim, folder, record, front.controls, front.view),
        Some(Answer::Discard) => conclude::discard(claim, folder, record, front.view),
        _ => Err(Error::new(Kind::Unclean, ran.how)
            .safe("the drive is as before the session, and the changes are intact on this PC")
            .hint("save them with: pocketvm recover --merge, or throw them away with: pocketvm discard")),
    }
}

/// Holds off sleep and log-off as long as the value lives, or says that this PC does not allow it.
pub fn stay_awake(view: &dyn View) -> Inhibitor {
    let held = Inhibitor::hold("A PocketVM session is running");
    if let Some(why) = held.refusal() {
        let text =
            format!("This PC can't be kept awake ({why}). Do not let it sleep until everything is saved");
        view.show(&Event::notice(Notice::Awake, text));
    }
    held
}

/// How a guest's run went, in the words of the session.
struct End {
    ending: Ending,
    clean: bool,
    interrupted: bool,
    how: String,
}

/// Runs the guest to its end and records that; the claim comes back unless the drive is gone.
fn run_guest(
    claim: Claim,
    folder: &Folder,
    mut record: SessionRecord,
    running: Running,
    started: Started,
    front: Front<'_>,
) -> Result<(Option<Claim>, SessionRecord, End)> {
    let mut ran =
        supervise(&supervised(&claim, folder, &record), running, started, front.controls, front.view);
    let asleep = match (&ran.ending, &ran.root) {
        (Ending::PoweredOff, Some(root)) => adapt::asleep(root, folder),
        _ => None,
    };
    folder.drop_temporaries(record.disks.iter().map(|disk| disk.name.as_str()));
    if let Some(detail) = asleep {
        ran.ending = Ending::Hibernated { detail };
    }
    if let Some(detail) = lost_chips(claim.drive.manifest(), &record, folder) {
        ran.ending = Ending::HypervisorDied { detail };
    }
    let (clean, how) = match &ran.ending {
        Ending::PoweredOff => (true, String::new()),
        Ending::Forced => (false, "the machine was forced off".to_owned()),
        Ending::Panicked => (false, "the machine's system crashed".to_owned()),
        Ending::WrittenElsewhere { detail } | Ending::Hibernated { detail } => (false, detail.clone()),
        Ending::HypervisorDied { detail } => (false, format!("the hypervisor ended unexpectedly ({detail})")),
    };
    record.phase = Phase::Stopped;
    record.clean_shutdown = clean;
    record.updated = Timestamp::now();
    for disk in &mut record.disks {
        disk.unsaved = folder.unsaved(&disk.name);
    }
    folder.note(&record);
    // The lock and the paths of a drive that was away are stale: claim it again where it is now.
    let claim = match ran.root {
        Some(root) if root == claim.drive.root() && !ran.returned => Some(claim),
        Some(root) => {
            drop(claim);
            Some(Claim::new(&root, front.view)?)
        }
        None => None,
    };
    if let Some(claim) = &claim
        && claim.other_at_stake(record.id)?.is_none()
    {
        claim.record(&record)?;
    }
    Ok((claim, record, End { ending: ran.ending, clean, interrupted: ran.interrupted, how }))
}

/// What the machine's chips were left with that can't be used, in a clause. Nobody who ended well leaves such things.
fn lost_chips(manifest: &Manifest, record: &SessionRecord, folder: &Folder) -> Option<String> {
    let unusable = chips::collect(manifest, record, folder.path()).unwrap_or_else(|error| {
        // It will be tried again before anything is saved.
        tracing::warn!(%error, "what the machine's chips remember could not be looked at");
        vec![]
    });
    let told = unusable.iter().map(|unusable| {
        let name = unusable.file.file_stem().unwrap_or_default().to_string_lossy();
        chips::sentence(&name, &unusable.why)
    });
    Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
}

fn supervised<'a>(claim: &Claim, folder: &'a Folder, record: &SessionRecord) -> Supervised<'a> {
    let recorded = |name: &str| record.disks.iter().find(|disk| disk.name == name);
    let disks = claim.drive.manifest().disks.iter();
    Supervised {
        scratch: folder.path(),
        root: claim.drive.root().to_owned(),
        sought: Sought {
            identity: claim.identity,
            session: record.id,
            folder: claim.folder.clone(),
            generations: disks
                .filter_map(|disk| Some((disk.clone(), recorded(disk.name.as_str())?.generation.clone())))
                .collect(),
        },
        disks: super::system_disks(claim.drive.manifest())
            .map(|disk| SupervisedDisk {
                described: disk.clone(),
                overlay: folder.overlay(disk.name.as_str()),
                keep: recorded(disk.name.as_str()).is_some_and(|recorded| recorded.keep),
            })
            .collect(),
    }
}

/// Copies the kept overlays, and the files of kept chips, into `target`. A file that is there already is not written over.
fn save_as(folder: &Folder, record: &SessionRecord, manifest: &Manifest, target: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Unexpected, "the changes could not be copied")
            .safe("they are intact on this PC")
            .hint("choose an empty folder with enough room")
            .because(error)
    };
    fs_err::create_dir_all(target).map_err(failed)?;
    folder.drop_temporaries(record.disks.iter().map(|disk| disk.name.as_str()));
    let unusable = chips::collect(manifest, record, folder.path())?;
    for disk in record.disks.iter().filter(|disk| disk.keep) {
        let chip = folder.path().join(names::chip(&disk.name));
        let chip =
            Some(chip).filter(|chip| disk.chip && !unusable.iter().any(|unusable| unusable.file == *chip));
        let overlay = Some(folder.overlay(&disk.name)).filter(|overlay| overlay.exists());
        for file in overlay.into_iter().chain(chip) {
            let name = file.file_name().map(Path::new).unwrap_or(Path::new(&disk.name));
            host::whole::copy_new(&file, &target.join(name)).map_err(failed)?;
        }
    }
    // The overlays are wiped after this: their names in the folder must be durable, too.
    host::file::flush_folder(target).map_err(failed)
}
