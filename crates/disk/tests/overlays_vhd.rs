//! VHD: copies of a base and differencing disks over them, ours and VirtualBox's. QEMU has no differencing ones.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use common::foreign::{Bases, NAMES, SIZE, through};
use common::virtualbox::VirtualBox;
use common::writers::{noise, vhd_block};
use common::{Random, assert_same, qemu, text};
use pocketvm_disk::overlay::Format;
use pocketvm_disk::{BaseFormat, CopyFormat, OverlayInfo, create_child, inspect_overlay};

const BLOCK: usize = 2 << 20;

#[test]
fn a_copy_reads_as_its_base_in_qemu_and_in_virtualbox() {
    let bases = Bases::new(1);
    let virtualbox = VirtualBox::new();
    for (name, format) in NAMES.into_iter().zip([BaseFormat::Qcow2, BaseFormat::Raw]) {
        let copy = bases.drive.path(&format!("{name}.vhd"));
        let copied = bases.copy_of(name, format, &copy, CopyFormat::Vhd);
        assert_eq!(copied.virtual_size, SIZE);
        assert_same(&copy, &bases.raw());
        let info = qemu("qemu-img", &["info", "-f", "vpc", text(&copy)]);
        assert!(info.contains(&format!("({SIZE} bytes)")), "{info}");
        assert_same(&virtualbox.flattened(&copy), &bases.raw());
        let said = virtualbox.know(&copy);
        assert!(said.contains("07070707-0707-0707-0707-070707070707"), "{said}");
        virtualbox.run(&["closemedium", "disk", text(&copy)]);
    }
}

#[test]
fn what_virtualbox_writes_to_a_child_of_ours_is_merged() {
    let bases = Bases::new(2);
    let virtualbox = VirtualBox::new();
    let copy = bases.copy("copy.vhd", CopyFormat::Vhd);
    let child = bases.drive.path("child.vhd");
    create_child(&child, CopyFormat::Vhd, [8; 16], &copy, &[]).unwrap();
    virtualbox.know(&copy);
    virtualbox.write_into(&child, &bases.changed(3, "changed"));
    virtualbox.format(&child);
    let expected = virtualbox.flattened(&child);
    bases.assert_merges(&child, &expected);
}

#[test]
fn what_virtualbox_writes_to_a_child_of_its_own_is_merged() {
    let bases = Bases::new(4);
    let virtualbox = VirtualBox::new();
    let (parent, child) = (bases.drive.path("parent.vhd"), bases.drive.path("child.vhd"));
    virtualbox.whole(&bases.raw(), &parent, "VHD");
    virtualbox.child(&child, &parent, "VHD");
    virtualbox.format(&child);
    let expected = virtualbox.flattened(&child);
    bases.assert_merges(&child, &expected);
}

#[test]
fn each_sector_comes_from_where_the_bitmap_says_in_virtualbox_as_well() {
    let bases = Bases::new(5);
    let virtualbox = VirtualBox::new();
    let copy = bases.copy("copy.vhd", CopyFormat::Vhd);
    let child = bases.drive.path("child.vhd");
    create_child(&child, CopyFormat::Vhd, [8; 16], &copy, &[]).unwrap();
    let mut file = std::fs::read(&child).unwrap();
    let mut random = Random(6);
    for block in [3, 0, 4] {
        let bitmap: Vec<u8> = noise(&mut random, 512)
            .into_iter()
            .map(|byte| if random.below(2) == 0 { byte } else { [0, 0xff][random.below(2) as usize] })
            .collect();
        vhd_block(&mut file, block, &bitmap, &noise(&mut random, BLOCK));
    }
    std::fs::write(&child, file).unwrap();
    virtualbox.know(&copy);
    let expected = virtualbox.flattened(&child);
    assert!(through(&child, &bases.raw()) == std::fs::read(&expected).unwrap());
    bases.assert_merges(&child, &expected);
}

#[test]
fn without_its_footer_the_copy_of_it_is_read() {
    let bases = Bases::new(7);
    let copy = bases.copy("copy.vhd", CopyFormat::Vhd);
    let child = bases.drive.path("child.vhd");
    create_child(&child, CopyFormat::Vhd, [8; 16], &copy, &[]).unwrap();
    let mut file = std::fs::read(&child).unwrap();
    vhd_block(&mut file, 1, &[0x0f; 512], &noise(&mut Random(8), BLOCK));
    std::fs::write(&child, &file).unwrap();
    let expected = through(&child, &bases.raw());
    file.truncate(file.len() - 512);
    std::fs::write(&child, &file).unwrap();
    assert!(through(&child, &bases.raw()) == expected);
}

#[test]
fn an_empty_child_holds_nothing_but_tables() {
    let bases = Bases::new(9);
    let copy = bases.copy("copy.vhd", CopyFormat::Vhd);
    let child = bases.drive.path("child.vhd");
    create_child(&child, CopyFormat::Vhd, [8; 16], &copy, &[]).unwrap();
    let tables = std::fs::metadata(&child).unwrap().len();
    let expected = OverlayInfo { format: Format::Vhd, virtual_size: SIZE, step: 2 << 20, tables };
    assert_eq!(inspect_overlay(&child).unwrap(), expected);
    assert!(through(&child, &bases.raw()) == std::fs::read(bases.raw()).unwrap());
}
