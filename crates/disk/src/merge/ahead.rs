//! Tells the PC's disk what of the overlay is read next. An overlay holds the guest's clusters in the order in which they
//! were written, a merge reads them in the guest's: one by one, each would wait for the one before.

use crate::error::Result;
use crate::overlay::{Cache, Overlay};
use crate::qcow2::entry::Run;
use crate::storage::Storage;

/// Bytes that the disk may be ahead.
const AHEAD: u64 = 8 << 20;

/// How far the overlay has been announced.
#[derive(Debug, Default)]
pub struct Ahead {
    cache: Cache,
    /// The guest byte from which on nothing is announced yet.
    next: u64,
    /// Bytes announced so far, of all that differ from the base.
    announced: u64,
}

impl Ahead {
    /// `done` bytes of the overlay are dealt with: announces what comes next.
    ///
    /// # Errors
    /// The overlay's tables are damaged.
    pub fn announce<O: Storage>(&mut self, overlay: &Overlay<O>, done: u64) -> Result<()> {
        let (step, size) = (overlay.step(), overlay.virtual_size());
        while self.announced < done + AHEAD {
            let Some(start) = overlay.next_present(&mut self.cache, self.next)? else {
                self.announced = u64::MAX;
                return Ok(());
            };
            self.next = (start - start % step + step).min(size);
            overlay.runs(&mut self.cache, start, self.next, |from, to, run| match run {
                Run::Absent => {}
                Run::Zero => self.announced += to - from,
                Run::Data { host } => {
                    overlay.storage().will_read(host, to - from);
                    self.announced += to - from;
                }
                Run::Compressed { host, length } => {
                    overlay.storage().will_read(host, length);
                    self.announced += to - from;
                }
            })?;
        }
        Ok(())
    }
}
