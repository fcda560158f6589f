//! Changes of files in a Linux' ext4, on a throw-away copy of its disk ([`Patch`]).

use std::sync::Arc;

use fs_ext4::Filesystem;
use fs_ext4::block_io::BlockDevice;

use crate::patch::Patch;
use crate::{Disk, Error, Part, Result};

/// Bytes of a file that is changed.
const FILE_AT_MOST: u64 = 1 << 30;

/// A partition of the copy, for the library.
struct Device {
    patch: Arc<Patch>,
    start: u64,
    size: u64,
}

impl BlockDevice for Device {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> fs_ext4::error::Result<()> {
        let part = Part::new(&*self.patch, self.start, self.size);
        part.read_at(offset, buf).map_err(fs_ext4::error::Error::Io)
    }

    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> fs_ext4::error::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(fs_ext4::error::Error::OutOfBounds)?;
        self.patch.write(self.start + offset, buf).map_err(fs_ext4::error::Error::Io)
    }

    fn is_writable(&self) -> bool {
        true
    }
}

/// An ext4 that is being changed.
pub(crate) struct Volume {
    filesystem: Filesystem,
}

impl Volume {
    /// The one on the partition that begins at `start` and has `size` bytes.
    ///
    /// # Errors
    /// It is no ext4, or has a feature that is not written.
    pub fn open(patch: &Arc<Patch>, start: u64, size: u64) -> Result<Self> {
        let device = Device { patch: Arc::clone(patch), start, size };
        Ok(Volume { filesystem: Filesystem::mount(Arc::new(device)).map_err(told)? })
    }

    /// Puts `bytes` behind what the file at `path` holds.
    ///
    /// # Errors
    /// There is no such file, or no room.
    pub fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let inode = self.filesystem.lookup_path_bytes(path.as_bytes()).map_err(told)?;
        let size = self.filesystem.stat_ino(inode).map_err(told)?.size;
        if size > FILE_AT_MOST {
            return Err(Error::TooLarge(path.to_owned()));
        }
        self.filesystem.apply_pwrite(path, size, bytes).map_err(told)?;
        Ok(())
    }

    /// Puts `bytes` in the place of what the file at `path` holds.
    ///
    /// # Errors
    /// There is no such file, or no room.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.filesystem.apply_replace_file_content(path, bytes).map_err(told)?;
        Ok(())
    }

    /// Leaves it clean.
    ///
    /// # Errors
    /// The library failed before.
    pub fn finish(self) -> Result<()> {
        self.filesystem.finish().map_err(told)
    }
}

fn told(error: fs_ext4::error::Error) -> Error {
    match error {
        fs_ext4::error::Error::Io(error) => Error::Disk(error),
        fs_ext4::error::Error::NoSpaceLeftOnDevice => {
            Error::Unsupported("there is no room left on the guest's disk".to_owned())
        }
        error => Error::Unsupported(format!("the guest's file system can't be written to: {error}")),
    }
}
