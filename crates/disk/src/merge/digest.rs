//! Digests of the tables that one generation has and another has not: what proves, after an unclean stop, that a
//! device kept what it said it had flushed.
//!
//! The order is that of writing: L2 tables by L1 index, the L1 table, refcount blocks by number, the refcount
//! table. Tables that both generations share are left out: they were durable before.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::qcow2::entry::{self, COPIED};
use crate::qcow2::header::Header;
use crate::qcow2::refcount::Refcounts;
use crate::qcow2::references::{Tree, for_each_changed_table};
use crate::storage::Storage;

/// Bytes of an L1 table that are read at once.
const L1_PIECE: u64 = 64 * 1024;

/// A digest being made.
#[derive(Debug)]
pub struct Digest(blake3::Hasher);

/// A finished digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablesDigest([u8; 32]);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Digest(blake3::Hasher::new())
    }

    /// Adds the next table.
    pub fn add(&mut self, table: &[u8]) {
        self.0.update(table);
    }

    /// What it comes to.
    pub fn finish(&self) -> TablesDigest {
        TablesDigest(*self.0.finalize().as_bytes())
    }
}

impl From<blake3::Hash> for TablesDigest {
    fn from(hash: blake3::Hash) -> Self {
        TablesDigest(*hash.as_bytes())
    }
}

impl TryFrom<String> for TablesDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        blake3::Hash::from_hex(text)
            .map(|hash| TablesDigest(*hash.as_bytes()))
            .map_err(|error| error.to_string())
    }
}

impl From<TablesDigest> for String {
    fn from(digest: TablesDigest) -> String {
        blake3::Hash::from_bytes(digest.0).to_hex().to_string()
    }
}

impl TablesDigest {
    /// Reads the tables that `header` has and `other` has not.
    ///
    /// # Errors
    /// A table is invalid or leads out of the file; the device fails.
    pub fn read<S: Storage>(storage: &S, header: &Header, other: &Header) -> Result<Self> {
        let mut digest = Digest::new();
        let (old, new) = (Tree { storage, header: Some(other) }, Tree { storage, header: Some(header) });
        let mut table = vec![0; header.cluster_size() as usize];
        // A crafted table could name one L2 table or refcount block millions of times.
        let mut budget = storage.len()?.div_ceil(header.cluster_size());
        let mut spend = || {
            budget = budget
                .checked_sub(1)
                .ok_or_else(|| damaged(storage, "it has more tables than clusters".to_owned()))?;
            Ok::<_, Error>(())
        };
        for_each_changed_table(&old, &new, |_, _, word| {
            spend()?;
            let offset = entry::table_offset(word, header, COPIED).map_err(|what| damaged(storage, what))?;
            if let Some(offset) = offset {
                storage.read_at(offset, &mut table)?;
                digest.add(&table);
            }
            Ok(())
        })?;
        if (header.l1_offset, header.l1_entries) != (other.l1_offset, other.l1_entries) {
            let (mut at, end) = (header.l1_offset, header.l1_offset + u64::from(header.l1_entries) * 8);
            while at < end {
                let mut piece = vec![0; (end - at).min(L1_PIECE) as usize];
                storage.read_at(at, &mut piece)?;
                digest.add(&piece);
                at += piece.len() as u64;
            }
        }
        if header.refcount_table_offset != other.refcount_table_offset {
            let (before, after) = (Refcounts::open(storage, other)?, Refcounts::open(storage, header)?);
            for index in 0..after.blocks() {
                if let Some(offset) = after.block_offset(index)?
                    && (index >= before.blocks() || before.word(index)? != after.word(index)?)
                {
                    spend()?;
                    storage.read_at(offset, &mut table)?;
                    digest.add(&table);
                }
            }
            for index in 0..after.blocks() {
                digest.add(&after.word(index)?.to_be_bytes());
            }
        }
        Ok(digest.finish())
    }

    /// Whether the tables read as they did when this digest was made. Damage counts as "no"; a device that fails
    /// to read does not.
    ///
    /// # Errors
    /// The device fails.
    pub fn holds<S: Storage>(&self, storage: &S, header: &Header, other: &Header) -> Result<bool> {
        match TablesDigest::read(storage, header, other) {
            Ok(read) => Ok(read == *self),
            Err(Error::Damaged { .. }) => Ok(false),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn damaged<S: Storage>(storage: &S, what: String) -> Error {
    Error::Damaged { what, image: storage.name().to_owned() }
}
