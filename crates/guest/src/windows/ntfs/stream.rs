//! The content of a file, and where it lies on the disk.

use std::io;

use serde::Serialize;

use crate::bytes::{le16, le32, le64};
use crate::{Disk, Error, Result};

use super::record::{Body, Kind, Record, is_name};
use super::{Shape, damaged};

/// More runs than this are not followed.
const MOST_RUNS: usize = 65_536;
/// A list of attributes is at most this long, in bytes, as in Windows.
const LONGEST_LIST: u64 = 256 << 10;
/// More parts of one attribute than this are not followed: each is in another record.
const MOST_PARTS: usize = 4096;

/// How the content of a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// Byte for byte in clusters of its own.
    Plain,
    /// In the file's record.
    Resident,
    /// By NTFS.
    Compressed,
    /// By NTFS.
    Encrypted,
    /// With clusters that are nowhere.
    Sparse,
}

/// A piece of a file as it lies on the volume; bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins on the volume.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// The content of an attribute.
#[derive(Debug)]
pub(super) struct Stream {
    pub flags: u16,
    pub size: u64,
    pub initialised: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Resident(Vec<u8>),
    /// Without gaps, in order.
    Runs(Vec<Run>),
}

/// Clusters in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The first one, of the content.
    first: u64,
    count: u64,
    /// Where it is on the volume; `None`: nowhere, it reads as zeroes.
    at: Option<u64>,
}

impl Stream {
    /// Reads `buf` at `offset`, as it lies on the disk.
    pub fn read_at<D: Disk + ?Sized>(
        &self,
        disk: &D,
        cluster: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let runs = match &self.place {
            Place::Resident(content) => return content.as_slice().read_at(offset, buf),
            Place::Runs(runs) => runs,
        };
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (run, within) = self.locate(runs, cluster, offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let (now, after) =
                rest.split_at_mut(rest.len().min(usize::try_from(run.1).unwrap_or(usize::MAX)));
            match run.0 {
                Some(at) if within => disk.read_at(at, now)?,
                _ => now.fill(0),
            }
            offset += now.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// Where the byte at `offset` is on the volume and how many follow it there, and whether they were ever written.
    fn locate(&self, runs: &[Run], cluster: u64, offset: u64) -> Option<((Option<u64>, u64), bool)> {
        let wanted = offset / cluster;
        let run = runs[..runs.partition_point(|run| run.first <= wanted)].last()?;
        let within = offset - run.first * cluster;
        let left = (run.count * cluster).checked_sub(within).filter(|left| *left > 0)?;
        let at = run.at.map(|at| at * cluster + within);
        if offset < self.initialised {
            Some(((at, left.min(self.initialised - offset)), true))
        } else {
            Some(((at, left), false))
        }
    }

    /// Adds the runs of the part that begins with cluster `first` of the content.
    fn extend(&mut self, shape: &Shape, first: u64, packed: &[u8]) -> Result<()> {
        let Place::Runs(runs) = &mut self.place else {
            return Err(damaged("a file that is in its record and elsewhere"));
        };
        let mut next = runs.last().map_or(0, |run| run.first + run.count);
        if first != next {
            return Err(damaged("a file of which a part is missing"));
        }
        unpack(packed, shape.clusters, &mut next, runs)
    }
}

/// Unpacks runs: a byte with two lengths, then so many bytes of a count and of a difference of places.
fn unpack(mut packed: &[u8], clusters: u64, next: &mut u64, runs: &mut Vec<Run>) -> Result<()> {
    let wrong = || damaged("where a file's clusters are");
    let mut at = 0i64;
    while let Some((head, rest)) = packed.split_first().filter(|(head, _)| **head != 0) {
        let (counts, places) = (usize::from(head & 15), usize::from(head >> 4));
        if counts == 0 || counts > 8 || places > 8 || rest.len() < counts + places {
            return Err(wrong());
        }
        let count = u64::try_from(signed(&rest[..counts])).map_err(|_| wrong())?;
        let place = if places == 0 {
            None
        } else {
            at = at.checked_add(signed(&rest[counts..counts + places])).ok_or_else(wrong)?;
            let place = u64::try_from(at).map_err(|_| wrong())?;
            place.checked_add(count).filter(|end| *end <= clusters).ok_or_else(wrong)?;
            Some(place)
        };
        // No file has more clusters than 2^40: all products with the size of a cluster fit.
        let end = next.checked_add(count).filter(|end| count > 0 && *end <= 1 << 40).ok_or_else(wrong)?;
        if runs.len() >= MOST_RUNS {
            return Err(Error::TooLarge("a file in very many pieces".into()));
        }
        runs.push(Run { first: *next, count, at: place });
        *next = end;
        packed = &rest[counts + places..];
    }
    Ok(())
}

/// A signed little-endian number of up to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xFF } else { 0 };
    let mut all = [fill; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

/// The content of the attribute `kind` with this name of file `number`, wherever its parts are. `load` reads the records that the
/// file's list of attributes names; it is given what is known of the content by then.
pub(super) fn collect<D: Disk + ?Sized>(
    shape: &Shape,
    disk: &D,
    number: u64,
    record: &Record,
    kind: Kind,
    name: &str,
    mut load: impl FnMut(u64, Option<&Stream>) -> Result<Record>,
) -> Result<Option<Stream>> {
    let mut stream = None;
    let Some(list) = record.attributes().find(|attribute| attribute.is(Kind::List, "")) else {
        if let Some(attribute) = record.attributes().find(|attribute| attribute.is(kind, name)) {
            add(shape, &mut stream, attribute.flags, attribute.body)?;
        }
        return whole_size(shape, stream);
    };
    let mut whole = None;
    add(shape, &mut whole, list.flags, list.body)?;
    let whole = whole_size(shape, whole)?;
    let Some(whole) = whole.filter(|list| list.size <= LONGEST_LIST) else {
        return Err(damaged("a list of attributes"));
    };
    let mut entries = vec![0; whole.size as usize];
    whole.read_at(disk, shape.cluster, 0, &mut entries)?;
    let mut parts = 0;
    let mut rest = entries.as_slice();
    while let Some(entry) = Listed::parse(rest) {
        rest = &rest[entry.length..];
        if entry.kind != kind as u32 || !is_name(entry.name, name) {
            continue;
        }
        parts += 1;
        if parts > MOST_PARTS {
            return Err(Error::TooLarge("a file in very many parts".into()));
        }
        let other = if entry.record == number { None } else { Some(load(entry.record, stream.as_ref())?) };
        let holder = other.as_ref().unwrap_or(record);
        let part = holder.attributes().find(|attribute| {
            let first = match attribute.body {
                Body::Resident(_) => 0,
                Body::Extents { first, .. } => first,
            };
            attribute.is(kind, name) && first == entry.first
        });
        let part = part.ok_or_else(|| damaged("a list of attributes that names one which is not there"))?;
        add(shape, &mut stream, part.flags, part.body)?;
    }
    whole_size(shape, stream)
}

/// `stream`, if there are clusters for all of its bytes.
fn whole_size(shape: &Shape, stream: Option<Stream>) -> Result<Option<Stream>> {
    if let Some(Stream { size, place: Place::Runs(runs), .. }) = &stream
        && *size > runs.last().map_or(0, |run| (run.first + run.count) * shape.cluster)
    {
        return Err(damaged("a file with fewer clusters than bytes"));
    }
    Ok(stream)
}

/// Adds a part to what is known of a content.
fn add(shape: &Shape, stream: &mut Option<Stream>, flags: u16, body: Body<'_>) -> Result<()> {
    match (body, stream) {
        (Body::Extents { first, runs, .. }, Some(stream)) => stream.extend(shape, first, runs),
        (Body::Resident(_), Some(_)) => Err(damaged("a file with two contents")),
        (Body::Extents { first, runs, size, initialised }, none) => {
            let mut stream =
                Stream { flags, size, initialised: initialised.min(size), place: Place::Runs(Vec::new()) };
            stream.extend(shape, first, runs)?;
            *none = Some(stream);
            Ok(())
        }
        (Body::Resident(content), none) => {
            let size = content.len() as u64;
            *none = Some(Stream { flags, size, initialised: size, place: Place::Resident(content.to_vec()) });
            Ok(())
        }
    }
}

/// An entry of a list of attributes.
struct Listed<'l> {
    kind: u32,
    length: usize,
    name: &'l [u8],
    first: u64,
    record: u64,
}

impl<'l> Listed<'l> {
    /// `None` at the end of the list, or where it makes no sense.
    fn parse(rest: &'l [u8]) -> Option<Listed<'l>> {
        let length = usize::from(le16(rest, 4)?);
        let entry = rest.get(..length).filter(|entry| entry.len() >= 26)?;
        let (letters, name) = (usize::from(entry[6]), usize::from(entry[7]));
        let name = if letters == 0 { &[] } else { entry.get(name..name + 2 * letters)? };
        let record = le64(entry, 16)? & ((1 << 48) - 1);
        Some(Listed { kind: le32(entry, 0)?, length, name, first: le64(entry, 8)?, record })
    }
}

/// The content of a file: a disk of its own, to be read.
#[derive(Debug)]
pub struct File<'v, D: ?Sized> {
    pub(super) disk: &'v D,
    pub(super) cluster: u64,
    pub(super) stream: Stream,
}

impl<D: Disk + ?Sized> File<'_, D> {
    /// How it is stored.
    #[must_use]
    pub fn stored(&self) -> Stored {
        match (&self.stream.place, self.stream.flags) {
            (_, flags) if flags & 0x4000 != 0 => Stored::Encrypted,
            (_, flags) if flags & 0x00FF != 0 => Stored::Compressed,
            (Place::Resident(_), _) => Stored::Resident,
            (_, flags) if flags & 0x8000 != 0 => Stored::Sparse,
            (Place::Runs(runs), _) if runs.iter().any(|run| run.at.is_none()) => Stored::Sparse,
            _ => Stored::Plain,
        }
    }

    /// Where `length` bytes from `offset` on lie on the volume, in order; `None` if they are not on it byte for byte.
    #[must_use]
    pub fn places(&self, offset: u64, length: u64) -> Option<Vec<Piece>> {
        let Place::Runs(runs) = &self.stream.place else { return None };
        let end = offset.checked_add(length).filter(|end| *end <= self.stream.initialised)?;
        if !matches!(self.stored(), Stored::Plain | Stored::Sparse) {
            return None;
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut offset = offset;
        while offset < end {
            let ((at, left), _) = self.stream.locate(runs, self.cluster, offset)?;
            let (at, length) = (at?, left.min(end - offset));
            match pieces.last_mut() {
                Some(last) if last.offset + last.length == at => last.length += length,
                _ => pieces.push(Piece { offset: at, length }),
            }
            offset += length;
        }
        Some(pieces)
    }
}

impl<D: Disk + ?Sized> Disk for File<'_, D> {
    fn size(&self) -> u64 {
        self.stream.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if matches!(self.stored(), Stored::Compressed | Stored::Encrypted) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.stream.read_at(self.disk, self.cluster, offset, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(packed: &[u8]) -> Result<Vec<(u64, u64, Option<u64>)>> {
        let (mut next, mut runs) = (0, Vec::new());
        unpack(packed, 1000, &mut next, &mut runs)?;
        Ok(runs.iter().map(|run| (run.first, run.count, run.at)).collect())
    }

    #[test]
    fn runs_go_forwards_backwards_and_nowhere() {
        let packed = [0x21, 3, 0x20, 0x01, 0x11, 2, 0xF0, 0x01, 5, 0x11, 1, 1, 0];
        let expected = [(0, 3, Some(0x120)), (3, 2, Some(0x110)), (5, 5, None), (10, 1, Some(0x111))];
        assert_eq!(runs(&packed).unwrap(), expected);
    }

    #[test]
    fn runs_beyond_the_volume_are_refused() {
        for packed in [
            &[0x21, 3, 0xE8, 0x03][..],
            &[0x11, 1, 0xFF],
            &[0x11, 0, 1],
            &[0x19, 1, 1],
            &[0x11, 0x80, 1],
            &[0x21, 1],
        ] {
            assert!(matches!(runs(packed), Err(Error::Damaged(_))), "{packed:?}");
        }
    }
}
