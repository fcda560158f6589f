//! Windows: read from its NTFS volume and its registry; and the edits of a few bytes that let it start on other hardware.

mod drivers;
pub mod hive;
pub mod ntfs;
mod plan;
mod registry;
mod state;

use serde::Serialize;

use crate::bytes::Guid;
use crate::volume::is_bitlocker;
use crate::{Disk, Error, Part, Result};

pub use drivers::{ControlSet, Driver, Number, OF_INTEREST, Role, Setting};
pub use plan::{Refusal, plan};
pub use state::Unclean;

use hive::{Hive, Written};
use ntfs::{File, Volume};

/// An installed Windows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// As it calls itself, for instance "Windows 10 Pro".
    pub name: Option<String>,
    /// For instance 7601 of Windows 7, 19045 of Windows 10.
    pub build: Option<u32>,
    /// The processor that it is for.
    pub architecture: Option<Architecture>,
    /// All that it can start with, by number.
    pub control_sets: Vec<ControlSet>,
    /// The value `PagingFiles`: a path, and sizes in MiB; `?:\pagefile.sys` is chosen by Windows.
    pub page_files: Vec<String>,
    /// Which volumes had which letters.
    pub letters: Vec<Letter>,
    /// What the hardware clock shows.
    pub clock: Clock,
    /// Whether it may hibernate; `None` if nothing is set.
    pub hibernation: Option<bool>,
    /// Whether shutting down hibernates the kernel; `None` if nothing is set. Without hibernation it does not.
    pub fast_startup: Option<bool>,
    /// Tools and drivers of hypervisors that are installed.
    pub guest_tools: Vec<GuestTool>,
    /// Why it may not be edited; empty if it may.
    pub state: Vec<Unclean>,
}

/// A processor's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// 32 bits.
    X86,
    /// 64 bits.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64 bits, ARM.
    Arm64,
}

/// What the hardware clock shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Local time, as Windows wants it unless told otherwise.
    #[default]
    Local,
    /// Universal time (`RealTimeIsUniversal`).
    Utc,
}

/// A drive letter, and the volume that had it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// A capital.
    pub letter: char,
    /// Which volume.
    pub volume: Mounted,
}

/// How Windows knows a volume again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Mounted {
    /// By the signature of its disk's MBR, and by where it begins.
    Mbr {
        /// At byte 440 of the disk.
        signature: u32,
        /// In bytes.
        start: u64,
    },
    /// By the id of its partition in a GPT.
    Gpt {
        /// See [`crate::partition::Partition::id`].
        partition: Guid,
    },
    /// By the name of a device: an optical drive or a stick.
    Device,
}

/// Tools or drivers of a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GuestTool {
    /// The name of the service.
    pub service: &'static str,
    /// What it belongs to.
    pub product: &'static str,
}

/// The hives, on the volume.
const SYSTEM: &str = "Windows/System32/config/SYSTEM";
const SOFTWARE: &str = "Windows/System32/config/SOFTWARE";

/// The Windows on the volume that fills `part`, if there is one; a part of the disk itself, so that places are those of the disk.
///
/// Of a volume that is encrypted with BitLocker nothing is known, but Windows made it: it is one whose only content is that reason
/// in [`state`](Windows::state). What makes no sense in the registry is a reason too, and what was read before it is kept.
///
/// # Errors
/// The disk can't be read, or the file system makes no sense.
pub fn inspect<D: Disk + ?Sized>(part: &Part<'_, D>) -> Result<Option<Windows>> {
    let mut boot = [0; 512];
    if part.size() < boot.len() as u64 {
        return Ok(None);
    }
    part.read_at(0, &mut boot)?;
    if is_bitlocker(&boot) {
        return Ok(Some(Windows { state: vec![Unclean::BitLocker], ..Windows::default() }));
    }
    let Some(volume) = Volume::open(part)? else { return Ok(None) };
    let Some(system) = file(&volume, SYSTEM)? else { return Ok(None) };
    let mut windows = Windows { state: state::of_volume(&volume)?, ..Windows::default() };
    if let Some(software) = file(&volume, SOFTWARE)? {
        // Only the name comes from there.
        unless_damaged(registry::software(software, &mut windows))?;
    }
    let stored = Unclean::of_stored(system.stored());
    windows.state.extend(stored);
    // What NTFS compressed or encrypted can't be read, and what is in a record is no hive.
    let readable = matches!(stored, None | Some(Unclean::HiveSparse));
    if readable && unless_damaged(read_system(&volume, part.start(), system, &mut windows))?.is_none() {
        windows.state.push(Unclean::HiveDamaged);
    }
    Ok(Some(windows))
}

fn read_system<D: Disk + ?Sized>(
    volume: &Volume<'_, D>,
    start: u64,
    file: File<'_, D>,
    windows: &mut Windows,
) -> Result<()> {
    let hive = Hive::open(file)?;
    match hive.written() {
        Written::Whole => {}
        Written::Partly => windows.state.push(Unclean::HiveInLog),
        Written::Torn => windows.state.push(Unclean::HiveTorn),
    }
    registry::system(&drivers::System { volume, hive: &hive, start }, windows)
}

/// What tells one sleep from another, if a Windows sleeps on the volume that fills `part`: the beginning of its hibernation file. None
/// if none does.
///
/// # Errors
/// The disk can't be read, or the file system makes no sense.
pub fn sleeping<D: Disk + ?Sized>(part: &Part<'_, D>) -> Result<Option<Vec<u8>>> {
    match Volume::open(part)? {
        Some(volume) => state::sleeping(&volume),
        None => Ok(None),
    }
}

/// The content of the file with this path.
fn file<'d, D: Disk + ?Sized>(volume: &Volume<'d, D>, path: &str) -> Result<Option<File<'d, D>>> {
    match volume.find(path)? {
        Some(found) if !found.is_directory() => volume.content(&found),
        _ => Ok(None),
    }
}

/// `None` where something makes no sense or is too large.
fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged(_) | Error::TooLarge(_)) => Ok(None),
        // Compressed, as only the file itself knows.
        Err(Error::Disk(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}
