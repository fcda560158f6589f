//! Copies of a base for other hypervisors: what is in them, what is not, and what becomes of them when something goes wrong.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;

use common::foreign::{through, write};
use common::virtualbox::VirtualBox;
use common::{Drive, Impatient, Random, assert_same, io, qemu, text};
use pocketvm_disk::{
    BaseFormat, CopyFormat, Error, Progress, Refusal, copy_base, copy_size, create_child, inspect_overlay,
    merge, stamp_raw,
};

const FORMATS: [CopyFormat; 2] = [CopyFormat::Vmdk, CopyFormat::Vhd];

/// Hears that progress never goes back, and where it ends.
#[derive(Default)]
struct Listener(std::cell::Cell<(u64, u64)>);

impl Progress for Listener {
    fn advance(&self, done: u64, total: u64) {
        let (before, known) = self.0.get();
        assert!(done >= before && done <= total && (known == 0 || total == known));
        self.0.set((done, total));
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Copies in every format, which must hold what QEMU reads from the base.
fn assert_copies(drive: &Drive, base: &str, format: BaseFormat, expected: &Path) {
    let path = format!("bases/{base}");
    for copy in FORMATS {
        let target = drive.path("copy");
        let most = copy_size(&drive.path("drive"), &path, format, copy).unwrap();
        let heard = Listener::default();
        let copied = copy_base(&drive.path("drive"), &path, format, &target, copy, [1; 16], &heard).unwrap();
        assert!(copied.stored <= most, "{base}: {copied:?} {most}");
        assert_eq!(heard.0.get(), (copied.read, copied.read), "{base}");
        assert_same(&target, expected);
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn bases_of_every_kind_are_copied_with_their_layers() {
    let drive = Drive::new();
    let mut random = Random(1);
    let size = 70 << 20;
    let kinds = [
        ("plain.qcow2", "cluster_size=64k"),
        ("small.qcow2", "cluster_size=512"),
        ("sub.qcow2", "cluster_size=128k,extended_l2=on"),
        ("large.qcow2", "cluster_size=2M"),
    ];
    for (name, options) in kinds {
        let base = drive.base(name);
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&base), &size.to_string()]);
        io(&base, &random.commands(40, size));
    }
    let packed = drive.base("packed.qcow2");
    let args = ["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"];
    qemu("qemu-img", &[&args[..], &[text(&drive.base("plain.qcow2")), text(&packed)]].concat());
    // Over a shorter layer, over a raw one.
    let raw = drive.base("lowest.img");
    qemu("qemu-img", &["create", "-q", "-f", "raw", text(&raw), "20M"]);
    write(&raw, "raw", &random.commands(20, 20 << 20));
    for (name, lower, format, size) in
        [("middle.qcow2", "lowest.img", "raw", "30M"), ("upper.qcow2", "middle.qcow2", "qcow2", "70M")]
    {
        // Its name is relative, as the drive may be anywhere.
        let status = std::process::Command::new("qemu-img")
            .args([
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                "cluster_size=4k",
                "-F",
                format,
                "-b",
                lower,
                name,
                size,
            ])
            .current_dir(drive.path("drive/bases"))
            .status();
        assert!(status.unwrap().success());
        io(&drive.base(name), &random.commands(20, 20 << 20));
    }
    for name in kinds.map(|(name, _)| name).into_iter().chain(["packed.qcow2", "upper.qcow2"]) {
        assert_copies(&drive, name, BaseFormat::Qcow2, &drive.base(name));
    }
    assert_copies(&drive, "lowest.img", BaseFormat::Raw, &raw);
}

#[test]
fn what_is_zero_or_absent_takes_no_room() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "1T"]);
    io(&base, &["write -q -P 0 8M 8M", "write -q -z 64M 8M", "write -q -P 5 900G 3M"].map(str::to_owned));
    for (copy, stored, room) in [(CopyFormat::Vmdk, 3 << 20, 1 << 20), (CopyFormat::Vhd, 4 << 20, 4 << 20)] {
        let target = drive.path("copy");
        let root = drive.path("drive");
        let copied =
            copy_base(&root, "bases/b.qcow2", BaseFormat::Qcow2, &target, copy, [1; 16], &()).unwrap();
        assert_eq!((copied.virtual_size, copied.stored, copied.read), (1 << 40, stored, 11 << 20));
        let taken = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&target).unwrap()) * 512;
        assert!(taken <= stored + room, "{taken}");
        std::fs::remove_file(&target).unwrap();
    }
}

#[test]
fn disks_of_any_size_are_taken_by_virtualbox_and_by_qemu() {
    let virtualbox = VirtualBox::new();
    let drive = Drive::new();
    // One sector, up to the first grain, into the second, and more than a cylinder's worth of a large disk.
    for (index, size) in [512, 65536, 66048, (40 << 30) + 512].into_iter().enumerate() {
        let base = drive.base(&format!("{index}.qcow2"));
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), &size.to_string()]);
        io(&base, &[format!("write -q -P 3 {} 512", size - 512)]);
        for (copy, extension) in FORMATS.into_iter().zip(["vmdk", "vhd"]) {
            let target = drive.path(&format!("{index}.{extension}"));
            let child = drive.path(&format!("{index}.child.{extension}"));
            let (root, name) = (drive.path("drive"), format!("bases/{index}.qcow2"));
            let id = [
                index as u8 * 2 + 1,
                u8::from(copy == CopyFormat::Vhd),
                3,
                4,
                5,
                6,
                7,
                8,
                9,
                0,
                1,
                2,
                3,
                4,
                5,
                6,
            ];
            copy_base(&root, &name, BaseFormat::Qcow2, &target, copy, id, &()).unwrap();
            assert_same(&target, &base);
            create_child(&child, copy, id.map(|byte| byte + 1), &target, &[]).unwrap();
            for disk in [&target, &child] {
                let said = virtualbox.know(disk);
                assert!(said.contains(&format!("Capacity:       {} MBytes", size >> 20)), "{said}");
            }
            assert_eq!(inspect_overlay(&child).unwrap().virtual_size, size);
            if size < 1 << 20 {
                assert_same(&virtualbox.flattened(&child), &base);
            }
        }
    }
}

#[test]
fn a_raw_base_that_ends_inside_of_a_sector_is_copied_and_merged() {
    let drive = Drive::new();
    let base = drive.base("b.img");
    std::fs::write(&base, vec![9; 200_001]).unwrap();
    let generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
    let (target, child) = (drive.path("copy.vmdk"), drive.path("child.vmdk"));
    let root = drive.path("drive");
    let copied =
        copy_base(&root, "bases/b.img", BaseFormat::Raw, &target, CopyFormat::Vmdk, [1; 16], &()).unwrap();
    assert_eq!(copied.virtual_size, 200_192);
    create_child(&child, CopyFormat::Vmdk, [2; 16], &target, &[]).unwrap();
    write(&child, "vmdk", &["write -q -P 3 199680 512".to_owned()]);
    let expected = through(&child, &base);
    merge(&drive.commit(), &[drive.disk("b.img", &child, generation)], &()).unwrap();
    assert!(std::fs::read(&base).unwrap() == expected);
}

#[test]
fn a_copy_that_is_cancelled_or_fails_leaves_nothing() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "40M"]);
    io(&base, &["write -q -P 5 0 40M".to_owned()]);
    let (root, target) = (drive.path("drive"), drive.path("copy"));
    for copy in FORMATS {
        for calls in [1, 3] {
            let progress = Impatient(std::cell::Cell::new(calls));
            let result =
                copy_base(&root, "bases/b.qcow2", BaseFormat::Qcow2, &target, copy, [1; 16], &progress);
            assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
            assert!(!target.exists());
        }
    }
    // Whatever is there stays.
    std::fs::write(&target, "mine").unwrap();
    let result =
        copy_base(&root, "bases/b.qcow2", BaseFormat::Qcow2, &target, CopyFormat::Vmdk, [1; 16], &());
    assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
    assert!(create_child(&target, CopyFormat::Vmdk, [1; 16], &base, &[]).is_err());
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    // A base that is cut short is found out on the way.
    let file = std::fs::OpenOptions::new().write(true).open(&base).unwrap();
    file.set_len(20 << 20).unwrap();
    let target = drive.path("other");
    let result = copy_base(&root, "bases/b.qcow2", BaseFormat::Qcow2, &target, CopyFormat::Vhd, [1; 16], &());
    assert!(matches!(result, Err(Error::Refused { why: Refusal::Truncated, .. })), "{result:?}");
    assert!(!target.exists());
}

#[test]
fn a_child_is_made_for_a_whole_disk_of_the_same_format_only() {
    let drive = Drive::new();
    let base = drive.base("b.qcow2");
    qemu("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "1M"]);
    let root = drive.path("drive");
    let copies = FORMATS.map(|copy| {
        let target = drive.path(&format!("{copy:?}"));
        copy_base(&root, "bases/b.qcow2", BaseFormat::Qcow2, &target, copy, [1; 16], &()).unwrap();
        target
    });
    let child = drive.path("child");
    for (copy, parent) in
        [(CopyFormat::Vmdk, &copies[1]), (CopyFormat::Vhd, &copies[0]), (CopyFormat::Vhd, &base)]
    {
        let result = create_child(&child, copy, [2; 16], parent, &[]);
        assert!(matches!(result, Err(Error::Refused { why: Refusal::NotParent, .. })), "{result:?}");
    }
    for (copy, parent) in FORMATS.into_iter().zip(&copies) {
        let path = drive.path(&format!("child of {copy:?}"));
        create_child(&path, copy, [2; 16], parent, &[]).unwrap();
        let result = create_child(&child, copy, [3; 16], &path, &[]);
        assert!(matches!(result, Err(Error::Refused { why: Refusal::NotParent, .. })), "{result:?}");
        let result = create_child(&child, copy, [3; 16], Path::new("relative"), &[]);
        assert!(matches!(result, Err(Error::Input(_))), "{result:?}");
    }
    assert!(!child.exists());
}
