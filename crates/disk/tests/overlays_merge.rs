//! The same random changes as a differencing disk of every format: all merges end at the same content.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;

use common::foreign::{Bases, SIZE};
use common::virtualbox::VirtualBox;
use common::writers::{vdi_block, vhd_block, vhdx_block, vhdx_differencing, vmdk_grain};
use common::{Random, qemu, text};
use pocketvm_disk::overlay::Format;
use pocketvm_disk::{CopyFormat, create_child, estimate, history, inspect_overlay, undo};

/// The blocks that differ, each as it is now, to its whole length.
fn differing<'a>(old: &'a [u8], new: &'a [u8], block: usize) -> impl Iterator<Item = (usize, Vec<u8>)> + 'a {
    old.chunks(block).zip(new.chunks(block)).enumerate().filter(|(_, (old, new))| old != new).map(
        move |(index, (_, new))| {
            let mut new = new.to_vec();
            new.resize(block, 0);
            (index, new)
        },
    )
}

/// A bit for each sector of a block that differs, and noise where none does: that must not be read.
fn in_parts(old: &[u8], new: &mut [u8], highest_first: bool) -> Vec<u8> {
    let mut bitmap = vec![0; new.len() / 512 / 8];
    for (index, sector) in new.chunks_mut(512).enumerate() {
        let before = old.get(index * 512..(index + 1) * 512).unwrap_or_default();
        if before == sector {
            sector.fill(0x5a);
        } else {
            bitmap[index / 8] |= if highest_first { 0x80 >> (index % 8) } else { 1 << (index % 8) };
        }
    }
    bitmap
}

/// Puts the changes from `old` to `new` into an empty differencing disk.
fn change(format: Format, bases: &Bases, overlay: &Path, old: &[u8], new: &[u8]) {
    let parent = bases.drive.path("parent.vdi");
    match format {
        Format::Vmdk | Format::Vhd => {
            let copy = if format == Format::Vmdk { CopyFormat::Vmdk } else { CopyFormat::Vhd };
            create_child(overlay, copy, [8; 16], &bases.copy("parent", copy), &[]).unwrap();
        }
        Format::Vdi => {
            let virtualbox = VirtualBox::new();
            virtualbox.whole(&bases.raw(), &parent, "VDI");
            virtualbox.child(overlay, &parent, "VDI");
        }
        Format::Vhdx | Format::Qcow2 => {
            let args =
                ["create", "-q", "-f", "vhdx", "-o", "block_size=1M,block_state_zero=off", text(overlay)];
            qemu("qemu-img", &[&args[..], &[&SIZE.to_string()]].concat());
        }
    }
    let mut file = std::fs::read(overlay).unwrap();
    match format {
        Format::Vmdk => {
            differing(old, new, 65536).for_each(|(grain, data)| vmdk_grain(&mut file, grain, Some(&data)));
        }
        Format::Vdi => {
            differing(old, new, 1 << 20).for_each(|(block, data)| vdi_block(&mut file, block, Some(&data)));
        }
        Format::Vhd => {
            for (block, mut data) in differing(old, new, 2 << 20) {
                let bitmap = in_parts(&old[block * (2 << 20)..], &mut data, true);
                vhd_block(&mut file, block, &bitmap, &data);
            }
        }
        Format::Vhdx | Format::Qcow2 => {
            vhdx_differencing(&mut file);
            for (block, mut data) in differing(old, new, 1 << 20) {
                let bitmap = in_parts(&old[block * (1 << 20)..], &mut data, false);
                vhdx_block(&mut file, block, &bitmap, &data);
            }
        }
    }
    std::fs::write(overlay, file).unwrap();
}

#[test]
fn the_same_changes_in_every_format_virtualboxs_too_lead_to_the_same_bases() {
    for (format, options) in [
        (Format::Vmdk, "cluster_size=4k"),
        (Format::Vdi, "cluster_size=64k,extended_l2=on"),
        (Format::Vhd, "cluster_size=2M"),
        (Format::Vhdx, "cluster_size=512"),
    ] {
        for seed in 0..2 {
            let bases = Bases::with(20 + seed, SIZE, options);
            let (old, changed) = (std::fs::read(bases.raw()).unwrap(), bases.changed(30 + seed, "changed"));
            // VirtualBox adds what is missing of a name.
            let overlay = bases.drive.path("overlay.vdi");
            change(format, &bases, &overlay, &old, &std::fs::read(&changed).unwrap());
            assert_eq!(inspect_overlay(&overlay).unwrap().format, format);
            let disk = bases.drive.disk("b.qcow2", &overlay, bases.generations[0]);
            let expected = estimate(&bases.drive.commit(), &[disk]).unwrap();
            bases.assert_merges(&overlay, &changed);
            let steps = history(&bases.drive.commit()).unwrap();
            assert_eq!(steps[0].changed, 2 * expected.changed, "{format:?}");
            undo(&bases.drive.commit()).unwrap();
            assert!(std::fs::read(bases.raw()).unwrap() == old, "{format:?}");
            // Once more, from the state before.
            bases.assert_merges(&overlay, &changed);
        }
    }
}

#[test]
fn random_writes_of_a_guest_over_many_sessions_add_up() {
    // Each session has a copy of its own, as on a PC that does not keep it.
    let mut bases = Bases::new(40);
    for session in 0..3 {
        let copy = bases.copy(&format!("{session}.vmdk"), CopyFormat::Vmdk);
        let child = bases.drive.path(&format!("{session}.child.vmdk"));
        create_child(&child, CopyFormat::Vmdk, [session; 16], &copy, &[]).unwrap();
        common::foreign::write(&child, "vmdk", &Random(50 + u64::from(session)).commands(10, SIZE));
        let expected = bases.drive.path("expected");
        qemu("qemu-img", &["convert", "-O", "raw", text(&child), text(&expected)]);
        bases.generations = bases.assert_merges(&child, &expected);
    }
}
