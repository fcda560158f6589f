//! QEMU's image locks, so that a plain QEMU cannot write to a base while a merge does, nor the other way round.
//!
//! QEMU marks what it does with an image by locks on single bytes (`block/file-posix.c`): byte 100 + n is locked
//! by who uses permission n, byte 200 + n by who does not let others use it. Permission 1 is writing, 3 is
//! resizing. A merge forbids both to others and does not claim them itself, because a running guest that reads
//! the base forbids them too, and a shadow merge does not disturb it.

use std::fs::File;
use std::io;

/// Keeps QEMU writers out of `file` until it is closed.
///
/// Returns `false` if one has it open for writing. Open file description locks exist on Linux only; elsewhere
/// nothing is locked (Windows opens files exclusively anyway).
pub(super) fn keep_writers_out(file: &File) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    return linux::keep_writers_out(file);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Ok(true)
    }
}

/// Takes back [`keep_writers_out`].
pub(super) fn let_writers_in(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return linux::let_writers_in(file);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Ok(())
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

    pub(super) fn keep_writers_out(file: &File) -> io::Result<bool> {
        for permission in [WRITE, RESIZE] {
            let mine = byte(libc::F_RDLCK, FORBIDDEN_BASE + permission);
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
            let mut probe = byte(libc::F_WRLCK, PERMISSION_BASE + permission);
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
            if i32::from(probe.l_type) != libc::F_UNLCK {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn let_writers_in(file: &File) -> io::Result<()> {
        for permission in [WRITE, RESIZE] {
            fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_UNLCK, FORBIDDEN_BASE + permission)))?;
        }
        Ok(())
    }
}
