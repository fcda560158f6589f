//! What a later launcher needs to know about a running QEMU.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::hypervisor::record::{self, Started};

/// The record of one running QEMU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The process.
    #[serde(flatten)]
    pub started: Started,
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
    /// Writes the record, durably.
    ///
    /// # Errors
    /// Scratch is full or gone.
    pub fn write(&self, scratch: &Path) -> Result<()> {
        record::write(scratch, self)
    }

    /// The record in `scratch`; none if there is none or it is not readable as one.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(scratch: &Path) -> Result<Option<Self>> {
        record::read(scratch)
    }
}
