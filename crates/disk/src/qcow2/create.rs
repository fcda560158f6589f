//! Makes new images: overlays, and empty expanding disks with a little initial content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::be;
use super::entry::{COPIED, Entry};
use super::extensions::Extensions;
use super::header::{Compression, Header};
use super::refcount;
use crate::copy::whole_blocks;
use crate::error::{Error, Result};
use crate::storage::{FileStorage, Storage};

/// The longest backing file name that qcow2 allows, in bytes.
const MAX_BACKING: usize = 1023;
/// Refcounts of 16 bits: what every program reads.
const REFCOUNT_ORDER: u32 = 4;

/// What a new image is like.
#[derive(Debug, Clone)]
pub struct CreateOptions<'a> {
    /// Virtual size in bytes, a multiple of 512.
    pub virtual_size: u64,
    /// Bytes of a cluster: a power of two from 4 KiB to 2 MiB.
    pub cluster_size: u64,
    /// The absolute path of the backing file and its format's name.
    pub backing: Option<(PathBuf, &'static str)>,
    /// Guest bytes that the image begins with: offset and content. Over a backing file, whole clusters
    /// ([`View::with`](crate::View::with)).
    pub content: &'a [(u64, &'a [u8])],
}

impl CreateOptions<'_> {
    /// An empty disk of `virtual_size` bytes with clusters of 16 KiB.
    pub fn new(virtual_size: u64) -> Self {
        CreateOptions { virtual_size, cluster_size: 16 * 1024, backing: None, content: &[] }
    }
}

/// Makes a new image; an existing file is an error. A file that could not be finished is removed.
///
/// # Errors
/// The options contradict each other, the file exists, or there is no room.
pub fn create(path: &Path, options: &CreateOptions<'_>) -> Result<()> {
    let storage = FileStorage::create(path)?;
    create_on(&storage, options).inspect_err(|_| {
        // The first error is the one that matters.
        let _ = fs_err::remove_file(path);
    })
}

/// As [`create`], on any empty storage.
///
/// # Errors
/// The options contradict each other, or the device fails.
pub fn create_on<S: Storage>(storage: &S, options: &CreateOptions<'_>) -> Result<()> {
    let mut header = header(options)?;
    let size = header.cluster_size();
    let backing = backing(options)?;
    let clusters = content(options, &header)?;

    // The order in the file: header, refcount table, refcount blocks, L1 table, L2 tables and data.
    let tables: Vec<u64> = {
        let mut indexes: Vec<u64> = clusters.keys().map(|cluster| cluster / header.l2_entries()).collect();
        indexes.dedup();
        indexes
    };
    let (mut blocks, mut table_clusters) = (1, 1);
    let rest = header.l1_clusters() + (tables.len() + clusters.len()) as u64;
    for _ in 0..4 {
        blocks = (1 + table_clusters + blocks + rest).div_ceil(header.refcounts_per_block());
        table_clusters = (blocks * 8).div_ceil(size);
    }
    let total = 1 + table_clusters + blocks + rest;
    header.refcount_table_offset = size;
    header.refcount_table_clusters = table_clusters as u32;
    header.l1_offset = (1 + table_clusters + blocks) * size;

    let mut next = header.l1_offset + header.l1_clusters() * size;
    let mut l1 = vec![0; header.l1_entries as usize];
    let mut clusters = clusters.into_iter().peekable();
    for index in tables {
        let table_offset = next;
        next += size;
        let mut table = vec![0; size as usize];
        while let Some((cluster, data)) =
            clusters.next_if(|(cluster, _)| cluster / header.l2_entries() == index)
        {
            Entry::put_data(&mut table, cluster % header.l2_entries(), &header, next);
            storage.write_at(next, &data)?;
            next += size;
        }
        storage.write_at(table_offset, &table)?;
        l1[index as usize] = table_offset | COPIED;
    }
    storage.write_at(header.l1_offset, &be::bytes(&l1))?;

    let mut words = vec![0; (table_clusters * size / 8) as usize];
    for index in 0..blocks {
        let offset = (1 + table_clusters + index) * size;
        words[index as usize] = offset;
        let mut block = vec![0; size as usize];
        let first = index * header.refcounts_per_block();
        for at in 0..header.refcounts_per_block().min(total.saturating_sub(first)) {
            let fits = refcount::set(&mut block, at, REFCOUNT_ORDER, 1);
            debug_assert!(fits);
        }
        storage.write_at(offset, &block)?;
    }
    storage.write_at(header.refcount_table_offset, &be::bytes(&words))?;
    write_header(storage, &header, &backing)?;
    if storage.len()? < total * size {
        storage.set_len(total * size)?;
    }
    Ok(storage.flush()?)
}

fn header(options: &CreateOptions<'_>) -> Result<Header> {
    let size = options.cluster_size;
    if !size.is_power_of_two() || !(4096..=2 << 20).contains(&size) {
        return Err(Error::Input(format!("an image can't have clusters of {size} bytes")));
    }
    if options.virtual_size == 0 || !options.virtual_size.is_multiple_of(512) {
        return Err(Error::Input(format!("an image can't have {} bytes", options.virtual_size)));
    }
    let mut header = Header {
        version: 3,
        cluster_bits: size.trailing_zeros(),
        size: options.virtual_size,
        l1_entries: 0,
        l1_offset: 0,
        refcount_table_offset: 0,
        refcount_table_clusters: 0,
        refcount_order: REFCOUNT_ORDER,
        incompatible: 0,
        compatible: 0,
        autoclear: 0,
        compression: Compression::Zlib,
        length: 112,
        backing: None,
    };
    header.l1_entries = header.l1_entries_for(options.virtual_size).ok_or_else(|| {
        Error::Input(format!(
            "an image with clusters of {size} bytes can't have {} bytes",
            options.virtual_size
        ))
    })?;
    Ok(header)
}

/// The backing file's name and format as they go into the header.
fn backing(options: &CreateOptions<'_>) -> Result<Option<(String, &'static str)>> {
    let Some((path, format)) = &options.backing else { return Ok(None) };
    let name = path
        .to_str()
        .ok_or_else(|| Error::Input(format!("the backing file's path is not Unicode: {}", path.display())))?;
    if !path.is_absolute() || name.len() > MAX_BACKING {
        return Err(Error::Input(format!("the backing file's path is not absolute, or too long: {name}")));
    }
    Ok(Some((name.to_owned(), format)))
}

/// The initial content, as whole clusters by guest cluster number.
fn content(options: &CreateOptions<'_>, header: &Header) -> Result<BTreeMap<u64, Vec<u8>>> {
    let size = header.cluster_size();
    let is_whole = |at: u64| at.is_multiple_of(size) || at == options.virtual_size;
    let partly = options
        .content
        .iter()
        .find(|(offset, data)| !(is_whole(*offset) && is_whole(offset.saturating_add(data.len() as u64))));
    if let (Some(_), Some((offset, _))) = (&options.backing, partly) {
        return Err(Error::Input(format!("content at {offset} of an overlay is no whole cluster")));
    }
    let clusters = whole_blocks(options.content, size, options.virtual_size, |_, _| Ok(()))?;
    Ok(clusters
        .into_iter()
        .map(|(start, mut cluster)| {
            // In the file, the last one is whole as well.
            cluster.resize(size as usize, 0);
            (start / size, cluster)
        })
        .collect())
}

fn write_header<S: Storage>(
    storage: &S,
    header: &Header,
    backing: &Option<(String, &'static str)>,
) -> Result<()> {
    let mut header = header.clone();
    let extensions = Extensions {
        backing_format: backing.as_ref().map(|(_, format)| (*format).to_owned()),
        ..Extensions::default()
    }
    .encode();
    let start = header.length as usize;
    let mut bytes = vec![0; start];
    bytes.extend(extensions);
    if let Some((name, _)) = backing {
        header.backing = Some((bytes.len() as u64, name.len() as u32));
        bytes.extend(name.as_bytes());
    }
    header.put_fields(&mut bytes[..start]);
    // Always less than a cluster: at most 112 + 24 + 1023 bytes.
    bytes.resize(header.cluster_size() as usize, 0);
    Ok(storage.write_at(0, &bytes)?)
}
