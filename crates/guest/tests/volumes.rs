//! Partition tables and file systems that others made: what is read of them is what blkid reads.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pocketvm_guest::partition::{Firmware, Kind, Signature, Table, Type};
use pocketvm_guest::volume::{Content, recognise};

use pocketvm_specimen::programs::{command, missing, run};

/// A file of zeroes.
fn blank(dir: &Path, mib: u64) -> PathBuf {
    let path = dir.join("disk");
    File::create(&path).unwrap().set_len(mib << 20).unwrap();
    path
}

fn table(path: &Path) -> Table {
    Table::read(fs::read(path).unwrap().as_slice()).unwrap()
}

/// Partitions as sfdisk lists them: start and size, in sectors.
fn as_sfdisk_says(path: &Path) -> Vec<(u64, u64)> {
    let told = String::from_utf8(run("sfdisk", ["--dump".as_ref(), path.as_os_str()])).unwrap();
    let number = |line: &str, name: &str| -> u64 {
        line.split_once(name).unwrap().1.split(',').next().unwrap().trim().parse().unwrap()
    };
    let lines = told
        .lines()
        .filter(|line| line.contains("start=") && !line.contains("type=5") && !line.contains("type=f"));
    lines.map(|line| (number(line, "start="), number(line, "size="))).collect()
}

fn sfdisk(path: &Path, script: &str) {
    let sfdisk = command("sfdisk").arg("--quiet").arg(path).stdin(Stdio::piped()).spawn();
    let mut sfdisk = sfdisk.unwrap_or_else(|error| missing("sfdisk", &error));
    sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
}

fn places(table: &Table) -> Vec<(u64, u64)> {
    table.partitions.iter().map(|partition| (partition.start / 512, partition.size / 512)).collect()
}

#[test]
fn a_table_for_a_bios_with_logical_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let disk = blank(dir.path(), 64);
    sfdisk(
        &disk,
        "label: dos\nlabel-id: 0x12345678\n2048,16384,7,*\n20480,8192,83\n32768,,5\n34816,8192,82\n45056,8192,83\n55296,4096,83\n",
    );
    let table = table(&disk);
    assert_eq!((table.kind, table.disk_signature), (Kind::Mbr, Some(Signature::Mbr(0x1234_5678))));
    assert_eq!(places(&table), as_sfdisk_says(&disk));
    let numbers: Vec<_> =
        table.partitions.iter().map(|partition| (partition.number, partition.active)).collect();
    assert_eq!(numbers, [(1, true), (2, false), (5, false), (6, false), (7, false)]);
    assert_eq!(table.partitions[2].kind, Type::Mbr(0x82));
    assert_eq!(table.part_uuid(&table.partitions[3]).as_deref(), Some("12345678-06"));
    assert_eq!(table.firmware(), Firmware { bios: true, uefi: false });
}

#[test]
fn a_table_for_uefi() {
    let dir = tempfile::tempdir().unwrap();
    let disk = blank(dir.path(), 64);
    let id = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    run(
        "sgdisk",
        [
            "-n",
            "1:2048:+16M",
            "-t",
            "1:ef00",
            "-c",
            "1:EFI",
            "-n",
            "3:0:+8M",
            "-t",
            "3:8300",
            "-u",
            &format!("3:{id}"),
            "-n",
            "4:0:0",
            "-t",
            "4:0700",
            disk.to_str().unwrap(),
        ],
    );
    let found = table(&disk);
    assert_eq!(found.kind, Kind::Gpt);
    assert_eq!(places(&found), as_sfdisk_says(&disk));
    assert_eq!(found.partitions.iter().map(|partition| partition.number).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((found.partitions[0].kind, found.partitions[0].name.as_str()), (Type::EFI_SYSTEM, "EFI"));
    assert_eq!(found.part_uuid(&found.partitions[1]).as_deref(), Some(id));
    assert_eq!(found.firmware(), Firmware { bios: false, uefi: true });

    // The copy at the end is as good.
    let mut bytes = fs::read(&disk).unwrap();
    bytes[512..1024].fill(0);
    assert_eq!(Table::read(bytes.as_slice()).unwrap().partitions, found.partitions);
}

#[test]
fn a_table_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let disk = blank(dir.path(), 64);
    run(
        "sgdisk",
        ["-n", "1:2048:+1M", "-t", "1:ef02", "-n", "2:0:+16M", "-t", "2:ef00", disk.to_str().unwrap()],
    );
    let mut bytes = fs::read(&disk).unwrap();
    assert_eq!(Table::read(bytes.as_slice()).unwrap().firmware(), Firmware { bios: false, uefi: true });
    bytes[0] = 0xEB;
    assert_eq!(Table::read(bytes.as_slice()).unwrap().firmware(), Firmware { bios: true, uefi: true });
}

/// What was made, of a whole disk; its UUID and label must be blkid's, and there must be no table.
fn made(mib: u64, program: &str, arguments: &[&str]) -> Content {
    let dir = tempfile::tempdir().unwrap();
    let disk = blank(dir.path(), mib);
    run(program, arguments.iter().copied().chain([disk.to_str().unwrap()]));
    let bytes = fs::read(&disk).unwrap();
    let content = recognise(bytes.as_slice()).unwrap();
    let told =
        String::from_utf8(run("blkid", ["-p".as_ref(), "-o".as_ref(), "export".as_ref(), disk.as_os_str()]))
            .unwrap();
    let tag = |name: &str| {
        told.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.replace('\\', ""))
    };
    assert_eq!(content.uuid(), tag("UUID="), "{told}");
    // blkid writes other letters in a way of its own.
    if content.label().is_none_or(str::is_ascii) {
        assert_eq!(content.label().map(str::to_owned), tag("LABEL="), "{told}");
    }
    let table = Table::read(bytes.as_slice()).unwrap();
    assert_eq!((table.kind, places(&table)), (Kind::None, vec![(0, mib * 2048)]), "{content:?}");
    content
}

#[test]
fn linux_file_systems_as_blkid_reads_them() {
    for (kind, version) in [("ext2", 2), ("ext3", 3), ("ext4", 4)] {
        let content = made(16, "mke2fs", &["-q", "-t", kind, "-L", "a root"]);
        assert!(matches!(content, Content::Ext { version: found, .. } if found == version), "{content:?}");
    }
    assert!(matches!(made(4, "mke2fs", &["-q", "-t", "ext4"]), Content::Ext { version: 4, label: None, .. }));
    assert!(matches!(made(4, "mkswap", &["-q", "-L", "pocketvm"]), Content::Swap { .. }));
}

#[test]
fn file_systems_of_windows_as_blkid_reads_them() {
    for (bits, mib) in [(12, 4), (16, 32), (32, 64)] {
        let content = made(mib, "mkfs.vfat", &["-F", &bits.to_string(), "-n", "EFI"]);
        assert!(
            matches!(content, Content::Fat { bits: found, .. } if u32::from(found) == bits),
            "{content:?}"
        );
    }
    assert!(matches!(made(32, "mkfs.exfat", &[]), Content::ExFat { .. }));
    let content = made(8, "mkntfs", &["-F", "-Q", "-q", "-L", "Büro"]);
    assert!(matches!(content, Content::Ntfs { dirty: Some(false), .. }), "{content:?}");
    assert_eq!(content.label(), Some("Büro"));
}

#[test]
fn what_is_only_told_by_its_signature() {
    let with = |at: usize, bytes: &[u8]| {
        let mut volume = vec![0; 128 << 10];
        volume[at..at + bytes.len()].copy_from_slice(bytes);
        recognise(volume.as_slice()).unwrap()
    };
    assert_eq!(with(3, b"-FVE-FS-"), Content::BitLocker);
    assert!(matches!(with(0, b"XFSB"), Content::Xfs { .. }));
    assert!(matches!(with(0x1_0040, b"_BHRfS_M"), Content::Btrfs { .. }));
    assert_eq!(with(0x8001, b"CD001"), Content::Iso9660 { label: None });
    let luks =
        [b"LUKS\xBA\xBE\0\x02".as_slice(), &[0; 160], b"c0ffee00-0000-4000-8000-000000000001"].concat();
    let uuid = "c0ffee00-0000-4000-8000-000000000001".to_owned();
    assert_eq!(with(0, &luks), Content::Luks { version: 2, label: None, uuid });
    let lvm =
        [b"LABELONE".as_slice(), &[0; 12], &[32, 0, 0, 0], b"LVM2 001", b"abcdefghijklmnopqrstuvwxyz012345"]
            .concat();
    assert_eq!(with(512, &lvm), Content::Lvm { uuid: "abcdef-ghij-klmn-opqr-stuv-wxyz-012345".to_owned() });
    assert_eq!(with(0, b""), Content::Empty);
    assert_eq!(with(0, b"something else"), Content::Unknown);
}
