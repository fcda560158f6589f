//! Storage in memory that remembers every write and flush, so that tests can cut the power at any of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Storage;
use crate::error::Result;
use crate::root::{BasePath, Root};

/// One thing that happened to a [`MemoryDevice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// The file was cut or extended.
    SetLen {
        /// The file.
        file: String,
        /// New length in bytes.
        len: u64,
    },
    /// The file was removed.
    Remove {
        /// The file.
        file: String,
    },
    /// The file was made durable.
    Flush {
        /// The file.
        file: String,
    },
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<Event>,
    recording: bool,
    /// What [`Storage::room`] says.
    room: Option<u64>,
    /// How many more writes and flushes succeed; none means all.
    budget: Option<u64>,
    /// When each file was changed last, and the clock: every change takes a minute.
    modified: BTreeMap<String, i64>,
    now: i64,
}

impl State {
    fn touch(&mut self, name: &str) {
        self.now += 60;
        self.modified.insert(name.to_owned(), self.now);
    }
}

/// A device of files in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDevice(Arc<Mutex<State>>);

impl MemoryDevice {
    /// A device with these files, not recording.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        MemoryDevice(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    /// Starts to record, with an empty log.
    pub fn record(&self) {
        let mut state = self.state();
        state.recording = true;
        state.log.clear();
    }

    /// Says that the device has room for `bytes`; it takes more nevertheless.
    pub fn set_room(&self, bytes: u64) {
        self.state().room = Some(bytes);
    }

    /// Lets the next `count` writes and flushes succeed, and none after them.
    pub fn fail_after(&self, count: u64) {
        self.state().budget = Some(count);
    }

    /// What happened since [`MemoryDevice::record`].
    pub fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// All files as they are now.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().files.clone()
    }

    /// A handle to one file, made empty if it does not exist.
    pub fn file(&self, name: &str) -> MemoryStorage {
        self.state().files.entry(name.to_owned()).or_default();
        MemoryStorage { device: self.clone(), name: name.to_owned() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Root for MemoryDevice {
    type File = MemoryStorage;

    fn open(&self, path: &BasePath, _access: super::Access) -> Result<MemoryStorage> {
        if !self.state().files.contains_key(path.as_str()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no such file: {path}")).into());
        }
        Ok(self.file(path.as_str()))
    }

    fn create(&self, path: &BasePath) -> Result<MemoryStorage> {
        if self.state().files.contains_key(path.as_str()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("it exists: {path}")).into());
        }
        let file = self.file(path.as_str());
        let mut state = self.state();
        if state.recording {
            state.log.push(Event::SetLen { file: path.as_str().to_owned(), len: 0 });
        }
        drop(state);
        Ok(file)
    }

    fn remove(&self, path: &BasePath) -> Result<()> {
        let mut state = self.state();
        if state.files.remove(path.as_str()).is_some() && state.recording {
            state.log.push(Event::Remove { file: path.as_str().to_owned() });
        }
        Ok(())
    }
}

/// One file of a [`MemoryDevice`].
#[derive(Debug, Clone)]
pub struct MemoryStorage {
    device: MemoryDevice,
    name: String,
}

impl MemoryStorage {
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<u8>),
        event: impl FnOnce(String) -> Event,
    ) -> io::Result<()> {
        let mut state = self.device.state();
        if let Some(budget) = &mut state.budget {
            *budget = budget.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        }
        if let Some(file) = state.files.get_mut(&self.name) {
            change(file);
        }
        let event = event(self.name.clone());
        if !matches!(event, Event::Flush { .. }) {
            state.touch(&self.name);
        }
        if state.recording {
            state.log.push(event);
        }
        Ok(())
    }
}

/// Applies a write to the bytes of a file.
pub fn write_into(file: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = offset as usize;
    let end = start + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(data);
}

impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.device.state();
        let bytes = state
            .files
            .get(&self.name)
            .zip(usize::try_from(offset).ok())
            .and_then(|(file, start)| file.get(start..)?.get(..buf.len()));
        match bytes {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(
            |file| write_into(file, offset, data),
            |file| Event::Write { file, offset, data: data.to_vec() },
        )
    }

    fn flush(&self) -> io::Result<()> {
        self.change(|_| {}, |file| Event::Flush { file })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.device.state().files.get(&self.name).map_or(0, |file| file.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Cutting needs no room: it succeeds on a full device.
        let mut state = self.device.state();
        if let Some(file) = state.files.get_mut(&self.name) {
            file.resize(len as usize, 0);
        }
        state.touch(&self.name);
        if state.recording {
            state.log.push(Event::SetLen { file: self.name.clone(), len });
        }
        Ok(())
    }

    fn forget_cache(&self) {}

    fn room(&self) -> Option<u64> {
        self.device.state().room
    }

    fn modified(&self) -> io::Result<Option<i64>> {
        Ok(self.device.state().modified.get(&self.name).copied())
    }

    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.device.state().modified.insert(self.name.clone(), seconds);
        Ok(())
    }
}
