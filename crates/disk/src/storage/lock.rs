//! Who may use a file together with us: no second merge, and no QEMU that writes. Readers are not disturbed.
//!
//! On Windows this is said when a file is opened; its locks would keep readers out as well. On Unix the file itself is
//! locked against merges, and on Linux bytes of it against QEMU.
//!
//! QEMU marks what it does with an image by locks on single bytes (`block/file-posix.c`): byte 100 + n is locked
//! by who uses permission n, byte 200 + n by who does not let others use it. Permission 1 is writing, 3 is
//! resizing. A merge forbids both to others and does not claim them itself, because a running guest that reads
//! the base forbids them too, and a shadow merge does not disturb it. Who writes in place, or takes clusters away that a
//! guest may read, claims them: then no guest can be there, nor come.

use std::fs::{File, OpenOptions};
use std::io;

use super::Access;

pub(super) use platform::{open, release};

/// What stands in the way of an access.
pub(super) enum Obstacle {
    /// Another merge.
    Merge,
    /// A program that writes.
    Writer,
    /// A program that reads.
    Reader,
    /// Something else.
    Other(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Obstacle::Other(error)
    }
}

#[cfg(windows)]
mod platform {
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;

    use super::*;

    /// `FILE_SHARE_READ` of `winnt.h`: until the file is closed, nobody can open it for writing, nor remove it.
    const SHARE_READ: u32 = 1;

    /// `ERROR_SHARING_VIOLATION` of `winerror.h`.
    const SHARING_VIOLATION: i32 = 32;

    /// Opens a file and holds it as `access` says. QEMU shares what it opens with readers only, so that its readers
    /// keep a merge out here.
    pub(in super::super) fn open(
        options: &mut OpenOptions,
        path: &Path,
        access: Access,
    ) -> Result<File, Obstacle> {
        match access {
            Access::Read => {}
            Access::ReadStable | Access::Write => drop(options.share_mode(SHARE_READ)),
            Access::Exclusive => drop(options.share_mode(0)),
        }
        options.open(path).map_err(|error| match (error.raw_os_error(), access) {
            (Some(SHARING_VIOLATION), Access::Write) => Obstacle::Merge,
            // Whoever it is, readers would have been let in otherwise.
            (Some(SHARING_VIOLATION), Access::Exclusive) => Obstacle::Reader,
            (Some(SHARING_VIOLATION), _) => Obstacle::Writer,
            _ => Obstacle::Other(error),
        })
    }

    /// Nothing to do: the closing releases the file.
    pub(in super::super) fn release(_file: &File) {}
}

#[cfg(not(windows))]
mod platform {
    use std::fs::TryLockError;
    use std::path::Path;

    use super::*;

    /// Opens a file and locks it as `access` says.
    pub(in super::super) fn open(
        options: &mut OpenOptions,
        path: &Path,
        access: Access,
    ) -> Result<File, Obstacle> {
        let file = options.open(path)?;
        if access.writes() {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Obstacle::Merge),
                // A file system without locks: the drive's own lock is what is left.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        if access != Access::Read && !keep_writers_out(&file)? {
            return Err(Obstacle::Writer);
        }
        if access == Access::Exclusive && !keep_readers_out(&file)? {
            return Err(Obstacle::Reader);
        }
        Ok(file)
    }

    /// Unlocks instead of leaving that to the closing: a child process that another thread is just starting holds
    /// a copy of the handle for a moment, and with it the lock.
    pub(in super::super) fn release(file: &File) {
        // Closing is still to come, should this fail.
        let _ = file.unlock();
        #[cfg(target_os = "linux")]
        let _ = super::linux::let_others_in(file);
    }

    /// Keeps QEMU writers out of `file` until it is closed. Returns `false` if one has it open for writing.
    #[cfg(target_os = "linux")]
    fn keep_writers_out(file: &File) -> io::Result<bool> {
        super::linux::keep_writers_out(file)
    }

    /// Keeps QEMU readers out of `file` until it is closed. Returns `false` if one has it open.
    #[cfg(target_os = "linux")]
    fn keep_readers_out(file: &File) -> io::Result<bool> {
        super::linux::keep_readers_out(file)
    }

    /// As [`keep_writers_out`].
    #[cfg(not(target_os = "linux"))]
    fn keep_readers_out(_file: &File) -> io::Result<bool> {
        Ok(true)
    }

    /// QEMU's locks need open file description locks, which only Linux has.
    #[cfg(not(target_os = "linux"))]
    fn keep_writers_out(_file: &File) -> io::Result<bool> {
        Ok(true)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    const PERMISSION_BASE: i64 = 100;
    const FORBIDDEN_BASE: i64 = 200;
    const WRITE: i64 = 1;
    const RESIZE: i64 = 3;

    fn byte(kind: i32, at: i64) -> libc::flock {
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: at,
            l_len: 1,
            l_pid: 0,
        }
    }

    /// Forbids others to write, unless one does already.
    pub(super) fn keep_writers_out(file: &File) -> io::Result<bool> {
        take(file, FORBIDDEN_BASE, PERMISSION_BASE)
    }

    /// Claims writing, unless somebody forbids it: who reads does.
    pub(super) fn keep_readers_out(file: &File) -> io::Result<bool> {
        take(file, PERMISSION_BASE, FORBIDDEN_BASE)
    }

    /// Locks our bytes and looks for others' locks on the opposite ones, in this order, as QEMU does.
    fn take(file: &File, ours: i64, opposite: i64) -> io::Result<bool> {
        for permission in [WRITE, RESIZE] {
            let mine = byte(libc::F_RDLCK, ours + permission);
            match fcntl(file, FcntlArg::F_OFD_SETLK(&mine)) {
                Ok(_) => {}
                // Network and FUSE file systems without locks: QEMU itself goes on without them there.
                Err(
                    nix::errno::Errno::EINVAL | nix::errno::Errno::ENOLCK | nix::errno::Errno::EOPNOTSUPP,
                ) => {
                    return Ok(true);
                }
                Err(error) => return Err(error.into()),
            }
        }
        for permission in [WRITE, RESIZE] {
            let mut probe = byte(libc::F_WRLCK, opposite + permission);
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
            if i32::from(probe.l_type) != libc::F_UNLCK {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets go of every byte.
    pub(super) fn let_others_in(file: &File) -> io::Result<()> {
        for base in [PERMISSION_BASE, FORBIDDEN_BASE] {
            for permission in [WRITE, RESIZE] {
                fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_UNLCK, base + permission)))?;
            }
        }
        Ok(())
    }
}
