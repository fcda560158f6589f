//! Walks all tables of an image and compares every reference with its refcount.

use std::path::Path;

use serde::Serialize;

use super::be;
use super::entry::{self, COPIED, Entry};
use super::header::Header;
use super::image::{Image, Role};
use super::refcount::{self, Refcounts};
use super::references::Counts;
use crate::error::Result;
use crate::storage::{Access, FileStorage, Storage};

/// Clusters that are counted in one walk: little more than one byte of memory each.
const WINDOW: u64 = 16 << 20;
/// Errors that are described; all are counted.
const DESCRIBED: usize = 20;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Clusters that the file has room for.
    pub clusters: u64,
    /// Clusters that hold guest data, not counting compressed ones.
    pub data: u64,
    /// Compressed clusters of the guest.
    pub compressed: u64,
    /// Clusters that are counted as used but not referenced: lost room, nothing worse.
    pub leaks: u64,
    /// Everything else that is wrong.
    pub error_count: u64,
    /// The first of the errors.
    pub errors: Vec<String>,
}

impl CheckReport {
    fn error(&mut self, text: impl FnOnce() -> String) {
        self.error_count += 1;
        if self.errors.len() < DESCRIBED {
            self.errors.push(text());
        }
    }
}

/// Checks the base at `path`, which is not changed.
///
/// # Errors
/// It can't be read, or has a feature that is not handled. What is wrong with its tables is in the report.
pub fn check(path: &Path) -> Result<CheckReport> {
    check_image(&Image::open(FileStorage::open(path, Access::Read)?, Role::Base)?)
}

/// As [`check`], for an open image.
///
/// # Errors
/// As [`check`].
pub fn check_image<S: Storage>(image: &Image<S>) -> Result<CheckReport> {
    let header = image.header();
    let mut report =
        CheckReport { clusters: image.file_len().div_ceil(header.cluster_size()), ..CheckReport::default() };
    let refcounts = Refcounts::open(image.storage(), header)?;
    let mut start = 0;
    while start < report.clusters {
        let len = WINDOW.min(report.clusters - start);
        let mut walk = Walk {
            image,
            report: &mut report,
            window: Window {
                counts: Counts::new(start, len),
                plain: vec![0; len.div_ceil(64) as usize],
                start,
                len,
            },
            first: start == 0,
        };
        walk.everything(&refcounts)?;
        let window = walk.window;
        compare(&refcounts, header, &window, &mut report)?;
        start += len;
    }
    Ok(report)
}

/// References to the clusters of one window.
struct Window {
    counts: Counts,
    /// One bit a cluster: something other than a compressed cluster references it.
    plain: Vec<u64>,
    start: u64,
    len: u64,
}

impl Window {
    fn is_plain(&self, cluster: u64) -> bool {
        let at = (cluster - self.start) as usize;
        self.plain[at / 64] >> (at % 64) & 1 == 1
    }
}

struct Walk<'a, S> {
    image: &'a Image<S>,
    report: &'a mut CheckReport,
    window: Window,
    /// What does not depend on the window is reported by the first walk only.
    first: bool,
}

impl<S: Storage> Walk<'_, S> {
    fn everything(&mut self, refcounts: &Refcounts<'_, S>) -> Result<()> {
        let header = self.image.header();
        let bits = header.cluster_bits;
        self.reference(0, 1, true);
        self.reference(header.l1_offset >> bits, header.l1_clusters(), true);
        self.reference(header.refcount_table_offset >> bits, u64::from(header.refcount_table_clusters), true);
        for index in 0..refcounts.blocks() {
            match refcounts.block_offset(index) {
                Ok(Some(offset)) => self.reference(offset >> bits, 1, true),
                Ok(None) => {}
                Err(error) => self.once(|| error.to_string()),
            }
        }
        for index in 0..self.image.l1().len() as u64 {
            let word = self.image.l1()[index as usize];
            match entry::table_offset(word, header, COPIED) {
                Ok(None) => {}
                Ok(Some(offset)) => {
                    self.copied(word, || format!("L1 entry {index}"));
                    self.reference(offset >> bits, 1, true);
                    if offset + header.cluster_size() <= self.image.file_len() {
                        self.table(index)?;
                    } else {
                        self.once(|| format!("L2 table {index} lies beyond the end of the file"));
                    }
                }
                Err(what) => self.once(|| format!("{what} (L1 entry {index})")),
            }
        }
        Ok(())
    }

    fn table(&mut self, index: u64) -> Result<()> {
        let header = self.image.header();
        let Some(table) = self.image.l2_table(index)? else { return Ok(()) };
        for slot in 0..header.l2_entries() {
            let cluster = index * header.l2_entries() + slot;
            match Entry::parse(&table, slot, header) {
                Err(what) => self.once(|| format!("{what} (guest cluster {cluster})")),
                Ok(entry) => {
                    let Some((first, count)) = entry.clusters(header) else { continue };
                    let compressed = matches!(entry, Entry::Compressed { .. });
                    if !compressed {
                        let word = be::u64(&table, slot as usize * header.l2_entry_size());
                        self.copied(word, || format!("guest cluster {cluster}"));
                    }
                    if self.first {
                        if compressed {
                            self.report.compressed += 1;
                        } else {
                            self.report.data += 1;
                        }
                    }
                    self.reference(first, count, !compressed);
                }
            }
        }
        Ok(())
    }

    fn once(&mut self, text: impl FnOnce() -> String) {
        if self.first {
            self.report.error(text);
        }
    }

    fn copied(&mut self, word: u64, what: impl FnOnce() -> String) {
        if word & COPIED == 0 {
            self.once(|| format!("{} is not marked as referenced once", what()));
        }
    }

    fn reference(&mut self, first: u64, count: u64, plain: bool) {
        if first + count > self.report.clusters {
            self.once(|| format!("cluster {first} is referenced but lies beyond the end of the file"));
        }
        if !self.window.counts.add(first, count, 1) {
            self.once(|| "too many clusters are shared".to_owned());
        }
        if plain {
            let end = (first + count).min(self.window.start + self.window.len);
            for cluster in first.max(self.window.start)..end {
                let at = (cluster - self.window.start) as usize;
                self.window.plain[at / 64] |= 1 << (at % 64);
            }
        }
    }
}

fn compare<S: Storage>(
    refcounts: &Refcounts<'_, S>,
    header: &Header,
    window: &Window,
    report: &mut CheckReport,
) -> Result<()> {
    let per_block = header.refcounts_per_block();
    let end = window.start + window.len;
    let mut cluster = window.start;
    while cluster < end {
        let block = refcounts.block(cluster / per_block)?;
        let stop = (cluster - cluster % per_block + per_block).min(end);
        while cluster < stop {
            let counted = refcount::get(&block, cluster % per_block, header.refcount_order);
            let referenced = window.counts.get(cluster) as u64;
            if counted > referenced {
                report.leaks += 1;
            } else if counted < referenced {
                report.error(|| {
                    format!("cluster {cluster} is referenced {referenced} times, but counted {counted}")
                });
            }
            if referenced > 1 && window.is_plain(cluster) {
                report.error(|| format!("cluster {cluster} is used {referenced} times"));
            }
            cluster += 1;
        }
    }
    Ok(())
}
