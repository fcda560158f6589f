//! `disk compact`: a base's file becomes as short as what it holds allows.

use pocketvm_disk::qcow2::image::Role;
use pocketvm_disk::{CommitFile, Compacted};
use serde::Serialize;

use super::args::CompactArgs;
use super::pairs::open;
use super::progress::Reporter;
use super::record::{Base, Place};
use super::{Desk, failure, merge, text};
use crate::session::event::Outcome;
use crate::{Error, Kind, Result};

/// The answer of `disk compact`.
#[derive(Serialize)]
pub struct Shortened {
    /// The base, as the record names it.
    pub base: String,
    /// What was done.
    #[serde(flatten)]
    pub compacted: Compacted,
    /// How many merges could be undone or redone before, and can't be now.
    pub forgotten: usize,
}

/// Compacts a base. One that is at no generation is stamped first.
///
/// # Errors
/// Something is refused or failed: what the base holds is as it was.
pub fn compact(args: &CompactArgs, desk: &Desk<'_>) -> Result<u8> {
    let place = Place::find(args.record.record.as_deref(), Some(&args.base))?;
    let base = place.base(&args.base)?;
    place.with_record(
        desk.view,
        || look(&place, &base),
        |commit| {
            desk.listen_to_signals()?;
            compact_in(&place, &commit, &base, desk)
        },
    )
}

/// Refuses what would be refused, before anything is made or changed.
fn look(place: &Place, base: &Base) -> Result<()> {
    if place.raw_generation(base)?.is_some() {
        return Err(Error::new(
            Kind::Usage,
            format!("a raw disk is as long as its file, so that there is nothing to compact: {}", base.name),
        )
        .safe("nothing was changed"));
    }
    open(&base.path, Role::Base)?;
    // What moves, and what is cut off, may be what somebody reads at this moment.
    base.ensure_unused()
}

fn compact_in(place: &Place, commit: &CommitFile, base: &Base, desk: &Desk<'_>) -> Result<u8> {
    let kept = || Ok::<usize, Error>(pocketvm_disk::history(commit).map_err(failure::looking)?.len());
    let before = kept()?;
    merge::stamp(commit, place, std::iter::once(base), desk.view)?;
    let reporter = Reporter::new(desk.controls, desk.view);
    let compacted = pocketvm_disk::compact(commit, &base.name, &reporter).map_err(|error| {
        // Given up before anything else. A record that can't be read any more is the lesser problem.
        let forgotten = before.saturating_sub(kept().unwrap_or(before));
        failure::compacting(error, &place.file, forgotten)
    })?;
    let shortened =
        Shortened { base: base.name.clone(), compacted, forgotten: before.saturating_sub(kept()?) };
    let last = || {
        let text = if compacted.after < compacted.before {
            "Compacted. What the base holds is as it was"
        } else {
            "The base was as short as it can be already"
        };
        desk.done(Outcome::Compacted, text);
    };
    if desk.output.json {
        desk.answer("disk-compacted", &shortened, text::compacted);
        last();
    } else {
        // In this order: the last line takes the bar away.
        last();
        if !desk.output.quiet {
            text::compacted(&shortened);
        }
    }
    Ok(0)
}
