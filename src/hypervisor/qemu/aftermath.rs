//! How a guest ended while no launcher was there to see it.
//!
//! QEMU keeps a log of what it says on its control channel, whether somebody listens or not. A guest that shut down by itself
//! after its launcher was killed is so told from one that crashed, and its changes need not be distrusted.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::qmp::QmpEvent;
use super::record::Record;
use super::running::Reader;
use crate::Result;
use crate::drive::names;
use crate::hypervisor::Ending;
use crate::hypervisor::tail::last_words;

/// The end is at the end: more is not read.
const LENGTH: u64 = 1 << 20;

/// How the guest in `scratch` ended; none if none was started there, or if it still runs.
pub fn ending(scratch: &Path) -> Result<Option<Ending>> {
    let Some(record) = Record::read(scratch)? else { return Ok(None) };
    if record.started.process.is_alive() {
        return Ok(None);
    }
    let mut reader = Reader::new(record.disks.into_keys().collect());
    for event in events(scratch)? {
        reader.translate(&event);
    }
    Ok(Some(reader.ending(None, false, || last_words(scratch))))
}

/// What QEMU reported last, in order. Lines that are no events are replies, or were cut.
fn events(scratch: &Path) -> Result<Vec<QmpEvent>> {
    let mut file = match fs_err::File::open(scratch.join(names::CONTROL_LOG)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
    let mut events = Vec::new();
    for line in BufReader::new(file.take(LENGTH)).split(b'\n') {
        if let Ok(Value::Object(mut message)) = serde_json::from_slice(&line?)
            && let Some(Value::String(name)) = message.remove("event")
        {
            events.push(QmpEvent { name, data: message.remove("data").unwrap_or_default() });
        }
    }
    Ok(events)
}
