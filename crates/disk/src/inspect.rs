//! What an image says about itself.

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::generation::BaseState;
use crate::qcow2::header::Compression;
use crate::qcow2::image::{Image, Role};
use crate::storage::{Access, FileStorage};

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// Bytes that the guest sees.
    pub virtual_size: u64,
    /// Bytes of a cluster.
    pub cluster_size: u64,
    /// Bytes of the file.
    pub file_size: u64,
    /// qcow2 version, 2 or 3.
    pub version: u32,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// L2 entries describe subclusters.
    pub extended_l2: bool,
    /// How compressed clusters, if any, are compressed.
    pub compression: Compression,
    /// Who wrote to it last.
    pub state: BaseState,
    /// The name of its backing file, as it stands in the image: hostile text, never opened by us.
    pub backing: Option<String>,
}

/// Reads what the image at `path` says about itself. Opens nothing else and changes nothing.
///
/// # Errors
/// It can't be read, is damaged, or has a feature that is not handled.
pub fn inspect(path: &Path) -> Result<ImageInfo> {
    let image = Image::open(FileStorage::open(path, Access::Read)?, Role::Overlay)?;
    if image.backing().is_none() {
        // An image that could be a base is held to what is asked of one.
        Image::open(image.storage(), Role::Base)?;
    }
    let header = image.header();
    Ok(ImageInfo {
        virtual_size: header.size,
        cluster_size: header.cluster_size(),
        file_size: image.file_len(),
        version: header.version,
        refcount_bits: 1 << header.refcount_order,
        extended_l2: header.extended_l2(),
        compression: header.compression,
        state: image.state(),
        backing: image.backing().map(str::to_owned),
    })
}
