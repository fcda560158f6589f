//! The one window of a drive on this PC: who has the seat has the window, and everybody else is told to look there.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::host::instance::{Claimed, Instance};
use crate::host::{relaunch, scratch};

/// Characters of a drive's key.
const KEY: usize = 16;

/// The seat is ours until this is dropped, which leaves nothing on the PC.
pub struct Seat {
    drive: PathBuf,
    instance: Option<Instance>,
    scratch: scratch::Root,
}

impl Seat {
    /// Takes the seat of the drive in the folder `drive`, or calls who has it to the front; then there is none.
    ///
    /// # Errors
    /// The folder of sessions can't be prepared, or who has the seat does not answer.
    pub fn take(drive: &Path, scratch: scratch::Root) -> Result<Option<Seat>> {
        scratch.prepare()?;
        relaunch::remove_left_over(scratch.path());
        let key = blake3::hash(drive.as_os_str().as_encoded_bytes()).to_hex();
        Ok(match Instance::claim(scratch.path(), &key[..KEY])? {
            Claimed::First(instance) => {
                Some(Seat { drive: drive.to_owned(), instance: Some(instance), scratch })
            }
            Claimed::Second => None,
        })
    }

    /// Whether it is the seat of the drive in that folder.
    pub fn is_of(&self, drive: &Path) -> bool {
        self.drive == drive
    }

    /// Where sessions have their folders, and a copy of this program.
    pub fn scratch(&self) -> &scratch::Root {
        &self.scratch
    }

    /// Whoever is called by another one does `raise`.
    pub fn on_call(&mut self, raise: impl Fn() + Send + 'static) {
        if let Some(instance) = &mut self.instance {
            instance.on_call(raise);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.instance.take());
        self.scratch.remove_if_empty();
    }
}
