//! The files in `state/`: made once at their full size, then only overwritten in place as two-slot records.
//!
//! That way a power cut costs at most the newest record, also on FAT and exFAT, where a rename or a new length is
//! not safe. No file has a mode, a link or a name that such a file system can't keep.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use pocketvm_disk::record::TwoSlot;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Drive, names};
use crate::host::file;
use crate::{Error, Kind, Result};

/// A record file in `state/`.
pub(super) struct Record {
    /// Its name.
    pub(super) name: &'static str,
    /// Bytes of each of its two slots.
    slot: u64,
    /// What it is, for messages.
    what: &'static str,
    /// Nothing is lost with it: a damaged one is made anew.
    expendable: bool,
}

/// Who the drive is.
pub(super) const IDENTITY: Record =
    Record { name: names::IDENTITY, slot: 16 << 10, what: "the drive's identity", expendable: false };
/// Who uses the drive.
pub(super) const HOLDER: Record =
    Record { name: names::HOLDER, slot: 16 << 10, what: "the note on who uses the drive", expendable: true };
/// The session.
pub(super) const SESSION: Record =
    Record { name: names::SESSION, slot: 64 << 10, what: "the record of the session", expendable: false };
/// The merge under way. The engine's own; room for hundreds of kept generations, as the engine makes it.
pub(super) const COMMIT: Record =
    Record { name: names::COMMIT, slot: 256 << 10, what: "the record of merges", expendable: false };
/// Accelerator verdicts.
pub(super) const VERDICTS: Record =
    Record { name: names::VERDICTS, slot: 256 << 10, what: "the remembered verdicts", expendable: true };
/// How the window is to look and speak.
pub(super) const WINDOW: Record =
    Record { name: names::WINDOW, slot: 16 << 10, what: "the window's settings", expendable: true };

impl Drive {
    /// Makes the folder `state` and every file that PocketVM itself needs there, as far as they are missing.
    ///
    /// # Errors
    /// [`Kind::Drive`]: the drive is full, read-only or failing, or something else has one of the names.
    pub fn prepare_state(&self) -> Result<()> {
        drop(self.open_lock_file()?);
        let mut made = false;
        for record in [IDENTITY, HOLDER, SESSION, COMMIT, VERDICTS, WINDOW] {
            made |= self.prepare(&record)?;
        }
        if made {
            // Makes the new names durable, where the system can.
            file::flush_folder(&self.root().join(names::STATE)).map_err(unwritable)?;
            file::flush_folder(self.root()).map_err(unwritable)?;
        }
        Ok(())
    }

    /// The lock file, made if need be together with the folder.
    pub(super) fn open_lock_file(&self) -> Result<fs_err::File> {
        match fs_err::create_dir(self.root().join(names::STATE)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unwritable(error)),
            _ => {}
        }
        let path = self.state_path(names::LOCK)?;
        let file = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        file.map_err(unwritable)
    }

    /// Whether the record had to be made.
    fn prepare(&self, record: &Record) -> Result<bool> {
        let path = self.state_path(record.name)?;
        match look_at(&path, record).map_err(unwritable)? {
            Found::Holds => return Ok(false),
            Found::Blank => fs_err::remove_file(&path).map_err(unwritable)?,
            Found::Nothing => {}
        }
        TwoSlot::create(&path, record.slot).map(|_| true).map_err(|error| failed("make", record, error))
    }

    /// Where a file of `state/` is.
    ///
    /// # Errors
    /// [`Kind::Drive`]: the folder or the file is a link or no plain file; a crafted drive could make us write elsewhere.
    pub fn state_path(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root().join(names::STATE);
        let path = folder.join(name);
        // A pipe or device would block whoever opens it.
        let is_wrong = |path: &Path, is_right: fn(&Metadata) -> bool| {
            fs_err::symlink_metadata(path).is_ok_and(|metadata| !is_right(&metadata))
        };
        for (path, is_right) in [(&folder, Metadata::is_dir as fn(&_) -> _), (&path, Metadata::is_file)] {
            if is_wrong(path, is_right) {
                let what = format!("the drive's own files must be plain files: {}", path.display());
                return Err(
                    Error::new(Kind::Drive, what).hint("remove what is there, or replace it by a copy")
                );
            }
        }
        Ok(path)
    }

    /// The newest content of a record; none if it was never written.
    pub(super) fn read_record<T: DeserializeOwned>(&self, record: &Record) -> Result<Option<T>> {
        let path = self.state_path(record.name)?;
        let found = look_at(&path, record).map_err(|error| {
            Error::new(Kind::Drive, format!("cannot read {}", record.what)).because(error)
        })?;
        if found != Found::Holds {
            return Ok(None);
        }
        // What is larger than we ever make it is not ours, and is not read.
        if fs_err::metadata(&path)?.len() > 2 * record.slot {
            return Err(damaged(record, "its size is wrong", &path));
        }
        let bytes = TwoSlot::peek(&path).map_err(|error| failed("read", record, error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(record, &error.to_string(), &path))
    }

    /// Makes `content` the newest of a record; durable when this returns. Prepares the state first if need be.
    pub(super) fn write_record<T: Serialize>(&self, record: &Record, content: &T) -> Result<()> {
        let path = self.state_path(record.name)?;
        if look_at(&path, record).map_err(unwritable)? != Found::Holds {
            self.prepare_state()?;
        }
        let bytes = serde_json::to_vec(content).map_err(|error| {
            Error::new(Kind::Unexpected, format!("cannot write {}", record.what)).because(error)
        })?;
        let record_file = TwoSlot::open(&path).map_err(|error| failed("write", record, error))?;
        record_file.write(&bytes).map_err(|error| failed("write", record, error))
    }
}

/// What is in the place of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing at all.
    Nothing,
    /// A file that never held anything, or nothing of worth: it can be made anew.
    Blank,
    /// Something that must be read or, if it can't be, told of.
    Holds,
}

fn look_at(path: &Path, record: &Record) -> io::Result<Found> {
    let length = match fs_err::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        other => other?.len(),
    };
    if length > 2 * record.slot || TwoSlot::peek(path).is_ok() {
        return Ok(Found::Holds);
    }
    // A power cut tears at most one slot of a record that was ever written. One with nothing but zeroes, perhaps
    // shorter than it should be, was cut while it was made.
    let is_blank = record.expendable || fs_err::read(path)?.iter().all(|byte| *byte == 0);
    Ok(if is_blank { Found::Blank } else { Found::Holds })
}

fn failed(verb: &str, record: &Record, error: pocketvm_disk::Error) -> Error {
    let hint =
        error.hint().unwrap_or("check that the drive is attached, has room, and is not write-protected");
    Error::new(Kind::Drive, format!("cannot {verb} {}", record.what)).hint(hint).because(error)
}

fn unwritable(error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "free some room on the drive",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "make the drive writable: look for a write-protect switch, or mount it with write access"
        }
        _ => "check that the drive is attached and works",
    };
    Error::new(Kind::Drive, "cannot write to the drive").hint(hint).because(error)
}

/// A record that holds by its checksum, or claims to, and still makes no sense.
pub(super) fn damaged(record: &Record, why: &str, path: &Path) -> Error {
    let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
    Error::new(Kind::Drive, format!("{} makes no sense, {why}: {}", record.what, path.display()))
        .safe("the disks on the drive are not affected")
        .hint("check the drive with `pocketvm check`; a newer PocketVM may have written this file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::tests::{drive_in, new_drive};

    #[test]
    fn preparing_twice_changes_nothing() {
        let (folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        drive.write_record(&SESSION, &"kept").unwrap();
        let before = listing(&drive);
        drive.prepare_state().unwrap();
        assert_eq!(listing(&drive), before);
        assert_eq!(drive.read_record::<String>(&SESSION).unwrap().as_deref(), Some("kept"));
        drop(folder);
    }

    #[test]
    fn a_record_never_changes_its_size_on_the_drive() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let before = listing(&drive);
        drive.write_record(&SESSION, &"x".repeat(60_000)).unwrap();
        drive.write_record(&SESSION, &"y").unwrap();
        assert_eq!(listing(&drive), before);
        let error = drive.write_record(&SESSION, &"x".repeat(70_000)).unwrap_err();
        assert_eq!(error.kind, Kind::Drive);
        assert_eq!(drive.read_record::<String>(&SESSION).unwrap().as_deref(), Some("y"));
    }

    #[test]
    fn a_file_whose_making_was_interrupted_is_made_again() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let path = drive.state_path(names::SESSION).unwrap();
        std::fs::write(&path, [0; 100]).unwrap();
        assert_eq!(drive.read_record::<String>(&SESSION).unwrap(), None);
        drive.prepare_state().unwrap();
        drive.write_record(&SESSION, &"new").unwrap();
        assert_eq!(drive.read_record::<String>(&SESSION).unwrap().as_deref(), Some("new"));
    }

    #[test]
    fn a_record_that_lost_its_end_is_damaged_and_never_nothing() {
        let (_folder, drive) = new_drive();
        drive.write_record(&SESSION, &"kept").unwrap();
        let path = drive.state_path(names::SESSION).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(100_000).unwrap();
        assert!(drive.read_record::<String>(&SESSION).is_err());
        assert!(drive.write_record(&SESSION, &"new").is_err());
    }

    #[test]
    fn only_a_record_of_no_worth_is_made_anew_when_it_is_damaged() {
        let (_folder, drive) = new_drive();
        for record in [SESSION, VERDICTS] {
            drive.write_record(&record, &"old").unwrap();
            std::fs::write(drive.state_path(record.name).unwrap(), vec![0x55; 2 * record.slot as usize])
                .unwrap();
        }
        assert!(drive.write_record(&SESSION, &"new").is_err());
        drive.write_record(&VERDICTS, &"new").unwrap();
        assert_eq!(drive.read_record::<String>(&VERDICTS).unwrap().as_deref(), Some("new"));
    }

    #[test]
    fn what_is_not_ours_is_an_error_and_not_read_in_full() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let path = drive.state_path(names::SESSION).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(drive.read_record::<String>(&SESSION).unwrap_err().what.contains("its size is wrong"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_our_files_is_refused() {
        let elsewhere = tempfile::tempdir().unwrap();
        let (_folder, drive) = new_drive();
        std::os::unix::fs::symlink(elsewhere.path(), drive.root().join(names::STATE)).unwrap();
        let error = drive.prepare_state().unwrap_err();
        assert!(error.what.starts_with("the drive's own files must be plain files"), "{error}");
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_place_of_a_record_is_refused_and_blocks_nobody() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let path = drive.state_path(names::SESSION).unwrap();
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(drive.read_record::<String>(&SESSION).unwrap_err().what.contains("must be plain files"));
    }

    #[test]
    fn reading_leaves_no_trace_on_a_drive_that_was_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let drive = drive_in(folder.path());
        assert_eq!(drive.read_record::<String>(&SESSION).unwrap(), None);
        assert!(!drive.root().join(names::STATE).exists());
    }

    fn listing(drive: &Drive) -> Vec<(std::ffi::OsString, u64)> {
        let entries = std::fs::read_dir(drive.root().join(names::STATE)).unwrap().map(Result::unwrap);
        let mut all: Vec<_> = entries.map(|e| (e.file_name(), e.metadata().unwrap().len())).collect();
        all.sort();
        all
    }
}
