//! `disk merge`: overlays become part of their bases, or it is shown what that would take.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pocketvm_disk::merge::{OpenDisk, estimate_images};
use pocketvm_disk::qcow2::image::{Image, Role};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::{BasePath, Folder};
use pocketvm_disk::storage::memory::MemoryDevice;
use pocketvm_disk::storage::{Access, FileStorage, Storage as _};
use pocketvm_disk::{BaseState, CommitFile, Estimate, GenerationId, MergeDisk, Merged, Progress};

use super::args::MergeArgs;
use super::record::{Base, Place};
use super::{Desk, failure, text};
use crate::host::file::canonical;
use crate::host::{facts, volume};
use crate::session::controls::Controls;
use crate::session::event::{Event, MergedDisk, Notice, Outcome, View};
use crate::{Error, Kind, Result};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// A slot of the record that an estimate reads: what the payload needs, in the steps that a record has.
const SLOT_STEP: u64 = 16 * 1024;

/// One base and its overlay.
struct Pair {
    base: Base,
    overlay: PathBuf,
    /// What the base must be at.
    expected: Option<GenerationId>,
}

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
    let is_new = !place.file.exists();
    let commit = if is_new {
        // Looked at first, so that what is refused leaves no trace.
        look(&place, &pairs)?;
        CommitFile::create(&place.file).map_err(failure::looking)?;
        CommitFile::open(&place.file, &place.root).map_err(failure::looking)?
    } else {
        let commit = place.open(desk.view)?;
        look(&place, &pairs)?;
        commit
    };
    let note = args.note.clone().unwrap_or_else(facts::host_name);
    let commit = commit.keeping(args.keep.into()).noting(&note);
    desk.listen_to_signals()?;
    merge_in(&place, &commit, pairs, desk).inspect_err(|_| {
        // A record that was made for this and in which nothing happened is a trace that tells nothing.
        if is_new && TwoSlot::peek(&place.file).is_ok_and(|payload| payload.is_empty()) {
            let _ = fs_err::remove_file(&place.file);
        }
    })
}

/// The merge itself, with the record open.
fn merge_in(place: &Place, commit: &CommitFile, pairs: Vec<Pair>, desk: &Desk<'_>) -> Result<u8> {
    let disks = disks(commit, place, pairs, desk.view)?;
    let estimate = pocketvm_disk::estimate(commit, &disks).map_err(failure::looking)?;
    let room = volume::free(&place.root)?;
    if let Some(missing) = missing(&estimate, room) {
        return Err(Error::new(Kind::Merge, missing)
            .safe("the bases and the overlays are as they were")
            .hint("free that much room, then merge again"));
    }
    let reporter = Reporter { controls: desk.controls, view: desk.view, last: Mutex::new(None) };
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

/// The pairs of the command line, each base with its place below the record.
fn pairs(args: &MergeArgs, place: &Place) -> Result<Vec<Pair>> {
    let refuse =
        |what: String, hint: &str| Err(Error::new(Kind::Usage, what).safe("nothing was changed").hint(hint));
    let count = args.images.len() / 2;
    if !args.images.len().is_multiple_of(2) {
        return refuse(
            format!("a base is named without an overlay: {}", args.images[args.images.len() - 1].display()),
            "name pairs: BASE OVERLAY BASE OVERLAY …",
        );
    }
    if !args.expect.is_empty() && args.expect.len() != count {
        return refuse(
            format!("--expect is given {} times, but the number of bases is {count}", args.expect.len()),
            "use it once for each base, in order, or not at all",
        );
    }
    let mut pairs: Vec<Pair> = Vec::with_capacity(count);
    for (index, images) in args.images.chunks_exact(2).enumerate() {
        let base = place.base(&images[0])?;
        let overlay = canonical(&images[1]).map_err(|error| {
            Error::new(Kind::Usage, "an overlay can't be opened").safe("nothing was changed").because(error)
        })?;
        if overlay == base.path {
            return refuse(
                format!("an image can't be merged into itself: {}", overlay.display()),
                "name the base first, then its overlay",
            );
        }
        if pairs.iter().any(|pair| pair.base.path == base.path) {
            return refuse(
                format!("a base is named twice: {}", base.path.display()),
                "merge its overlays one after the other",
            );
        }
        pairs.push(Pair { base, overlay, expected: args.expect.get(index).copied() });
    }
    Ok(pairs)
}

/// What a base or overlay is, opened for a look.
fn open(path: &Path, role: Role) -> Result<Image<FileStorage>> {
    FileStorage::open(path, Access::Read)
        .and_then(|storage| Image::open(storage, role))
        .map_err(failure::looking)
}

/// Refuses what a merge would refuse, before anything is made or changed.
fn look(place: &Place, pairs: &[Pair]) -> Result<()> {
    for Pair { base, overlay, expected } in pairs {
        if is_below(place, base, overlay)? {
            return Err(Error::new(
                Kind::Usage,
                format!("the overlay is a layer below the base {}: {}", base.name, overlay.display()),
            )
            .safe("nothing was changed")
            .hint("name the base first, then its overlay"));
        }
        let (base, overlay) = (open(&base.path, Role::Base)?, open(overlay, Role::Overlay)?);
        let image = base.storage().name().to_owned();
        let (of_base, of_overlay) = (base.header().size, overlay.header().size);
        if of_overlay < of_base {
            let error = pocketvm_disk::Error::Shrinks { overlay: of_overlay, base: of_base, image };
            return Err(failure::looking(error));
        }
        let Some(expected) = *expected else { continue };
        match base.state() {
            BaseState::At { generation } if generation == expected => {}
            BaseState::Foreign { last } => {
                return Err(failure::looking(pocketvm_disk::Error::ForeignWriter { last, image }));
            }
            state => {
                let found = state.to_string();
                return Err(failure::looking(pocketvm_disk::Error::WrongGeneration {
                    expected,
                    found,
                    image,
                }));
            }
        }
    }
    Ok(())
}

/// Whether `overlay` is what shows through `base`: then the two are the wrong way round.
fn is_below(place: &Place, base: &Base, overlay: &Path) -> Result<bool> {
    let (mut image, mut name) = (open(&base.path, Role::Base)?, BasePath::new(&base.name));
    // What a chain may be is the engine's matter; this looks at as many layers as it would.
    for _ in 0..16 {
        let Some(backing) = image.backing() else { break };
        if Path::new(backing) == overlay {
            return Ok(true);
        }
        let Some(next) = name.as_ref().ok().and_then(|name| name.sibling(backing).ok()) else { break };
        let mut path = place.root.clone();
        path.extend(next.as_str().split('/'));
        // A layer that is not there, or leads elsewhere, is for the engine to refuse.
        let Some(path) = canonical(&path).ok().filter(|path| path.starts_with(&place.root)) else { break };
        if path == overlay {
            return Ok(true);
        }
        let Ok(layer) = open(&path, Role::Overlay) else { break };
        (image, name) = (layer, Ok(next));
    }
    Ok(false)
}

/// What the engine is asked for. Bases that are at no generation, and of which none is expected, are stamped.
fn disks(commit: &CommitFile, place: &Place, pairs: Vec<Pair>, view: &dyn View) -> Result<Vec<MergeDisk>> {
    let mut unstamped = Vec::new();
    for pair in pairs.iter().filter(|pair| pair.expected.is_none()) {
        let name = &pair.base.name;
        let text = match open(&pair.base.path, Role::Base)?.state() {
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
    let disk = |Pair { base, overlay, expected }| {
        let now = match expected {
            Some(expected) => expected,
            None => open(&base.path, Role::Base)?.state().generation().ok_or_else(|| {
                Error::new(Kind::Busy, format!("another program writes to the base: {}", base.path.display()))
                    .safe("nothing was changed")
                    .hint("close it and try again")
            })?,
        };
        Ok(MergeDisk {
            name: base.name.clone(),
            base: base.name,
            overlay,
            expected: now,
            next: GenerationId::random(),
        })
    };
    pairs.into_iter().map(disk).collect()
}

/// Shows what a merge would take. Changes nothing, and does not hold the record.
fn estimate(place: &Place, pairs: &[Pair], desk: &Desk<'_>) -> Result<u8> {
    place.settle(desk.view)?;
    look(place, pairs)?;
    let payload =
        if place.file.exists() { TwoSlot::peek(&place.file).map_err(failure::looking)? } else { Vec::new() };
    // A copy in memory: the estimate asks the record only which generations are spared.
    let slot = (payload.len() as u64 + SLOT_STEP).next_multiple_of(SLOT_STEP);
    let estimate = TwoSlot::create_on(MemoryDevice::default().file("record"), slot)
        .and_then(|slots| {
            slots.write(&payload)?;
            let commit = CommitFile::new(slots, Folder::new(&place.root));
            let disks = pairs.iter().map(|pair| {
                Ok(OpenDisk {
                    name: pair.base.name.clone(),
                    base: BasePath::new(&pair.base.name)?,
                    overlay: Image::open(
                        FileStorage::open(&pair.overlay, Access::ReadStable)?,
                        Role::Overlay,
                    )?,
                    expected: GenerationId::random(),
                    next: GenerationId::random(),
                })
            });
            estimate_images(&commit, &disks.collect::<pocketvm_disk::Result<Vec<_>>>()?)
        })
        .map_err(failure::looking)?;
    let room = volume::free(&place.root)?;
    let missing = missing(&estimate, room);
    desk.answer(
        "disk-estimate",
        &text::Estimated { estimate, room, missing: missing.clone() },
        text::estimated,
    );
    Ok(if missing.is_some() { Kind::Merge.exit_code() } else { 0 })
}

/// Says what room is missing, if any is.
fn missing(estimate: &Estimate, room: u64) -> Option<String> {
    let missing = estimate.grows.checked_sub(room).filter(|missing| *missing > 0)?;
    Some(format!("there is no room for the changes: {} MiB are missing", missing.div_ceil(1 << 20)))
}

/// Passes on how far a merge is, now and then, and whether it is to stop.
struct Reporter<'a> {
    controls: &'a Controls,
    view: &'a dyn View,
    /// When that was last shown, and how far it was.
    last: Mutex<Option<(Instant, u64)>>,
}

impl Progress for Reporter<'_> {
    fn advance(&self, done: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match *last {
            None => true,
            Some((_, shown)) if done == total => shown != done,
            Some((when, _)) => when.elapsed() >= PROGRESS,
        };
        if is_due {
            *last = Some((Instant::now(), done));
            self.view.show(&Event::MergeProgress { done, total });
        }
    }

    fn is_cancelled(&self) -> bool {
        self.controls.is_stopping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::event::{Answer, Question};

    /// Remembers what progress it was shown.
    #[derive(Default)]
    struct Seen(Mutex<Vec<u64>>);

    impl View for Seen {
        fn show(&self, event: &Event) {
            if let Event::MergeProgress { done, .. } = event {
                self.0.lock().unwrap().push(*done);
            }
        }

        fn ask(&self, _question: &Question) -> Option<Answer> {
            None
        }
    }

    #[test]
    fn progress_is_shown_at_once_at_the_end_and_not_for_every_cluster_in_between() {
        let (controls, seen) = (Controls::new(), Seen::default());
        let reporter = Reporter { controls: &controls, view: &seen, last: Mutex::new(None) };
        let start = Instant::now();
        for done in 0..=10_000 {
            reporter.advance(done, 10_000);
        }
        reporter.advance(10_000, 10_000);
        let most = start.elapsed().as_millis() / PROGRESS.as_millis() + 2;
        let shown = seen.0.lock().unwrap().clone();
        assert_eq!((shown.first(), shown.last()), (Some(&0), Some(&10_000)));
        assert!(shown.len() as u128 <= most, "{shown:?}");
        assert_eq!(shown.iter().filter(|&&done| done == 10_000).count(), 1);
    }
}
