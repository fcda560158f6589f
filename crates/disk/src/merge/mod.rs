//! The shadow merge: overlays become part of their bases, all disks in one atomic step. Why it can't tear is
//! argued in `docs/merge.md`; the tests name its invariants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

mod ahead;
mod alloc;
pub(crate) mod base;
mod beneath;
mod compact;
mod counts;
mod digest;
mod estimate;
mod flip;
mod free;
mod hashes;
mod history;
mod pin;
mod raw;
pub(crate) mod shadow;
mod stamp;
pub(crate) mod stored;
mod travel;
mod verify;
mod work;
mod writer;

pub use base::{LayerName, layers};
pub use compact::{Compacted, compact};
pub use estimate::{DiskEstimate, Estimate, estimate, estimate_images};
pub use flip::{Outcome, RecoveredDisk, Recovery};
pub use pin::{pin, unpin};
pub use raw::stamp_raw;
pub use shadow::Amounts;
pub use stamp::stamp;
pub use travel::{HistoryDisk, HistoryStep, go_to, history, redo, undo};

use crate::error::{Error, Result};
use crate::generation::{BaseState, GenerationId};
use crate::overlay::Overlay;
use crate::qcow2::header::HeaderBlock;
use crate::qcow2::image::Image;
use crate::record::TwoSlot;
use crate::root::{BasePath, Folder, Root};
use crate::storage::{Access, FileStorage, Storage};
use base::Base;
use digest::TablesDigest;
use history::{Change, History, Kind, MAX_DISKS, MAX_STEPS, Point, RawChange};
use raw::OpenRaw;
use shadow::{Meter, Shadow, Start};

/// Bytes of each slot of a commit record: room for hundreds of kept generations.
const SLOT_SIZE: u64 = 256 * 1024;

/// The commit record of a drive, open and held: what makes several header blocks change as one.
#[derive(Debug)]
pub struct CommitFile<R = Folder, C = FileStorage> {
    slots: TwoSlot<C>,
    root: R,
    keep: usize,
    verify: bool,
    note: String,
}

impl CommitFile {
    /// Makes a new, preallocated commit record.
    ///
    /// # Errors
    /// It exists already, or there is no room.
    pub fn create(path: &Path) -> Result<()> {
        TwoSlot::create(path, SLOT_SIZE).map(|_| ())
    }

    /// Whether a flip was interrupted and waits for [`recover`]. Looks without holding the record.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn is_interrupted(path: &Path) -> Result<bool> {
        Ok(peek(path)?.flip.is_some_and(|flip| flip.pending))
    }

    /// As [`history`]. Looks without holding the record, so it also works while a merge does and on a drive that is
    /// write-protected.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn peek_history(path: &Path) -> Result<Vec<HistoryStep>> {
        Ok(travel::describe_steps(&peek(path)?))
    }

    /// As [`CommitFile::raw_generation`]. Looks without holding the record.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn peek_raw(path: &Path, base: &str) -> Result<Option<GenerationId>> {
        let base = BasePath::new(base)?;
        Ok(peek(path)?.raws.get(&base).map(|state| state.generation))
    }

    /// Opens the commit record at `path`; the bases it names lie below `root`. Held until it is dropped.
    ///
    /// # Errors
    /// Another program holds it, or it is not a commit record.
    pub fn open(path: &Path, root: &Path) -> Result<Self> {
        Ok(CommitFile::new(TwoSlot::open(path)?, Folder::new(root)))
    }
}

fn peek(path: &Path) -> Result<History> {
    History::parse(&TwoSlot::peek(path)?)
        .map_err(|what| Error::BadRecord { what, file: path.display().to_string() })
}

impl<R: Root, C: Storage> CommitFile<R, C> {
    /// A commit record on any storage.
    pub fn new(slots: TwoSlot<C>, root: R) -> Self {
        CommitFile { slots, root, keep: 1, verify: false, note: String::new() }
    }

    /// The generation of a raw base that [`stamp_raw`] was told of; none if it was not.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn raw_generation(&self, base: &str) -> Result<Option<GenerationId>> {
        let base = BasePath::new(base)?;
        Ok(self.load()?.raws.get(&base).map(|state| state.generation))
    }

    /// How many merges stay undoable, from one (the default) to 64. More keep more of the drive's room. Fewer stay if
    /// their record does not fit: with eight disks about two dozen.
    #[must_use]
    pub fn keeping(mut self, merges: usize) -> Self {
        self.keep = merges.clamp(1, MAX_STEPS);
        self
    }

    /// Whether a merge reads new data back from the device, too, before it becomes live. Tables are always read back.
    #[must_use]
    pub fn verifying(mut self, data: bool) -> Self {
        self.verify = data;
        self
    }

    /// Words that go into the history with each merge, for instance the name of the PC. At most 256 characters.
    #[must_use]
    pub fn noting(mut self, note: &str) -> Self {
        self.note = note.chars().take(256).collect();
        self
    }

    fn load(&self) -> Result<History> {
        History::parse(&self.slots.read()?)
            .map_err(|what| Error::BadRecord { what, file: self.slots.name().to_owned() })
    }

    /// Writes the record. What does not fit makes it forget the oldest merges that can be undone.
    fn save(&self, history: &mut History) -> Result<()> {
        loop {
            let bytes = history
                .to_bytes()
                .map_err(|what| Error::BadRecord { what, file: self.slots.name().to_owned() })?;
            match self.slots.write(&bytes) {
                Err(Error::RecordTooLarge { .. }) if history.drop_oldest() => {}
                result => return result,
            }
        }
    }
}

/// Hears how far a merge is, and may stop it.
pub trait Progress {
    /// `done` of `total` bytes of the overlays are dealt with. Called often.
    fn advance(&self, done: u64, total: u64);
    /// Whether to stop. Asked often; the bases stay as they are.
    fn is_cancelled(&self) -> bool;
}

/// Nobody listens.
impl Progress for () {
    fn advance(&self, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// One disk to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeDisk {
    /// The caller's name for it; stored in the record.
    pub name: String,
    /// The base, relative to the commit record's root.
    pub base: String,
    /// The overlay, in any of the formats of [`Overlay`]. The name in it of what it lies over is not looked at.
    pub overlay: PathBuf,
    /// The generation that the overlay was made from.
    pub expected: GenerationId,
    /// The generation that the base gets.
    pub next: GenerationId,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// In the order of the call.
    pub disks: Vec<MergedDisk>,
}

/// What a merge did to one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergedDisk {
    /// The caller's name for it.
    pub name: String,
    /// The generation before.
    pub from: GenerationId,
    /// The generation now.
    pub to: GenerationId,
    /// How much.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// One disk with its overlay open.
#[derive(Debug)]
pub struct OpenDisk<O> {
    /// As in [`MergeDisk`].
    pub name: String,
    /// As in [`MergeDisk`].
    pub base: BasePath,
    /// The overlay.
    pub overlay: Overlay<O>,
    /// As in [`MergeDisk`].
    pub expected: GenerationId,
    /// As in [`MergeDisk`].
    pub next: GenerationId,
}

/// Merges overlays into their bases, all disks as one step.
///
/// # Errors
/// Whatever fails, each base is at its old generation, or (after an error while the headers are flipped)
/// [`recover`] brings all of them to the same side.
pub fn merge(commit: &CommitFile, disks: &[MergeDisk], progress: &dyn Progress) -> Result<Merged> {
    merge_images(commit, open_overlays(disks)?, progress)
}

fn open_overlays(disks: &[MergeDisk]) -> Result<Vec<OpenDisk<FileStorage>>> {
    disks
        .iter()
        .map(|disk| {
            Ok(OpenDisk {
                name: disk.name.clone(),
                base: BasePath::new(&disk.base)?,
                overlay: Overlay::open(FileStorage::open(&disk.overlay, Access::ReadStable)?)?,
                expected: disk.expected,
                next: disk.next,
            })
        })
        .collect()
}

/// As [`merge`], on any storage.
///
/// # Errors
/// As [`merge`].
pub fn merge_images<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    disks: Vec<OpenDisk<O>>,
    progress: &dyn Progress,
) -> Result<Merged> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    ensure_distinct(&disks)?;
    let (raw, shadowed): (Vec<_>, Vec<_>) =
        disks.iter().partition(|disk| history.raws.contains_key(&disk.base));
    let raws = raw
        .into_iter()
        .map(|disk| raw::open(commit, &history, disk, &history.raws[&disk.base]))
        .collect::<Result<Vec<_>>>()?;
    let bases = shadowed.iter().map(|disk| open_base(commit, disk)).collect::<Result<Vec<_>>>()?;
    ensure_layers_stay(&disks, &bases)?;
    let starts = work::begin(commit, &mut history, &shadowed, &bases, &raws)?;

    let written = write_all(commit, &history, &shadowed, &bases, &starts, &raws, progress);
    // The next attempt goes on where a cancelled one stopped. Any other failure may be for want of room.
    if written.as_ref().is_err_and(|error| !matches!(error, Error::Cancelled)) {
        for (base, start) in bases.iter().zip(&starts) {
            // What was appended is garbage. Nothing refers to it, should this fail.
            let _ = base.image.storage().set_len(start.len);
        }
    }
    if written.is_err() {
        for raw in &raws {
            let _ = commit.root.remove(&raw::journal_path(&raw.disk.base, raw.disk.next)?);
        }
    }
    let Written { changes, amounts, journals } = written?;
    let files: Vec<&R::File> = bases.iter().map(|base| base.image.storage()).collect();
    let raw_files: Vec<&R::File> = raws.iter().map(|raw| &raw.file).collect();
    flip::perform(commit, &mut history, Kind::Merge, changes, &files, journals, &raw_files)?;
    let merged = disks.iter().map(|disk| MergedDisk {
        name: disk.name.clone(),
        from: disk.expected,
        to: disk.next,
        amounts: amounts.get(&disk.base).copied().unwrap_or_default(),
    });
    Ok(Merged { disks: merged.collect() })
}

/// New generations that are durable and verified, but not live.
struct Written {
    changes: Vec<Change>,
    journals: Vec<RawChange>,
    amounts: BTreeMap<BasePath, Amounts>,
}

/// Writes what the new generations of all disks need: shadows of qcow2 bases, journals of raw ones.
fn write_all<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    history: &History,
    disks: &[&OpenDisk<O>],
    bases: &[Base<R::File>],
    starts: &[Start],
    raws: &[OpenRaw<'_, O, R::File>],
    progress: &dyn Progress,
) -> Result<Written> {
    let mut total = 0;
    for disk in disks.iter().copied().chain(raws.iter().map(|raw| raw.disk)) {
        total += estimate::changed_bytes(&disk.overlay)?;
    }
    let mut meter = Meter::new(progress, total);
    let mut amounts = BTreeMap::new();
    let mut journals = Vec::with_capacity(raws.len());
    for raw in raws {
        let (journal, amount) = raw::write_journal(commit, raw, &mut meter)?;
        amounts.insert(raw.disk.base.clone(), amount);
        journals.push(journal);
    }
    let shadows = write_shadows(commit, history, disks, bases, starts, &mut meter)?;
    let mut changes = Vec::with_capacity(disks.len());
    for (disk, (change, amount)) in disks.iter().zip(shadows) {
        amounts.insert(disk.base.clone(), amount);
        changes.push(change);
    }
    Ok(Written { changes, journals, amounts })
}

/// Writes the new generations of all disks, durable and verified, beside the old ones.
fn write_shadows<R: Root, C: Storage, O: Storage>(
    commit: &CommitFile<R, C>,
    history: &History,
    disks: &[&OpenDisk<O>],
    bases: &[Base<R::File>],
    starts: &[Start],
    meter: &mut Meter<'_>,
) -> Result<Vec<(Change, Amounts)>> {
    let mut shadows = Vec::with_capacity(disks.len());
    for ((disk, base), start) in disks.iter().zip(bases).zip(starts) {
        let kept = history.kept(&disk.base)?;
        shadows.push(shadow::write(base, &disk.overlay, &kept, disk.next, start, commit.verify, meter)?);
    }
    for base in bases {
        base.image.storage().flush_data()?;
        base.image.storage().forget_cache();
    }
    let mut changes = Vec::with_capacity(disks.len());
    for ((disk, base), shadow) in disks.iter().zip(bases).zip(&shadows) {
        meter.check()?;
        changes.push((verified_change(disk, &base.image, shadow, meter)?, shadow.amounts));
    }
    Ok(changes)
}

/// Gives the room back that a cancelled or interrupted merge took on the drive for its next attempt, when there will
/// be none.
///
/// # Errors
/// The record can't be read or written; a base is damaged.
pub fn give_up<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<()> {
    let mut history = commit.load()?;
    history.ensure_settled(commit.slots.name())?;
    if history.work.is_empty() {
        return Ok(());
    }
    work::give_up(commit, &mut history)?;
    commit.save(&mut history)
}

fn ensure_distinct<O>(disks: &[OpenDisk<O>]) -> Result<()> {
    let mut bases: Vec<&BasePath> = disks.iter().map(|disk| &disk.base).collect();
    bases.sort();
    bases.dedup();
    if disks.is_empty() || bases.len() != disks.len() || disks.len() > MAX_DISKS {
        return Err(Error::Input("a merge needs at least one disk, and each only once".to_owned()));
    }
    if disks.iter().any(|disk| disk.expected == disk.next) {
        return Err(Error::Input("a merge needs a new generation for each disk".to_owned()));
    }
    Ok(())
}

/// A base that shows through another one would change that one's content as well.
fn ensure_layers_stay<S, O>(disks: &[OpenDisk<O>], bases: &[Base<S>]) -> Result<()> {
    let mut layers = bases.iter().flat_map(|base| &base.names);
    match layers.find(|layer| disks.iter().any(|disk| disk.base == layer.path)) {
        Some(layer) => Err(Error::Input(format!(
            "a base that lies below another one can't be merged into: {}",
            layer.path
        ))),
        None => Ok(()),
    }
}

fn open_base<R: Root, C: Storage, O>(commit: &CommitFile<R, C>, disk: &OpenDisk<O>) -> Result<Base<R::File>> {
    let base = Base::open(&commit.root, &disk.base, Access::Write)?;
    let image = base.image.storage().name().to_owned();
    match base.image.state() {
        BaseState::At { generation } if generation == disk.expected => Ok(base),
        BaseState::Foreign { last } => Err(Error::ForeignWriter { last, image }),
        state => Err(Error::WrongGeneration { expected: disk.expected, found: state.to_string(), image }),
    }
}

/// Reads the new tables (and data) back from the storage and makes the record's entry.
fn verified_change<S: Storage, O>(
    disk: &OpenDisk<O>,
    base: &Image<S>,
    shadow: &Shadow,
    meter: &Meter<'_>,
) -> Result<Change> {
    let tables = shadow.digest.finish();
    let not_kept = || Error::NotKept { image: base.storage().name().to_owned() };
    if !tables.holds(base.storage(), &shadow.header, base.header())? {
        return Err(not_kept());
    }
    if let Some(data) = &shadow.data {
        let (old, new) = (base.header(), &shadow.header);
        if !verify::data_holds(base.storage(), old, new, &data.finish(), || meter.check())? {
            return Err(not_kept());
        }
    }
    Ok(Change {
        name: disk.name.clone(),
        base: disk.base.clone(),
        changed: shadow.amounts.changed,
        from: Point {
            generation: Some(disk.expected),
            header: HeaderBlock(*base.block()),
            tables: TablesDigest::read(base.storage(), base.header(), &shadow.header)?,
        },
        to: Point { generation: Some(disk.next), header: HeaderBlock(shadow.block), tables },
    })
}

/// After any interruption: brings all disks of the last merge to its old or all to its new generation.
///
/// Idempotent; to be called before anything else is done with a drive. Verifies that the device kept the last
/// merge, and falls back to the generation before if not ([`Outcome::FellBack`]).
///
/// # Errors
/// A base can't be opened; the device lost parts of both generations.
pub fn recover<R: Root, C: Storage>(commit: &CommitFile<R, C>) -> Result<Recovery> {
    flip::recover(commit)
}
