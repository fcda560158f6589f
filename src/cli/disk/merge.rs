//! `disk merge`: overlays become part of their bases.

use std::path::PathBuf;

use pocketvm_disk::qcow2::image::Role;
use pocketvm_disk::{BaseState, CommitFile, GenerationId, MergeDisk, Merged};

use super::args::MergeArgs;
use super::estimate::{estimate, missing};
use super::pairs::{Pair, look, open, pairs};
use super::progress::Reporter;
use super::record::{Base, Place};
use super::{Desk, failure, text};
use crate::host::{facts, volume};
use crate::session::event::{Event, MergedDisk, Notice, Outcome, View};
use crate::{Error, Kind, Result};

/// Merges, or shows what a merge would take.
///
/// # Errors
/// Something is refused or failed: the bases are as they were, all of them.
pub fn merge(args: &MergeArgs, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), args.images.first().map(PathBuf::as_path))?;
    let pairs = pairs(args, &place)?;
    if args.dry_run {
        return estimate(&place, &pairs, desk);
    }
    let note = args.note.clone().unwrap_or_else(facts::host_name);
    place.with_record(
        desk.view,
        || look(&place, &pairs),
        |commit| {
            let commit = commit.keeping(args.keep.into()).verifying(args.verify).noting(&note);
            desk.listen_to_signals()?;
            merge_in(&place, &commit, &pairs, desk)
        },
    )
}

/// The merge itself, with the record open.
fn merge_in(place: &Place, commit: &CommitFile, pairs: &[Pair], desk: &Desk<'_>) -> Result<u8> {
    // A raw base is written in place: whoever reads it would see that. A qcow2 base's generations are apart.
    for pair in pairs.iter().filter(|pair| pair.is_raw) {
        pair.base.ensure_unused()?;
    }
    let disks = disks(commit, place, pairs, desk.view)?;
    let estimate = pocketvm_disk::estimate(commit, &disks).map_err(failure::looking)?;
    let room = volume::free(&place.root)?;
    if let Some(missing) = missing(&estimate, room) {
        return Err(Error::new(Kind::Merge, missing)
            .safe("the bases and the overlays are as they were")
            .hint("free that much room, then merge again"));
    }
    let reporter = Reporter::new(desk.controls, desk.view);
    let merged = pocketvm_disk::merge(commit, &disks, &reporter).map_err(|error| {
        if matches!(error, pocketvm_disk::Error::Cancelled) {
            // The next merge will not go on from here. Should this fail, it gives the room back before it begins.
            let _ = pocketvm_disk::give_up(commit);
        }
        failure::merging(error, &place.file)
    })?;
    tell(&merged, desk);
    Ok(0)
}

fn tell(merged: &Merged, desk: &Desk<'_>) {
    let disks = merged.disks.iter().map(|disk| MergedDisk {
        name: disk.name.clone(),
        changed: disk.amounts.changed,
        written: disk.amounts.written,
        freed: disk.amounts.freed,
        skipped: disk.amounts.skipped,
        reused: disk.amounts.reused,
        from: disk.from.to_string(),
        to: disk.to.to_string(),
    });
    let last = || {
        desk.done(Outcome::Merged, "Merged. The overlays are left as they were, and are not needed any more");
    };
    if desk.output.json {
        desk.view.show(&Event::Merged { disks: disks.collect() });
        last();
    } else {
        // In this order: the last line takes the bar away.
        last();
        if !desk.output.quiet {
            text::merged(merged);
        }
    }
}

/// What the engine is asked for. Bases that are at no generation, and of which none is expected, are stamped.
fn disks(commit: &CommitFile, place: &Place, pairs: &[Pair], view: &dyn View) -> Result<Vec<MergeDisk>> {
    let is_open = |pair: &&Pair| pair.expected.is_none();
    stamp(
        commit,
        place,
        pairs.iter().filter(is_open).filter(|pair| !pair.is_raw).map(|pair| &pair.base),
        view,
    )?;
    stamp_raw(
        commit,
        place,
        pairs.iter().filter(is_open).filter(|pair| pair.is_raw).map(|pair| &pair.base),
        view,
    )?;
    let disk = |pair: &Pair| {
        let Pair { base, is_raw, overlay, expected } = pair;
        let now = match expected {
            Some(expected) => Some(*expected),
            None if *is_raw => commit.raw_generation(&base.name).map_err(failure::looking)?,
            None => open(&base.path, Role::Base)?.state().generation(),
        };
        let expected = now.ok_or_else(|| {
            Error::new(Kind::Busy, format!("another program writes to the base: {}", base.path.display()))
                .safe("nothing was changed")
                .hint("close it and try again")
        })?;
        Ok(MergeDisk {
            name: base.name.clone(),
            base: base.name.clone(),
            overlay: overlay.clone(),
            expected,
            next: GenerationId::random(),
        })
    };
    pairs.iter().map(disk).collect()
}

/// Gives qcow2 bases that are at no generation one, and says so.
///
/// # Errors
/// One of them is damaged, not supported or in use.
pub fn stamp<'b>(
    commit: &CommitFile,
    place: &Place,
    bases: impl Iterator<Item = &'b Base>,
    view: &dyn View,
) -> Result<()> {
    let mut unstamped = Vec::new();
    for base in bases {
        let name = &base.name;
        let text = match open(&base.path, Role::Base)?.state() {
            BaseState::At { .. } => continue,
            BaseState::Fresh => format!("{name} has no generation yet: it is checked in full first"),
            BaseState::Foreign { last } => format!(
                "Another program wrote to {name} after generation {last}: it is checked in full first, and its history \
                 ends here"
            ),
        };
        view.show(&Event::notice(Notice::Stamped, text));
        unstamped.push(name.as_str());
    }
    pocketvm_disk::stamp(commit, &unstamped).map_err(|error| failure::travelling(error, &place.file))?;
    Ok(())
}

/// As [`stamp`], of raw bases. Of them, only the engine knows whether another program wrote to one.
fn stamp_raw<'b>(
    commit: &CommitFile,
    place: &Place,
    bases: impl Iterator<Item = &'b Base>,
    view: &dyn View,
) -> Result<()> {
    for base in bases {
        let name = &base.name;
        let before = commit.raw_generation(name).map_err(failure::looking)?;
        let now = pocketvm_disk::stamp_raw(commit, &[name])
            .map_err(|error| failure::travelling(error, &place.file))?;
        let text = match before {
            Some(before) if now.contains(&before) => continue,
            Some(before) => format!(
                "Another program wrote to {name} after generation {before}: it gets a new one, and its history ends here"
            ),
            None => format!("{name} has no generation yet: it gets one, which the record keeps"),
        };
        view.show(&Event::notice(Notice::Stamped, text));
    }
    Ok(())
}
