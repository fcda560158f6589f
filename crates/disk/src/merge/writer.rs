//! Joins ascending writes of clusters into large ones (small scattered writes are what cheap flash is worst at), and
//! writes them while the next ones are read and hashed.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::error::Result;
use crate::storage::Storage;

/// The most bytes of one write, and the boundary that writes are cut at: erase blocks are often that large.
const LARGE: u64 = 4 << 20;
/// Bytes that may be under way to the device. Little, so that progress is that of the device.
const UNDER_WAY: u64 = 2 * LARGE;
/// Pieces of an interrupted merge that are not there, after which no more are looked for.
const MAX_MISSES: u32 = 8;

/// What is handed to the thread that writes.
enum Job {
    Write(u64, Vec<u8>),
    /// Answer when everything before is written.
    Settle(SyncSender<()>),
}

/// Collects what is written side by side.
#[derive(Debug)]
pub struct Writer {
    jobs: SyncSender<Job>,
    start: u64,
    pending: Vec<u8>,
    written: u64,
}

/// Lets `work` write to `storage`. Returns what `work` does, and how many bytes were there already.
///
/// With `resume`, an earlier merge that was interrupted may have written the same bytes to the same places: what reads
/// back as it should is not written again.
///
/// # Errors
/// What `work` returns; a write failed.
pub fn with<S: Storage, T>(
    storage: &S,
    resume: bool,
    work: impl FnOnce(&mut Writer) -> Result<T>,
) -> Result<(T, u64)> {
    if resume {
        storage.forget_cache();
    }
    thread::scope(|scope| {
        let (jobs, queue) = sync_channel(1);
        let thread = scope.spawn(move || Device::new(storage, resume).serve(&queue));
        let mut writer = Writer { jobs, start: 0, pending: Vec::new(), written: 0 };
        let result = work(&mut writer).and_then(|value| writer.finish().map(|()| value));
        drop(writer);
        // When a write has failed, that is why `work` failed.
        let reused = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((result?, reused))
    })
}

impl Writer {
    /// Bytes handed over so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes `data` at `offset`, now or later.
    ///
    /// # Errors
    /// An earlier write failed.
    pub fn put(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.written += data.len() as u64;
        if offset != self.start + self.pending.len() as u64 {
            self.hand_over(self.pending.len())?;
            self.start = offset;
        }
        self.pending.extend_from_slice(data);
        let end = self.start + self.pending.len() as u64;
        let boundary = end - end % LARGE;
        if boundary > self.start {
            self.hand_over((boundary - self.start) as usize)?;
        }
        Ok(())
    }

    /// Returns when everything is written: it can be read from the storage then, but is not durable yet.
    ///
    /// # Errors
    /// A write failed.
    pub fn finish(&mut self) -> Result<()> {
        self.hand_over(self.pending.len())?;
        let (done, answer) = sync_channel(1);
        self.jobs.send(Job::Settle(done)).map_err(|_| stopped())?;
        Ok(answer.recv().map_err(|_| stopped())?)
    }

    fn hand_over(&mut self, len: usize) -> Result<()> {
        if len > 0 {
            let rest = self.pending.split_off(len);
            let piece = std::mem::replace(&mut self.pending, rest);
            self.jobs.send(Job::Write(self.start, piece)).map_err(|_| stopped())?;
            self.start += len as u64;
        }
        Ok(())
    }
}

/// The thread has ended because of an error, which [`with`] tells.
fn stopped() -> io::Error {
    io::Error::other("a write failed")
}

/// The thread's side.
struct Device<'a, S> {
    storage: &'a S,
    /// Written, but perhaps not handed to the device yet: offset and length.
    under_way: VecDeque<(u64, u64)>,
    bytes_under_way: u64,
    /// How many more pieces may be missing; none if nothing is looked for.
    misses: Option<u32>,
    reused: u64,
}

impl<'a, S: Storage> Device<'a, S> {
    fn new(storage: &'a S, resume: bool) -> Self {
        Device {
            storage,
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            misses: resume.then_some(MAX_MISSES),
            reused: 0,
        }
    }

    fn serve(mut self, queue: &Receiver<Job>) -> io::Result<u64> {
        for job in queue {
            match job {
                Job::Write(offset, piece) => self.write(offset, &piece)?,
                // Nobody may wait for the answer any more.
                Job::Settle(done) => drop(done.send(())),
            }
        }
        Ok(self.reused)
    }

    fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()> {
        let len = piece.len() as u64;
        if self.is_there(offset, piece)? {
            self.reused += len;
            return Ok(());
        }
        self.storage.write_at(offset, piece)?;
        self.storage.start_writing_out(offset, len)?;
        self.under_way.push_back((offset, len));
        self.bytes_under_way += len;
        while self.bytes_under_way > UNDER_WAY
            && let Some((offset, len)) = self.under_way.pop_front()
        {
            self.storage.wait_written_out(offset, len)?;
            self.bytes_under_way -= len;
        }
        Ok(())
    }

    /// Whether an interrupted merge has written the piece already.
    fn is_there(&mut self, offset: u64, piece: &[u8]) -> io::Result<bool> {
        let Some(misses) = self.misses else { return Ok(false) };
        let there = if offset + piece.len() as u64 <= self.storage.len()? {
            let mut found = vec![0; piece.len()];
            // What can't be read has to be written.
            self.storage.read_at(offset, &mut found).is_ok() && found == piece
        } else {
            false
        };
        if !there {
            self.misses = misses.checked_sub(1);
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::{Event, MemoryDevice};

    fn writes(device: &MemoryDevice) -> Vec<(u64, usize)> {
        let sized = device.log().into_iter().map(|event| match event {
            Event::Write { offset, data, .. } => (offset / 65536, data.len() / 65536),
            other => panic!("{other:?}"),
        });
        sized.collect()
    }

    #[test]
    fn neighbours_become_one_write_cut_at_four_mebibytes() {
        let device = MemoryDevice::default();
        let file = device.file("f");
        device.record();
        let cluster = [1; 65536];
        let put = |writer: &mut Writer| {
            for index in 0..70 {
                writer.put(65536 * (60 + index), &cluster)?;
            }
            writer.put(65536 * 200, &cluster)?;
            Ok(writer.written())
        };
        assert_eq!(with(&file, false, put).unwrap(), (71 * 65536, 0));
        assert_eq!(writes(&device), [(60, 4), (64, 64), (128, 2), (200, 1)]);
        // The second piece was lost.
        file.write_at(65536 * 70, &[2; 10]).unwrap();
        device.record();
        assert_eq!(with(&file, true, put).unwrap(), (71 * 65536, 7 * 65536));
        assert_eq!(writes(&device), [(64, 64)]);
    }

    #[test]
    fn a_failed_write_is_what_is_told() {
        let device = MemoryDevice::default();
        let file = device.file("f");
        device.fail_after(1);
        let result = with(&file, false, |writer| {
            for index in 0.. {
                writer.put(index * 8192, &[1; 4096])?;
            }
            Ok(())
        });
        assert!(matches!(result, Err(crate::Error::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
    }
}
