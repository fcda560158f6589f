//! A file as storage.

use std::fs::{File, FileTimes, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Storage;
use super::lock::{self, Obstacle};
use crate::error::{Error, Result};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading; other readers and writers are not disturbed.
    Read,
    /// Reading, while nobody may write.
    ReadStable,
    /// Reading and writing, while nobody else may write. Readers are not disturbed by what is written.
    Write,
    /// Reading and writing, while no QEMU reads either.
    Exclusive,
}

impl Access {
    pub(super) fn writes(self) -> bool {
        matches!(self, Access::Write | Access::Exclusive)
    }
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
    /// It can't be opened; [`Error::Busy`] if another merge holds it; [`Error::InUse`] if a QEMU writes to it;
    /// [`Error::BeingRead`] if one reads it that must not.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let name = path.display().to_string();
        // Opening a pipe blocks for ever, opening a device may do anything; on a found stick a name may be either.
        if !fs_err::metadata(path)?.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(named(&name, error).into());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access.writes());
        match lock::open(&mut options, path, access) {
            Ok(file) => Ok(FileStorage { file, name }),
            Err(Obstacle::Merge) => Err(Error::Busy { file: name }),
            Err(Obstacle::Writer) => Err(Error::InUse { image: name }),
            Err(Obstacle::Reader) => Err(Error::BeingRead { image: name }),
            Err(Obstacle::Other(error)) => Err(named(&name, error).into()),
        }
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

    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| named(&self.name, error))
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        lock::release(&self.file);
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
        self.named(self.file.sync_all())
    }

    fn flush_data(&self) -> io::Result<()> {
        // A new length, and where the new bytes are, is part of that; a journal that only tells a time is not written.
        self.named(self.file.sync_data())
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

    fn modified(&self) -> io::Result<Option<i64>> {
        let time = self.named(self.file.metadata().and_then(|metadata| metadata.modified()))?;
        let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).ok(),
            Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|seconds| -seconds),
        };
        Ok(seconds)
    }

    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        let time = time.ok_or(io::ErrorKind::InvalidInput)?;
        // Both times: exfat-fuse and ntfs-3g (libfuse 2) take no notice of a wish to change only one.
        self.named(self.file.set_times(FileTimes::new().set_accessed(time).set_modified(time)))
    }

    #[cfg(target_os = "linux")]
    fn will_read(&self, offset: u64, len: u64) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
        // Advice: where it is not taken, reading takes longer.
        let _ = posix_fadvise(&self.file, offset, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }

    #[cfg(target_os = "linux")]
    fn start_writing_out(&self, offset: u64, len: u64) -> io::Result<()> {
        self.named(super::writeout::start(&self.file, offset, len))
    }

    #[cfg(target_os = "linux")]
    fn wait_written_out(&self, offset: u64, len: u64) -> io::Result<()> {
        self.named(super::writeout::wait(&self.file, offset, len))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_can_be_read_by_others_and_written_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base");
        FileStorage::create(&path).unwrap().write_at(0, b"content").unwrap();
        let writer = FileStorage::open(&path, Access::Write).unwrap();
        writer.write_at(3, b"TENT").unwrap();
        let reader = FileStorage::open(&path, Access::Read).unwrap();
        let mut bytes = [0; 7];
        reader.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"conTENT");
        assert!(matches!(FileStorage::open(&path, Access::Write), Err(Error::Busy { .. })));
        drop(writer);
        FileStorage::open(&path, Access::Write).unwrap();
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_writing_past_it_fills_with_zeroes() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileStorage::create(&folder.path().join("image")).unwrap();
        file.write_at(5, b"x").unwrap();
        let mut bytes = [1; 6];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0\0x");
        assert_eq!(file.read_at(1, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.flush().unwrap();
        assert_eq!(file.len().unwrap(), 6);
    }

    #[test]
    fn what_is_read_while_nobody_writes_keeps_nobody_from_reading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("overlay");
        FileStorage::create(&path).unwrap();
        let _one = FileStorage::open(&path, Access::ReadStable).unwrap();
        FileStorage::open(&path, Access::ReadStable).unwrap();
        FileStorage::open(&path, Access::Read).unwrap();
    }
}
