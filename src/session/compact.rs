//! Gives room that the bases do not need any more back to the drive. The saves of what is compacted are final afterwards.

use pocketvm_disk::HistoryStep;

use super::claim::{Claim, disk_error, gone};
use super::controls::Controls;
use super::event::{Answer, CompactedDisk, Event, Notice, Outcome, Question, Step, Subject, View};
use super::history::claim_idle;
use super::progress::Reporter;
use super::stage::stage;
use super::{Options, settle};
use crate::drive::manifest::{Disk, Format};
use crate::{Error, Kind, Result};

/// Whether the user has agreed beforehand that saves become final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Yes.
    Given,
    /// The view is asked.
    Ask,
}

/// Compacts the disks called `names`, all if there is none.
///
/// # Errors
/// A session is unfinished, nobody agreed that saves become final, a disk can't be compacted, the drive fails, or cancelled.
/// Whatever fails, the disks hold what they held.
pub fn compact(
    options: &Options,
    names: &[String],
    consent: Consent,
    controls: &Controls,
    view: &dyn View,
) -> Result<Outcome> {
    let claim = claim_idle(options, view)?;
    let disks = chosen(&claim, names, view)?;
    agree(&claim, &disks, consent, view)?;
    let _awake = settle::stay_awake(view);
    // A record whose changes have landed stands for generations that go now.
    claim.drive.write_clean(None)?;
    let compacted = stage(view, Step::Compact, || {
        let one = |disk: &&Disk| compact_one(&claim, disk, controls, view);
        disks.iter().map(one).collect::<Result<Vec<_>>>()
    })?;
    view.show(&Event::Compacted { disks: compacted });
    claim.release()?;
    Ok(Outcome::Compacted)
}

/// The disks to compact. One that can't be is refused if it was named, and told of otherwise.
fn chosen<'a>(claim: &'a Claim, names: &[String], view: &dyn View) -> Result<Vec<&'a Disk>> {
    let manifest = claim.drive.manifest();
    if let Some(unknown) = names.iter().find(|name| manifest.disk(name).is_none()) {
        return Err(Error::new(Kind::Usage, format!("the machine has no disk of this name: {unknown}"))
            .safe("nothing was changed")
            .hint("see its disks with: pocketvm plan"));
    }
    let mut chosen = vec![];
    for disk in &manifest.disks {
        let name = disk.name.as_str();
        let is_named = names.iter().any(|named| named == name);
        if !names.is_empty() && !is_named {
            continue;
        }
        let why_not = match (disk.format, claim.generation(disk)?) {
            (Format::Raw, _) => "a raw image always has the size of its disk",
            (Format::Qcow2, None) => {
                "it was not used since it was made, or since another program wrote to it"
            }
            (Format::Qcow2, Some(_)) => {
                chosen.push(disk);
                continue;
            }
        };
        if is_named {
            return Err(Error::new(Kind::Usage, format!("{why_not}, so that it can't be compacted: {name}"))
                .safe("nothing was changed"));
        }
        view.show(&Event::notice(Notice::Skipped, format!("The disk {name} is not compacted: {why_not}")));
    }
    Ok(chosen)
}

/// Says what can't be taken back, and asks.
fn agree(claim: &Claim, disks: &[&Disk], consent: Consent, view: &dyn View) -> Result<()> {
    let steps = pocketvm_disk::history(&claim.commit).map_err(disk_error)?;
    let bases: Vec<&str> = disks.iter().map(|disk| disk.file.as_str()).collect();
    let text = match final_saves(&steps, &bases) {
        0 => return Ok(()),
        1 => "After compacting, the kept save can't be undone or redone any more".to_owned(),
        count => format!("After compacting, {count} of the kept saves can't be undone or redone any more"),
    };
    if consent == Consent::Given {
        return Ok(());
    }
    match view.ask(&Question {
        subject: Subject::Confirm,
        text: text.clone(),
        answers: vec![Answer::Later, Answer::Accept],
    }) {
        Some(Answer::Accept) => Ok(()),
        _ => Err(Error::new(Kind::Refused, format!("{text}, and nobody agreed to that"))
            .safe("nothing was changed")
            .hint("agree with --yes")),
    }
}

/// How many saves become final when `bases` are compacted: those that changed one of them, and those that can only be
/// reached through these.
fn final_saves(steps: &[HistoryStep], bases: &[&str]) -> usize {
    let hit = |step: &HistoryStep| step.disks.iter().any(|disk| bases.contains(&disk.base.as_str()));
    let position = steps.iter().filter(|step| step.applied).count();
    let (done, undone) = steps.split_at(position);
    let before = done.iter().rposition(hit).map_or(0, |at| at + 1);
    before + if undone.iter().any(hit) { undone.len() } else { 0 }
}

fn compact_one(claim: &Claim, disk: &Disk, controls: &Controls, view: &dyn View) -> Result<CompactedDisk> {
    const SAFE: &str = "the disks hold what they held";
    let done = pocketvm_disk::compact(&claim.commit, disk.file.as_str(), &Reporter::new(controls, view));
    let done = done.map_err(|error| match error {
        _ if !claim.is_there() => {
            gone().because(error).safe(SAFE).hint("plug the drive in again, then: pocketvm recover")
        }
        pocketvm_disk::Error::Cancelled => Error::new(Kind::Merge, "compacting was cancelled")
            .safe(SAFE)
            .hint("go on with: pocketvm compact"),
        error @ (pocketvm_disk::Error::Interrupted(_) | pocketvm_disk::Error::Unrecovered(_)) => {
            disk_error(error)
        }
        error @ pocketvm_disk::Error::ForeignWriter { .. } => {
            disk_error(error).safe(SAFE).hint("save a session first, then compact again")
        }
        error => disk_error(error).safe(SAFE),
    })?;
    Ok(CompactedDisk {
        name: disk.name.as_str().to_owned(),
        before: done.before,
        after: done.after,
        moved: done.moved,
        generation: done.generation.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use pocketvm_disk::HistoryDisk;

    use super::*;

    fn step(applied: bool, bases: &[&str]) -> HistoryStep {
        let disk = |base: &&str| HistoryDisk {
            name: (*base).into(),
            base: (*base).into(),
            changed: 1,
            from: None,
            to: None,
        };
        HistoryStep {
            applied,
            time: 0,
            note: String::new(),
            changed: 1,
            disks: bases.iter().map(disk).collect(),
        }
    }

    #[test]
    fn saves_become_final_that_changed_the_disk_or_lie_beyond_one_that_did() {
        let steps =
            [step(true, &["user"]), step(true, &["system"]), step(true, &["user"]), step(false, &["user"])];
        assert_eq!(final_saves(&steps, &["system"]), 2);
        assert_eq!(final_saves(&steps, &["user"]), 4);
        assert_eq!(final_saves(&steps, &["other"]), 0);
        assert_eq!(final_saves(&[], &["user"]), 0);
    }
}
