//! What a later launcher needs to know about a machine in VirtualBox.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::hypervisor::record::{self, Started};

/// The record of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The process.
    #[serde(flatten)]
    pub started: Started,
    /// `VBoxManage`.
    pub manage: PathBuf,
    /// The machine's id in VirtualBox.
    pub machine: Uuid,
    /// The process is the machine's, and not the launcher that was about to start it.
    pub known: bool,
    /// The ids of the images that take the guest's writes.
    pub overlays: Vec<Uuid>,
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
