//! The end of a session: its kept overlays become part of their bases, and every temporary goes.

use jiff::Timestamp;
use pocketvm_disk::MergeDisk;

use super::chips;
use super::claim::{Claim, gone};
use super::controls::Controls;
use super::event::{Event, MergedDisk, Notice, Outcome, Step, View};
use super::folder::Folder;
use super::progress::Reporter;
use super::stage::stage;
use crate::drive::{LastSession, Phase, SessionRecord};
use crate::{Error, Kind, Result, host, hypervisor};

/// What to tell about the changes when a merge did not happen.
const INTACT: &str = "the drive is as before the session, and the changes are intact on this PC";

/// The one next thing after it.
const TRY_AGAIN: &str = "with the drive plugged in, save them with: pocketvm recover --merge";

/// Merges the kept disks of a session that has stopped, then wipes its folder.
///
/// # Errors
/// The merge failed or was cancelled: the bases are as before, the session stays recoverable.
pub fn merge(
    claim: Claim,
    folder: Folder,
    mut record: SessionRecord,
    controls: &Controls,
    view: &dyn View,
) -> Result<Outcome> {
    let disks = merge_disks(&claim, &folder, &record)?;
    // On a full disk, this makes the room for what follows.
    folder.drop_temporaries(record.disks.iter().map(|disk| disk.name.as_str()));
    chips::gather(&claim, &folder, &record, view).map_err(|error| not_gathered(&claim, error))?;
    let mut saved = 0;
    if !disks.is_empty() {
        saved = stage(view, Step::Merge, || {
            merge_disks_as_one(&claim, &folder, &mut record, &disks, controls, view)
        })?;
    }
    let outcome = if disks.is_empty() { Outcome::Discarded } else { Outcome::Saved };
    wipe(claim, folder, record, saved, outcome, view)
}

/// The error for chips whose state did not come into overlays.
fn not_gathered(claim: &Claim, error: Error) -> Error {
    if !claim.is_there() {
        return gone().because(error);
    }
    let error = error.safe(INTACT);
    if error.hint.is_none() { error.hint(TRY_AGAIN) } else { error }
}

/// Throws a session's changes away.
///
/// # Errors
/// Something could not be removed.
pub fn discard(claim: Claim, folder: Folder, record: SessionRecord, view: &dyn View) -> Result<Outcome> {
    give_room_back(&claim, &record)?;
    wipe(claim, folder, record, 0, Outcome::Discarded, view)
}

/// Removes a session whose changes were copied elsewhere.
///
/// # Errors
/// Something could not be removed.
pub fn set_aside(claim: Claim, folder: Folder, record: SessionRecord, view: &dyn View) -> Result<Outcome> {
    give_room_back(&claim, &record)?;
    wipe(claim, folder, record, 0, Outcome::SetAside, view)
}

/// Cleans up after a session whose changes landed before its launcher died.
///
/// # Errors
/// Something could not be removed.
pub fn tidy(claim: Claim, folder: Folder, record: SessionRecord, view: &dyn View) -> Result<Outcome> {
    let saved = record.disks.iter().filter(|disk| disk.keep).map(|disk| disk.unsaved).sum();
    wipe(claim, folder, record, saved, Outcome::Saved, view)
}

/// Gives back what an interrupted merge of this session took on the drive for its next attempt, which will not come.
fn give_room_back(claim: &Claim, record: &SessionRecord) -> Result<()> {
    if claim.other_at_stake(record.id)?.is_some() {
        // It may be that session's, which still waits for its next attempt.
        return Ok(());
    }
    if let Err(error) = pocketvm_disk::give_up(&claim.commit) {
        // The next merge, undo or stamp gives it back as well: no reason to keep what the user does not want.
        tracing::warn!(%error, "the room of an interrupted merge was not given back");
    }
    Ok(())
}

fn merge_disks(claim: &Claim, folder: &Folder, record: &SessionRecord) -> Result<Vec<MergeDisk>> {
    let manifest = claim.drive.manifest();
    let mut disks = vec![];
    for disk in record.disks.iter().filter(|disk| disk.keep) {
        let described = manifest.disk(&disk.name).ok_or_else(|| {
            Error::new(Kind::Merge, format!("the manifest has no disk of this name any more: {}", disk.name))
                .safe(INTACT)
                .hint("put the disk back into pocketvm.yaml, or keep the changes with: pocketvm recover --save-as DIR")
        })?;
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Error::new(Kind::Drive, format!("the session's record holds no generation: {text}"))
            })
        };
        disks.push(MergeDisk {
            name: disk.name.clone(),
            base: described.file.as_str().to_owned(),
            overlay: folder.overlay(&disk.name),
            expected: parse(&disk.generation)?,
            next: parse(&disk.next)?,
        });
    }
    Ok(disks)
}

/// The merge itself; returns the bytes that changed.
fn merge_disks_as_one(
    claim: &Claim,
    folder: &Folder,
    record: &mut SessionRecord,
    disks: &[MergeDisk],
    controls: &Controls,
    view: &dyn View,
) -> Result<u64> {
    let failed = |error: pocketvm_disk::Error| {
        let kind = if claim.is_there() { Kind::Merge } else { Kind::Gone };
        let what = if matches!(error, pocketvm_disk::Error::Cancelled) {
            "the save was cancelled"
        } else {
            "the changes could not be saved"
        };
        let safe = match error {
            pocketvm_disk::Error::Interrupted(_) => {
                "the changes are intact on this PC; the drive is at the state before or after them, never between"
            }
            _ => INTACT,
        };
        let hint = match error {
            // To try again would fail again.
            pocketvm_disk::Error::ForeignWriter { .. } | pocketvm_disk::Error::WrongGeneration { .. } => {
                "keep the changes as files with: pocketvm recover --save-as DIR, or throw them away with: pocketvm discard"
            }
            _ => TRY_AGAIN,
        };
        Error::new(kind, what).because(error).safe(safe).hint(hint)
    };
    let estimate = pocketvm_disk::estimate(&claim.commit, disks).map_err(failed)?;
    let room = host::volume::free(claim.drive.root()).map_err(|error| gone().because(error))?;
    if let Some(missing) = estimate.grows.checked_sub(room).filter(|missing| *missing > 0) {
        return Err(Error::new(
            Kind::Merge,
            format!("the drive has no room for the changes: {} MiB are missing", missing.div_ceil(1 << 20)),
        )
        .safe(INTACT)
        .hint("free that much room on the drive, then save them with: pocketvm recover --merge"));
    }
    for (recorded, estimated) in record.disks.iter_mut().filter(|disk| disk.keep).zip(&estimate.disks) {
        recorded.unsaved = estimated.changed;
    }
    record.phase = Phase::Merging;
    record.updated = Timestamp::now();
    claim.record(record)?;
    folder.note(record);
    let merged =
        pocketvm_disk::merge(&claim.commit, disks, &Reporter::new(controls, view)).map_err(failed)?;
    let reused: u64 = merged.disks.iter().map(|disk| disk.amounts.reused).sum();
    if reused > 0 {
        let text = format!(
            "An earlier attempt to save these changes had left {} on the drive, which were not written again",
            indicatif::HumanBytes(reused)
        );
        view.show(&Event::notice(Notice::Resumed, text));
    }
    for disk in disks {
        let described = claim.drive.manifest().disk(&disk.name);
        let now = described.map(|described| claim.generation(described)).transpose()?.flatten();
        if now != Some(disk.next) {
            return Err(Error::new(
                Kind::Merge,
                format!("the save could not be confirmed on the disk {}", disk.name),
            )
            .safe("the changes are intact on this PC")
            .hint("plug the drive out and in, then: pocketvm recover --merge"));
        }
    }
    view.show(&Event::Merged {
        disks: merged
            .disks
            .iter()
            .map(|disk| MergedDisk {
                name: disk.name.clone(),
                changed: disk.amounts.changed,
                written: disk.amounts.written,
                freed: disk.amounts.freed,
                skipped: disk.amounts.skipped,
                reused: disk.amounts.reused,
                from: disk.from.to_string(),
                to: disk.to.to_string(),
            })
            .collect(),
    });
    Ok(merged.disks.iter().map(|disk| disk.amounts.changed).sum())
}

fn wipe(
    claim: Claim,
    folder: Folder,
    mut record: SessionRecord,
    saved: u64,
    outcome: Outcome,
    view: &dyn View,
) -> Result<Outcome> {
    let told = |error: Error, safe: &str| {
        let error = if error.safe.is_none() { error.safe(safe) } else { error };
        if error.hint.is_none() { error.hint("try again with: pocketvm recover") } else { error }
    };
    let safe = match outcome {
        Outcome::Saved => "your changes are saved on the drive",
        _ => "the drive is as before the session",
    };
    stage(view, Step::Wipe, || {
        // The overlays are the only other copy: they go only when the drive has confirmed that it holds everything.
        claim.flush().map_err(|error| told(error, "the changes are still on this PC, too"))?;
        // From here on nothing may be merged from the folder again: it may be incomplete, or was discarded.
        record.phase = Phase::Wiping;
        record.updated = Timestamp::now();
        // The record of another PC's session stays whatever becomes of this one.
        let is_ours = claim.other_at_stake(record.id)?.is_none();
        if is_ours {
            claim.drive.write_session(&record)?;
        }
        folder.note(&record);
        forget(&folder, view);
        folder.wipe()?;
        if is_ours {
            let (id, host_name, ended) = (record.id, record.host_name.clone(), Timestamp::now());
            let last = LastSession { id, host_name, ended, saved };
            claim.drive.write_clean((outcome == Outcome::Saved).then_some(&last))?;
        }
        claim.release()
    })
    .map_err(|error| told(error, safe))?;
    Ok(outcome)
}

/// The hypervisor forgets the machine, if it keeps a list. Should it not, the next session makes it: no reason to keep what
/// the user does not want on this PC.
fn forget(folder: &Folder, view: &dyn View) {
    if let Err(error) = hypervisor::forget(folder.path()) {
        let text = format!(
            "The hypervisor still lists the machine of this session ({error}); the next session removes it"
        );
        view.show(&Event::notice(Notice::Hypervisor, text));
    }
}
