//! One session per drive: a lock that dies with its launcher, and a note for the second one.

use std::fs::{File, TryLockError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Drive, names, state};
use crate::host::facts;
use crate::{Error, Kind, Result};

/// Who uses a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id of the launcher.
    pub process: u32,
    /// Id of its PC.
    pub host_id: String,
    /// Name of its PC.
    pub host_name: String,
    /// Since when.
    pub since: Timestamp,
}

/// The drive is ours until this is dropped, or this process ends in whatever way.
#[derive(Debug)]
pub struct DriveLock {
    // Held open: the system releases the lock with it.
    _file: File,
}

impl Drive {
    /// Takes the drive for a session.
    ///
    /// # Errors
    /// [`Kind::Busy`]: another launcher has it; the text says which. [`Kind::Drive`]: it can't be written.
    pub fn lock(&self) -> Result<DriveLock> {
        let (file, path) = self.open_lock_file()?.into_parts();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.busy()),
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(Kind::Drive, format!("cannot lock the drive: {}", path.display()))
                    .hint("use a file system that can lock files")
                    .because(error));
            }
        }
        // Only now: the records may be in use by whoever has the lock.
        self.prepare_state()?;
        let holder = Holder {
            process: std::process::id(),
            host_id: facts::host_id(),
            host_name: facts::host_name(),
            since: Timestamp::now(),
        };
        self.write_record(&state::HOLDER, &holder)?;
        Ok(DriveLock { _file: file })
    }

    /// Who has the drive now; none if it is free.
    ///
    /// # Errors
    /// As [`Drive::lock`], except [`Kind::Busy`].
    pub fn holder(&self) -> Result<Option<Holder>> {
        let path = self.state_path(names::LOCK)?;
        let file = match fs_err::File::open(path) {
            Ok(file) => file.into_parts().0,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::new(Kind::Drive, "cannot read the drive's lock").because(error)),
        };
        // A shared lock is enough to see whether there is an exclusive one, and disturbs no other looker.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                Ok(Some(self.read_record(&state::HOLDER)?.unwrap_or(Holder::UNKNOWN)))
            }
            _ => Ok(None),
        }
    }

    fn busy(&self) -> Error {
        let who = match self.read_record::<Holder>(&state::HOLDER) {
            Ok(Some(holder)) => holder.to_string(),
            // The other launcher has the lock but has not written its note yet.
            Ok(None) | Err(_) => Holder::UNKNOWN.to_string(),
        };
        let what = format!("the drive is in use by {who}: {}", self.root().display());
        Error::new(Kind::Busy, what)
            .safe("nothing was changed")
            .hint("finish the session there, or wait until it has ended")
    }
}

impl Holder {
    /// A launcher that did not say who it is.
    const UNKNOWN: Holder =
        Holder { process: 0, host_id: String::new(), host_name: String::new(), since: Timestamp::UNIX_EPOCH };
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Holder::UNKNOWN {
            return f.write_str("another launcher");
        }
        let name: String = self.host_name.chars().filter(|c| !c.is_control()).take(64).collect();
        let since = self.since.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M");
        write!(f, "another launcher (process {} on {name}, since {since})", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::tests::new_drive;

    #[test]
    fn a_second_launcher_is_told_who_holds_the_drive() {
        let (_folder, drive) = new_drive();
        assert_eq!(drive.holder().unwrap(), None);
        let lock = drive.lock().unwrap();
        let error = drive.lock().unwrap_err();
        assert_eq!(error.kind, Kind::Busy);
        assert!(error.what.contains(&format!("(process {} on ", std::process::id())), "{error}");
        assert_eq!(drive.holder().unwrap().unwrap().process, std::process::id());
        drop(lock);
        assert_eq!(drive.holder().unwrap(), None);
        drive.lock().unwrap();
    }

    #[test]
    fn a_holder_without_a_note_is_still_a_holder() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let file = File::open(drive.state_path(names::LOCK).unwrap()).unwrap();
        file.lock().unwrap();
        assert!(drive.lock().unwrap_err().what.starts_with("the drive is in use by another launcher: "));
        assert_eq!(drive.holder().unwrap(), Some(Holder::UNKNOWN));
    }
}
