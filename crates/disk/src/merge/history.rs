//! What the commit record says: the kept generations, and the flip that is under way or was the last.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::merge::alloc::Placement;
use crate::merge::digest::TablesDigest;
use crate::qcow2::extensions::{Extensions, HashRoot};
use crate::qcow2::header::{Header, HeaderBlock};
use crate::qcow2::image::explain;
use crate::root::BasePath;

/// Version of the record's layout.
const VERSION: u32 = 1;
/// Disks of one machine; a record with more is not ours.
pub const MAX_DISKS: usize = 64;
/// Merges that may stay undoable. Each kept generation costs memory, so a record with more is not ours.
pub const MAX_STEPS: usize = 64;
/// Names of pinned generations; each keeps room of the drive.
pub const MAX_PINS: usize = 16;
/// FAT keeps local time: a drive that travels between PCs may be off by whole quarters of an hour, up to this much.
const MAX_ZONE: u64 = 26 * 3600;
const QUARTER: u64 = 15 * 60;

impl Seal {
    /// Whether a file of `len` bytes that was changed last at `modified` is as we left it. A time that is not known says
    /// nothing.
    pub fn holds(&self, len: u64, modified: Option<i64>) -> bool {
        let apart = modified.map_or(0, |modified| modified.abs_diff(self.modified));
        // FAT rounds to two seconds.
        let off = (apart % QUARTER).min(QUARTER - apart % QUARTER);
        self.len == len && apart <= MAX_ZONE && off <= 1
    }
}

/// The content of a commit record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    version: u32,
    /// Merges that can be undone or redone, oldest first.
    pub steps: Vec<Step>,
    /// How many of `steps` are in effect; those behind are undone.
    pub position: usize,
    /// The flip under way, or the last one.
    pub flip: Option<Flip>,
    /// Raw bases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raws: BTreeMap<BasePath, RawState>,
    /// Journals that nobody needs any more, to be removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub discarded: BTreeSet<BasePath>,
    /// Generations that somebody reads, by a name for each reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, Vec<Pinned>>,
    /// How each base was left: the second fence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seals: BTreeMap<BasePath, Seal>,
    /// Bases that another program wrote to although the fence stands, until the next generation of ours.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub distrusted: BTreeSet<BasePath>,
    /// The merge that has begun to write, none of which is live.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<WorkDisk>,
}

/// One merge: every disk from one generation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, in seconds since 1970.
    pub time: u64,
    /// The caller's words, for instance the name of the PC.
    pub note: String,
    /// The disks that changed together.
    pub disks: Vec<Change>,
    /// Those with raw bases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raws: Vec<RawChange>,
}

/// What one disk goes through in a step or flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The caller's name for the disk.
    pub name: String,
    /// Where its base is.
    pub base: BasePath,
    /// Bytes of the guest's that a merge brought.
    #[serde(default)]
    pub changed: u64,
    /// The generation before.
    pub from: Point,
    /// The generation after.
    pub to: Point,
}

/// One generation of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Its name; a base that was never stamped has none.
    pub generation: Option<GenerationId>,
    /// The header block that makes it live.
    pub header: HeaderBlock,
    /// Digest of the tables that it has and the other side of the change has not.
    pub tables: TablesDigest,
}

/// What a raw base goes through in a step or flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChange {
    /// The caller's name for the disk.
    pub name: String,
    /// Where its base is.
    pub base: BasePath,
    /// Bytes of the guest's that a merge brought.
    #[serde(default)]
    pub changed: u64,
    /// The generation before.
    pub from: GenerationId,
    /// The generation after.
    pub to: GenerationId,
    /// The journal was made for the other direction.
    #[serde(default)]
    pub backwards: bool,
    /// What changes.
    pub journal: Journal,
}

/// The journal of a raw base's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Where it is.
    pub path: BasePath,
    /// Its bytes.
    pub len: u64,
    /// Digest of all of them.
    pub digest: TablesDigest,
}

/// What is known of a raw base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawState {
    /// The generation that it is at.
    pub generation: GenerationId,
}

impl RawChange {
    /// The same way back.
    pub fn reversed(&self) -> Self {
        RawChange { from: self.to, to: self.from, backwards: !self.backwards, ..self.clone() }
    }
}

/// A generation that stays readable until it is unpinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Where its base is.
    pub base: BasePath,
    /// The header block that makes it live.
    pub header: HeaderBlock,
}

/// Length and time of a base's file as we left it. Whoever writes to it, by whatever program, changes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Bytes of the file.
    pub len: u64,
    /// Time of its last change, in seconds since 1970; an even number, as FAT has no odd ones.
    pub modified: i64,
}

/// One disk of a merge that has begun to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkDisk {
    /// Where its base is.
    pub base: BasePath,
    /// The generation that it is at.
    pub from: GenerationId,
    /// The generation that the merge makes.
    pub next: GenerationId,
    /// Bytes of the file before.
    pub len: u64,
    /// Where new clusters go.
    pub placement: Placement,
}

/// Why headers are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A base gets its first generation, or one after a foreign writer.
    Stamp,
    /// A new generation becomes live.
    Merge,
    /// To another kept state: from one position in the steps to another one.
    Travel {
        /// Before.
        from: usize,
        /// After.
        to: usize,
    },
    /// The same content moved together.
    Compact,
}

/// Rewriting the header blocks of several bases as one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Why.
    pub kind: Kind,
    /// It was not seen to its end yet.
    pub pending: bool,
    /// When it began, in seconds since 1970.
    pub time: u64,
    /// The caller's words.
    pub note: String,
    /// What changes.
    pub disks: Vec<Change>,
    /// What changes of raw bases, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raws: Vec<RawChange>,
}

/// A generation whose clusters are spared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Names its tables.
    pub header: Header,
    /// Its hash manifest, whose clusters no refcount counts.
    pub hashes: Option<HashRoot>,
}

impl Default for History {
    fn default() -> Self {
        History {
            version: VERSION,
            steps: Vec::new(),
            position: 0,
            flip: None,
            raws: BTreeMap::new(),
            discarded: BTreeSet::new(),
            pins: BTreeMap::new(),
            seals: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            work: Vec::new(),
        }
    }
}

impl Change {
    /// The same way back.
    pub fn reversed(&self) -> Self {
        Change { from: self.to.clone(), to: self.from.clone(), ..self.clone() }
    }
}

impl Point {
    /// The fields of its header block.
    ///
    /// # Errors
    /// The block is not one that we could have written.
    pub fn fields(&self, base: &BasePath) -> Result<Header> {
        fields(&self.header, base)
    }
}

/// Whether a file has the name of a journal.
fn is_journal(path: &BasePath) -> bool {
    path.as_str().ends_with(".journal")
}

fn fields(block: &HeaderBlock, base: &BasePath) -> Result<Header> {
    Header::parse(&block.0).map_err(|problem| explain(problem, base.as_str()))
}

impl History {
    /// Reads a record; an empty one is an empty history.
    ///
    /// # Errors
    /// A clause that says what makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(History::default());
        }
        let history: History = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if history.version != VERSION {
            return Err(format!("its version {} is unknown here", history.version));
        }
        if history.steps.len() > MAX_STEPS {
            return Err("it has too many steps".to_owned());
        }
        if history.position > history.steps.len() {
            return Err("its position is beyond its steps".to_owned());
        }
        if let Some(Flip { kind: Kind::Travel { from, to }, .. }) = &history.flip
            && (*from).max(*to) > history.steps.len()
        {
            return Err("a change of its position leads beyond its steps".to_owned());
        }
        let pinned = history.pins.values().map(Vec::len);
        if history.pins.len() > MAX_PINS
            || pinned
                .chain([history.work.len(), history.seals.len(), history.distrusted.len()])
                .any(|disks| disks > MAX_DISKS)
        {
            return Err("it names too many disks".to_owned());
        }
        let steps = history.steps.iter().map(|step| (&step.disks, &step.raws));
        for (disks, raws) in steps.chain(history.flip.as_ref().map(|flip| (&flip.disks, &flip.raws))) {
            let mut bases: Vec<&BasePath> = disks.iter().map(|change| &change.base).collect();
            bases.sort();
            bases.dedup();
            let count = disks.len() + raws.len();
            if bases.len() != disks.len() || count == 0 || disks.len() > MAX_DISKS {
                return Err("a step names no disk, too many, or one twice".to_owned());
            }
            // A name of ours only: the file is written from, and removed.
            if raws.iter().any(|raw| !is_journal(&raw.journal.path)) {
                return Err("a journal has the name of another file".to_owned());
            }
        }
        if history.raws.len() > MAX_DISKS || !history.discarded.iter().all(is_journal) {
            return Err("it names too many raw bases, or a journal has the name of another file".to_owned());
        }
        Ok(history)
    }

    /// The bytes of the record.
    ///
    /// # Errors
    /// Never for a value of ours; serialisation has no other way to say so.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// All generations of `base` that must stay readable.
    ///
    /// # Errors
    /// A kept header block is not one that we could have written.
    pub fn kept(&self, base: &BasePath) -> Result<Vec<Kept>> {
        let steps = self.steps.iter().flat_map(|step| &step.disks);
        let changes = steps.chain(self.flip.iter().flat_map(|flip| &flip.disks));
        let points = changes
            .filter(|change| change.base == *base)
            .flat_map(|change| [&change.from.header, &change.to.header]);
        let pinned = self.pins.values().flatten().filter(|pinned| pinned.base == *base);
        let mut blocks: Vec<&HeaderBlock> = Vec::new();
        // The latest first: what is kept of a hash manifest is bounded.
        for block in points.chain(pinned.map(|pinned| &pinned.header)).rev() {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        blocks
            .into_iter()
            .map(|block| {
                let header = fields(block, base)?;
                // The header block of a base before its first stamp may be cut in the midst of an extension.
                let extensions = block.0.get(header.length as usize..).map(Extensions::parse);
                Ok(Kept { header, hashes: extensions.and_then(Result::ok).and_then(|found| found.hashes) })
            })
            .collect()
    }

    /// Makes sure that no flip is half done.
    ///
    /// # Errors
    /// [`Error::Unrecovered`]
    pub fn ensure_settled(&self, file: &str) -> Result<()> {
        match &self.flip {
            Some(flip) if flip.pending => Err(Error::Unrecovered(file.to_owned())),
            _ => Ok(()),
        }
    }

    /// The flip reached its end: the steps follow. `keep` merges stay undoable.
    pub fn settle(&mut self, keep: usize) {
        let Some(flip) = &mut self.flip else { return };
        if !std::mem::replace(&mut flip.pending, false) {
            // A merge that has begun since waits for its next attempt.
            return;
        }
        self.work.clear();
        for raw in &flip.raws {
            self.raws.insert(raw.base.clone(), RawState { generation: raw.to });
        }
        // A merge and compacting left out what was not believed, and stamping checked everything.
        if matches!(flip.kind, Kind::Merge | Kind::Stamp | Kind::Compact) {
            self.distrusted.retain(|base| flip.disks.iter().all(|change| change.base != *base));
        }
        match flip.kind {
            Kind::Merge => {
                self.steps.truncate(self.position);
                self.steps.push(Step {
                    time: flip.time,
                    note: flip.note.clone(),
                    disks: flip.disks.clone(),
                    raws: flip.raws.clone(),
                });
                let dropped = self.steps.len().saturating_sub(keep.max(1));
                self.steps.drain(..dropped);
                self.position = self.steps.len();
            }
            Kind::Travel { to, .. } => self.position = to.min(self.steps.len()),
            Kind::Stamp | Kind::Compact => {
                let bases: Vec<BasePath> = flip.disks.iter().map(|change| change.base.clone()).collect();
                self.void(&bases);
            }
        }
    }

    /// The flip did not happen, or has been taken back.
    pub fn revert(&mut self) {
        let Some(flip) = self.flip.take() else { return };
        for raw in flip.raws.iter().rev() {
            self.raws.insert(raw.base.clone(), RawState { generation: raw.from });
        }
        if flip.pending {
            return;
        }
        match flip.kind {
            Kind::Merge => {
                self.position = self.position.saturating_sub(1);
                self.steps.truncate(self.position);
            }
            Kind::Travel { from, .. } => self.position = from.min(self.steps.len()),
            Kind::Stamp | Kind::Compact => {}
        }
    }

    /// Forgets every generation that can't be reached any more because another program wrote to `bases`.
    pub fn void(&mut self, bases: &[BasePath]) {
        let hit = |step: &Step| {
            step.disks.iter().any(|change| bases.contains(&change.base))
                || step.raws.iter().any(|raw| bases.contains(&raw.base))
        };
        // What was undone can't be redone, and what lies before a step that can't be undone can't be reached.
        if self.steps.iter().skip(self.position).any(hit) {
            self.steps.truncate(self.position);
        }
        let dropped =
            self.steps[..self.position.min(self.steps.len())].iter().rposition(hit).map_or(0, |at| at + 1);
        self.steps.drain(..dropped);
        self.position -= dropped;
        for pinned in self.pins.values_mut() {
            pinned.retain(|pinned| !bases.contains(&pinned.base));
        }
        self.pins.retain(|_, pinned| !pinned.is_empty());
    }

    /// The journals that a step or the last flip may need.
    fn journals(&self) -> BTreeSet<&BasePath> {
        let steps = self.steps.iter().flat_map(|step| &step.raws);
        steps.chain(self.flip.iter().flat_map(|flip| &flip.raws)).map(|raw| &raw.journal.path).collect()
    }

    /// Notes the journals that `before` needed and this record does not need any more.
    pub fn discard_journals(&mut self, before: &History) {
        let needed = self.journals();
        let gone: Vec<BasePath> =
            before.journals().into_iter().filter(|path| !needed.contains(path)).cloned().collect();
        self.discarded.extend(gone);
    }

    /// Forgets the oldest merge that can be undone; `false` if there is none to spare.
    pub fn drop_oldest(&mut self) -> bool {
        let travel = match &mut self.flip {
            Some(Flip { kind: Kind::Travel { from, to }, .. }) => Some((from, to)),
            _ => None,
        };
        if self.position <= 1 || travel.as_ref().is_some_and(|(from, to)| **from == 0 || **to == 0) {
            return false;
        }
        if let Some((from, to)) = travel {
            (*from, *to) = (*from - 1, *to - 1);
        }
        self.steps.remove(0);
        self.position -= 1;
        true
    }

    /// Whether a merge of exactly these bases, generations and next generations has begun to write.
    pub fn has_begun<'b>(
        &self,
        disks: impl ExactSizeIterator<Item = (&'b BasePath, GenerationId, GenerationId)>,
    ) -> bool {
        disks.len() == self.work.len()
            && self
                .work
                .iter()
                .zip(disks)
                .all(|(work, (base, from, next))| (&work.base, work.from, work.next) == (base, from, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::digest::Digest;
    use crate::qcow2::header::BLOCK;

    fn change(base: &str, from: u8, to: u8) -> Change {
        let point = |tag: u8| Point {
            generation: None,
            header: HeaderBlock([tag; BLOCK]),
            tables: Digest::new().finish(),
        };
        let base_path = BasePath::new(base).unwrap();
        Change { name: base.to_owned(), base: base_path, changed: 0, from: point(from), to: point(to) }
    }

    fn apply(history: &mut History, kind: Kind, disks: Vec<Change>, keep: usize) {
        history.flip =
            Some(Flip { kind, pending: true, time: 7, note: "PC".to_owned(), disks, raws: vec![] });
        history.settle(keep);
    }

    #[test]
    fn a_merge_after_an_undo_drops_the_redo_branch_and_old_steps() {
        let mut history = History::default();
        for at in 0..3 {
            apply(&mut history, Kind::Merge, vec![change("a", at, at + 1)], 2);
        }
        assert_eq!((history.steps.len(), history.position), (2, 2));
        apply(&mut history, Kind::Travel { from: 2, to: 1 }, vec![change("a", 3, 2)], 2);
        assert_eq!((history.steps.len(), history.position), (2, 1));
        apply(&mut history, Kind::Merge, vec![change("a", 2, 9)], 2);
        assert_eq!((history.steps.len(), history.position), (2, 2));
        assert_eq!(history.steps[1].disks[0].to.header.0[0], 9);
        history.revert();
        assert_eq!((history.steps.len(), history.position), (1, 1));
    }

    #[test]
    fn a_foreign_write_forgets_what_can_not_be_reached_any_more() {
        let mut history = History::default();
        apply(&mut history, Kind::Merge, vec![change("a", 0, 1), change("b", 0, 1)], 9);
        apply(&mut history, Kind::Merge, vec![change("a", 1, 2)], 9);
        apply(&mut history, Kind::Merge, vec![change("b", 1, 2)], 9);
        let mut other = history.clone();
        history.void(&[BasePath::new("a").unwrap()]);
        assert_eq!((history.steps.len(), history.position), (1, 1));
        other.void(&[BasePath::new("c").unwrap()]);
        assert_eq!((other.steps.len(), other.position), (3, 3));
        other.position = 1;
        other.void(&[BasePath::new("b").unwrap()]);
        assert_eq!((other.steps.len(), other.position), (0, 0));
    }

    #[test]
    fn a_seal_holds_across_time_zones_and_fat_and_against_nothing_else() {
        let seal = Seal { len: 10, modified: 1_790_000_000 };
        assert!(seal.holds(10, None));
        for off in [0, 1, -1, 3600, -3600, 5 * 3600 + 1800 + 1, 45 * 60, -12 * 3600, 14 * 3600] {
            assert!(seal.holds(10, Some(seal.modified + off)), "{off}");
        }
        for off in [2, -2, 60, 3600 + 30, 27 * 3600, -86400 * 365] {
            assert!(!seal.holds(10, Some(seal.modified + off)), "{off}");
        }
        assert!(!seal.holds(11, Some(seal.modified)));
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut history = History::default();
        apply(&mut history, Kind::Merge, vec![change("ordner/ä.qcow2", 0, 1)], 1);
        assert_eq!(History::parse(&history.to_bytes().unwrap()).unwrap(), history);
        assert!(History::parse(b"{").is_err());
        let text = String::from_utf8(history.to_bytes().unwrap()).unwrap();
        assert!(History::parse(text.replace("\"version\":1", "\"version\":2").as_bytes()).is_err());
        assert!(History::parse(text.replace("ordner/", "../").as_bytes()).is_err());
        assert!(History::parse(text.replace("\"position\":1", "\"position\":7").as_bytes()).is_err());
    }
}
