//! NTFS, read only: as much of it as leads to a few files and to where their bytes lie on the disk.
//!
//! Sources: the headers of ntfs-3g (`layout.h`, `logfile.h`) and the documentation of the Linux-NTFS project, which agree on all that
//! is read here. Content may be hostile: every size is checked against the volume, every list, chain and tree has an end.

mod index;
mod log;
mod record;
mod stream;

use crate::bytes::{le16, le64, utf16};
use crate::{Disk, Error, Result};

pub use log::Log;
pub use stream::{File, Piece, Stored};

use record::{Kind, Record};
use stream::Stream;

/// Records of the system's own files.
const MFT: u64 = 0;
const LOG_FILE: u64 = 2;
const VOLUME: u64 = 3;
const ROOT: u64 = 5;
/// A record and an index block have at most this many bytes; Windows makes 1024 or 4096.
const LARGEST_RECORD: u64 = 65536;
/// Windows makes no larger clusters, in bytes.
const LARGEST_CLUSTER: u64 = 2 << 20;
/// A path has at most this many parts.
const DEEPEST: usize = 32;

/// Whether a volume that begins with `start` says that it is NTFS.
#[must_use]
pub fn is_ntfs(start: &[u8]) -> bool {
    start.get(3..11) == Some(b"NTFS    ")
}

/// An NTFS volume.
#[derive(Debug)]
pub struct Volume<'d, D: ?Sized> {
    disk: &'d D,
    shape: Shape,
    mft: Stream,
}

/// The sizes that a boot sector gives, in bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    cluster: u64,
    /// Clusters of the volume that are on the disk.
    clusters: u64,
    /// Of a record of the master file table.
    record: u64,
    /// Where the master file table begins, in clusters.
    mft: u64,
}

/// What a volume says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its name.
    pub label: Option<String>,
    /// It was not unmounted cleanly, or is to be checked.
    pub dirty: bool,
}

/// A file or directory that was found.
#[derive(Debug)]
pub struct Found {
    number: u64,
    record: Record,
}

impl Found {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.record.is_directory()
    }
}

impl<'d, D: Disk + ?Sized> Volume<'d, D> {
    /// The volume that fills `disk`; `None` if it is not NTFS.
    ///
    /// # Errors
    /// The disk can't be read, or the boot sector or the master file table makes no sense.
    pub fn open(disk: &'d D) -> Result<Option<Self>> {
        let mut boot = [0; 512];
        if disk.size() < boot.len() as u64 {
            return Ok(None);
        }
        disk.read_at(0, &mut boot)?;
        if !is_ntfs(&boot) {
            return Ok(None);
        }
        let shape =
            Shape::parse(&boot, disk.size()).ok_or_else(|| damaged("the boot sector of an NTFS volume"))?;
        let start =
            shape.mft.checked_mul(shape.cluster).ok_or_else(|| damaged("where the master file table is"))?;
        if start.checked_add(shape.record).is_none_or(|end| end > disk.size()) {
            return Err(damaged("where the master file table is"));
        }
        let mut bytes = vec![0; shape.record as usize];
        disk.read_at(start, &mut bytes)?;
        let record =
            Record::parse(bytes)?.ok_or_else(|| damaged("the first record of the master file table"))?;
        // The table describes itself: what is known of it so far finds the record that tells where it goes on.
        let mft = stream::collect(&shape, disk, MFT, &record, Kind::Data, "", |number, so_far| {
            let so_far = so_far.ok_or_else(|| damaged("the list of the master file table's parts"))?;
            read_record(&shape, disk, so_far, number)?
                .ok_or_else(|| damaged("a part of the master file table"))
        })?;
        let mft = mft.ok_or_else(|| damaged("the master file table, which has no content"))?;
        Ok(Some(Volume { disk, shape, mft }))
    }

    /// Its name and whether it is dirty.
    ///
    /// # Errors
    /// The disk can't be read, or the record of `$Volume` makes no sense.
    pub fn state(&self) -> Result<State> {
        let record = self.record(VOLUME)?.ok_or_else(|| damaged("the record of $Volume"))?;
        let label = record.resident(Kind::VolumeName).map(utf16).filter(|label| !label.is_empty());
        // VOLUME_INFORMATION: eight reserved bytes, major and minor version, flags.
        let flags = record.resident(Kind::VolumeInformation).and_then(|information| le16(information, 10));
        let flags = flags.ok_or_else(|| damaged("the record of $Volume, which has no flags"))?;
        Ok(State { label, dirty: flags & 1 != 0 })
    }

    /// In what state Windows left the journal.
    ///
    /// # Errors
    /// The disk can't be read, or the record of `$LogFile` makes no sense.
    pub fn log(&self) -> Result<Log> {
        let record = self.record(LOG_FILE)?.ok_or_else(|| damaged("the record of $LogFile"))?;
        let stream = self.stream(LOG_FILE, &record, Kind::Data, "")?;
        let stream = stream.ok_or_else(|| damaged("the record of $LogFile, which has no content"))?;
        log::state(&self.file_of(stream))
    }

    /// The file or directory with this path from the root on, parts separated by `/` or `\`, letters in any case. Links are not
    /// followed, and `..` is a name that nothing has.
    ///
    /// # Errors
    /// The disk can't be read, or a directory on the way makes no sense.
    pub fn find(&self, path: &str) -> Result<Option<Found>> {
        let Some(record) = self.record(ROOT)? else { return Err(damaged("the root directory")) };
        let mut found = Found { number: ROOT, record };
        for (depth, name) in path.split(['/', '\\']).filter(|name| !name.is_empty()).enumerate() {
            if depth >= DEEPEST || !found.is_directory() {
                return Ok(None);
            }
            let Some((number, sequence)) = index::look_up(self, &found, name)? else { return Ok(None) };
            // An entry of a file that is gone, where the record was taken by another: the sequence number differs.
            let record = self.record(number)?.filter(|record| record.sequence() == sequence);
            let Some(record) = record else { return Ok(None) };
            found = Found { number, record };
        }
        Ok(Some(found))
    }

    /// The content of `found`; `None` if it has none, as directories.
    ///
    /// # Errors
    /// The disk can't be read, or what says where the content is makes no sense.
    pub fn content(&self, found: &Found) -> Result<Option<File<'d, D>>> {
        let stream = self.stream(found.number, &found.record, Kind::Data, "")?;
        Ok(stream.map(|stream| self.file_of(stream)))
    }

    fn file_of(&self, stream: Stream) -> File<'d, D> {
        File { disk: self.disk, cluster: self.shape.cluster, stream }
    }

    /// A record in use; `None` if there is none with this number.
    fn record(&self, number: u64) -> Result<Option<Record>> {
        read_record(&self.shape, self.disk, &self.mft, number)
    }

    fn stream(&self, number: u64, record: &Record, kind: Kind, name: &str) -> Result<Option<Stream>> {
        stream::collect(&self.shape, self.disk, number, record, kind, name, |number, _| {
            self.record(number)?.ok_or_else(|| damaged("the list of a file's attributes"))
        })
    }
}

fn read_record<D: Disk + ?Sized>(
    shape: &Shape,
    disk: &D,
    mft: &Stream,
    number: u64,
) -> Result<Option<Record>> {
    let Some(at) = number.checked_mul(shape.record) else { return Ok(None) };
    if at.checked_add(shape.record).is_none_or(|end| end > mft.initialised.min(mft.size)) {
        return Ok(None);
    }
    let mut bytes = vec![0; shape.record as usize];
    mft.read_at(disk, shape.cluster, at, &mut bytes)?;
    Record::parse(bytes)
}

impl Shape {
    fn parse(boot: &[u8], disk: u64) -> Option<Shape> {
        let sector = u64::from(le16(boot, 11)?);
        if !sector.is_power_of_two() || !(256..=4096).contains(&sector) {
            return None;
        }
        // Above 128 it is a power of two, negated: clusters of more than 64 KiB.
        let per_cluster = match *boot.get(13)? {
            count @ 1..=128 if count.is_power_of_two() => u64::from(count),
            count @ 0xF4.. => 1 << (256 - u64::from(count)),
            _ => return None,
        };
        let cluster = sector * per_cluster;
        let sectors = le64(boot, 0x28)?;
        // The volume may be cut short, a copy for instance: what is beyond the disk is no cluster.
        let clusters = (sectors / per_cluster).min(disk / cluster);
        // Positive: clusters; negative: a power of two, in bytes.
        let record = match *boot.get(0x40)? {
            count @ 1..=127 => cluster * u64::from(count),
            count @ 0xE1.. => 1 << (256 - u64::from(count)),
            _ => return None,
        };
        let mft = le64(boot, 0x30)?;
        let sane = cluster <= LARGEST_CLUSTER
            && record.is_power_of_two()
            && (512..=LARGEST_RECORD).contains(&record)
            && mft < clusters;
        sane.then_some(Shape { cluster, clusters, record, mft })
    }
}

/// An error about `what`.
fn damaged(what: &str) -> Error {
    Error::Damaged(what.to_owned())
}
