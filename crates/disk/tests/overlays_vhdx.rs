//! VHDX: no program here makes or reads a differencing one. So QEMU writes the blocks of a growing one, and a writer made from
//! [MS-VHDX], which shares nothing with the engine, turns that into a differencing one and adds blocks that are there in parts.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};

use common::foreign::{Bases, SIZE, through, write};
use common::writers::{noise, put, vhdx_block, vhdx_differencing, vhdx_entries, vhdx_state, vhdx_sum};
use common::{Random, qemu, text};
use pocketvm_disk::overlay::{Format, Overlay};
use pocketvm_disk::storage::{Access, FileStorage};
use pocketvm_disk::{Error, Refusal, inspect_overlay};

const BLOCK: usize = 1 << 20;

/// A growing VHDX with these writes, by QEMU.
fn growing(bases: &Bases, commands: &[String]) -> PathBuf {
    let path = bases.drive.path("child.vhdx");
    let args = [
        "create",
        "-q",
        "-f",
        "vhdx",
        "-o",
        "block_size=1M,block_state_zero=off",
        text(&path),
        &SIZE.to_string(),
    ];
    qemu("qemu-img", &args);
    write(&path, "vhdx", commands);
    path
}

fn expect(bases: &Bases, bytes: &[u8]) -> PathBuf {
    let path = bases.drive.path("expected");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refusal(path: &Path) -> Refusal {
    match Overlay::open(FileStorage::open(path, Access::Read).unwrap()) {
        Err(Error::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn blocks_that_are_there_wholly_in_parts_or_as_zeroes_are_merged() {
    let bases = Bases::new(1);
    let commands = ["write -q -P 3 1M 1M", "write -q -P 4 4097k 900k"].map(str::to_owned);
    let path = growing(&bases, &commands);
    assert_eq!(refusal(&path), Refusal::WholeDisk);
    let flat = bases.drive.path("flat");
    qemu("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", text(&path), text(&flat)]);
    let flat = std::fs::read(flat).unwrap();
    let mut expected = std::fs::read(bases.raw()).unwrap();
    let whole = |block: usize| block * BLOCK..((block + 1) * BLOCK).min(SIZE as usize);
    for block in [1, 4] {
        expected[whole(block)].copy_from_slice(&flat[whole(block)]);
    }

    let mut file = std::fs::read(&path).unwrap();
    vhdx_differencing(&mut file);
    let mut random = Random(2);
    for block in [6, 0, 9] {
        let (bitmap, data) = (noise(&mut random, BLOCK / 512 / 8), noise(&mut random, BLOCK));
        vhdx_block(&mut file, block, &bitmap, &data);
        for sector in (0..BLOCK / 512).filter(|sector| bitmap[sector / 8] >> (sector % 8) & 1 == 1) {
            let to = block * BLOCK + sector * 512;
            if to < SIZE as usize {
                expected[to..to + 512].copy_from_slice(&data[sector * 512..][..512]);
            }
        }
    }
    for (block, state) in [(2, 1), (3, 2), (7, 3)] {
        vhdx_state(&mut file, block, state);
        expected[whole(block)].fill(0);
    }
    std::fs::write(&path, file).unwrap();
    assert!(through(&path, &bases.raw()) == expected);
    let expected = expect(&bases, &expected);
    bases.assert_merges(&path, &expected);
}

#[test]
fn what_qemu_writes_is_merged() {
    let bases = Bases::new(3);
    let path = growing(&bases, &Random(4).commands(20, SIZE));
    let info = inspect_overlay(&path).unwrap();
    assert_eq!((info.format, info.virtual_size, info.step), (Format::Vhdx, SIZE, BLOCK as u64));
    let flat = bases.drive.path("flat");
    qemu("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", text(&path), text(&flat)]);
    let flat = std::fs::read(flat).unwrap();
    let mut file = std::fs::read(&path).unwrap();
    vhdx_differencing(&mut file);
    // Where QEMU has no block, the parent's shows.
    let mut expected = std::fs::read(bases.raw()).unwrap();
    for block in 0..(SIZE as usize).div_ceil(BLOCK) {
        if file[vhdx_entries(&file, block).0] & 7 != 0 {
            let range = block * BLOCK..((block + 1) * BLOCK).min(SIZE as usize);
            expected[range.clone()].copy_from_slice(&flat[range]);
        }
    }
    std::fs::write(&path, file).unwrap();
    let expected = expect(&bases, &expected);
    bases.assert_merges(&path, &expected);
}

#[test]
fn the_header_with_the_higher_number_is_read_and_a_log_is_not_passed_over() {
    let bases = Bases::new(5);
    let path = growing(&bases, &["write -q -P 3 1M 1M".to_owned()]);
    let mut file = std::fs::read(&path).unwrap();
    vhdx_differencing(&mut file);
    let set = |file: &mut [u8], header: usize, sequence: u64, log: u8| {
        put(file, header + 8, &sequence.to_le_bytes());
        put(file, header + 48, &[log; 16]);
        vhdx_sum(file, header, 4096);
    };
    set(&mut file, 0x1_0000, 5, 0);
    set(&mut file, 0x2_0000, 4, 9);
    std::fs::write(&path, &file).unwrap();
    through(&path, &bases.raw());
    set(&mut file, 0x2_0000, 6, 9);
    std::fs::write(&path, &file).unwrap();
    assert_eq!(refusal(&path), Refusal::UnfinishedLog);
    // One that does not hold is none.
    file[0x2_0000 + 100] ^= 1;
    std::fs::write(&path, &file).unwrap();
    through(&path, &bases.raw());
}
