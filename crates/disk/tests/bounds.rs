//! Memory stays bounded whatever the image's size. One test in a program of its own: it looks at the whole process.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use common::{Drive, assert_clean, assert_same, io, qemu, text};

/// The most memory that this process ever held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_base_of_2_tib_is_checked_merged_and_undone_in_64_mib() {
    for cluster_size in ["4k", "16k"] {
        let drive = Drive::new();
        let base = drive.base("large.qcow2");
        let options = format!("cluster_size={cluster_size}");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, text(&base), "2T"]);
        let at = |gib: u64, pattern: u64| format!("write -q -P {pattern} {gib}G 64k");
        io(&base, &(0..200).map(|index| at(index * 10, 1 + index)).collect::<Vec<_>>());
        let generation = drive.stamp("large.qcow2");
        let overlay = drive.overlay("overlay", &base, "");
        io(&overlay, &(0..300).map(|index| at(index * 6 + 3, 7 + index % 200)).collect::<Vec<_>>());
        let before = drive.path("before");
        std::fs::copy(&base, &before).unwrap();
        drive.merge(&[drive.disk("large.qcow2", &overlay, generation)]);
        assert!(peak() < 64, "{cluster_size}: {} MiB after the merge", peak());
        assert_clean(&base);
        qemu(
            "qemu-img",
            &["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", text(&before), text(&overlay)],
        );
        assert_same(&base, &overlay);
        pocketvm_disk::undo(&drive.commit()).unwrap();
        assert_clean(&base);
        assert_same(&base, &before);
        assert!(peak() < 64, "{cluster_size}: {} MiB", peak());
    }
}
