//! VMDK: copies of a base and children of them, ours, QEMU's and VirtualBox's.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use common::foreign::{Bases, NAMES, SIZE, through, write};
use common::virtualbox::VirtualBox;
use common::writers::{noise, vmdk_grain};
use common::{Holder, Random, assert_same, qemu, text};
use pocketvm_disk::overlay::Format;
use pocketvm_disk::{
    BaseFormat, CopyFormat, Error, OverlayInfo, Refusal, create_child, inspect_overlay, merge,
};

#[test]
fn a_copy_reads_as_its_base_in_qemu_and_in_virtualbox() {
    let bases = Bases::new(1);
    let virtualbox = VirtualBox::new();
    for (name, format) in NAMES.into_iter().zip([BaseFormat::Qcow2, BaseFormat::Raw]) {
        let copy = bases.drive.path(&format!("{name}.vmdk"));
        let copied = bases.copy_of(name, format, &copy, CopyFormat::Vmdk);
        assert_eq!(copied.virtual_size, SIZE);
        assert_same(&copy, &bases.raw());
        qemu("qemu-img", &["check", "-f", "vmdk", text(&copy)]);
        assert_same(&virtualbox.flattened(&copy), &bases.raw());
        virtualbox.run(&["closemedium", "disk", text(&copy)]);
    }
}

#[test]
fn what_qemu_writes_to_a_child_of_ours_is_merged() {
    let bases = Bases::new(2);
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    let chain = qemu("qemu-img", &["info", "--backing-chain", text(&child)]);
    assert!(chain.contains(text(&copy)), "{chain}");
    write(&child, "vmdk", &Random(3).commands(20, SIZE));
    let expected = bases.drive.path("expected");
    qemu("qemu-img", &["convert", "-O", "raw", text(&child), text(&expected)]);
    assert!(through(&child, &bases.raw()) == std::fs::read(&expected).unwrap());
    bases.assert_merges(&child, &expected);
}

#[test]
fn what_virtualbox_writes_to_a_child_of_ours_is_merged() {
    let bases = Bases::new(4);
    let virtualbox = VirtualBox::new();
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    virtualbox.know(&copy);
    virtualbox.write_into(&child, &bases.changed(5, "changed"));
    virtualbox.format(&child);
    let expected = virtualbox.flattened(&child);
    bases.assert_merges(&child, &expected);
}

#[test]
fn children_of_qemu_and_of_virtualbox_are_merged() {
    let bases = Bases::new(6);
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    let args = ["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", text(&copy), text(&child)];
    qemu("qemu-img", &args);
    write(&child, "vmdk", &Random(7).commands(20, SIZE));
    let expected = bases.drive.path("expected");
    qemu("qemu-img", &["convert", "-O", "raw", text(&child), text(&expected)]);
    bases.assert_merges(&child, &expected);

    let bases = Bases::new(8);
    let virtualbox = VirtualBox::new();
    let (parent, child) = (bases.drive.path("parent.vmdk"), bases.drive.path("child.vmdk"));
    virtualbox.whole(&bases.raw(), &parent, "VMDK");
    virtualbox.child(&child, &parent, "VMDK");
    virtualbox.write_into(&child, &bases.changed(9, "changed"));
    virtualbox.format(&child);
    let expected = virtualbox.flattened(&child);
    bases.assert_merges(&child, &expected);
}

#[test]
fn an_empty_child_holds_nothing_but_tables() {
    let bases = Bases::new(10);
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    let tables = std::fs::metadata(&child).unwrap().len();
    let expected = OverlayInfo { format: Format::Vmdk, virtual_size: SIZE, step: 65536, tables };
    assert_eq!(inspect_overlay(&child).unwrap(), expected);
    assert!(through(&child, &bases.raw()) == std::fs::read(bases.raw()).unwrap());
}

#[test]
fn grains_in_any_order_and_grains_of_zeroes_read_as_in_virtualbox_and_qemu() {
    let bases = Bases::with(11, 40 << 20, "cluster_size=4k");
    let virtualbox = VirtualBox::new();
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    let mut file = std::fs::read(&child).unwrap();
    let mut random = Random(12);
    // Across the two grain tables.
    for grain in [639, 511, 512, 3, 0, 77] {
        vmdk_grain(&mut file, grain, Some(&noise(&mut random, 65536)));
    }
    std::fs::write(&child, &file).unwrap();
    virtualbox.know(&copy);
    assert_same(&child, &virtualbox.flattened(&child));
    // VirtualBox does not know grains of zeroes, and reads its descriptor in their place.
    for grain in [1, 2, 513] {
        vmdk_grain(&mut file, grain, None);
    }
    std::fs::write(&child, file).unwrap();
    let expected = bases.drive.path("expected");
    qemu("qemu-img", &["convert", "-O", "raw", text(&child), text(&expected)]);
    bases.assert_merges(&child, &expected);
}

#[test]
fn a_child_can_be_looked_at_while_its_hypervisor_writes_and_is_not_merged_then() {
    let bases = Bases::new(13);
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    let before = inspect_overlay(&child).unwrap();
    let mut holder = Holder::open(&child, false);
    holder.run("write -q -P 1 0 64k");
    assert_eq!(inspect_overlay(&child).unwrap(), before);
    let disk = bases.drive.disk(NAMES[0], &child, bases.generations[0]);
    let result = merge(&bases.drive.commit(), &[disk], &());
    assert!(matches!(result, Err(Error::InUse { .. })), "{result:?}");
}

#[test]
fn the_last_grain_may_end_with_the_disk() {
    let bases = Bases::new(14);
    let copy = bases.copy("copy.vmdk", CopyFormat::Vmdk);
    let child = bases.drive.path("child.vmdk");
    create_child(&child, CopyFormat::Vmdk, [8; 16], &copy, &[]).unwrap();
    write(&child, "vmdk", &[format!("write -q -P 7 {} 512", SIZE - 512)]);
    let expected = through(&child, &bases.raw());
    let file = std::fs::OpenOptions::new().write(true).open(&child).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - 65536 + SIZE % 65536).unwrap();
    assert!(through(&child, &bases.raw()) == expected);
    file.set_len(len - 65536 + SIZE % 65536 - 1).unwrap();
    let disk = bases.drive.disk(NAMES[0], &child, bases.generations[0]);
    let result = merge(&bases.drive.commit(), &[disk], &());
    assert!(matches!(result, Err(Error::Refused { why: Refusal::Truncated, .. })), "{result:?}");
}
