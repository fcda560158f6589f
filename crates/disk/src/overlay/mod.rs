//! Overlays: what a guest wrote in one session, in the format of the hypervisor that it ran in.
//!
//! QEMU's are qcow2 images. VirtualBox, VMware and Hyper-V write differencing disks in formats of their own, over a copy of the
//! base in that format ([`copy_base`](crate::copy_base)). All of them say for each block of the guest's disk whether it was
//! written, which is all that a merge asks. The parent that such a file names is text and is never opened.
//!
//! Each of these formats has a header with a signature, so telling them apart guesses nothing from bytes of the guest's.

mod blocks;
mod info;
mod output;
mod source;
mod vdi;
pub(crate) mod vhd;
mod vhdx;
pub(crate) mod vmdk;

use serde::Serialize;

use crate::error::{Refusal, Result};
use crate::qcow2::entry::Run;
use crate::qcow2::image::{Image, Role, TableCache};
use crate::storage::{Storage, read_padded};
use blocks::{Blocks, Pages};
pub use info::{OverlayInfo, inspect_overlay};
use source::Source;

/// The most bytes that are looked at at once, whatever a format's blocks are: a VHDX has some of 256 MiB.
const MAX_STEP: u64 = 2 << 20;

/// The format of an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// QEMU's.
    Qcow2,
    /// VMware's hosted sparse extent.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Microsoft's, up to 2040 GiB.
    Vhd,
    /// Microsoft's newer one.
    Vhdx,
}

/// An open overlay.
#[derive(Debug)]
pub enum Overlay<S> {
    /// A qcow2 image.
    Qcow2(Box<Image<S>>),
    /// A differencing disk of another hypervisor.
    Blocks(Blocks<S>),
}

/// The parts of an overlay's tables that were read last. For one overlay only.
#[derive(Debug, Default)]
pub struct Cache {
    qcow2: TableCache,
    pages: Pages,
}

impl<S> From<Image<S>> for Overlay<S> {
    fn from(image: Image<S>) -> Self {
        Overlay::Qcow2(Box::new(image))
    }
}

/// The format of a file, by its signature.
///
/// # Errors
/// It has none of those; the device fails.
fn detect<S: Storage>(source: &Source<S>) -> Result<Format> {
    let mut start = [0; 512];
    read_padded(&source.storage, 0, &mut start)?;
    if start.starts_with(b"QFI\xfb") {
        Ok(Format::Qcow2)
    } else if start.starts_with(&vmdk::MAGIC) {
        Ok(Format::Vmdk)
    } else if start[vdi::SIGNATURE_AT..].starts_with(&vdi::SIGNATURE) {
        Ok(Format::Vdi)
    } else if start.starts_with(&vhd::COOKIE) {
        // Every VHD but a fixed one begins with a copy of its footer.
        Ok(Format::Vhd)
    } else if start.starts_with(&vhdx::MAGIC) {
        Ok(Format::Vhdx)
    } else if start.starts_with(b"# Disk DescriptorFile") {
        // The text that leads to the files of a VMDK.
        Err(source.refuse(Refusal::SeveralFiles))
    } else if source.len >= 512 && source.bytes(source.len - 512, 8)? == vhd::COOKIE {
        // The footer of a fixed VHD, in front of which are the guest's bytes and nothing else.
        Err(source.refuse(Refusal::WholeDisk))
    } else {
        Err(source.refuse(Refusal::NotOverlay))
    }
}

impl<S: Storage> Overlay<S> {
    /// Opens an overlay of any format.
    ///
    /// All tables are read and checked once: they lie inside of the file, and so does every block that they name; no block
    /// lies in a table; there are no more blocks than fit the file.
    ///
    /// # Errors
    /// The file is in none of the formats, holds a whole disk, is damaged, or has a feature that is not handled.
    pub fn open(storage: S) -> Result<Self> {
        let source = Source::new(storage)?;
        let blocks = match detect(&source)? {
            Format::Qcow2 => return Ok(Image::open(source.storage, Role::Overlay)?.into()),
            Format::Vmdk => vmdk::open(source)?,
            Format::Vdi => vdi::open(source)?,
            Format::Vhd => vhd::open(source)?,
            Format::Vhdx => vhdx::open(source)?,
        };
        blocks.ensure_sound()?;
        Ok(Overlay::Blocks(blocks))
    }

    /// As [`Overlay::open`], of an image that stands alone: a VMDK may be a whole disk.
    ///
    /// # Errors
    /// As [`Overlay::open`].
    pub(crate) fn open_alone(storage: S) -> Result<Self> {
        let source = Source::new(storage)?;
        if detect(&source)? != Format::Vmdk {
            return Overlay::open(source.storage);
        }
        let blocks = vmdk::open_any(source)?;
        blocks.ensure_sound()?;
        Ok(Overlay::Blocks(blocks))
    }

    /// The format of the image below, as it stands in a qcow2 image: hostile text. The others do not say.
    pub fn format_below(&self) -> Option<&str> {
        match self {
            Overlay::Qcow2(image) => image.extensions().backing_format.as_deref(),
            Overlay::Blocks(_) => None,
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        match self {
            Overlay::Qcow2(_) => Format::Qcow2,
            Overlay::Blocks(blocks) => blocks.format(),
        }
    }

    /// Bytes that the guest sees.
    pub fn virtual_size(&self) -> u64 {
        match self {
            Overlay::Qcow2(image) => image.header().size,
            Overlay::Blocks(blocks) => blocks.size(),
        }
    }

    /// Bytes to look at at once, from a multiple of it on: a cluster or block, or a part of a large one.
    pub fn step(&self) -> u64 {
        match self {
            Overlay::Qcow2(image) => image.header().cluster_size(),
            Overlay::Blocks(blocks) => blocks.block_size().min(MAX_STEP),
        }
    }

    /// The storage under it.
    pub fn storage(&self) -> &S {
        match self {
            Overlay::Qcow2(image) => image.storage(),
            Overlay::Blocks(blocks) => blocks.storage(),
        }
    }

    /// The first guest byte at or after `start` whose cluster or block has an entry; none if there is none.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn next_present(&self, cache: &mut Cache, start: u64) -> Result<Option<u64>> {
        match self {
            Overlay::Qcow2(image) => image.next_present(&mut cache.qcow2, start),
            Overlay::Blocks(blocks) => blocks.next_present(&mut cache.pages, start),
        }
    }

    /// Splits the guest bytes `start..end` into runs of one kind; beyond the virtual end everything is absent.
    ///
    /// # Errors
    /// The tables are damaged.
    pub fn runs(
        &self,
        cache: &mut Cache,
        start: u64,
        end: u64,
        each: impl FnMut(u64, u64, Run),
    ) -> Result<()> {
        match self {
            Overlay::Qcow2(image) => image.runs(&mut cache.qcow2, start, end, each),
            Overlay::Blocks(blocks) => blocks.runs(&mut cache.pages, start, end, each),
        }
    }

    /// Reads a run that begins at guest byte `start`; an absent one reads as zeroes.
    ///
    /// # Errors
    /// The overlay is damaged, or the device fails.
    pub fn read_run(&self, start: u64, run: Run, buf: &mut [u8]) -> Result<()> {
        match self {
            Overlay::Qcow2(image) => image.read_run(start, run, buf),
            Overlay::Blocks(blocks) => blocks.read_run(run, buf),
        }
    }
}
