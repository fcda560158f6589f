//! Joins ascending writes of clusters into large ones: small scattered writes are what cheap flash is worst at.

use crate::error::Result;
use crate::storage::Storage;

/// The most bytes of one write, and the boundary that writes are cut at: erase blocks are often that large.
const LARGE: u64 = 4 << 20;

/// Collects what is written side by side.
#[derive(Debug)]
pub struct Writer<'a, S> {
    storage: &'a S,
    start: u64,
    pending: Vec<u8>,
    written: u64,
}

impl<'a, S: Storage> Writer<'a, S> {
    /// Writes to `storage`.
    pub fn new(storage: &'a S) -> Self {
        Writer { storage, start: 0, pending: Vec::new(), written: 0 }
    }

    /// Bytes handed over so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes `data` at `offset`, now or later.
    ///
    /// # Errors
    /// An earlier write failed, or this one.
    pub fn put(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.written += data.len() as u64;
        if offset != self.start + self.pending.len() as u64 {
            self.finish()?;
            self.start = offset;
        }
        self.pending.extend_from_slice(data);
        let end = self.start + self.pending.len() as u64;
        let boundary = end - end % LARGE;
        if boundary > self.start {
            let ready = (boundary - self.start) as usize;
            self.storage.write_at(self.start, &self.pending[..ready])?;
            self.pending.drain(..ready);
            self.start = boundary;
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The write failed.
    pub fn finish(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.storage.write_at(self.start, &self.pending)?;
            self.start += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::{Event, MemoryDevice};

    #[test]
    fn neighbours_become_one_write_cut_at_four_mebibytes() {
        let device = MemoryDevice::default();
        let file = device.file("f");
        device.record();
        let mut writer = Writer::new(&file);
        let cluster = [1; 65536];
        for index in 0..70 {
            writer.put(65536 * (60 + index), &cluster).unwrap();
        }
        writer.put(65536 * 200, &cluster).unwrap();
        writer.finish().unwrap();
        let writes: Vec<(u64, usize)> = device
            .log()
            .into_iter()
            .map(|event| match event {
                Event::Write { offset, data, .. } => (offset / 65536, data.len() / 65536),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(writes, [(60, 4), (64, 64), (128, 2), (200, 1)]);
        assert_eq!(writer.written(), 71 * 65536);
    }
}
