//! Follows the guest's serial port, which the hypervisor writes to a file in scratch.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// Sends every line that appears in `folder/name`, until the folder is deleted or the other end of `stop` is closed.
/// The file need not exist yet; what was written before it was deleted is read all the same, through the open file.
pub fn follow(folder: PathBuf, name: &str, lines: &Sender<String>, stop: &PipeReader) {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    let kinds = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::DELETE | WatchFlags::DELETE_SELF;
    if inotify::add_watch(&watch, &folder, kinds).is_err() {
        return;
    }
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut room);
    let mut file: Option<File> = None;
    let mut rest = Vec::new();
    let mut last = false;
    loop {
        if file.is_none() {
            file = File::open(folder.join(name)).ok();
        }
        if let Some(file) = &mut file {
            if file.read_to_end(&mut rest).is_err() {
                return;
            }
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                // The test may have ended: nobody listens any more.
                if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        }
        if last {
            return;
        }
        let mut waiting = [PollFd::new(&watch, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        poll(&mut waiting, None).unwrap();
        // Closed: what is in the file now is the last that is wanted.
        last = !waiting[1].revents().is_empty();
        while let Ok(event) = reader.next() {
            last |= event.events().contains(ReadFlags::IGNORED);
        }
    }
}
