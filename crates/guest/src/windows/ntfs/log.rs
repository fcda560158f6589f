//! The state of the journal, `$LogFile`, as ntfs-3g judges it (`libntfs-3g/logfile.c`, `ntfs_check_logfile`, and `volume.c`).

use crate::bytes::{le16, le32, le64};
use crate::{Disk, Result};

use super::File;
use super::record::undo_fixups;

/// In what state Windows left the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Closed, or empty.
    Clean,
    /// Changes in it may not be on the volume yet; or it can't be told, since it makes no sense.
    InUse,
    /// Version 2.0: Windows 8 and later kept parts of the volume in memory to start faster, or were cut off.
    Cached,
}

/// A page is at most this long, in bytes; all that is read of the journal are two.
const LARGEST_PAGE: u32 = 65_536;
/// No client has the journal open.
const NO_CLIENT: u16 = 0xFFFF;
/// The volume was unmounted in order.
const VOLUME_IS_CLEAN: u16 = 2;

/// What a restart page says.
struct Restart {
    /// Counts writes: the page with the larger number is the newer one.
    written: u64,
    /// Bytes of a page.
    page: u64,
    state: Log,
}

pub(super) fn state<D: Disk + ?Sized>(file: &File<'_, D>) -> Result<Log> {
    let first = restart_page(file, 0)?;
    // The second page follows the first; where that can't be read, after 4 KiB as everywhere on Intel.
    let second = restart_page(file, first.as_ref().map_or(4096, |first| first.page))?;
    let newer = match (first, second) {
        (Some(first), Some(second)) => Some(if second.written > first.written { second } else { first }),
        (first, second) => first.or(second),
    };
    if let Some(newer) = newer {
        return Ok(newer.state);
    }
    let mut start = vec![0; usize::try_from(file.size().min(2 * 4096)).unwrap_or(0)];
    file.read_at(0, &mut start)?;
    Ok(if start.iter().all(|byte| *byte == 0xFF) { Log::Clean } else { Log::InUse })
}

/// The restart page at `at`; `None` if there is none, or a torn one.
fn restart_page<D: Disk + ?Sized>(file: &File<'_, D>, at: u64) -> Result<Option<Restart>> {
    let mut head = [0; 512];
    if at.checked_add(head.len() as u64).is_none_or(|end| end > file.size()) {
        return Ok(None);
    }
    file.read_at(at, &mut head)?;
    let checked = head.starts_with(b"CHKD");
    let Some(size) =
        le32(&head, 16).filter(|size| size.is_power_of_two() && (512..=LARGEST_PAGE).contains(size))
    else {
        return Ok(None);
    };
    if !(checked || head.starts_with(b"RSTR"))
        || at.checked_add(size.into()).is_none_or(|end| end > file.size())
    {
        return Ok(None);
    }
    let mut page = vec![0; size as usize];
    file.read_at(at, &mut page)?;
    Ok(parse(&mut page, checked))
}

fn parse(page: &mut [u8], checked: bool) -> Option<Restart> {
    // A page that chkdsk wrote may be without fixups.
    if !(checked && le16(page, 6)? == 0) {
        undo_fixups(page)?;
    }
    let area = page.get(usize::from(le16(page, 24)?)..)?;
    let version = (le16(page, 28)?, le16(page, 26)?);
    let written = if checked { le64(page, 8)? } else { le64(area, 0)? };
    let state = if version == (2, 0) {
        Log::Cached
    } else if le16(area, 12)? != NO_CLIENT && le16(area, 14)? & VOLUME_IS_CLEAN == 0 {
        Log::InUse
    } else {
        Log::Clean
    };
    Some(Restart { written, page: page.len() as u64, state })
}
