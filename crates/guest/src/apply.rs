//! The changes of a [`Fit`], made on a throw-away copy of the guest's disk. What differs then goes into an overlay.

use std::rc::Rc;
use std::sync::Arc;

use crate::fit::{Change, Fit, is_root};
use crate::guest::{Guest, System};
use crate::linux::{self, Linux};
use crate::patch::{Patch, SharedDisk};
use crate::{Disk, Error, Result};

/// The most bytes of a kernel and its initramfs that are handed over beside the disk.
const BOOT_AT_MOST: u64 = 512 << 20;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Bytes on the disk, in order: where they are, and what they become.
    pub bytes: Vec<(u64, Vec<u8>)>,
    /// What starts the guest in place of its boot loader, if that was wanted.
    pub boot: Option<Boot>,
}

/// A kernel that a hypervisor starts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's image, from the guest's disk.
    pub kernel: Vec<u8>,
    /// Its initramfs, with more drivers.
    pub initramfs: Vec<u8>,
    /// Its command line, as the guest's boot loader would give it.
    pub command_line: String,
}

/// How a changed initramfs reaches the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The hypervisor starts the kernel itself: nothing is written to the guest's `/boot`.
    Beside,
    /// The guest's boot loader finds it in `/boot`.
    InBoot,
}

/// Makes the changes of `fit`, which was found for `guest` on `disk`. The disk is only read.
///
/// # Errors
/// The disk is another one than a moment ago, or can't be read; a change can't be made, and why.
pub fn apply(disk: &SharedDisk, guest: &Guest, fit: &Fit, way: Way) -> Result<Changed> {
    // The library that writes ext4 trusts more of what it reads than the readers here do. If it can't go on, that is no reason
    // for the program to end: what it did is in memory only.
    let making = || make(disk, guest, fit, way);
    let made = std::thread::scope(|scope| scope.spawn(making).join());
    made.unwrap_or_else(|_| Err(Error::Damaged("the guest's file system".to_owned())))
}

fn make(disk: &SharedDisk, guest: &Guest, fit: &Fit, way: Way) -> Result<Changed> {
    let patch = Arc::new(Patch::new(Arc::clone(disk)));
    let mut boot = None;
    match guest.starting() {
        Some(System::Windows { .. }) => {
            for change in &fit.changes {
                let Change::Registry { edits, .. } = change else { continue };
                edits.iter().try_for_each(|edit| patch.apply(edit))?;
            }
        }
        Some(System::Linux { root, boot: boot_part, linux, .. }) => {
            let change = LinuxChange { disk, guest, root: *root, boot: *boot_part, linux, patch: &patch };
            boot = change.apply(&fit.changes, way)?;
        }
        None => {}
    }
    Ok(Changed { bytes: patch.differences()?, boot })
}

/// Whether an image is what a boot loader of a PC takes (the kernel's Documentation/arch/x86/boot.rst). Everything else makes QEMU
/// look for headers of other formats.
fn is_kernel(image: &[u8]) -> bool {
    image.get(0x1fe..0x200) == Some(&[0x55, 0xaa])
        && image.get(0x202..0x206) == Some(b"HdrS")
        && image.get(0x1f1).is_some_and(|sectors| *sectors <= 64)
        && image.len() > 65 * 512
}

struct LinuxChange<'a> {
    disk: &'a SharedDisk,
    guest: &'a Guest,
    root: Option<u32>,
    boot: Option<u32>,
    linux: &'a Linux,
    patch: &'a Arc<Patch>,
}

impl LinuxChange<'_> {
    fn apply(&self, changes: &[Change], way: Way) -> Result<Option<Boot>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let unsupported = |why: &str| Error::Unsupported(why.to_owned());
        let kernel = self.linux.default_kernel().ok_or_else(|| unsupported("the guest has no kernel"))?;
        let shared: Rc<dyn Disk> = Rc::new(Arc::clone(self.disk));
        let files = self.guest.files(&shared, self.root, self.boot)?;
        let files = files.ok_or_else(|| unsupported("the guest's files can't be read"))?;
        let mut extension = Vec::new();
        let mut root = None;
        for change in changes {
            match change {
                Change::Initramfs { modules, .. } => extension = linux::extension(&files, kernel, modules)?,
                Change::Root { from, to } => root = Some((from, to)),
                Change::Fstab { text } => {
                    let volume = self.volume(self.root)?;
                    volume.replace("/etc/fstab", text)?;
                    volume.finish()?;
                }
                Change::Registry { .. } => {}
            }
        }
        if extension.is_empty() && root.is_none() {
            return Ok(None);
        }
        let initramfs = kernel.initramfs.as_ref();
        let initramfs = initramfs.ok_or_else(|| unsupported("the guest has no initramfs"))?;
        if way == Way::InBoot {
            if let Some((from, _)) = root {
                return Err(Error::Unsupported(format!(
                    "the guest's boot loader names the root {from}, which is another disk here; name it by its UUID in the guest"
                )));
            }
            let (number, path) = match self.boot {
                Some(boot) => (Some(boot), initramfs.path.strip_prefix("/boot").unwrap_or(&initramfs.path)),
                None => (self.root, initramfs.path.as_str()),
            };
            let volume = self.volume(number)?;
            volume.append(path, &extension)?;
            volume.finish()?;
            return Ok(None);
        }
        let entry = self.linux.boot.as_ref();
        let entry = entry.ok_or_else(|| unsupported("how the guest's boot loader starts it is not known"))?;
        let named = entry.parameters("root").last().unwrap_or_default();
        if !self.root.is_some_and(|number| is_root(self.guest, number, named)) {
            return Err(Error::Unsupported(format!("the guest's boot loader starts another root: {named}")));
        }
        let read = |path: &str| {
            files.read(path, BOOT_AT_MOST)?.ok_or_else(|| unsupported("the guest's kernel is not there"))
        };
        let mut bytes = read(&initramfs.path)?;
        bytes.extend(extension);
        let mut command_line = entry.options.clone();
        if let Some((from, to)) = root {
            let words = command_line.split_ascii_whitespace();
            let words = words.map(|word| match word.strip_prefix("root=") {
                Some(named) if named == from => format!("root={to}"),
                _ => word.to_owned(),
            });
            command_line = words.collect::<Vec<_>>().join(" ");
        }
        let kernel = read(&kernel.image)?;
        if !is_kernel(&kernel) {
            return Err(unsupported("the guest's kernel is in a format that QEMU would have to guess"));
        }
        Ok(Some(Boot { kernel, initramfs: bytes, command_line }))
    }

    fn volume(&self, number: Option<u32>) -> Result<linux::write::Volume> {
        let partition = number.and_then(|number| self.guest.partition(number));
        let partition =
            partition.ok_or_else(|| Error::Unsupported("the guest's root can't be written to".to_owned()))?;
        linux::write::Volume::open(self.patch, partition.start, partition.size)
    }
}
