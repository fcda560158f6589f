//! A lock by `flock` on a file, and a socket beside it. The folder is closed to other users.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};

use super::Place;
use crate::drive::names;
use crate::host::channel::through_short_path;

/// The lock, and the files that go with it.
#[derive(Debug)]
pub struct Lock {
    // Held open: the system releases the lock with it, however this process ends.
    file: File,
    path: PathBuf,
    folder: PathBuf,
    socket: String,
}

impl Lock {
    /// The lock, if nobody has it.
    pub fn take(place: &Place) -> io::Result<Option<Lock>> {
        loop {
            match Lock::try_on(open(&place.lock())?, place)? {
                Tried::Ours(lock) => return Ok(Some(lock)),
                Tried::Taken => return Ok(None),
                Tried::Outdated => {}
            }
        }
    }

    fn try_on(file: File, place: &Place) -> io::Result<Tried> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Tried::Taken),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = place.lock();
        if !is_at(&file, &path)? {
            return Ok(Tried::Outdated);
        }
        let (folder, socket) = (place.folder.clone(), names::instance_socket(&place.key));
        Ok(Tried::Ours(Lock { file, path, folder, socket }))
    }

    /// From now on others can call.
    pub fn listen(&mut self) -> io::Result<(Listener, Stop)> {
        remove(&self.folder.join(&self.socket))?;
        let listener = through_short_path(&self.folder, &self.socket, |path| UnixListener::bind(path))?;
        // Or a caller that is gone again could hold us up.
        listener.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        Ok((Listener { listener, stopped }, Stop(stop)))
    }
}

impl Drop for Lock {
    /// Removes the files while the lock is still held. Not those of another: the file may have been removed by a
    /// program that clears caches, and then somebody else may be first.
    fn drop(&mut self) {
        if is_at(&self.file, &self.path).unwrap_or(false) {
            // What stays is removed at the next start.
            let _ = remove(&self.folder.join(&self.socket));
            let _ = remove(&self.path);
        }
    }
}

/// What came of trying to lock a file.
enum Tried {
    Ours(Lock),
    Taken,
    /// Whoever has the lock removes the file before giving the lock up. This one was removed after it was opened here,
    /// and another process may have made and locked a new one: such a lock counts for nothing.
    Outdated,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Whether `file` is what `path` names.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The end of the first one, for its thread.
pub struct Listener {
    listener: UnixListener,
    stopped: UnixStream,
}

impl Listener {
    /// Waits for a call, or until [`Stop`] is dropped.
    pub fn next_call(&mut self) -> io::Result<Box<dyn Write>> {
        loop {
            let mut waited =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.stopped, PollFlags::IN)];
            match poll(&mut waited, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if !waited[1].revents().is_empty() {
                return Ok(Box::new(io::sink()));
            }
            match self.listener.accept() {
                Ok((caller, _)) => return Ok(Box::new(caller)),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Wakes the listener's thread when it is dropped.
#[derive(Debug)]
pub struct Stop(#[expect(dead_code, reason = "held open until it is dropped")] UnixStream);

/// Connects to the first one, to be called in a thread.
pub fn caller(place: &Place) -> impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static {
    let (folder, socket) = (place.folder.clone(), names::instance_socket(&place.key));
    move || {
        let stream = through_short_path(&folder, &socket, |path| UnixStream::connect(path))?;
        Ok(Box::new(stream) as Box<dyn Read>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_file_that_its_owner_removed_meanwhile_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path(), "5").unwrap();
        let lock = Lock::take(&place).unwrap().unwrap();
        let opened = || open(&place.lock()).unwrap();
        let slow = [opened(), opened()];
        assert!(matches!(Lock::try_on(opened(), &place).unwrap(), Tried::Taken));
        drop(lock);
        let [one, two] = slow;
        assert!(matches!(Lock::try_on(one, &place).unwrap(), Tried::Outdated));
        let new = Lock::take(&place).unwrap().unwrap();
        assert!(matches!(Lock::try_on(two, &place).unwrap(), Tried::Outdated));
        assert!(Lock::take(&place).unwrap().is_none());
        drop(new);
        assert!(Lock::take(&place).unwrap().is_some());
    }
}
