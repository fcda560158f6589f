//! What a later launcher needs to know about a machine in VMware.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::hypervisor::record::{self, Started};

/// The record of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The process. VMware can't start a machine paused, so this is written twice: before the start with the launcher's own
    /// process, and again as soon as the machine's is known.
    #[serde(flatten)]
    pub started: Started,
    /// The process is the machine's.
    pub known: bool,
    /// `vmrun`.
    pub program: PathBuf,
    /// What `vmrun -T` wants to hear.
    pub kind: String,
    /// The images that take the guest's writes.
    pub overlays: Vec<PathBuf>,
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
