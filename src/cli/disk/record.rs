//! Which record of merges a command is about, which bases belong to it, and its recovery before anything else.

use std::path::{Path, PathBuf};

use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::{CommitFile, GenerationId, Outcome, Recovery};

use super::failure;
use crate::drive::names;
use crate::host::file::{canonical, is_image_in_use};
use crate::session::event::{Event, Notice, View};
use crate::{Error, Kind, Result};

/// A recovery must drop no kept merge, however many a later merge will keep: the engine's own most.
const KEEP_ALL: usize = 64;

/// Where a record of merges is, or is to be made.
pub struct Place {
    /// The record.
    pub file: PathBuf,
    /// Its folder, without links: what the paths in it begin at.
    pub root: PathBuf,
}

/// A base that belongs to a record.
pub struct Base {
    /// Without links.
    pub path: PathBuf,
    /// Below the record's folder, with `/` between folders, as the record has it.
    pub name: String,
}

impl Place {
    /// The record that was named, else the one beside `image`.
    ///
    /// # Errors
    /// Its folder does not exist.
    pub fn find(record: Option<&Path>, image: Option<&Path>) -> Result<Place> {
        let file = match (record, image) {
            (Some(record), _) => std::path::absolute(record)?,
            (None, Some(image)) => real_file(image)?.with_file_name(names::COMMIT_BESIDE),
            (None, None) => return Err(Error::new(Kind::Usage, "neither a base nor a record is named")),
        };
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(Error::new(
                Kind::Usage,
                format!("this can't be a record of merges: {}", file.display()),
            ));
        };
        let root = canonical(folder).map_err(|error| {
            Error::new(Kind::Usage, "the folder of the record can't be opened")
                .safe("nothing was changed")
                .because(error)
        })?;
        Ok(Place { file: root.join(name), root })
    }

    /// The base at `path`, which a command is about to change.
    ///
    /// # Errors
    /// It is not below the record's folder, or its history is kept elsewhere: each record spares what it knows of, so
    /// that two of them would write over each other's generations.
    pub fn base(&self, path: &Path) -> Result<Base> {
        let path = real_file(path)?;
        let refuse = |what: String, hint: String| {
            Err(Error::new(Kind::Usage, what).safe("nothing was changed").hint(hint))
        };
        if let Some(drive) = path.ancestors().skip(1).find(|folder| folder.join(names::MANIFEST).is_file()) {
            return refuse(
                format!("the base belongs to the drive {}: {}", drive.display(), path.display()),
                "use the commands for drives: run, recover, undo, redo, history".to_owned(),
            );
        }
        let Some(name) = path.strip_prefix(&self.root).ok().and_then(portable) else {
            return refuse(
                format!(
                    "the base is not below the folder of the record {}: {}",
                    self.file.display(),
                    path.display()
                ),
                "name a record in a folder that holds all the bases with: --record FILE".to_owned(),
            );
        };
        if let Some(other) = self.other_record_of(&path) {
            return refuse(
                format!(
                    "another record has the history of this base, {}: {}",
                    other.display(),
                    path.display()
                ),
                "name that one with --record FILE; or remove it, which makes its merges final".to_owned(),
            );
        }
        Ok(Base { path, name })
    }

    /// A record of the default name, further up or down, that can undo a merge of this base.
    fn other_record_of(&self, base: &Path) -> Option<PathBuf> {
        base.ancestors().skip(1).find_map(|folder| {
            let other = folder.join(names::COMMIT_BESIDE);
            let name = base.strip_prefix(folder).ok().and_then(portable)?;
            if other == self.file || !other.is_file() {
                return None;
            }
            let steps = CommitFile::peek_history(&other).ok()?;
            let is_there = steps.iter().any(|step| step.disks.iter().any(|disk| disk.base == name));
            is_there.then_some(other)
        })
    }

    /// Where the base is that the record calls `name`.
    pub fn path_of(&self, name: &str) -> PathBuf {
        let mut path = self.root.clone();
        path.extend(name.split('/'));
        path
    }

    /// The generation that the record has for a base as a raw disk; none if it knows of no such raw disk.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn raw_generation(&self, base: &Base) -> Result<Option<GenerationId>> {
        if !self.file.exists() {
            return Ok(None);
        }
        CommitFile::peek_raw(&self.file, &base.name).map_err(failure::looking)
    }

    /// Does `work` with the record, which is made if there is none. `look` refuses first what `work` would refuse, so
    /// that it leaves no trace.
    ///
    /// # Errors
    /// As [`Place::open`], `look` and `work`.
    pub fn with_record<T>(
        &self,
        view: &dyn View,
        look: impl FnOnce() -> Result<()>,
        work: impl FnOnce(CommitFile) -> Result<T>,
    ) -> Result<T> {
        if self.file.exists() {
            let commit = self.open(view)?;
            look()?;
            return work(commit);
        }
        look()?;
        CommitFile::create(&self.file).map_err(failure::looking)?;
        CommitFile::open(&self.file, &self.root).map_err(failure::looking).and_then(work).inspect_err(|_| {
            // A record that was made for this and in which nothing happened is a trace that tells nothing.
            if TwoSlot::peek(&self.file).is_ok_and(|payload| payload.is_empty()) {
                let _ = fs_err::remove_file(&self.file);
            }
        })
    }

    /// Opens the record and recovers what was interrupted.
    ///
    /// # Errors
    /// There is none, another program holds it, or what was interrupted can't be recovered.
    pub fn open(&self, view: &dyn View) -> Result<CommitFile> {
        let (commit, recovery) = self.open_and_recover()?;
        match recovery.outcome {
            Outcome::Clean => {}
            // What the next step takes for the current state is older than whoever calls for it believes.
            Outcome::FellBack => {
                return Err(Error::new(Kind::Merge, format!("{}: {}", fell_back(), self.file.display()))
                    .safe("the bases are whole, as before that merge")
                    .hint("merge the overlay of that merge again, onto other storage"));
            }
            outcome => {
                if let Some(text) = recovered(outcome) {
                    view.show(&Event::notice(Notice::Recovered, text));
                }
            }
        }
        Ok(commit)
    }

    /// Opens the record and recovers, with what was done.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub fn open_and_recover(&self) -> Result<(CommitFile, Recovery)> {
        self.must_exist()?;
        let commit = CommitFile::open(&self.file, &self.root).map_err(failure::looking)?.keeping(KEEP_ALL);
        let recovery =
            pocketvm_disk::recover(&commit).map_err(|error| failure::travelling(error, &self.file))?;
        Ok((commit, recovery))
    }

    /// Refuses to go on without a record.
    ///
    /// # Errors
    /// There is none.
    pub fn must_exist(&self) -> Result<()> {
        if self.file.exists() {
            return Ok(());
        }
        Err(Error::new(Kind::Usage, format!("there is no record of merges: {}", self.file.display()))
            .safe("nothing was changed")
            .hint("the first merge makes one; if it lies elsewhere, name it with: --record FILE"))
    }

    /// Before a command that only looks: recovers what was interrupted, if anything was. There may be no record.
    ///
    /// # Errors
    /// As [`Place::open`].
    pub fn settle(&self, view: &dyn View) -> Result<()> {
        // A record that can't be read keeps nobody from looking at an image; who needs it will be told.
        if matches!(CommitFile::is_interrupted(&self.file), Ok(true)) {
            self.open(view)?;
        }
        Ok(())
    }
}

impl Base {
    /// Refuses to go on while another program reads the base, or writes to it.
    ///
    /// # Errors
    /// One does.
    pub fn ensure_unused(&self) -> Result<()> {
        if !is_image_in_use(&self.path)? {
            return Ok(());
        }
        Err(Error::new(Kind::Busy, format!("another program uses the base: {}", self.path.display()))
            .safe("nothing was changed")
            .hint("close it, also what only reads the base below an overlay, and try again"))
    }
}

/// What a recovery did, in a sentence; none if there was nothing to do.
pub fn recovered(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Clean => None,
        Outcome::Finished => Some("Something was interrupted here, and is now complete"),
        Outcome::Undone => {
            Some("Something was interrupted here, and is taken back: the bases are as before it")
        }
        Outcome::FellBack => Some(fell_back()),
    }
}

fn fell_back() -> &'static str {
    "the storage had reported the last merge as written but lost parts of it, so that the bases are as before it"
}

/// An existing file, without links.
fn real_file(path: &Path) -> Result<PathBuf> {
    canonical(path).map_err(|error| {
        Error::new(Kind::Usage, "an image can't be opened").safe("nothing was changed").because(error)
    })
}

/// A relative path as a record writes it; none if it can't be written in text.
fn portable(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.components().map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}
