//! A file that only one process can open, and that goes with it; in it who that is and the name of a pipe.
//!
//! The pipe's name can't be guessed and only its user may open it. The second process was started by the user's
//! click: it has the right to put a window to the front, and gives that to the first one before it calls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::fs::OpenOptionsExt;

use uuid::Uuid;
use windows_sys::Win32::Foundation::{ERROR_SHARING_VIOLATION, GENERIC_READ, GENERIC_WRITE};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_FLAG_DELETE_ON_CLOSE, FILE_SHARE_READ, SECURITY_IDENTIFICATION,
};

use super::Place;
use crate::host::windows;

/// Longest text of the file in bytes.
const MAX_NOTE: u64 = 100;

/// The file, open for us alone; others may only read it. Windows removes it when it is closed, also by the end of the
/// process.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// The lock, if nobody has it.
    pub fn take(place: &Place) -> io::Result<Option<Lock>> {
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .access_mode(GENERIC_READ | GENERIC_WRITE | DELETE)
            .share_mode(FILE_SHARE_READ)
            .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
            .open(place.lock());
        match opened {
            Ok(file) => Ok(Some(Lock(file))),
            Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed()) => Ok(None),
            // It is closed, but not yet removed, because somebody reads it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From now on others can call.
    pub fn listen(&mut self) -> io::Result<(Listener, Stop)> {
        let id = Uuid::new_v4();
        let listener = Listener { id, next: windows::pipe(&pipe_name(id), true)? };
        self.0.set_len(0)?;
        self.0.write_all(format!("{} {id}\n", std::process::id()).as_bytes())?;
        Ok((listener, Stop(id)))
    }
}

fn pipe_name(id: Uuid) -> String {
    format!(r"\\.\pipe\pocketvm-{id}")
}

/// The pipe's end for the thread of the first one.
pub struct Listener {
    id: Uuid,
    next: File,
}

impl Listener {
    /// Waits for a call; one is that of [`Stop`].
    pub fn next_call(&mut self) -> io::Result<Box<dyn Write>> {
        windows::wait_for_reader(&self.next)?;
        // The next caller finds an end that is free, so that the name stays ours.
        let next = windows::pipe(&pipe_name(self.id), false)?;
        Ok(Box::new(std::mem::replace(&mut self.next, next)))
    }
}

/// Wakes the listener's thread when it is dropped.
#[derive(Debug)]
pub struct Stop(Uuid);

impl Drop for Stop {
    fn drop(&mut self) {
        // If somebody else calls at this moment, that wakes it as well.
        let _ = open(self.0);
    }
}

/// Opens the pipe; its server may learn who we are, but not act as us.
fn open(id: Uuid) -> io::Result<File> {
    File::options().read(true).security_qos_flags(SECURITY_IDENTIFICATION).open(pipe_name(id))
}

/// Connects to the first one, to be called in a thread.
pub fn caller(place: &Place) -> impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static {
    let path = place.lock();
    move || {
        let mut note = String::new();
        File::open(path)?.take(MAX_NOTE).read_to_string(&mut note)?;
        let (process, id) = parse(&note).ok_or(io::ErrorKind::NotConnected)?;
        // Without it the window only blinks in the task bar; that is no reason not to call.
        windows::let_to_the_front(process);
        Ok(Box::new(open(id)?) as Box<dyn Read>)
    }
}

/// Process and pipe; none if the note is not whole yet.
fn parse(note: &str) -> Option<(u32, Uuid)> {
    let (process, id) = note.strip_suffix('\n')?.split_once(' ')?;
    Some((process.parse().ok()?, Uuid::try_parse(id).ok()?))
}
