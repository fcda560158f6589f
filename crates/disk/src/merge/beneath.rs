//! Looks at a generation whose header block is not the one in the file: is it whole, whatever became of the other one?

use std::io::{self, ErrorKind};

use crate::error::{Error, Result};
use crate::qcow2::check::check_image;
use crate::qcow2::header::{BLOCK, HeaderBlock};
use crate::qcow2::image::{Image, Role};
use crate::storage::Storage;

/// Whether all tables that `header` leads to agree with each other and with their counts. Reads all of them, so it is for
/// the case that a device lost something; a device that fails to read is not taken for damage.
///
/// # Errors
/// The device fails.
pub fn is_whole<S: Storage>(file: &S, header: &HeaderBlock) -> Result<bool> {
    match Image::open(Beneath { file, block: &header.0 }, Role::Base).and_then(|image| check_image(&image)) {
        Ok(report) => Ok(report.error_count == 0),
        Err(Error::Damaged { .. } | Error::Refused { .. }) => Ok(false),
        Err(Error::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file that reads as if it began with another header block.
struct Beneath<'a, S> {
    file: &'a S,
    block: &'a [u8; BLOCK],
}

impl<S: Storage> Storage for Beneath<'_, S> {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)?;
        if let Some(block) = usize::try_from(offset).ok().and_then(|start| self.block.get(start..)) {
            let part = block.len().min(buf.len());
            buf[..part].copy_from_slice(&block[..part]);
        }
        Ok(())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn forget_cache(&self) {}

    fn modified(&self) -> io::Result<Option<i64>> {
        self.file.modified()
    }

    fn set_modified(&self, _seconds: i64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }
}
