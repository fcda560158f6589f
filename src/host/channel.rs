//! The control channel to a child process: a private socket in a folder, or the child's own stdin and stdout.
//!
//! On Unix the launcher listens *before* it starts the child and hands the listening socket over as the child's
//! stdin. So connecting never races with the child's start, the path may have any length, and a later launcher
//! can connect to a child whose launcher died. Windows has no such socket in QEMU: there the child speaks through
//! its stdin and stdout and ends with its launcher.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Stdio;

/// Both directions of a connected channel.
pub struct Channel {
    /// Ends when the other side closes.
    pub read: Box<dyn Read + Send>,
    /// Unbuffered.
    pub write: Box<dyn Write + Send>,
}

/// How the child is told about its end of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A listening socket is the child's file descriptor 0.
    ListeningStdin,
    /// The child speaks on its stdin and stdout.
    Stdio,
}

/// What this platform uses.
pub const SIDE: Side = platform::SIDE;

/// A later launcher can [`connect`].
pub const RECONNECTS: bool = matches!(SIDE, Side::ListeningStdin);

/// The launcher's end while the child is being started.
pub struct Prepared(platform::Prepared);

impl Prepared {
    /// Makes the channel `name` in `folder`, replacing a dead one.
    ///
    /// # Errors
    /// The socket can't be made there.
    pub fn new(folder: &Path, name: &str) -> io::Result<Self> {
        platform::Prepared::new(folder, name).map(Prepared)
    }

    /// The child's stdin and stdout; call once.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn stdio(&mut self) -> io::Result<(Stdio, Stdio)> {
        self.0.stdio()
    }

    /// Connects to the started child.
    ///
    /// # Errors
    /// The child does not hold its end.
    pub fn connect(
        self,
        stdin: Option<std::process::ChildStdin>,
        stdout: Option<std::process::ChildStdout>,
    ) -> io::Result<Channel> {
        self.0.connect(stdin, stdout)
    }
}

/// Connects to the channel `name` in `folder` of a child that another launcher started; `None` if nobody listens.
///
/// # Errors
/// Anything but the absence of a listener.
pub fn connect(folder: &Path, name: &str) -> io::Result<Option<Channel>> {
    platform::connect(folder, name)
}

#[cfg(unix)]
pub(super) use platform::through_short_path;

#[cfg(unix)]
mod platform {
    use std::fs;
    use std::net::Shutdown;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use super::*;

    pub const SIDE: Side = Side::ListeningStdin;

    /// What fits into `sockaddr_un` on every Unix, with its terminating zero.
    const LONGEST: usize = 100;

    pub struct Prepared {
        listener: Option<UnixListener>,
        folder: PathBuf,
        name: String,
    }

    impl Prepared {
        pub fn new(folder: &Path, name: &str) -> io::Result<Self> {
            match fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = through_short_path(folder, name, |path| UnixListener::bind(path))?;
            Ok(Prepared { listener: Some(listener), folder: folder.to_owned(), name: name.to_owned() })
        }

        pub fn stdio(&mut self) -> io::Result<(Stdio, Stdio)> {
            let listener = self.listener.take().ok_or(io::ErrorKind::NotConnected)?;
            Ok((Stdio::from(OwnedFd::from(listener)), Stdio::null()))
        }

        /// The child listens already, because we did: the connection waits in its queue.
        pub fn connect(
            self,
            _: Option<std::process::ChildStdin>,
            _: Option<std::process::ChildStdout>,
        ) -> io::Result<Channel> {
            connect(&self.folder, &self.name)?.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
        }
    }

    pub fn connect(folder: &Path, name: &str) -> io::Result<Option<Channel>> {
        match through_short_path(folder, name, |path| UnixStream::connect(path)) {
            Ok(stream) => {
                let write = Writer(stream.try_clone()?);
                Ok(Some(Channel { read: Box::new(stream), write: Box::new(write) }))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Dropping the writing end closes the connection, although the reading end is a duplicate in another thread.
    struct Writer(UnixStream);

    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl Drop for Writer {
        fn drop(&mut self) {
            // An error means that the other side closed first.
            let _ = self.0.shutdown(Shutdown::Both);
        }
    }

    /// Calls `action` with a path to the socket `name` in `folder` that is short enough for a socket address: a link
    /// in a private temporary folder stands in for a long one while the call lasts.
    pub(in crate::host) fn through_short_path<T>(
        folder: &Path,
        name: &str,
        action: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = folder.join(name);
        if path.as_os_str().len() < LONGEST {
            return action(&path);
        }
        let private = tempfile::Builder::new().prefix("pvm").tempdir_in("/tmp")?;
        let link = private.path().join("s");
        symlink(folder, &link)?;
        action(&link.join(name))
    }
}

#[cfg(not(unix))]
mod platform {
    use super::*;

    pub const SIDE: Side = Side::Stdio;

    pub struct Prepared;

    impl Prepared {
        pub fn new(_: &Path, _: &str) -> io::Result<Self> {
            Ok(Prepared)
        }

        pub fn stdio(&mut self) -> io::Result<(Stdio, Stdio)> {
            Ok((Stdio::piped(), Stdio::piped()))
        }

        pub fn connect(
            self,
            stdin: Option<std::process::ChildStdin>,
            stdout: Option<std::process::ChildStdout>,
        ) -> io::Result<Channel> {
            match (stdin, stdout) {
                (Some(write), Some(read)) => Ok(Channel { read: Box::new(read), write: Box::new(write) }),
                _ => Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    pub fn connect(_: &Path, _: &str) -> io::Result<Option<Channel>> {
        Ok(None)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_folder_with_a_very_long_path_holds_a_channel_too() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("ä folder, with \"quotes\" ".repeat(8));
        std::fs::create_dir(&folder).unwrap();
        let mut prepared = Prepared::new(&folder, "qmp.sock").unwrap();
        let (stdin, _) = prepared.stdio().unwrap();
        // A child that keeps the socket open; that is all a listener is.
        let mut child = Command::new("sleep").arg("60").stdin(stdin).spawn().unwrap();
        assert!(prepared.connect(None, None).is_ok());
        assert!(connect(&folder, "qmp.sock").unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(connect(&folder, "qmp.sock").unwrap().is_none(), "nobody listens any more");
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        drop(Prepared::new(folder.path(), "qmp.sock").unwrap());
        assert!(connect(folder.path(), "qmp.sock").unwrap().is_none());
        assert!(Prepared::new(folder.path(), "qmp.sock").is_ok());
    }
}
