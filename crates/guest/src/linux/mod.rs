//! Linux: its kernels, what is in each initramfs, fstab, network cards; drivers that an initramfs lacks.
//!
//! [`Files::open`] opens the partitions, [`inspect`] tells what is on them, [`support`] whether a kernel can use a driver before the
//! root is there, and [`extension`] makes the bytes that add drivers from the guest's own tree.

pub mod boot;
mod compression;
mod cpio;
mod extension;
mod files;
pub mod fstab;
mod index;
pub mod initramfs;
mod kernel;
mod modules;
pub mod names;
pub mod network;
mod superblock;
mod system;
pub(crate) mod write;

use serde::Serialize;

pub use compression::Compression;
pub use extension::{EXTENSION_AT_MOST, extension};
pub use files::Files;
pub use fstab::{Fstab, Mount};
pub use initramfs::{Contents, Generator, Limits, Segment};
pub use kernel::{Initramfs, Kernel, Support, support};
pub use modules::{ModuleTree, built_in, name_of, normalised};
pub use superblock::State;
pub use system::{Release, Tools};

use crate::Result;

/// Bytes of an `fstab`.
const FSTAB_AT_MOST: u64 = 1 << 20;

/// Where hibernation is set up to be woken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// The swap, as it is written: a device, `UUID=…`; or `none`.
    pub from: String,
    /// The file that says so.
    pub file: String,
}

/// How much is looked at: reading an initramfs takes a second or so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every kernel.
    All,
    /// The kernel that is started when nobody chooses.
    Default,
    /// No kernel.
    None,
}

/// An installed Linux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Linux {
    /// What it calls itself.
    #[serde(flatten)]
    pub release: Release,
    /// The processor that it is for, as `x86_64`; `None` if no program was found.
    pub architecture: Option<&'static str>,
    /// How its file systems were left.
    #[serde(flatten)]
    pub state: State,
    /// Its kernels, the newest first.
    pub kernels: Vec<Kernel>,
    /// What its boot loader starts when nobody chooses.
    pub boot: Option<boot::Entry>,
    /// What it mounts.
    pub fstab: Fstab,
    /// The network cards that its configuration names.
    pub network: Vec<network::Card>,
    /// The hypervisors' tools in it.
    pub guest_tools: Vec<Tools>,
    /// Where it wakes from hibernation.
    pub resume: Vec<Resume>,
}

impl Linux {
    /// The kernel that the boot loader starts when nobody chooses, else the newest.
    #[must_use]
    pub fn default_kernel(&self) -> Option<&Kernel> {
        let image = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let default = self.boot.as_ref().map(|entry| image(&entry.image));
        let named = self.kernels.iter().find(|kernel| Some(image(&kernel.image)) == default);
        named.or_else(|| self.kernels.first())
    }
}

/// Looks at what is installed; `None` if that is no Linux. Of a root that isn't read, only `/boot` is told.
///
/// # Errors
/// A disk fails, or a file system is damaged where it matters. Files that make no sense are left out.
pub fn inspect(files: &Files) -> Result<Option<Linux>> {
    inspect_within(files, Scope::All, &Limits::default())
}

/// [`inspect`], of some kernels, with other bounds for each initramfs.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_within(files: &Files, scope: Scope, limits: &Limits) -> Result<Option<Linux>> {
    let release = system::release(files)?;
    let boot = boot::default_entry(files)?;
    let kernels = kernel::find(files, scope, boot.as_ref().map(|entry| entry.image.as_str()), limits)?;
    let fstab = files.read("/etc/fstab", FSTAB_AT_MOST).or_else(|error| match error {
        crate::Error::TooLarge(_) => Ok(None),
        error => Err(error),
    })?;
    if release == Release::default() && kernels.is_empty() && fstab.is_none() {
        return Ok(None);
    }
    let resume = resume(files, &kernels, boot.as_ref())?;
    Ok(Some(Linux {
        release,
        architecture: system::architecture(files)?,
        state: files.state(),
        kernels,
        boot,
        fstab: Fstab::parse(&fstab.unwrap_or_default()),
        network: network::find(files)?,
        guest_tools: system::tools(files)?,
        resume,
    }))
}

/// What a root mounts; nothing if it has no `fstab`.
///
/// # Errors
/// The disk fails, or the file system is damaged.
pub fn fstab(files: &Files) -> Result<Fstab> {
    Ok(Fstab::parse(&files.read("/etc/fstab", FSTAB_AT_MOST)?.unwrap_or_default()))
}

fn resume(files: &Files, kernels: &[Kernel], boot: Option<&boot::Entry>) -> Result<Vec<Resume>> {
    let mut found: Vec<Resume> = Vec::new();
    if let Some(entry) = boot {
        let values = entry.parameters("resume");
        found.extend(values.map(|from| Resume { from: from.to_owned(), file: entry.file.clone() }));
    }
    let file = "/etc/initramfs-tools/conf.d/resume";
    let mut texts = vec![(files.text(file, 4096)?, file.to_owned())];
    for initramfs in kernels.iter().filter_map(|kernel| kernel.initramfs.as_ref()) {
        texts.push((initramfs.contents.text("conf/conf.d/resume"), initramfs.path.clone()));
    }
    for (text, file) in texts {
        let values = text.lines().filter_map(|line| line.trim().strip_prefix("RESUME="));
        let values =
            values.map(|value| value.trim_matches(['"', '\'']).to_owned()).filter(|from| !from.is_empty());
        found.extend(values.map(|from| Resume { from, file: file.clone() }));
    }
    Ok(found)
}
