//! Linux: when the pages of a file go to the device.
//!
//! Left alone, the kernel keeps what is written for half a minute and then writes all of it in one `fsync`, while which
//! nothing else happens. A merge reads the next piece while this one goes to the stick, and its progress is that of the
//! stick.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

/// Begins to write the dirty pages of the range.
pub(super) fn start(file: &File, offset: u64, len: u64) -> io::Result<()> {
    call(file, offset, len, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until the device has taken the range; not for its cache.
pub(super) fn wait(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    call(file, offset, len, flags)
}

/// An error is the writing's own and is told here only: a later `fsync` would not repeat it.
#[allow(unsafe_code, reason = "neither std, nix nor rustix has this call; it takes numbers only")]
fn call(file: &File, offset: u64, len: u64, flags: libc::c_uint) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return Ok(()) };
    // SAFETY: the descriptor is open while `file` is borrowed, and the call touches no memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // File systems without a page cache of the kernel's.
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE) => Ok(()),
        _ => Err(error),
    }
}
