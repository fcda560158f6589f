//! One image for each reason for which nothing may be written.

use std::fs;

use pocketvm_guest::Error;
use pocketvm_guest::windows::{Refusal, Unclean, plan};

use pocketvm_specimen::flavours::Flavour;
use pocketvm_specimen::hives::sum;
use pocketvm_specimen::image::{CLUSTER, Image, Layout};
use pocketvm_specimen::programs::run;

use crate::{SYSTEM, WINDOWS_7, WINDOWS_10};

/// What is asked for: a driver that needs an edit.
const NEEDED: &[&str] = &["stornvme"];
const DATA: u32 = 0x80;
const VOLUME_INFORMATION: u32 = 0x70;

/// The volume may not be written to, for this reason only; and what starts already, starts.
fn assert_unclean(image: &Image, reason: Unclean) {
    let windows = image.inspect();
    assert_eq!(windows.state, [reason]);
    assert_eq!(plan(&windows, NEEDED), Err(Refusal::Unclean(reason)));
    if !windows.control_sets.is_empty() {
        assert_eq!(plan(&windows, &["storahci"]), Ok(vec![]));
    }
}

#[test]
fn a_dirty_volume() {
    let mut image = WINDOWS_10.clone();
    let record = image.record_of(3);
    let at = image.attribute(record, VOLUME_INFORMATION);
    let volume = image.volume();
    // Flags, behind eight reserved bytes and the version.
    let content = at + usize::from(u16::from_le_bytes([volume[at + 20], volume[at + 21]]));
    volume[content + 10] |= 1;
    assert_unclean(&image, Unclean::DirtyVolume);
}

#[test]
fn a_volume_that_ntfsfix_marks_to_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = WINDOWS_10.volume_file(dir.path());
    run("ntfsfix", [&file]);
    let mut image = WINDOWS_10.clone();
    image.volume().copy_from_slice(&fs::read(&file).unwrap());
    assert_unclean(&image, Unclean::DirtyVolume);
}

#[test]
fn a_hibernated_windows() {
    let flavour = Flavour::windows_10();
    let hive = flavour.system.hive();
    for signature in ["HIBR", "hibr", "RSTR", "rstr", "WAKE", "wake"] {
        let content = [signature.as_bytes(), &[7; 8192]].concat();
        let image = flavour.image_with(&hive, &[("hiberfil.sys", &content)], Layout::Whole);
        assert_unclean(&image, Unclean::Hibernated);
        if signature.eq_ignore_ascii_case("hibr") {
            // NTFS_VOLUME_HIBERNATED
            assert_eq!(image.probe(), 14);
        }
    }
}

#[test]
fn a_place_to_hibernate_to_is_no_hibernation() {
    let flavour = Flavour::windows_10();
    let image = flavour.image_with(&flavour.system.hive(), &[("hiberfil.sys", &[0; 8192])], Layout::Whole);
    assert_eq!(image.inspect().state, []);
    assert_eq!(image.probe(), 0);
}

/// Writes a restart page to the journal, which mkntfs leaves empty: all bits set. ntfs-3g takes it for sound.
fn restart_page(
    image: &mut Image,
    number: usize,
    written: u64,
    version: (u16, u16),
    client: u16,
    flags: u16,
) {
    let mut page = b"RSTR".to_vec();
    let u16s =
        |page: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| page.extend(value.to_le_bytes()));
    // Fixups: at 0x1E, nine of them.
    u16s(&mut page, &[0x1E, 9]);
    page.extend(0u64.to_le_bytes());
    page.extend(4096u32.to_le_bytes());
    page.extend(4096u32.to_le_bytes());
    // The restart area, and the version, the minor one first.
    u16s(&mut page, &[0x30, version.1, version.0]);
    u16s(&mut page, &[0xABCD]);
    page.resize(0x30, 0);
    page.extend(written.to_le_bytes());
    // Clients, the first free one, the first in use, flags.
    u16s(&mut page, &[1, if client == 0xFFFF { 0 } else { 0xFFFF }, client, flags]);
    // Bits of sequence numbers, the lengths of the area and of it with its clients, where those are, the size of the journal.
    page.extend(45u32.to_le_bytes());
    u16s(&mut page, &[0x30 + 0xA0, 0x30]);
    page.extend((2u64 << 20).to_le_bytes());
    page.extend(0u32.to_le_bytes());
    u16s(&mut page, &[0x30, 0x40]);
    // The client, behind the area: no other one before and after it.
    page.resize(0x30 + 0x30 + 16, 0);
    page.extend([0xFF; 4]);
    page.resize(4096, 0);
    for sector in 1..=8 {
        page[sector * 512 - 2..sector * 512].copy_from_slice(&[0xCD, 0xAB]);
    }
    let volume = image.volume();
    let journal = volume
        .chunks_exact(CLUSTER)
        .position(|cluster| cluster[64..].iter().all(|byte| *byte == 0xFF) || cluster.starts_with(b"RSTR"));
    let at = journal.unwrap() * CLUSTER + number * 4096;
    volume[at..at + 4096].copy_from_slice(&page);
}

/// NTFS_VOLUME_UNCLEAN_UNMOUNT and NTFS_VOLUME_HIBERNATED.
const UNCLEAN: i32 = 15;
const KEPT: i32 = 14;

#[test]
fn a_journal_that_is_in_use() {
    let mut image = WINDOWS_10.clone();
    restart_page(&mut image, 0, 10, (1, 1), 0xFFFF, 0);
    restart_page(&mut image, 1, 20, (1, 1), 0, 0);
    assert_unclean(&image, Unclean::LogInUse);
    assert_eq!(image.probe(), UNCLEAN);
}

#[test]
fn a_journal_whose_newer_page_is_clean() {
    for (client, flags) in [(0xFFFF, 0), (0, 2)] {
        let mut image = WINDOWS_10.clone();
        restart_page(&mut image, 0, 20, (1, 1), client, flags);
        restart_page(&mut image, 1, 10, (1, 1), 0, 0);
        assert_eq!(image.inspect().state, []);
        assert_eq!(image.probe(), 0);
    }
}

#[test]
fn a_journal_of_a_fast_start() {
    let mut image = WINDOWS_10.clone();
    restart_page(&mut image, 0, 10, (2, 0), 0xFFFF, 2);
    restart_page(&mut image, 1, 9, (2, 0), 0xFFFF, 2);
    assert_unclean(&image, Unclean::Cached);
    assert_eq!(image.probe(), KEPT);
}

#[test]
fn a_journal_that_makes_no_sense() {
    let mut image = WINDOWS_10.clone();
    restart_page(&mut image, 0, 10, (1, 1), 0xFFFF, 2);
    let volume = image.volume();
    let at = volume.chunks_exact(CLUSTER).position(|cluster| cluster.starts_with(b"RSTR")).unwrap() * CLUSTER;
    volume[at..at + 2 * 4096].fill(0x11);
    assert_unclean(&image, Unclean::LogInUse);
}

/// With another SYSTEM hive.
fn with_hive(change: impl FnOnce(&mut Vec<u8>)) -> Image {
    let flavour = Flavour::windows_10();
    let mut hive = flavour.system.hive();
    change(&mut hive);
    flavour.image_with(&hive, &[], Layout::Whole)
}

#[test]
fn a_hive_whose_changes_are_in_its_log() {
    let image = with_hive(|hive| {
        hive[4] = hive[4].wrapping_add(1);
        sum(hive);
    });
    assert_unclean(&image, Unclean::HiveInLog);
}

#[test]
fn a_hive_with_a_wrong_checksum() {
    assert_unclean(&with_hive(|hive| hive[508] ^= 1), Unclean::HiveTorn);
}

#[test]
fn a_hive_that_is_damaged() {
    assert_unclean(&with_hive(|hive| hive[..4].fill(0)), Unclean::HiveDamaged);
    assert_unclean(&with_hive(|hive| hive.truncate(hive.len() - 4096)), Unclean::HiveDamaged);
    // The cell of the root key.
    assert_unclean(&with_hive(|hive| hive[4096 + 0x20 + 4] = b'x'), Unclean::HiveDamaged);
}

#[test]
fn a_hive_in_its_record() {
    assert_unclean(&with_hive(|hive| hive.truncate(300)), Unclean::HiveResident);
}

#[test]
fn a_hive_that_ntfs_compressed_or_encrypted() {
    for (flag, reason) in [(0x0001u16, Unclean::HiveCompressed), (0x4000, Unclean::HiveEncrypted)] {
        let mut image = WINDOWS_10.clone();
        let record = image.record(SYSTEM);
        let at = image.attribute(record, DATA);
        image.volume()[at + 12..at + 14].copy_from_slice(&flag.to_le_bytes());
        assert_unclean(&image, reason);
    }
}

#[test]
fn a_hive_with_a_hole() {
    let flavour = Flavour::windows_10();
    let hive = flavour.system.hive();
    let image = flavour.image_with(&hive, &[], Layout::Whole);
    let dir = tempfile::tempdir().unwrap();
    let mut sparse = image.clone();
    sparse.change(dir.path(), |root| {
        let file = fs::OpenOptions::new().write(true).open(root.join(&SYSTEM[1..])).unwrap();
        file.set_len(hive.len() as u64 + (1 << 20)).unwrap();
        // The last page, far behind a hole.
        std::os::unix::fs::FileExt::write_all_at(&file, &[1], hive.len() as u64 + (1 << 20) - 1).unwrap();
    });
    assert_unclean(&sparse, Unclean::HiveSparse);
}

#[test]
fn a_volume_that_bitlocker_encrypted() {
    let mut image = WINDOWS_10.clone();
    image.volume()[3..11].copy_from_slice(b"-FVE-FS-");
    assert_unclean(&image, Unclean::BitLocker);
    assert_eq!(image.inspect().name, None);
}

#[test]
fn a_drivers_file_that_is_missing() {
    let image = Flavour::windows_10().without_file("stornvme").image(Layout::Whole);
    assert_eq!(plan(&image.inspect(), NEEDED), Err(Refusal::NoFile { driver: "stornvme" }));
}

#[test]
fn a_drivers_key_that_is_missing() {
    let image = Flavour::windows_10()
        .system(|system| system.without(r"ControlSet001\Services\stornvme"))
        .image(Layout::Whole);
    let key = r"ControlSet001\Services\stornvme".to_owned();
    assert_eq!(plan(&image.inspect(), NEEDED), Err(Refusal::NoService { key }));
    let key = r"ControlSet001\Services\BusLogic".to_owned();
    assert_eq!(plan(&WINDOWS_7.inspect(), &["BusLogic"]), Err(Refusal::NoService { key }));
}

#[test]
fn a_drivers_start_that_is_missing() {
    let image = Flavour::windows_10()
        .system(|system| system.emptied(r"ControlSet001\Services\stornvme"))
        .image(Layout::Whole);
    let value = r"ControlSet001\Services\stornvme\Start".to_owned();
    assert_eq!(plan(&image.inspect(), NEEDED), Err(Refusal::NoValue { value }));
}

#[test]
fn a_value_of_another_type_or_size() {
    for (key, value) in [
        (r"ControlSet001\Services\stornvme\StartOverride", r#""0"="3""#),
        (r"ControlSet001\Services\stornvme\StartOverride", "\"0\"=hex(4):03,00"),
        (r"ControlSet001\Services\stornvme", "\"Start\"=hex(b):03,00,00,00,00,00,00,00"),
    ] {
        let image = Flavour::windows_10().system(|system| system.set(key, &[value])).image(Layout::Whole);
        let name = if key.ends_with("Override") { "0" } else { "Start" };
        let value = format!("{key}\\{name}");
        assert_eq!(plan(&image.inspect(), NEEDED), Err(Refusal::OtherValue { value }));
    }
}

#[test]
fn a_registry_without_control_sets() {
    let flavour = Flavour::windows_10();
    let image = flavour.image_with(&crate::hives::empty(), &[], Layout::Whole);
    assert_eq!(plan(&image.inspect(), NEEDED), Err(Refusal::NoControlSet));
}

#[test]
fn a_driver_that_is_not_known() {
    let driver = "nosuch".to_owned();
    assert_eq!(plan(&WINDOWS_10.inspect(), &["nosuch"]), Err(Refusal::UnknownDriver { driver }));
}

#[test]
fn a_master_file_table_that_makes_no_sense_is_an_error() {
    let mut image = WINDOWS_10.clone();
    let at = image.record_of(0);
    image.volume()[at..at + 1024].fill(0);
    assert!(matches!(image.try_inspect(), Err(Error::Damaged(_))));
}
