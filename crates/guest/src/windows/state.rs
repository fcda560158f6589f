//! Why a Windows may not be edited as it is.

use serde::Serialize;

use super::ntfs::{Log, Stored, Volume};
use crate::{Disk, Result};

/// A reason for which nothing may be written to a Windows: what is on its disk is not all there is, or not in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unclean {
    /// The volume is encrypted: what is on it is not known.
    #[error("the Windows volume is encrypted with BitLocker, so PocketVM can't see or change what is on it")]
    BitLocker,
    /// The volume's dirty flag is set.
    #[error("the Windows volume was not closed cleanly (it is marked dirty); nothing was changed on it")]
    DirtyVolume,
    /// `$LogFile` has a client and is not marked clean, or makes no sense.
    #[error(
        "the journal of the Windows volume was not closed, so changes may be in it alone; nothing was changed on it"
    )]
    LogInUse,
    /// `$LogFile` is of the version that Windows leaves behind when it keeps the volume for a fast start.
    #[error(
        "Windows keeps parts of its volume in memory (fast startup, or it was cut off); nothing was changed on it"
    )]
    Cached,
    /// `hiberfil.sys` holds a session that is to be resumed, or was.
    #[error("Windows is hibernated, or was shut down with fast startup; nothing was changed on its volume")]
    Hibernated,
    /// The sequence numbers of the SYSTEM hive differ.
    #[error("the last changes of the Windows registry are still in its log files; nothing was changed in it")]
    HiveInLog,
    /// The checksum of the SYSTEM hive is wrong.
    #[error("the Windows registry (SYSTEM) was not written completely; nothing was changed in it")]
    HiveTorn,
    /// The SYSTEM hive can't be followed.
    #[error("the Windows registry (SYSTEM) is damaged; nothing was changed in it")]
    HiveDamaged,
    /// The SYSTEM hive is in its file record.
    #[error(
        "the Windows registry (SYSTEM) is too small to be real: NTFS keeps it in the file's record; nothing was changed in it"
    )]
    HiveResident,
    /// NTFS compressed the SYSTEM hive.
    #[error("the Windows registry (SYSTEM) is compressed by NTFS; nothing was changed in it")]
    HiveCompressed,
    /// NTFS encrypted the SYSTEM hive.
    #[error("the Windows registry (SYSTEM) is encrypted by NTFS; nothing was changed in it")]
    HiveEncrypted,
    /// The SYSTEM hive has holes.
    #[error(
        "the Windows registry (SYSTEM) is a sparse file with parts that are nowhere on the disk; nothing was changed in it"
    )]
    HiveSparse,
}

impl Unclean {
    /// The one next thing to do.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Unclean::BitLocker => {
                "start the machine where it was installed and decrypt the drive: manage-bde -off C:"
            }
            Unclean::DirtyVolume => {
                "start the machine where it was used last, let it check the disk (chkdsk C: /f), and shut it down"
            }
            Unclean::LogInUse => "start the machine where it was used last and shut it down",
            Unclean::Cached | Unclean::Hibernated => {
                "start the machine where it was used last, switch hibernation off as administrator (powercfg /h off), and shut it down"
            }
            Unclean::HiveInLog | Unclean::HiveTorn => {
                "start the machine where it was used last and shut it down: Windows then finishes it"
            }
            Unclean::HiveDamaged | Unclean::HiveResident => {
                "repair Windows with its installation medium, or take an earlier state of the disk"
            }
            Unclean::HiveCompressed | Unclean::HiveSparse => {
                "start the machine where it was used last, uncompress it as administrator (compact /u %SystemRoot%\\System32\\config\\SYSTEM), and shut it down"
            }
            Unclean::HiveEncrypted => {
                "start the machine where it was used last, decrypt it as administrator (cipher /d %SystemRoot%\\System32\\config\\SYSTEM), and shut it down"
            }
        }
    }

    /// The reason in how the hive is stored, if there is one.
    pub(super) fn of_stored(stored: Stored) -> Option<Unclean> {
        match stored {
            Stored::Plain => None,
            Stored::Resident => Some(Unclean::HiveResident),
            Stored::Compressed => Some(Unclean::HiveCompressed),
            Stored::Encrypted => Some(Unclean::HiveEncrypted),
            Stored::Sparse => Some(Unclean::HiveSparse),
        }
    }
}

/// The reasons in the volume itself.
pub(super) fn of_volume<D: Disk + ?Sized>(volume: &Volume<'_, D>) -> Result<Vec<Unclean>> {
    let mut reasons = Vec::new();
    if is_hibernated(volume)? {
        reasons.push(Unclean::Hibernated);
    }
    if volume.state()?.dirty {
        reasons.push(Unclean::DirtyVolume);
    }
    match volume.log()? {
        Log::Clean => {}
        Log::InUse => reasons.push(Unclean::LogInUse),
        Log::Cached => reasons.push(Unclean::Cached),
    }
    Ok(reasons)
}

/// The beginning of `hiberfil.sys` if a system sleeps in it, or was about to wake: it is another one each time. None otherwise.
pub(super) fn sleeping<D: Disk + ?Sized>(volume: &Volume<'_, D>) -> Result<Option<Vec<u8>>> {
    let Some(found) = volume.find("hiberfil.sys")? else { return Ok(None) };
    let Some(file) = volume.content(&found)?.filter(|file| file.size() >= 4) else { return Ok(None) };
    if matches!(file.stored(), Stored::Compressed | Stored::Encrypted) {
        return Ok(None);
    }
    let mut header = vec![0; file.size().min(4096) as usize];
    file.read_at(0, &mut header)?;
    let asleep = [&b"HIBR"[..], b"RSTR"].iter().any(|sign| header[..4].eq_ignore_ascii_case(sign));
    Ok(asleep.then_some(header))
}

/// Whether `hiberfil.sys` begins with one of the signatures of a session: saved, being resumed, or resumed. Windows fills the
/// beginning with zeroes, or leaves it be, when there is nothing to resume.
fn is_hibernated<D: Disk + ?Sized>(volume: &Volume<'_, D>) -> Result<bool> {
    let Some(found) = volume.find("hiberfil.sys")? else { return Ok(false) };
    let Some(file) = volume.content(&found)?.filter(|file| file.size() >= 4) else { return Ok(false) };
    if matches!(file.stored(), Stored::Compressed | Stored::Encrypted) {
        // Windows does neither to it.
        return Ok(true);
    }
    let mut signature = [0; 4];
    file.read_at(0, &mut signature)?;
    signature.make_ascii_uppercase();
    Ok(matches!(&signature, b"HIBR" | b"RSTR" | b"WAKE"))
}
