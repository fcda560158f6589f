//! The paging disk of a Windows: one formatted volume for its page file.
//!
//! Windows knows a volume again by the signature in its disk's MBR and by where it begins, and gives it the same letter. Both
//! are the same in every session, since the signature follows from the machine's UUID; what is on the volume is not kept.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use uuid::Uuid;

/// Where the volume begins on the disk, in bytes.
pub const START: u64 = 1 << 20;

/// The least size of the disk in bytes.
const LEAST: u64 = 64 << 20;

const SECTOR: u64 = 512;

/// FAT32, addressed by sectors.
const KIND: u8 = 0x0c;

/// Bytes that are kept together.
const BLOCK: u64 = 64 * 1024;

/// The signature of the paging disk of the machine with this UUID.
#[must_use]
pub fn signature(machine: Uuid) -> u32 {
    let hash = blake3::derive_key("pocketvm 2026-11 signature of a paging disk", machine.as_bytes());
    // Zero would be none.
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

/// Places on a disk, and what is there.
pub type Content = Vec<(u64, Vec<u8>)>;

/// What a paging disk of `size` bytes begins with: offsets and bytes; everything else is zero. None if it is too small, or larger
/// than an MBR can tell.
///
/// # Errors
/// The volume can't be formatted.
pub fn content(size: u64, machine: Uuid) -> io::Result<Option<Content>> {
    let length = size.saturating_sub(START) / SECTOR;
    let Some(sectors) = u32::try_from(length).ok().filter(|_| size >= LEAST) else { return Ok(None) };
    let mut volume = Sparse { blocks: BTreeMap::new(), size: u64::from(sectors) * SECTOR, at: 0 };
    let options = fatfs::FormatVolumeOptions::new()
        .fat_type(fatfs::FatType::Fat32)
        .volume_label(*b"PAGING     ")
        .volume_id(signature(machine))
        .drive_num(0x80);
    fatfs::format_volume(&mut volume, options)?;
    let mut content = vec![(0, mbr(signature(machine), sectors))];
    content.extend(volume.blocks.into_iter().map(|(number, bytes)| (START + number * BLOCK, bytes)));
    Ok(Some(content))
}

/// The master boot record: no code, the signature, one partition.
fn mbr(signature: u32, sectors: u32) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    mbr[440..444].copy_from_slice(&signature.to_le_bytes());
    // Cylinders, heads and sectors say that they can't say it.
    mbr[446..454].copy_from_slice(&[0, 0xfe, 0xff, 0xff, KIND, 0xfe, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&((START / SECTOR) as u32).to_le_bytes());
    mbr[458..462].copy_from_slice(&sectors.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// A volume in memory, of which only what is not zero is kept.
struct Sparse {
    blocks: BTreeMap<u64, Vec<u8>>,
    size: u64,
    at: u64,
}

impl Sparse {
    /// The block at the position, where in it that is, and how many of `wanted` bytes are in it.
    fn place(&self, wanted: usize) -> (u64, usize, usize) {
        let within = (self.at % BLOCK) as usize;
        let left = self.size.saturating_sub(self.at).min(BLOCK - within as u64) as usize;
        (self.at / BLOCK, within, left.min(wanted))
    }
}

impl Read for Sparse {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (number, within, count) = self.place(buf.len());
        match self.blocks.get(&number) {
            Some(block) => buf[..count].copy_from_slice(&block[within..within + count]),
            None => buf[..count].fill(0),
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Sparse {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let (number, within, count) = self.place(buf.len());
        let zero = buf[..count].iter().all(|byte| *byte == 0);
        if !zero || self.blocks.contains_key(&number) {
            let length = BLOCK.min(self.size - number * BLOCK) as usize;
            let block = self.blocks.entry(number).or_insert_with(|| vec![0; length]);
            block[within..within + count].copy_from_slice(&buf[..count]);
        }
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.size, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_always_has_the_same_signature_and_another_one_another() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        assert_eq!(signature(one), signature(one));
        assert_ne!(signature(one), signature(other));
    }

    #[test]
    fn a_disk_that_is_too_small_or_too_large_has_no_content() {
        for size in [0, START, LEAST - 1, 3 << 40] {
            assert!(content(size, Uuid::nil()).unwrap().is_none(), "{size}");
        }
        assert!(content(LEAST, Uuid::nil()).unwrap().is_some());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn fsck_and_sfdisk_find_one_sound_volume_whatever_its_size() {
        use std::os::unix::fs::FileExt;
        use std::process::Command;
        for size in [LEAST, 1 << 30, 64 << 30] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let volume = tempfile::NamedTempFile::new().unwrap();
            let content = content(size, Uuid::from_u128(7)).unwrap().unwrap();
            assert!(content.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 1 << 20);
            file.as_file().set_len(size).unwrap();
            volume.as_file().set_len(size - START).unwrap();
            for (offset, bytes) in content {
                file.as_file().write_all_at(&bytes, offset).unwrap();
                if offset >= START {
                    volume.as_file().write_all_at(&bytes, offset - START).unwrap();
                }
            }
            let said = |program: &str, arguments: &[&str], file: &tempfile::NamedTempFile| {
                let output = Command::new(program).args(arguments).arg(file.path()).output();
                let output = output.unwrap_or_else(|error| panic!("{program} is missing: {error}"));
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
                said
            };
            said("/sbin/fsck.vfat", &["-n"], &volume);
            let dumped = said("/sbin/sfdisk", &["--dump"], &file);
            let id = format!("label-id: 0x{:08x}", signature(Uuid::from_u128(7)));
            assert!(dumped.contains(&id) && dumped.contains("type=c"), "{dumped}");
        }
    }
}
