//! What ext4's superblock says before anything else is read: whether the file system was left clean, and whether its sizes
//! can be true.
//!
//! Source: the kernel's Documentation/filesystems/ext4/super.rst, group_descr.rst and inodes.rst.

use serde::Serialize;

use crate::{Disk, Error, Result};

/// Where it is on the partition, and its bytes.
const AT: u64 = 1024;
const SIZE: usize = 1024;
/// The largest block that the kernel reads on any machine.
const BLOCK_AT_MOST: u64 = 64 << 10;
/// The smallest number of blocks in a group that mke2fs makes.
const GROUP_AT_LEAST: u64 = 256;
/// Groups that are read: 128 TiB in blocks of 4 KiB.
const GROUPS_AT_MOST: u64 = 1 << 20;
/// Bytes of a journal that are looked through. By itself mke2fs makes none above 1 GiB.
const JOURNAL_AT_MOST: u64 = 4 << 30;
/// The inode of the journal, everywhere.
const JOURNAL_INODE: u32 = 8;

/// `s_state`: unmounted cleanly; an error was found.
const CLEAN: u16 = 1;
const ERRORS: u16 = 2;
/// `s_feature_incompat`.
const RECOVER: u32 = 0x4;
const LARGE: u32 = 0x80;

/// How a file system was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct State {
    /// Unmounted, nothing to repair. `false` of a guest that is suspended, was cut off or runs.
    pub clean: bool,
    /// Its journal has writes that are not in their places yet. What is read here takes them into account.
    pub journal: bool,
    /// The kernel or fsck found an error.
    pub errors: bool,
}

/// Looks at the superblock of the ext2, ext3 or ext4 on `disk`; `None` if there is none.
///
/// # Errors
/// The disk fails, or a size in the superblock can't be true: then nothing may read the file system that trusts it.
pub(crate) fn state(disk: &dyn Disk) -> Result<Option<State>> {
    if disk.size() < AT + SIZE as u64 {
        return Ok(None);
    }
    let mut bytes = [0; SIZE];
    disk.read_at(AT, &mut bytes)?;
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if short(0x38) != 0xef53 {
        return Ok(None);
    }
    let damaged = |clause: &str| Error::Damaged(format!("the file system's {clause}"));

    let incompatible = long(0x60);
    let block = 1024_u64.checked_shl(long(0x18)).filter(|block| (1024..=BLOCK_AT_MOST).contains(block));
    let block = block.ok_or_else(|| damaged("blocks have no possible size"))?;
    let high = if incompatible & LARGE == 0 { 0 } else { u64::from(long(0x150)) };
    // A library may look at the upper half of the number even where it is not in use.
    if incompatible & LARGE == 0 && long(0x150) != 0 {
        return Err(damaged("size is too large for its kind"));
    }
    let blocks = high << 32 | u64::from(long(0x4));
    if blocks.checked_mul(block).is_none_or(|size| size > disk.size()) {
        return Err(damaged("size is more than the partition's"));
    }
    let group = u64::from(long(0x20));
    if group < GROUP_AT_LEAST || blocks / group >= GROUPS_AT_MOST {
        return Err(damaged("blocks are divided into too many groups"));
    }
    if short(0x58) < 128 && long(0x4c) != 0 {
        return Err(damaged("inodes have no possible size"));
    }
    let state = short(0x3a);
    let journal = incompatible & RECOVER != 0;
    if journal {
        let inode_size = if long(0x4c) == 0 { 128 } else { u64::from(short(0x58)) };
        let table = Table { block, first: u64::from(long(0x14)), incompatible, inode_size };
        if long(0xe0) != JOURNAL_INODE || table.size_of(disk, JOURNAL_INODE)? > JOURNAL_AT_MOST {
            return Err(damaged("journal is nowhere or too large"));
        }
    }
    let errors = state & ERRORS != 0;
    Ok(Some(State { clean: state & CLEAN != 0 && !errors && !journal, journal, errors }))
}

/// Where the inodes of the first group are.
struct Table {
    block: u64,
    first: u64,
    incompatible: u32,
    inode_size: u64,
}

impl Table {
    /// Bytes of the file with this inode, as the inode on the disk says.
    fn size_of(&self, disk: &dyn Disk, inode: u32) -> Result<u64> {
        let mut number = [0; 4];
        let mut read = |at: u64| -> Result<u64> {
            disk.read_at(at, &mut number)
                .map_err(|_| Error::Damaged("an inode is behind the disk's end".into()))?;
            Ok(u64::from(u32::from_le_bytes(number)))
        };
        // The first descriptor follows the block of the superblock, with the feature "meta_bg" too.
        let descriptor = (self.first + 1) * self.block;
        let mut table = read(descriptor + 0x8)?;
        if self.incompatible & LARGE != 0 {
            table |= read(descriptor + 0x28)? << 32;
        }
        let at = table
            .checked_mul(self.block)
            .and_then(|at| at.checked_add(u64::from(inode - 1) * self.inode_size));
        let at =
            at.filter(|at| *at < disk.size()).ok_or_else(|| Error::Damaged("an inode is nowhere".into()))?;
        Ok(read(at + 0x6c)? << 32 | read(at + 0x4)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(blocks: u32, state: u16, incompatible: u32) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut put =
            |at: usize, value: &[u8]| bytes[1024 + at..1024 + at + value.len()].copy_from_slice(value);
        put(0x4, &blocks.to_le_bytes());
        put(0x20, &8192_u32.to_le_bytes());
        put(0x38, &0xef53_u16.to_le_bytes());
        put(0x3a, &state.to_le_bytes());
        put(0x60, &incompatible.to_le_bytes());
        bytes
    }

    #[test]
    fn a_mounted_or_damaged_file_system_is_not_clean() {
        let state = |state, incompatible| super::state(&&superblock(1024, state, incompatible)[..]);
        assert_eq!(state(1, 0).unwrap(), Some(State { clean: true, journal: false, errors: false }));
        assert_eq!(state(0, 0).unwrap(), Some(State { clean: false, journal: false, errors: false }));
        assert_eq!(state(3, 0).unwrap(), Some(State { clean: false, journal: false, errors: true }));
    }

    #[test]
    fn a_size_that_can_not_be_true_is_refused() {
        assert!(matches!(super::state(&&superblock(1025, 1, 0)[..]), Err(Error::Damaged(_))));
        let mut bytes = superblock(1024, 1, 0);
        bytes[1024 + 0x18] = 21;
        assert!(matches!(super::state(&&bytes[..]), Err(Error::Damaged(_))));
        assert!(matches!(super::state(&&[0_u8; 4096][..]), Ok(None)));
        assert!(matches!(super::state(&&[0_u8; 100][..]), Ok(None)));
    }
}
