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
fn a_base_of_2_tib_is_checked_merged_undone_and_compacted_in_64_mib() {
    // Many small tables, few large ones, wide and narrow counts; and one whose tables describe every cluster.
    let mut kinds = vec![
        "cluster_size=4k,refcount_bits=64",
        "cluster_size=16k",
        "cluster_size=2M,refcount_bits=1",
        "cluster_size=2M,preallocation=metadata",
    ];
    if common::soak() > 1 {
        kinds.extend([
            "cluster_size=4k",
            "cluster_size=64k,extended_l2=on",
            "cluster_size=64k,preallocation=metadata",
        ]);
    }
    for options in kinds {
        let drive = Drive::new();
        let base = drive.base("large.qcow2");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&base), "2T"]);
        let at = |gib: u64, pattern: u64| format!("write -q -P {pattern} {gib}G 64k");
        io(&base, &(0..200).map(|index| at(index * 10, 1 + index)).collect::<Vec<_>>());
        let generation = drive.stamp("large.qcow2");
        let overlay = drive.overlay("overlay", &base, "");
        io(&overlay, &(0..300).map(|index| at(index * 6 + 3, 7 + index % 200)).collect::<Vec<_>>());
        let before = drive.path("before");
        // With its holes: filled, it would not fit any disk.
        let copied =
            std::process::Command::new("cp").args(["--sparse=always", text(&base), text(&before)]).status();
        assert!(copied.unwrap().success());
        drive.merge(&[drive.disk("large.qcow2", &overlay, generation)]);
        assert!(peak() < 64, "{options}: {} MiB after the merge", peak());
        assert_clean(&base);
        qemu(
            "qemu-img",
            &["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", text(&before), text(&overlay)],
        );
        assert_same(&base, &overlay);
        pocketvm_disk::undo(&drive.commit()).unwrap();
        assert_clean(&base);
        assert_same(&base, &before);
        pocketvm_disk::compact(&drive.commit(), "bases/large.qcow2", &()).unwrap();
        assert_clean(&base);
        assert_same(&base, &before);
        assert!(peak() < 64, "{options}: {} MiB", peak());
    }
}
