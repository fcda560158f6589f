//! One session per drive: a lock that dies with its launcher, and a note for the second one.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Drive, names, state};
use crate::host::child;
use crate::host::facts;
use crate::{Error, Kind, Result};

/// How often a drive that is in use is tried again, and how long to wait before each time: a second in all. Who only
/// looks at the drive, as `status` does, holds it for less than one such pause. No system tells when a lock is given
/// up, other than to a thread that blocks in it and that nothing could call back when the second is over.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Who uses a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id of the launcher.
    pub process: u32,
    /// When that process started, as [`child::Identity`] has it: process ids are used again.
    started: String,
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
    // Held open: the system releases the lock with it, however this process ends.
    file: File,
}

impl Drop for DriveLock {
    /// Unlocks instead of leaving that to the closing: a child process that another thread is just starting holds a
    /// copy of the handle for a moment, and with it the lock.
    fn drop(&mut self) {
        // Closing is still to come, should this fail.
        let _ = self.file.unlock();
    }
}

impl Drive {
    /// Takes the drive for a session.
    ///
    /// # Errors
    /// [`Kind::Busy`]: another launcher has it; the text says which. [`Kind::Drive`]: it can't be written.
    pub fn lock(&self) -> Result<DriveLock> {
        let (file, path) = self.open_lock_file()?.into_parts();
        match lock_patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.busy()),
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(Kind::Drive, format!("cannot lock the drive: {}", path.display()))
                    .hint("use a file system that can lock files")
                    .because(error));
            }
        }
        let lock = DriveLock { file };
        // Only now: the records may be in use by whoever has the lock.
        self.prepare_state()?;
        self.write_record(&state::HOLDER, &Holder::this_launcher())?;
        Ok(lock)
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
            Err(TryLockError::WouldBlock) => Ok(Some(self.noted_holder())),
            _ => Ok(None),
        }
    }

    /// Who has the lock, by its note.
    fn noted_holder(&self) -> Holder {
        match self.read_record::<Holder>(&state::HOLDER) {
            Ok(Some(holder)) if holder.is_alive() => holder,
            // Whoever has the lock has not written its note yet; what is there is from one before.
            _ => Holder::UNKNOWN,
        }
    }

    fn busy(&self) -> Error {
        let who = self.noted_holder();
        let what = format!("the drive is in use by {who}: {}", self.root().display());
        Error::new(Kind::Busy, what)
            .safe("nothing was changed")
            .hint("finish the session there, or wait until it has ended")
    }
}

fn lock_patiently(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

impl Holder {
    /// A launcher that did not say who it is.
    const UNKNOWN: Holder = Holder {
        process: 0,
        started: String::new(),
        host_id: String::new(),
        host_name: String::new(),
        since: Timestamp::UNIX_EPOCH,
    };

    fn this_launcher() -> Self {
        let process = std::process::id();
        Holder {
            process,
            started: child::Identity::of(process).map(|identity| identity.started).unwrap_or_default(),
            host_id: facts::host_id(),
            host_name: facts::host_name(),
            since: Timestamp::now(),
        }
    }

    /// It runs on this PC. Only such a process can have locked a drive that is attached here.
    fn is_alive(&self) -> bool {
        let identity = child::Identity { pid: self.process, started: self.started.clone() };
        self.host_id == facts::host_id() && identity.is_alive()
    }
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
    fn a_launcher_waits_for_one_that_only_looks_at_the_drive() {
        let (_folder, drive) = new_drive();
        drive.prepare_state().unwrap();
        let file = File::open(drive.state_path(names::LOCK).unwrap()).unwrap();
        file.lock_shared().unwrap();
        let looker = thread::spawn(move || {
            thread::sleep(3 * PAUSE);
            drop(file);
        });
        drive.lock().unwrap();
        looker.join().unwrap();
    }

    #[test]
    fn the_note_of_a_launcher_that_has_ended_is_not_shown_for_the_next_one() {
        let (_folder, drive) = new_drive();
        drop(drive.lock().unwrap());
        let file = File::open(drive.state_path(names::LOCK).unwrap()).unwrap();
        file.lock().unwrap();
        let living = Holder::this_launcher();
        assert_eq!(drive.holder().unwrap().unwrap().process, living.process);
        let dead = Holder { started: "0".to_owned(), ..living.clone() };
        let elsewhere = Holder { host_id: "another PC".to_owned(), ..living };
        for outdated in [dead, elsewhere] {
            drive.write_record(&state::HOLDER, &outdated).unwrap();
            assert_eq!(drive.holder().unwrap(), Some(Holder::UNKNOWN));
        }
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
