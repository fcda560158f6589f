//! Memory stays bounded whatever the size of a copy and of the differencing disk over it. One test in a program of its own: it
//! looks at the whole process.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use common::foreign::{through_in_part, write};
use common::writers::{noise, vhd_block};
use common::{Drive, Random, assert_clean, io, qemu, text};
use pocketvm_disk::{BaseFormat, CopyFormat, copy_base, copy_size, create_child};

/// The most memory that this process ever held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_base_of_nearly_2_tib_is_copied_and_merged_in_64_mib() {
    for (copy, extension) in [(CopyFormat::Vmdk, "vmdk"), (CopyFormat::Vhd, "vhd")] {
        let drive = Drive::new();
        let base = drive.base("large.qcow2");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", text(&base), "1900G"]);
        io(&base, &(0..40).map(|at| format!("write -q -P {} {}G 64k", 1 + at, at * 47)).collect::<Vec<_>>());
        let generation = drive.stamp("large.qcow2");
        let (target, child) =
            (drive.path(&format!("copy.{extension}")), drive.path(&format!("child.{extension}")));
        let root = drive.path("drive");
        let most = copy_size(&root, "bases/large.qcow2", BaseFormat::Qcow2, copy).unwrap();
        let copied =
            copy_base(&root, "bases/large.qcow2", BaseFormat::Qcow2, &target, copy, [1; 16], &()).unwrap();
        assert_eq!(copied.stored, most);
        assert!(peak() < 64, "{extension}: {} MiB after the copy", peak());
        create_child(&child, copy, [2; 16], &target, &[]).unwrap();
        if copy == CopyFormat::Vmdk {
            let at = |index| format!("write -q -P {} {}G 64k", 3 + index, index * 47 + 2);
            write(&child, "vmdk", &(0..40).map(at).collect::<Vec<_>>());
        } else {
            let mut file = std::fs::read(&child).unwrap();
            // 2 MiB of noise are held by the test itself.
            let data = noise(&mut Random(1), 2 << 20);
            (0..6).for_each(|at| vhd_block(&mut file, at * 160_000 + 7, &[0x3c; 512], &data));
            std::fs::write(&child, file).unwrap();
        }
        let before = peak();
        drive.merge(&[drive.disk("large.qcow2", &child, generation)]);
        assert!(peak() < before.max(64), "{extension}: {} MiB after the merge, {before} before", peak());
        assert_clean(&base);
        // What was written is in the base, looked at in some places only.
        assert!(through_in_part(&child, &base) > 0);
    }
}
