//! Reads new data back from the device before it becomes live: counterfeit sticks take everything and keep some of it.

use super::digest::Digest;
use super::digest::TablesDigest;
use crate::error::{Error, Result};
use crate::qcow2::entry::{self, COPIED, Entry};
use crate::qcow2::header::Header;
use crate::qcow2::references::{Tree, for_each_changed_table};
use crate::storage::Storage;

/// The most bytes of one read.
const LARGE: usize = 4 << 20;

/// Whether the plain clusters that `new` has and `old` has not read as they were when `digest` was made of them, in the
/// order of the guest's disk.
///
/// # Errors
/// The device fails; a table is damaged; what `each` returns, which hears of every read.
pub fn data_holds<S: Storage>(
    storage: &S,
    old: &Header,
    new: &Header,
    digest: &TablesDigest,
    mut each: impl FnMut() -> Result<()>,
) -> Result<bool> {
    let mut reader = Reader { storage, digest: Digest::new(), start: 0, len: 0, buffer: Vec::new() };
    let size = new.cluster_size();
    let damaged = |what| Error::Damaged { what, image: storage.name().to_owned() };
    let (before, after) = (Tree { storage, header: Some(old) }, Tree { storage, header: Some(new) });
    let table = |word: u64| -> Result<Vec<u8>> {
        let mut table = vec![0; size as usize];
        if let Some(offset) = entry::table_offset(word, new, COPIED).map_err(damaged)? {
            storage.read_at(offset, &mut table)?;
        }
        Ok(table)
    };
    for_each_changed_table(&before, &after, |_, before, after| {
        let (before, after) = (table(before)?, table(after)?);
        for index in 0..new.l2_entries() {
            if Entry::same(&before, &after, index, new) {
                continue;
            }
            if let Entry::Data { host } | Entry::Mixed { host: Some(host), .. } =
                Entry::parse(&after, index, new).map_err(damaged)?
            {
                reader.add(host, size as usize)?;
                each()?;
            }
        }
        Ok(())
    })?;
    reader.read()?;
    Ok(reader.digest.finish() == *digest)
}

/// Joins neighbouring clusters into one read.
struct Reader<'a, S> {
    storage: &'a S,
    digest: Digest,
    start: u64,
    len: usize,
    buffer: Vec<u8>,
}

impl<S: Storage> Reader<'_, S> {
    fn add(&mut self, offset: u64, len: usize) -> Result<()> {
        if offset != self.start + self.len as u64 || self.len >= LARGE {
            self.read()?;
            self.start = offset;
        }
        self.len += len;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        self.buffer.resize(self.len, 0);
        self.storage.read_at(self.start, &mut self.buffer)?;
        self.digest.add(&self.buffer);
        self.len = 0;
        Ok(())
    }
}
