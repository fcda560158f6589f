//! What a later launcher needs to know about a running QEMU: a small file in scratch.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::drive::names;
use crate::host::child::Identity;
use crate::host::file;

/// Longer files are not ours.
const LONGEST: u64 = 256 * 1024;

/// The record of one running QEMU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The process.
    pub process: Identity,
    /// By disk name.
    pub disks: BTreeMap<String, DiskRecord>,
}

/// The nodes of one disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// All options of the overlay's node: `blockdev-reopen` resets what it is not told.
    pub overlay: Value,
    /// The base; none for a disk that stands alone.
    pub base: Option<BaseRecord>,
}

/// The base's nodes as they are now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// `qcow2` or `raw`.
    pub format: String,
    /// The format layer's node.
    pub node: String,
    /// The file layer's node.
    pub file_node: String,
    /// How often it was opened again.
    pub reopened: u32,
}

impl Record {
    /// Writes the record, whole or not at all; durable when this returns, so that after a power cut its absence proves
    /// that no guest ran.
    ///
    /// # Errors
    /// Scratch is full or gone.
    pub fn write(&self, scratch: &Path) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(std::io::Error::other)?;
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
    pub fn read(scratch: &Path) -> Result<Option<Self>> {
        let file = match fs_err::File::open(scratch.join(names::HYPERVISOR_RECORD)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text).ok())
    }
}
