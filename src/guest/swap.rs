//! A Linux swap area, written by us so that no `mkswap` is needed on the host.
//!
//! Layout: `union swap_header` of Linux `include/linux/swap.h`: 1024 bytes for boot blocks, then version,
//! last page, number of bad pages, UUID and label; the magic fills the end of the first page.

use uuid::Uuid;

/// The label a guest may name in its `/etc/fstab`.
pub const LABEL: &str = "pocketvm-swap";

/// The page size of every x86 Linux guest.
pub const PAGE: u64 = 4096;

/// The first page of a swap area of `size` bytes: all that `swapon` reads. The rest of the area is free.
///
/// Returns nothing when `size` has no room for the header and one page, or more pages than the header's
/// 32 bits can count (16 TiB).
pub fn header(size: u64, uuid: Uuid) -> Option<Vec<u8>> {
    let pages = u32::try_from(size / PAGE).ok().filter(|pages| *pages >= 2)?;
    let mut page = vec![0u8; PAGE as usize];
    page[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&(pages - 1).to_le_bytes());
    page[1036..1052].copy_from_slice(uuid.as_bytes());
    page[1052..1052 + LABEL.len()].copy_from_slice(LABEL.as_bytes());
    page[4086..4096].copy_from_slice(b"SWAPSPACE2");
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn blkid_and_swaplabel_recognise_our_swap_area() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let uuid = Uuid::new_v4();
        std::fs::write(file.path(), header(8 << 20, uuid).unwrap()).unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let said = std::process::Command::new("/sbin/swaplabel")
            .arg(file.path())
            .output()
            .expect("swaplabel (util-linux) is missing");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains(LABEL) && said.contains(&uuid.to_string()), "{said}");
    }

    #[test]
    fn an_area_without_room_for_a_page_is_refused() {
        assert_eq!(header(4096, Uuid::nil()), None);
        assert_eq!(header(1 << 45, Uuid::nil()), None);
    }
}
