//! Looking up a name in a directory, a tree of index blocks.

use std::cmp::Ordering;

use crate::bytes::{le16, le32, le64};
use crate::{Disk, Result};

use super::record::{Kind, undo_fixups};
use super::{Found, LARGEST_RECORD, Volume, damaged};

/// A tree is at most this deep: one that leads back to itself ends there. Four levels hold millions of names.
const DEEPEST: usize = 16;
/// The name of the attributes that hold a directory.
const NAME: &str = "$I30";

/// The number and the sequence number of the file `name` in `directory`.
pub(super) fn look_up<D: Disk + ?Sized>(
    volume: &Volume<'_, D>,
    directory: &Found,
    name: &str,
) -> Result<Option<(u64, u16)>> {
    let name: Vec<u16> = name.encode_utf16().map(upper).collect();
    let root = match volume.stream(directory.number, &directory.record, Kind::IndexRoot, NAME)? {
        Some(root) if root.size <= LARGEST_RECORD => {
            let mut bytes = vec![0; root.size as usize];
            root.read_at(volume.disk, volume.shape.cluster, 0, &mut bytes)?;
            bytes
        }
        _ => return Err(damaged("a directory without an index")),
    };
    let wrong = || damaged("the index of a directory");
    let size = u64::from(le32(&root, 8).ok_or_else(wrong)?);
    let mut step = search(root.get(16..).ok_or_else(wrong)?, &name).ok_or_else(wrong)?;
    let mut blocks = None;
    for _ in 0..DEEPEST {
        let block = match step {
            Step::Found(number, sequence) => return Ok(Some((number, sequence))),
            Step::Absent => return Ok(None),
            Step::Below(block) => block,
        };
        if !size.is_power_of_two() || !(512..=LARGEST_RECORD).contains(&size) {
            return Err(wrong());
        }
        if blocks.is_none() {
            blocks = volume.stream(directory.number, &directory.record, Kind::IndexAllocation, NAME)?;
        }
        let blocks = blocks.as_ref().ok_or_else(wrong)?;
        // Blocks are counted in clusters, or in sectors if they are smaller than those.
        let unit = if size >= volume.shape.cluster { volume.shape.cluster } else { 512 };
        let at = block.checked_mul(unit).ok_or_else(wrong)?;
        if at.checked_add(size).is_none_or(|end| end > blocks.size) {
            return Err(wrong());
        }
        let mut bytes = vec![0; size as usize];
        blocks.read_at(volume.disk, volume.shape.cluster, at, &mut bytes)?;
        if !bytes.starts_with(b"INDX") || undo_fixups(&mut bytes).is_none() || le64(&bytes, 16) != Some(block)
        {
            return Err(wrong());
        }
        step = search(&bytes[24..], &name).ok_or_else(wrong)?;
    }
    Err(wrong())
}

/// What a node of the tree says of a name.
enum Step {
    Found(u64, u16),
    Absent,
    /// Only the node in this block can know.
    Below(u64),
}

/// Searches the node that begins with the header `node`. Every entry is longer than nothing: it ends.
fn search(node: &[u8], name: &[u16]) -> Option<Step> {
    let (first, end) = (le32(node, 0)? as usize, le32(node, 4)? as usize);
    let mut rest = node.get(first..end)?;
    loop {
        let length = usize::from(le16(rest, 8)?);
        let entry = rest.get(..length).filter(|entry| entry.len() >= 16)?;
        rest = &rest[length..];
        let flags = le16(entry, 12)?;
        let order = if flags & 2 != 0 { Ordering::Greater } else { compare(entry.get(16..)?, name)? };
        match order {
            Ordering::Less => {}
            Ordering::Equal => {
                let file = le64(entry, 0)?;
                return Some(Step::Found(file & ((1 << 48) - 1), (file >> 48) as u16));
            }
            Ordering::Greater if flags & 1 != 0 => return Some(Step::Below(le64(entry, length - 8)?)),
            Ordering::Greater => return Some(Step::Absent),
        }
    }
}

/// Compares the name in a FILE_NAME attribute with `name`, which is in capitals.
fn compare(key: &[u8], name: &[u16]) -> Option<Ordering> {
    let letters = usize::from(*key.get(64)?);
    let bytes = key.get(66..66 + 2 * letters)?;
    let units = bytes.chunks_exact(2).map(|unit| upper(u16::from_le_bytes([unit[0], unit[1]])));
    Some(units.cmp(name.iter().copied()))
}

/// A letter as a capital. NTFS has a table of its own for it; names that are looked up here are ASCII.
fn upper(unit: u16) -> u16 {
    let mut capitals = char::from_u32(unit.into()).map(char::to_uppercase).into_iter().flatten();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => u16::try_from(u32::from(capital)).unwrap_or(unit),
        _ => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_keep_what_has_no_single_one() {
        assert_eq!(upper('a'.try_into().unwrap_or(0)), 65);
        assert_eq!(upper(0xDF), 0xDF);
        assert_eq!(upper(0xD800), 0xD800);
    }
}
