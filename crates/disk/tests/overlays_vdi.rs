//! VDI: differencing disks that VirtualBox made, and what it reads from blocks that it would not write so.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use common::Random;
use common::foreign::{Bases, SIZE, through};
use common::virtualbox::VirtualBox;
use common::writers::{noise, vdi_block};
use pocketvm_disk::inspect_overlay;
use pocketvm_disk::overlay::Format;

const BLOCK: usize = 1 << 20;

#[test]
fn what_virtualbox_writes_is_merged() {
    let bases = Bases::new(1);
    let virtualbox = VirtualBox::new();
    let (parent, child) = (bases.drive.path("parent.vdi"), bases.drive.path("child.vdi"));
    virtualbox.whole(&bases.raw(), &parent, "VDI");
    virtualbox.child(&child, &parent, "VDI");
    let info = inspect_overlay(&child).unwrap();
    assert_eq!((info.format, info.virtual_size, info.step), (Format::Vdi, SIZE, BLOCK as u64));
    assert_eq!(info.tables, std::fs::metadata(&child).unwrap().len());
    virtualbox.write_into(&child, &bases.changed(2, "changed"));
    virtualbox.format(&child);
    let expected = virtualbox.flattened(&child);
    bases.assert_merges(&child, &expected);
}

#[test]
fn blocks_in_any_order_and_blocks_of_zeroes_read_as_in_virtualbox() {
    let bases = Bases::new(3);
    let virtualbox = VirtualBox::new();
    let (parent, child) = (bases.drive.path("parent.vdi"), bases.drive.path("child.vdi"));
    virtualbox.whole(&bases.raw(), &parent, "VDI");
    virtualbox.child(&child, &parent, "VDI");
    let mut file = std::fs::read(&child).unwrap();
    let mut random = Random(4);
    for block in [7, 2, 9] {
        vdi_block(&mut file, block, Some(&noise(&mut random, BLOCK)));
    }
    vdi_block(&mut file, 0, None);
    vdi_block(&mut file, 4, None);
    std::fs::write(&child, file).unwrap();
    let expected = virtualbox.flattened(&child);
    assert!(through(&child, &bases.raw()) == std::fs::read(&expected).unwrap());
    bases.assert_merges(&child, &expected);
}
