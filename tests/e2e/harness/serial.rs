//! Follows the guest's serial port, which the hypervisor writes to a file in scratch.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// Sends every line that appears in `folder/name`, until the folder is deleted. The file need not exist yet; what
/// was written before it was deleted is read all the same, through the open file.
pub fn follow(folder: PathBuf, name: &'static str, lines: Sender<String>) {
    let watch = inotify::init(CreateFlags::CLOEXEC).unwrap();
    let events = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::DELETE | WatchFlags::DELETE_SELF;
    if inotify::add_watch(&watch, &folder, events).is_err() {
        return;
    }
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut room);
    let mut file: Option<File> = None;
    let mut rest = Vec::new();
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
        // One event at a time costs a look at the file that finds nothing; it misses nothing.
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::IGNORED) => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
