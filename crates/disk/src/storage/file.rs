//! A file as storage.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::{Storage, lock};
use crate::error::{Error, Result};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading; other readers and writers are not disturbed.
    Read,
    /// Reading, while nobody may write.
    ReadStable,
    /// Reading and writing, while nobody else may write.
    Write,
}

/// A file, held open (and locked, if opened so) until it is dropped.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    name: String,
}

impl FileStorage {
    /// Opens an existing file.
    ///
    /// # Errors
    /// It can't be opened; [`Error::Busy`] if another merge holds it; [`Error::InUse`] if a QEMU writes to it.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let name = path.display().to_string();
        // Opening a pipe blocks for ever, opening a device may do anything; on a found stick a name may be either.
        if !fs_err::metadata(path)?.is_file() {
            return Err(named(
                &name,
                std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"),
            )
            .into());
        }
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)
            .map_err(|error| named(&name, error))?;
        let storage = FileStorage { file, name };
        if access == Access::Write {
            storage.lock_exclusively()?;
        }
        if access != Access::Read
            && !lock::keep_writers_out(&storage.file).map_err(|error| named(&storage.name, error))?
        {
            return Err(Error::InUse { image: storage.name.clone() });
        }
        Ok(storage)
    }

    /// Makes a new, empty file; an existing one is an error.
    ///
    /// # Errors
    /// It exists or can't be made.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| named(&name, error))?;
        Ok(FileStorage { file, name })
    }

    fn lock_exclusively(&self) -> Result<()> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { file: self.name.clone() }),
            // A file system without locks: the drive's own lock is what is left.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            Err(TryLockError::Error(error)) => Err(named(&self.name, error).into()),
        }
    }

    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| named(&self.name, error))
    }
}

impl Drop for FileStorage {
    /// Unlocks instead of leaving that to the closing: a child process that another thread is just starting holds
    /// a copy of the handle for a moment, and with it the lock.
    fn drop(&mut self) {
        // Closing is still to come, should this fail.
        let _ = self.file.unlock();
        let _ = lock::let_writers_in(&self.file);
    }
}

/// Adds the path, which the standard library leaves out.
fn named(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{error}: {name}"))
}

impl Storage for FileStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        #[cfg(unix)]
        let result = std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset);
        #[cfg(windows)]
        let result = {
            let mut done = 0;
            loop {
                if done == buf.len() {
                    break Ok(());
                }
                let at = offset + done as u64;
                match std::os::windows::fs::FileExt::seek_read(&self.file, &mut buf[done..], at) {
                    Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
            }
        };
        self.named(result)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(unix)]
        let result = std::os::unix::fs::FileExt::write_all_at(&self.file, data, offset);
        #[cfg(windows)]
        let result = {
            let mut done = 0;
            loop {
                if done == data.len() {
                    break Ok(());
                }
                let at = offset + done as u64;
                match std::os::windows::fs::FileExt::seek_write(&self.file, &data[done..], at) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
            }
        };
        self.named(result)
    }

    fn flush(&self) -> io::Result<()> {
        // `sync_all`, not `sync_data`: the new length of a grown file must be durable as well.
        self.named(self.file.sync_all())
    }

    fn len(&self) -> io::Result<u64> {
        self.named(self.file.metadata()).map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.named(self.file.set_len(len))
    }

    fn forget_cache(&self) {
        #[cfg(target_os = "linux")]
        {
            use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
            // Advice: where it is not taken, the read-back merely proves less.
            let _ = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }

    fn room(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            let found = nix::sys::statvfs::fstatvfs(&self.file).ok()?;
            // The field widths differ between systems.
            #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
            (found.blocks_available() as u64).checked_mul(found.fragment_size() as u64)
        }
        #[cfg(not(unix))]
        None
    }
}
