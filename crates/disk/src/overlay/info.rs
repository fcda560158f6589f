//! What an overlay says about itself.

use std::path::Path;

use serde::Serialize;

use super::source::Source;
use super::{Format, detect, vdi, vhd, vhdx, vmdk};
use crate::error::Result;
use crate::qcow2::image::{Image, Role};
use crate::storage::{Access, FileStorage, Storage};

/// What an overlay says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlayInfo {
    /// Its format.
    pub format: Format,
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// Bytes by which it grows: a cluster, grain or block.
    pub step: u64,
    /// Bytes of headers and tables in one that holds no changes: what the file takes beyond that, the guest has changed.
    pub tables: u64,
}

/// Reads what the overlay at `path` says about itself: its headers only. It may be in use by a hypervisor.
///
/// # Errors
/// It can't be read, or is in no format that is known here.
pub fn inspect_overlay(path: &Path) -> Result<OverlayInfo> {
    inspect(FileStorage::open(path, Access::Read)?)
}

fn inspect<S: Storage>(storage: S) -> Result<OverlayInfo> {
    let source = Source::new(storage)?;
    let format = detect(&source)?;
    let shape = match format {
        Format::Qcow2 => return qcow2(source),
        Format::Vmdk => vmdk::shape(&source)?,
        Format::Vdi => vdi::shape(&source)?,
        Format::Vhd => vhd::shape(&source)?,
        Format::Vhdx => vhdx::shape(&source)?,
    };
    Ok(OverlayInfo { format, virtual_size: shape.size, step: shape.block, tables: shape.tables })
}

fn qcow2<S: Storage>(source: Source<S>) -> Result<OverlayInfo> {
    let image = Image::open(source.storage, Role::Overlay)?;
    let header = image.header();
    // The header, the L1 table, the refcount table and its first block.
    let clusters = 2 + header.l1_clusters() + u64::from(header.refcount_table_clusters);
    Ok(OverlayInfo {
        format: Format::Qcow2,
        virtual_size: header.size,
        step: header.cluster_size(),
        tables: clusters * header.cluster_size(),
    })
}
