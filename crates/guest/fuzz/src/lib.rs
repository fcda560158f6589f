//! Disks for the targets.

use std::collections::HashMap;
use std::io;

use pocketvm_guest::Disk;

/// Bytes of a sector.
const SECTOR: usize = 512;

/// A disk of 16 MiB that is zero but for some sectors, which the input lists: two bytes, the number, little-endian; and its 512 bytes,
/// fewer at the end of the input. Where a sector comes twice, the later one counts.
pub struct Sparse {
    sectors: HashMap<u64, [u8; SECTOR]>,
}

impl Sparse {
    /// The disk that `data` lists.
    #[must_use]
    pub fn new(data: &[u8]) -> Self {
        let mut sectors = HashMap::new();
        for sector in data.chunks(2 + SECTOR) {
            let Some((number, content)) = sector.split_first_chunk::<2>() else { continue };
            let mut bytes = [0; SECTOR];
            bytes[..content.len()].copy_from_slice(content);
            sectors.insert(u64::from(u16::from_le_bytes(*number) & 0x7FFF), bytes);
        }
        Sparse { sectors }
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        0x8000 * SECTOR as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size());
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let within = at as usize % SECTOR;
            let (now, after) = rest.split_at_mut(rest.len().min(SECTOR - within));
            match self.sectors.get(&(at / SECTOR as u64)) {
                Some(sector) => now.copy_from_slice(&sector[within..within + now.len()]),
                None => now.fill(0),
            }
            at += now.len() as u64;
            rest = after;
        }
        Ok(())
    }
}
