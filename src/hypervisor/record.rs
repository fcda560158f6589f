//! What a later launcher needs to know about a running guest: a small file in scratch.
//!
//! Each door keeps what it needs in it; which door that is, and which process, is the same for all.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::drive::names;
use crate::host::child::Identity;
use crate::host::file;

/// Longer files are not ours.
const LONGEST: u64 = 256 * 1024;

/// Who runs a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The door. Records of the first versions, which had one only, do not say.
    #[serde(default = "first")]
    pub hypervisor: String,
    /// The process.
    pub process: Identity,
}

fn first() -> String {
    "qemu".into()
}

/// Writes the record, whole or not at all; durable when this returns, so that after a power cut its absence proves
/// that no guest ran.
///
/// # Errors
/// Scratch is full or gone.
pub fn write(scratch: &Path, record: &impl Serialize) -> Result<()> {
    let content = serde_json::to_vec(record).map_err(std::io::Error::other)?;
    Ok(file::overwrite_atomically(&scratch.join(names::HYPERVISOR_RECORD), &content)?)
}

/// Whether there is a record in `scratch`, be it readable or not.
///
/// # Errors
/// Scratch can't be read.
pub fn exists(scratch: &Path) -> Result<bool> {
    match fs_err::symlink_metadata(scratch.join(names::HYPERVISOR_RECORD)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        found => Ok(found.map(|_| true)?),
    }
}

/// The record in `scratch`; none if there is none or it is not readable as one.
///
/// # Errors
/// The file can't be read.
pub fn read<T: DeserializeOwned>(scratch: &Path) -> Result<Option<T>> {
    let file = match fs_err::File::open(scratch.join(names::HYPERVISOR_RECORD)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// Who was started in `scratch`; none as for [`read`].
///
/// # Errors
/// As [`read`].
pub fn started(scratch: &Path) -> Result<Option<Started>> {
    read(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_the_first_version_started_is_qemus() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(started(scratch.path()).unwrap(), None);
        let text = r#"{"process":{"pid":7,"started":"then"},"disks":{}}"#;
        fs_err::write(scratch.path().join(names::HYPERVISOR_RECORD), text).unwrap();
        let process = Identity { pid: 7, started: "then".into() };
        assert_eq!(started(scratch.path()).unwrap(), Some(Started { hypervisor: "qemu".into(), process }));
    }
}
