//! A disk as its guest sees it, and overlays that begin with content: compared with what QEMU and VirtualBox read.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use common::virtualbox::VirtualBox;
use common::{Drive, Random, assert_same, io, qemu, text};
use pocketvm_disk::{
    BaseFormat, CopyFormat, CreateOptions, Error, View, copy_base, create, create_child, create_disk,
};

const SIZE: u64 = 20 << 20;

/// A base over a raw layer, both with something in them.
fn base(drive: &Drive) {
    let (below, base) = (drive.base("below.img"), drive.base("b.qcow2"));
    std::fs::write(&below, vec![7; (SIZE - (1 << 20)) as usize]).unwrap();
    qemu(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "below.img", "-F", "raw", text(&base), &SIZE.to_string()],
    );
    io(
        &base,
        &[
            "write -q -P 9 1M 3M".to_owned(),
            "write -q -z 6M 1M".to_owned(),
            "write -q -P 4 19M 1M".to_owned(),
        ],
    );
}

fn view(drive: &Drive, overlay: Option<&Path>) -> View {
    View::open(&drive.path("drive"), "bases/b.qcow2", BaseFormat::Qcow2, overlay).unwrap()
}

/// Some places and what is to be there, in order and apart.
fn edits(random: &mut Random) -> Vec<(u64, Vec<u8>)> {
    let mut edits = Vec::new();
    let mut at = random.below(100_000);
    while at < SIZE {
        let most = if random.below(4) == 0 { 200_000 } else { 20 };
        let length = 1 + random.below(most);
        let length = length.min(SIZE - at);
        // No byte that is anywhere in the base.
        edits.push((at, (0..length).map(|_| 100 + random.below(100) as u8).collect()));
        at += length + 1 + random.below(1 << 20);
    }
    edits
}

#[test]
fn a_view_reads_what_qemu_reads_through_overlay_base_and_layers() {
    let drive = Drive::new();
    base(&drive);
    let overlay = drive.path("overlay.qcow2");
    qemu(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", text(&drive.base("b.qcow2")), "-F", "qcow2", text(&overlay)],
    );
    io(&overlay, &["write -q -P 5 512 69632".to_owned(), "write -q -z 2M 64k".to_owned()]);
    for overlay in [None, Some(overlay.as_path())] {
        let raw = drive.path("raw");
        let base = drive.base("b.qcow2");
        qemu("qemu-img", &["convert", "-O", "raw", text(overlay.unwrap_or(&base)), text(&raw)]);
        let expected = std::fs::read(&raw).unwrap();
        let view = view(&drive, overlay);
        assert_eq!(view.size(), SIZE);
        let mut random = Random(3);
        for _ in 0..200 {
            let at = random.below(SIZE);
            let mut bytes = vec![0; (1 + random.below(300_000)).min(SIZE - at) as usize];
            view.read_at(at, &mut bytes).unwrap();
            assert!(bytes == expected[at as usize..][..bytes.len()], "{at}");
        }
        let mut bytes = [0; 2];
        assert!(matches!(view.read_at(SIZE - 1, &mut bytes), Err(Error::Input(_))));
        assert!(view.read_at(u64::MAX, &mut bytes).is_err());
    }
    let differences = view(&drive, Some(&overlay)).differences(1 << 30).unwrap();
    // At 2 MiB the base has 9, and the overlay zeroes.
    assert_eq!(differences, [(512, vec![5; 69_632]), (2 << 20, vec![0; 65536])]);
    assert!(view(&drive, Some(&overlay)).differences(1000).is_err());
    assert_eq!(view(&drive, None).differences(0).unwrap(), []);
}

#[test]
fn an_overlay_begins_with_content_in_every_format() {
    let virtualbox = VirtualBox::new();
    for round in 0..3 {
        let drive = Drive::new();
        base(&drive);
        let edits = edits(&mut Random(round + 1));
        let raw = drive.path("raw");
        qemu("qemu-img", &["convert", "-O", "raw", text(&drive.base("b.qcow2")), text(&raw)]);
        let file = std::fs::OpenOptions::new().write(true).open(&raw).unwrap();
        edits.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());

        let cluster_size = [4096, 65536, 2 << 20][round as usize];
        let content = view(&drive, None).with(&edits, cluster_size).unwrap();
        let content: Vec<_> = content.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        let overlay = drive.path("overlay.qcow2");
        let backing = Some((drive.base("b.qcow2"), "qcow2"));
        create(&overlay, &CreateOptions { virtual_size: SIZE, cluster_size, backing, content: &content })
            .unwrap();
        qemu("qemu-img", &["check", "-q", text(&overlay)]);
        assert_same(&overlay, &raw);
        assert_eq!(view(&drive, Some(&overlay)).differences(1 << 30).unwrap(), edits);

        for (copy, extension) in [(CopyFormat::Vmdk, "vmdk"), (CopyFormat::Vhd, "vhd")] {
            let (whole, child) =
                (drive.path(&format!("whole.{extension}")), drive.path(&format!("child.{extension}")));
            let id = |role: u8| [round as u8, role, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6];
            let role = u8::from(copy == CopyFormat::Vhd) * 2;
            copy_base(&drive.path("drive"), "bases/b.qcow2", BaseFormat::Qcow2, &whole, copy, id(role), &())
                .unwrap();
            let content = view(&drive, None).with(&edits, copy.block_size()).unwrap();
            create_child(&child, copy, id(role + 1), &whole, &content).unwrap();
            assert_eq!(view(&drive, Some(&child)).differences(1 << 30).unwrap(), edits);
            virtualbox.know(&whole);
            virtualbox.know(&child);
            assert_same(&virtualbox.flattened(&child), &raw);
        }
    }
}

#[test]
fn content_that_is_not_whole_or_not_on_the_disk_is_refused_and_nothing_is_left() {
    let drive = Drive::new();
    base(&drive);
    let overlay = drive.path("overlay");
    let bytes = vec![1; 65536];
    for content in [
        &[(512_u64, &bytes[..])][..],
        &[(0, &bytes[..512])],
        &[(SIZE, &bytes[..])],
        &[(u64::MAX, &bytes[..])],
    ] {
        let options = CreateOptions {
            virtual_size: SIZE,
            cluster_size: 65536,
            backing: Some((drive.base("b.qcow2"), "qcow2")),
            content,
        };
        assert!(matches!(create(&overlay, &options), Err(Error::Input(_))));
        assert!(!overlay.exists());
    }
    for copy in [CopyFormat::Vmdk, CopyFormat::Vhd] {
        let whole = drive.path("whole");
        copy_base(&drive.path("drive"), "bases/b.qcow2", BaseFormat::Qcow2, &whole, copy, [1; 16], &())
            .unwrap();
        let block = vec![1; copy.block_size() as usize];
        for content in [
            vec![(512, block.clone())],
            vec![(0, block[..512].to_vec())],
            vec![(SIZE, block.clone())],
            vec![(copy.block_size(), block.clone()), (0, block.clone())],
        ] {
            assert!(create_child(&overlay, copy, [2; 16], &whole, &content).is_err());
            assert!(!overlay.exists());
        }
        assert!(create_disk(&overlay, copy, [2; 16], 1 << 20, &[((1 << 20) - 1, &[1, 2])]).is_err());
        assert!(!overlay.exists());
        std::fs::remove_file(&whole).unwrap();
    }
    assert!(view(&drive, None).with(&[(SIZE - 1, vec![1, 2])], 4096).is_err());
}

#[test]
fn a_new_disk_has_content_anywhere() {
    let drive = Drive::new();
    let content: &[(u64, &[u8])] = &[(0, &[1; 600]), (5 << 20, &[2; 100]), ((9 << 20) - 3, &[3; 3])];
    let raw = drive.path("raw");
    let file = std::fs::File::create(&raw).unwrap();
    file.set_len(9 << 20).unwrap();
    content.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
    for (copy, name) in [(CopyFormat::Vmdk, "disk.vmdk"), (CopyFormat::Vhd, "disk.vhd")] {
        let disk = drive.path(name);
        create_disk(&disk, copy, [4; 16], 9 << 20, content).unwrap();
        assert_same(&disk, &raw);
        if copy == CopyFormat::Vmdk {
            let view = View::alone(&disk).unwrap();
            let mut bytes = vec![0; 9 << 20];
            view.read_at(0, &mut bytes).unwrap();
            assert!(bytes == std::fs::read(&raw).unwrap());
        } else {
            assert!(View::alone(&disk).is_err());
        }
    }
}
