//! Bases with backing files: every layer lies on the drive, or the base is refused.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Drive, Random, assert_clean, assert_same, io, qemu, text};
use pocketvm_disk::{Error, Refusal, history, merge, redo, stamp, undo};

const SIZE: u64 = 24 << 20;

fn create(image: &Path, options: &str, backing: Option<(&str, &str)>, size: u64) {
    let mut args = vec!["create", "-q", "-f", "qcow2", "-o", options];
    if let Some((name, format)) = backing {
        args.extend(["-b", name, "-F", format]);
    }
    let size = size.to_string();
    args.extend([text(image), &size]);
    qemu("qemu-img", &args);
}

/// What a guest reads through `image` now, as an image of its own.
fn flattened(drive: &Drive, image: &Path, name: &str) -> PathBuf {
    let flat = drive.path(name);
    qemu("qemu-img", &["convert", "-O", "qcow2", text(image), text(&flat)]);
    flat
}

/// A base over `golden` in a folder beside it.
fn scene(drive: &Drive, golden: &str, format: &str, options: &str) -> PathBuf {
    std::fs::create_dir_all(drive.path("drive/golden")).unwrap();
    let mut random = Random(9);
    let below = drive.path("drive/golden").join(golden);
    if format == "raw" {
        qemu("qemu-img", &["create", "-q", "-f", "raw", text(&below), &SIZE.to_string()]);
        let commands = random.commands(30, SIZE);
        let mut args: Vec<&str> = vec!["-f", "raw"];
        commands.iter().for_each(|command| args.extend(["-c", command]));
        args.push(text(&below));
        qemu("qemu-io", &args);
    } else {
        create(&below, "cluster_size=64k", None, SIZE);
        io(&below, &random.commands(30, SIZE));
    }
    let base = drive.base("b.qcow2");
    create(&base, options, Some((&format!("../golden/{golden}"), format)), SIZE);
    io(&base, &random.commands(10, SIZE));
    base
}

#[test]
fn sessions_on_a_chain_equal_what_qemu_reads_and_leave_the_layers_below_alone() {
    for (golden, format, options) in [
        ("g.qcow2", "qcow2", "cluster_size=16k"),
        ("g.qcow2", "qcow2", "cluster_size=64k,extended_l2=on"),
        ("g.raw", "raw", "cluster_size=4k"),
        ("g.qcow2", "qcow2", "compat=0.10"),
    ] {
        let drive = Drive::new();
        let base = scene(&drive, golden, format, options);
        let below = drive.path("drive/golden").join(golden);
        let untouched = std::fs::read(&below).unwrap();
        let mut random = Random(77);
        let before = flattened(&drive, &base, "before");
        let mut generation = drive.stamp("b.qcow2");
        let mut expected = vec![before];
        for session in 0..4 {
            let overlay = drive.overlay(&session.to_string(), &base, "cluster_size=4k");
            io(&overlay, &random.commands(30, SIZE));
            expected.push(flattened(&drive, &overlay, &format!("e{session}")));
            let disk = drive.disk("b.qcow2", &overlay, generation);
            drive.merge(std::slice::from_ref(&disk));
            generation = disk.next;
            assert_clean(&base);
            assert_same(&base, expected.last().unwrap());
        }
        undo(&drive.commit()).unwrap();
        assert_same(&base, &expected[3]);
        redo(&drive.commit()).unwrap();
        assert_same(&base, &expected[4]);
        assert_clean(&base);
        assert_eq!(std::fs::read(&below).unwrap(), untouched, "{format}: the layer below was written to");
    }
}

#[test]
fn what_the_guest_zeroes_or_discards_hides_what_lies_below() {
    let drive = Drive::new();
    let base = scene(&drive, "g.qcow2", "qcow2", "cluster_size=16k");
    let below = drive.path("drive/golden/g.qcow2");
    io(&below, &["write -q -P 7 0 4M".to_owned()]);
    let generation = drive.stamp("b.qcow2");
    let overlay = drive.overlay("o", &base, "");
    io(
        &overlay,
        &["write -q -z -u 0 1M".to_owned(), "discard -q 1M 1M".to_owned(), "write -q -P 0 2M 1M".to_owned()],
    );
    let expected = flattened(&drive, &overlay, "e");
    drive.merge(&[drive.disk("b.qcow2", &overlay, generation)]);
    assert_same(&base, &expected);
    assert!(!qemu("qemu-io", &["-r", "-c", "read -P 0 0 1M", text(&base)]).contains("fail"));
}

#[test]
fn a_layer_outside_of_the_drive_is_refused() {
    let drive = Drive::new();
    let outside = drive.path("outside.qcow2");
    create(&outside, "compat=1.1", None, SIZE);
    let base = drive.base("b.qcow2");
    let absolute = outside.to_str().unwrap().to_owned();
    for (name, format, why) in [
        (absolute.as_str(), "qcow2", Refusal::BackingOutside),
        ("../../outside.qcow2", "qcow2", Refusal::BackingOutside),
    ] {
        create(&base, "compat=1.1", Some((name, format)), SIZE);
        let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
        assert!(matches!(&result, Err(Error::Refused { why: found, .. }) if *found == why), "{result:?}");
    }
    // The name of a protocol, which QEMU would follow.
    create(&base, "compat=1.1", None, SIZE);
    qemu("qemu-img", &["rebase", "-u", "-b", "nbd://127.0.0.1/x", "-F", "raw", text(&base)]);
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(&result, Err(Error::Refused { why: Refusal::BackingOutside, .. })), "{result:?}");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_layer_outside_of_the_drive_is_refused() {
    let drive = Drive::new();
    create(&drive.path("outside.qcow2"), "compat=1.1", None, SIZE);
    std::os::unix::fs::symlink(drive.path("outside.qcow2"), drive.base("link.qcow2")).unwrap();
    let base = drive.base("b.qcow2");
    create(&base, "compat=1.1", Some(("link.qcow2", "qcow2")), SIZE);
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(&result, Err(Error::BadPath(_))), "{result:?}");
}

#[test]
fn a_layer_without_a_format_and_a_circle_are_refused() {
    let drive = Drive::new();
    let (base, other) = (drive.base("b.qcow2"), drive.base("c.qcow2"));
    create(&base, "compat=0.10", None, SIZE);
    create(&other, "compat=1.1", Some(("b.qcow2", "qcow2")), SIZE);
    qemu("qemu-img", &["rebase", "-u", "-b", "c.qcow2", "-F", "qcow2", text(&base)]);
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(&result, Err(Error::Refused { why: Refusal::BackingDepth(_), .. })), "{result:?}");

    // QEMU itself would follow the circle.
    std::fs::remove_file(&other).unwrap();
    create(&other, "compat=1.1", None, SIZE);
    create(&base, "compat=1.1", Some(("c.qcow2", "qcow2")), SIZE);
    let mut bytes = std::fs::read(&base).unwrap();
    let at = bytes.windows(4).position(|window| window == 0xe279_2acau32.to_be_bytes()).unwrap();
    // The format becomes an extension that nobody knows.
    bytes[at..at + 4].copy_from_slice(&[0x11; 4]);
    std::fs::write(&base, bytes).unwrap();
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(&result, Err(Error::Refused { why: Refusal::BackingFormat, .. })), "{result:?}");
}

#[test]
fn a_base_that_would_grow_over_a_larger_layer_is_refused_and_nothing_changes() {
    let drive = Drive::new();
    let (golden, base) = (drive.base("g.qcow2"), drive.base("b.qcow2"));
    create(&golden, "compat=1.1", None, 2 * SIZE);
    create(&base, "compat=1.1", Some(("g.qcow2", "qcow2")), SIZE);
    let generation = drive.stamp("b.qcow2");
    let overlay = drive.overlay("o", &base, "");
    qemu("qemu-img", &["resize", "-q", text(&overlay), &(2 * SIZE).to_string()]);
    let before = std::fs::read(&base).unwrap();
    let result = merge(&drive.commit(), &[drive.disk("b.qcow2", &overlay, generation)], &());
    assert!(matches!(&result, Err(Error::Refused { why: Refusal::BackingLarger, .. })), "{result:?}");
    assert_eq!(std::fs::read(&base).unwrap(), before);
    assert!(history(&drive.commit()).unwrap().is_empty());
}

#[test]
fn a_base_that_shows_through_another_one_of_the_same_merge_is_refused() {
    let drive = Drive::new();
    let (golden, base) = (drive.base("g.qcow2"), drive.base("b.qcow2"));
    create(&golden, "compat=1.1", None, SIZE);
    create(&base, "compat=1.1", Some(("g.qcow2", "qcow2")), SIZE);
    let generations = [drive.stamp("g.qcow2"), drive.stamp("b.qcow2")];
    let overlays = [drive.overlay("og", &golden, ""), drive.overlay("ob", &base, "")];
    io(&overlays[0], &["write -q -P 5 0 1M".to_owned()]);
    let disks = [
        drive.disk("g.qcow2", &overlays[0], generations[0]),
        drive.disk("b.qcow2", &overlays[1], generations[1]),
    ];
    let before = std::fs::read(&golden).unwrap();
    let result = merge(&drive.commit(), &disks, &());
    // On the way there the base is held as a layer, or as a base: either way it is not written to.
    assert!(matches!(&result, Err(Error::Input(_) | Error::Busy { .. } | Error::InUse { .. })), "{result:?}");
    assert_eq!(std::fs::read(&golden).unwrap(), before);
}
