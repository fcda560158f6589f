//! A record of the master file table, and the attributes in it.

use crate::bytes::{le16, le32, le64};
use crate::{Error, Result};

/// The attributes that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    List = 0x20,
    VolumeName = 0x60,
    VolumeInformation = 0x70,
    Data = 0x80,
    IndexRoot = 0x90,
    IndexAllocation = 0xA0,
}

/// Ends the attributes.
const END: u32 = 0xFFFF_FFFF;

/// A record in use, with its fixups undone.
#[derive(Debug)]
pub(super) struct Record {
    bytes: Vec<u8>,
}

/// An attribute of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'r> {
    pub kind: u32,
    /// UTF-16; empty for the unnamed one.
    pub name: &'r [u8],
    /// 0x0001 to 0x00FF: compressed; 0x4000: encrypted; 0x8000: sparse.
    pub flags: u16,
    pub body: Body<'r>,
}

/// Where the content of an attribute is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'r> {
    Resident(&'r [u8]),
    Extents {
        /// The first cluster of the content that `runs` tell of.
        first: u64,
        /// As they are packed.
        runs: &'r [u8],
        /// Bytes of the whole content; only where `first` is 0.
        size: u64,
        /// Bytes that were ever written; the rest reads as zeroes. Only where `first` is 0.
        initialised: u64,
    },
}

impl Record {
    /// `None` if the record is not in use.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Option<Record>> {
        if !bytes.starts_with(b"FILE") {
            return Ok(None);
        }
        undo_fixups(&mut bytes)
            .ok_or_else(|| Error::Damaged("a torn record of the master file table".into()))?;
        let in_use = le16(&bytes, 0x16).is_some_and(|flags| flags & 1 != 0);
        Ok(in_use.then_some(Record { bytes }))
    }

    pub fn is_directory(&self) -> bool {
        le16(&self.bytes, 0x16).is_some_and(|flags| flags & 2 != 0)
    }

    /// Counts how often the record was taken.
    pub fn sequence(&self) -> u16 {
        le16(&self.bytes, 0x10).unwrap_or(0)
    }

    /// The attributes, up to the first that makes no sense.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        let used = le32(&self.bytes, 0x18).map_or(0, |used| used as usize).min(self.bytes.len());
        let mut rest =
            self.bytes[..used].get(le16(&self.bytes, 0x14).unwrap_or(0).into()..).unwrap_or_default();
        std::iter::from_fn(move || {
            let length = le32(rest, 4)? as usize;
            // Shorter than its own head it would never end.
            if le32(rest, 0)? == END || length < 24 {
                return None;
            }
            let (attribute, after) = rest.split_at_checked(length)?;
            rest = after;
            Attribute::parse(attribute)
        })
    }

    /// The content of the first unnamed attribute of this kind, if it is in the record.
    pub fn resident(&self, kind: Kind) -> Option<&[u8]> {
        let attribute = self.attributes().find(|attribute| attribute.is(kind, ""))?;
        match attribute.body {
            Body::Resident(content) => Some(content),
            Body::Extents { .. } => None,
        }
    }
}

impl<'r> Attribute<'r> {
    fn parse(bytes: &'r [u8]) -> Option<Attribute<'r>> {
        let (letters, name) = (usize::from(*bytes.get(9)?), usize::from(le16(bytes, 10)?));
        let name = if letters == 0 { &[] } else { bytes.get(name..name + 2 * letters)? };
        let body = if *bytes.get(8)? == 0 {
            let (length, at) = (le32(bytes, 16)? as usize, usize::from(le16(bytes, 20)?));
            Body::Resident(bytes.get(at..at.checked_add(length)?)?)
        } else {
            let runs = bytes.get(usize::from(le16(bytes, 32)?)..)?;
            let first = le64(bytes, 16)?;
            // Only the first of several parts has the sizes.
            let (size, initialised) = if first == 0 { (le64(bytes, 48)?, le64(bytes, 56)?) } else { (0, 0) };
            Body::Extents { first, runs, size, initialised }
        };
        Some(Attribute { kind: le32(bytes, 0)?, name, flags: le16(bytes, 12)?, body })
    }

    /// Whether it is of this kind and has this name, in ASCII.
    pub fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind as u32 && is_name(self.name, name)
    }
}

/// Whether `name`, UTF-16, is `ascii`.
pub(super) fn is_name(name: &[u8], ascii: &str) -> bool {
    name.len() == 2 * ascii.len()
        && name.chunks_exact(2).zip(ascii.bytes()).all(|(unit, letter)| unit == [letter, 0])
}

/// Every sector of a record ends with the same number, and what it replaced is in a list; `None` if a sector is not of this write.
pub(super) fn undo_fixups(bytes: &mut [u8]) -> Option<()> {
    const SECTOR: usize = 512;
    let (list, count) = (usize::from(le16(bytes, 4)?), usize::from(le16(bytes, 6)?));
    if count != bytes.len() / SECTOR + 1 || list + 2 * count > SECTOR - 2 {
        return None;
    }
    let number = le16(bytes, list)?;
    for sector in 1..count {
        let end = sector * SECTOR - 2;
        if le16(bytes, end)? != number {
            return None;
        }
        let at = list + 2 * sector;
        bytes.copy_within(at..at + 2, end);
    }
    Some(())
}
