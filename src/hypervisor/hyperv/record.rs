//! What a later launcher needs to know about a machine in Hyper-V.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::hypervisor::record::{self, Started};

/// The record of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The helper. The machine itself is Windows' own and outlives it.
    #[serde(flatten)]
    pub started: Started,
    /// PowerShell.
    pub powershell: PathBuf,
    /// The session, which the machine's notes name.
    pub session: Uuid,
    /// When it was started, as the helper tells it.
    pub since: String,
    /// The images that take the guest's writes.
    pub overlays: Vec<String>,
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
