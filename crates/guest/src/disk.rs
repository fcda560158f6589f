//! A disk as a guest sees it, and parts of it.

use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// A disk that is read at any place, by whoever. Reading changes nothing of it, caches aside.
pub trait Disk {
    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// Reads all of `buf` at `offset`.
    ///
    /// # Errors
    /// The range is not on the disk, or it can't be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl<D: Disk + ?Sized> Disk for &D {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

impl<D: Disk + ?Sized> Disk for Rc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

impl<D: Disk + ?Sized> Disk for std::sync::Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

impl Disk for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len() as u64);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(&self[offset as usize..end as usize]);
        Ok(())
    }
}

impl Disk for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buf)
    }
}

/// A part of a disk, a partition for instance: itself a disk.
#[derive(Debug, Clone, Copy)]
pub struct Part<'d, D: ?Sized> {
    disk: &'d D,
    start: u64,
    size: u64,
}

impl<'d, D: Disk + ?Sized> Part<'d, D> {
    /// `size` bytes from `start` on; less if the disk ends before.
    pub fn new(disk: &'d D, start: u64, size: u64) -> Self {
        let start = start.min(disk.size());
        Part { disk, start, size: size.min(disk.size() - start) }
    }

    /// Where it begins on the disk.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl<D: Disk + ?Sized> Disk for Part<'_, D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.disk.read_at(self.start + offset, buf)
    }
}

/// A part of a disk that holds on to the disk, for what can't borrow it.
#[derive(Clone)]
pub struct OwnedPart {
    disk: Rc<dyn Disk>,
    start: u64,
    size: u64,
}

impl OwnedPart {
    /// `size` bytes from `start` on; less if the disk ends before.
    #[must_use]
    pub fn new(disk: Rc<dyn Disk>, start: u64, size: u64) -> Self {
        let part = Part::new(&*disk, start, size);
        let (start, size) = (part.start, part.size);
        OwnedPart { disk, start, size }
    }
}

impl Disk for OwnedPart {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Part { disk: &*self.disk, start: self.start, size: self.size }.read_at(offset, buf)
    }
}

/// A disk as libraries read it: one byte after the other, with a position.
#[derive(Debug, Clone)]
pub struct Cursor<D> {
    disk: D,
    at: u64,
}

impl<D: Disk> Cursor<D> {
    /// At the beginning of `disk`.
    pub fn new(disk: D) -> Self {
        Cursor { disk, at: 0 }
    }
}

impl<D: Disk> Read for Cursor<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.size().saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        self.disk.read_at(self.at, &mut buf[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<D: Disk> Seek for Cursor<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.disk.size(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_the_disk_does() {
        let bytes: &[u8] = &[0, 1, 2, 3, 4, 5];
        let mut two = [0; 2];
        for (start, size, expected) in [(1, 4, 4), (4, 4, 2), (9, 4, 0)] {
            let part = Part::new(bytes, start, size);
            assert_eq!(part.size(), expected);
            assert_eq!(part.read_at(expected, &mut two).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        Part::new(bytes, 1, 4).read_at(2, &mut two).unwrap();
        assert_eq!(two, [3, 4]);
    }

    #[test]
    fn an_owned_part_is_the_same_part() {
        let disk: Rc<dyn Disk> = Rc::new(&[0_u8, 1, 2, 3, 4, 5][..]);
        let part = OwnedPart::new(disk, 2, 100);
        let mut two = [0; 2];
        part.read_at(2, &mut two).unwrap();
        assert_eq!((part.size(), two), (4, [4, 5]));
        assert!(part.read_at(3, &mut two).is_err());
    }
}
