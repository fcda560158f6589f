//! A log that another program writes, line by line as far as it is written.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::drive::names;

/// A line that is longer tells nothing.
const LONGEST_LINE: usize = 16 * 1024;

/// One log, read up to a place.
pub struct Tail {
    path: PathBuf,
    at: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    /// The log at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Tail {
        Tail { path, at: 0, begun: Vec::new() }
    }

    /// Begins with the last `bytes` of what is there now.
    pub fn skip_to_last(&mut self, bytes: u64) {
        self.at = std::fs::metadata(&self.path).map_or(0, |file| file.len().saturating_sub(bytes));
    }

    /// Reads on to where it ends now; `each` gets whole lines, without their ends.
    pub fn read(&mut self, each: &mut dyn FnMut(&str)) {
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        if file.seek(SeekFrom::Start(self.at)).is_err() {
            return;
        }
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = file.read(&mut piece) {
            self.at += count as u64;
            for byte in &piece[..count] {
                if *byte != b'\n' {
                    if self.begun.len() < LONGEST_LINE {
                        self.begun.push(*byte);
                    }
                    continue;
                }
                let line = String::from_utf8_lossy(&self.begun).into_owned();
                self.begun.clear();
                each(line.trim_end());
            }
        }
    }
}

/// The last lines of the hypervisor's log, on one line.
pub fn last_words(scratch: &Path) -> String {
    const LENGTH: u64 = 2048;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs_err::File::open(scratch.join(names::HYPERVISOR_LOG))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
        let mut text = Vec::new();
        file.take(LENGTH).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}
