//! Where images and records lie: a file, or memory that remembers every write and flush.

use std::io;

mod file;
mod lock;
pub mod memory;
#[cfg(target_os = "linux")]
mod writeout;

pub use file::{Access, FileStorage};

/// A run of bytes that can be read, written and made durable. Usable from several threads.
///
/// Errors name the file. Reading past the end is an error ([`io::ErrorKind::UnexpectedEof`]); writing past it
/// extends the storage with zeroes in between.
pub trait Storage: Send + Sync {
    /// Where it is, for messages.
    fn name(&self) -> &str;
    /// Fills `buf` from `offset` (bytes).
    ///
    /// # Errors
    /// The storage ends earlier, or the device fails.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset` (bytes).
    ///
    /// # Errors
    /// No room, or the device fails.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The device fails.
    fn flush(&self) -> io::Result<()>;
    /// Makes everything written so far durable, but not when that was: the time of the last change may be lost.
    ///
    /// # Errors
    /// The device fails.
    fn flush_data(&self) -> io::Result<()> {
        self.flush()
    }
    /// Length in bytes.
    ///
    /// # Errors
    /// The device fails.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends (with zeroes) to `len` bytes.
    ///
    /// # Errors
    /// No room, or the device fails.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Asks that the next reads come from the device and not from a cache. Advice only.
    fn forget_cache(&self);

    /// Bytes that the device has room for, if that is known.
    fn room(&self) -> Option<u64> {
        None
    }

    /// When the content was changed last, in seconds since 1970, if that is known. What [`Storage::set_modified`] set
    /// stays until the content changes.
    ///
    /// # Errors
    /// The device fails.
    fn modified(&self) -> io::Result<Option<i64>>;

    /// Sets when the content was changed last. To be made durable by [`Storage::flush`].
    ///
    /// # Errors
    /// The device fails.
    fn set_modified(&self, seconds: i64) -> io::Result<()>;

    /// Says that `offset..offset + len` will be read soon, so that the device can begin. Advice only.
    fn will_read(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Asks the system to write `offset..offset + len` to the device now, without waiting. Advice only.
    ///
    /// # Errors
    /// The device fails.
    fn start_writing_out(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Waits until what was written to `offset..offset + len` has been handed to the device, where the system can tell.
    /// That is not durable yet.
    ///
    /// # Errors
    /// The device fails.
    fn wait_written_out(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Whether it holds no byte.
    ///
    /// # Errors
    /// As [`Storage::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl<S: Storage + ?Sized> Storage for &S {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }
    fn flush_data(&self) -> io::Result<()> {
        (**self).flush_data()
    }
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        (**self).set_len(len)
    }
    fn forget_cache(&self) {
        (**self).forget_cache();
    }
    fn room(&self) -> Option<u64> {
        (**self).room()
    }
    fn modified(&self) -> io::Result<Option<i64>> {
        (**self).modified()
    }
    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        (**self).set_modified(seconds)
    }
    fn will_read(&self, offset: u64, len: u64) {
        (**self).will_read(offset, len);
    }
    fn start_writing_out(&self, offset: u64, len: u64) -> io::Result<()> {
        (**self).start_writing_out(offset, len)
    }
    fn wait_written_out(&self, offset: u64, len: u64) -> io::Result<()> {
        (**self).wait_written_out(offset, len)
    }
}

/// Reads what exists of `offset..offset + buf.len()` and fills the rest with zeroes: the last cluster of an
/// image file may be cut off at its last used byte.
pub(crate) fn read_padded<S: Storage>(storage: &S, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let there = storage.len()?.saturating_sub(offset).min(buf.len() as u64) as usize;
    let (head, tail) = buf.split_at_mut(there);
    if !head.is_empty() {
        storage.read_at(offset, head)?;
    }
    tail.fill(0);
    Ok(())
}

/// Whether all bytes are zero. Compares slices, which is fast in unoptimised builds as well.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROES.len()).all(|chunk| *chunk == ZEROES[..chunk.len()])
}
