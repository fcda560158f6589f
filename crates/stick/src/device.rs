//! The stick as a device: requests in a queue, each taking its time, counted, and served from its store.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{Cut, Fate, Store};
use crate::flash::{Cost, Flash};
use crate::model::Model;

/// A thread that sleeps wakes up too late by about as much; the rest of a wait is spun.
const SPIN: Duration = Duration::from_micros(100);

/// What reached the device. The model decides over flash and busy time; without one both stay zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of all kinds.
    pub requests: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes that the flash wrote for it: whole pages, and copies of erase blocks.
    pub flash: u64,
    /// Flushes.
    pub flushes: u64,
    /// How long the device was busy.
    pub busy: Duration,
}

/// The hand on the stick: sets its model, reads its counters, cuts its power. Copies are of the same stick.
#[derive(Debug, Clone)]
pub struct Control(Arc<Mutex<Device>>);

#[derive(Debug)]
struct Device {
    store: Store,
    flash: Flash,
    counters: Counters,
    /// When the last request that was accepted will be done.
    free: Instant,
}

impl Control {
    /// A device with the bytes of `file`, without waiting or a cache.
    pub(crate) fn new(file: File) -> Self {
        Control(Arc::new(Mutex::new(Device {
            store: Store::new(file),
            flash: Flash::new(Model::Instant),
            counters: Counters::default(),
            free: Instant::now(),
        })))
    }

    /// Makes it a stick of that model, with no block open.
    pub fn set_model(&self, model: Model) {
        self.device().flash = Flash::new(model);
    }

    /// What reached the device since it was made or since [`Control::reset_counters`].
    pub fn counters(&self) -> Counters {
        self.device().counters
    }

    /// Counts from zero.
    pub fn reset_counters(&self) {
        self.device().counters = Counters::default();
    }

    /// From now on there is a volatile write cache: a cut loses some of what was not flushed. A flush of a device that
    /// lies leaves the last `lie` bytes in it all the same.
    ///
    /// # Errors
    /// What was written before can't be made durable.
    pub fn cache(&self, lie: u64) -> io::Result<()> {
        self.device().store.cache(lie)
    }

    /// From now on, as at first, what is written is durable.
    ///
    /// # Errors
    /// What was written before can't be made durable.
    pub fn write_through(&self) -> io::Result<()> {
        self.device().store.write_through()
    }

    /// Arms a power cut. Afterwards every request fails, until it is plugged in again.
    pub fn cut_after(&self, cut: Cut) {
        self.device().store.arm(cut);
    }

    /// Forgets a cut that did not come.
    pub fn disarm(&self) {
        self.device().store.disarm();
    }

    /// Cuts the power now.
    ///
    /// # Errors
    /// What the cut keeps can't be written to the file behind the stick.
    pub fn cut_now(&self, fate: Fate, seed: u64) -> io::Result<()> {
        self.device().store.cut(fate, seed)
    }

    /// Whether the power was cut and it was not plugged in again.
    pub fn is_pulled(&self) -> bool {
        self.device().store.is_pulled()
    }

    /// Gives it power again.
    pub(crate) fn plug_in(&self) {
        self.device().store.plug_in();
    }

    /// Remembers what is durable on it. From now on writes are kept in memory.
    ///
    /// # Errors
    /// What was kept in memory can't be written to the file behind the stick.
    pub fn remember(&self) -> io::Result<()> {
        self.device().store.remember()
    }

    /// Goes back to what was remembered. To be called while it is not mounted.
    pub(crate) fn go_back(&self) {
        self.device().store.go_back();
    }

    /// Serves a read that came in at `arrival`.
    pub(crate) fn read(&self, arrival: Instant, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.serve(arrival, |device| {
            device.counters.read += buf.len() as u64;
            (device.flash.read(buf.len() as u64), device.store.read(offset, buf))
        })
    }

    /// Serves a write that came in at `arrival`.
    pub(crate) fn write(&self, arrival: Instant, offset: u64, data: &[u8]) -> io::Result<()> {
        self.serve(arrival, |device| {
            device.counters.written += data.len() as u64;
            let cost =
                if data.is_empty() { Cost::default() } else { device.flash.write(offset, data.len() as u64) };
            (cost, device.store.write(offset, data))
        })
    }

    /// Serves a flush that came in at `arrival`.
    pub(crate) fn flush(&self, arrival: Instant) -> io::Result<()> {
        self.serve(arrival, |device| {
            device.counters.flushes += 1;
            (device.flash.flush(), device.store.flush())
        })
    }

    /// Lets a request take its time: it starts when it came in or when those before it are done, and ends exactly when
    /// the model says, however late the thread woke up for the one before.
    fn serve(
        &self,
        arrival: Instant,
        work: impl FnOnce(&mut Device) -> (Cost, io::Result<()>),
    ) -> io::Result<()> {
        let mut device = self.device();
        let (cost, result) = work(&mut device);
        device.counters.requests += 1;
        device.counters.flash += cost.flash;
        device.counters.busy += cost.time;
        let end = device.free.max(arrival) + cost.time;
        device.free = end;
        drop(device);
        if !cost.time.is_zero() {
            wait_until(end);
        }
        result
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        // A panic of another thread leaves nothing half done that matters to a simulation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_until(instant: Instant) {
    loop {
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => std::thread::sleep(sleep),
            _ => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn device() -> Control {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        Control::new(file)
    }

    #[test]
    fn a_queue_of_requests_takes_exactly_the_sum_of_their_times() {
        let control = device();
        control.set_model(Model::Good);
        let start = Instant::now();
        for _ in 0..50 {
            // All of them came in at once; a thread that wakes up late for one has less to wait for the next.
            control.write(start, 0, &[0; 1 << 14]).unwrap();
        }
        let took = start.elapsed();
        let busy = control.counters().busy;
        assert!(busy > Duration::from_millis(10), "{busy:?}");
        assert_eq!(control.device().free, start + busy);
        assert!(took >= busy, "{took:?} for {busy:?} of work");
    }

    #[test]
    fn an_idle_device_starts_when_a_request_comes_in() {
        let control = device();
        control.set_model(Model::Cheap);
        control.flush(Instant::now()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let start = Instant::now();
        control.flush(start).unwrap();
        assert!(start.elapsed() >= Duration::from_micros(400));
    }

    #[test]
    fn everything_that_reaches_it_is_counted() {
        let control = device();
        control.set_model(Model::Good);
        let now = Instant::now();
        control.write(now, 0, &[1; 8192]).unwrap();
        control.write(now, 512, &[1; 512]).unwrap();
        control.read(now, 0, &mut [0; 4096]).unwrap();
        control.flush(now).unwrap();
        let counters = control.counters();
        assert_eq!((counters.requests, counters.flushes), (4, 1));
        assert_eq!((counters.read, counters.written, counters.flash), (4096, 8704, 32768));
        control.reset_counters();
        assert_eq!(control.counters(), Counters::default());
    }
}
