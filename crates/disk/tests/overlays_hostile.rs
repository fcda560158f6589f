//! Differencing disks that somebody broke, by chance or on purpose: nothing panics, spins or allocates without bound, and what
//! opens reads the same whichever way one asks.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use common::minimal::{BLOCKS, Minimal, all, vdi, vhd, vhdx, vmdk, with_sums};
use pocketvm_disk::overlay::{Cache, Overlay};
use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::storage::Storage;
use pocketvm_disk::{Error, Refusal, Result};
use proptest::prelude::*;

/// A file in memory of which so much may be read, and no more. Behind its bytes it may have zeroes, as a sparse file does.
struct Bounded<'a> {
    bytes: &'a [u8],
    len: u64,
    left: AtomicU64,
}

impl<'a> Bounded<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Bounded { bytes, len: bytes.len() as u64, left: AtomicU64::new(16 * bytes.len() as u64 + (1 << 20)) }
    }
}

impl std::fmt::Debug for Bounded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}

impl Storage for Bounded<'_> {
    fn name(&self) -> &str {
        "bounded"
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let take = |left: u64| left.checked_sub(buf.len() as u64);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).expect("too much was read");
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        let start = offset.min(self.bytes.len() as u64) as usize;
        let there = &self.bytes[start..(start + buf.len()).min(self.bytes.len())];
        buf[..there.len()].copy_from_slice(there);
        Ok(())
    }
    fn write_at(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        panic!("an overlay was written to");
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        panic!("an overlay was written to");
    }
    fn forget_cache(&self) {}
    fn modified(&self) -> io::Result<Option<i64>> {
        Ok(None)
    }
    fn set_modified(&self, _seconds: i64) -> io::Result<()> {
        Ok(())
    }
}

fn open(bytes: &[u8]) -> Result<Overlay<Bounded<'_>>> {
    Overlay::open(Bounded::new(bytes))
}

/// The runs of a whole disk that are not absent: they follow each other, and no other way of asking finds others.
fn present(overlay: &Overlay<Bounded<'_>>) -> Result<BTreeMap<u64, (u64, Run)>> {
    let size = overlay.virtual_size();
    let mut runs = Vec::new();
    overlay.runs(&mut Cache::default(), 0, size, |from, to, run| runs.push((from, to, run)))?;
    let mut at = 0;
    for &(from, to, _) in &runs {
        assert!(from == at && to > from);
        at = to;
    }
    assert_eq!(at, size);
    let present: BTreeMap<u64, (u64, Run)> = runs
        .into_iter()
        .filter(|(.., run)| *run != Run::Absent)
        .map(|(from, to, run)| (from, (to, run)))
        .collect();
    let mut cache = Cache::default();
    let (mut at, mut stepped) = (0, BTreeMap::new());
    while let Some(start) = overlay.next_present(&mut cache, at)? {
        assert!(start >= at && start < size);
        at = (start - start % overlay.step() + overlay.step()).min(size);
        overlay.runs(&mut cache, start, at, |from, to, run| {
            if run != Run::Absent {
                stepped.insert(from, to);
            }
        })?;
    }
    let bytes = |runs: &mut dyn Iterator<Item = (u64, u64)>| runs.map(|(from, to)| to - from).sum::<u64>();
    assert_eq!(
        bytes(&mut stepped.into_iter()),
        bytes(&mut present.iter().map(|(&from, &(to, _))| (from, to)))
    );
    for (&from, &(to, run)) in &present {
        overlay.read_run(from, run, &mut vec![0; (to - from) as usize])?;
    }
    Ok(present)
}

/// Whatever becomes of it, as long as it ends.
fn try_everything(bytes: &[u8]) {
    let Ok(overlay) = open(bytes) else { return };
    if overlay.virtual_size() / overlay.step() <= 1 << 16 {
        let _ = present(&overlay);
    } else {
        let mut cache = Cache::default();
        let mut at = 0;
        while let Ok(Some(start)) = overlay.next_present(&mut cache, at) {
            at = start + overlay.step();
        }
    }
}

#[test]
fn the_smallest_disks_are_sound() {
    for Minimal { name, file, block, .. } in all() {
        let overlay = open(&file).unwrap();
        assert_eq!(overlay.virtual_size(), (BLOCKS * block) as u64, "{name}");
        let runs = present(&overlay).unwrap();
        let mut bytes = vec![0; BLOCKS * block];
        for (&from, &(to, run)) in &runs {
            overlay.read_run(from, run, &mut bytes[from as usize..to as usize]).unwrap();
        }
        let stored = if name == "vhd" { 8 * 512 } else { block };
        assert!(bytes[..stored].iter().all(|&byte| byte == 1), "{name}");
        // The VHD has the last four sectors of this block.
        let skipped = if name == "vhd" { 4 * 512 } else { 0 };
        assert!(bytes[5 * block + skipped..5 * block + block].iter().all(|&byte| byte == 5), "{name}");
        let zeroes = runs.values().filter(|(_, run)| *run == Run::Zero).count();
        assert_eq!((runs.len(), zeroes), if name == "vhd" { (2, 0) } else { (3, 1) }, "{name}");
    }
}

#[test]
fn every_field_may_hold_anything() {
    let values =
        [0, 1, 2, 3, 0xff, 512, 0x7fff_ffff, 0x8000_0000, u64::from(u32::MAX), 1 << 62, 1 << 63, u64::MAX];
    for Minimal { file, tables, .. } in all() {
        // Each broken file of 5 MiB takes its time.
        let fewer = file.len() > 1 << 20;
        for at in tables.into_iter().flat_map(|range| range.step_by(if fewer { 8 } else { 4 })) {
            for value in values.iter().skip(usize::from(fewer) * 6) {
                for bytes in [value.to_le_bytes(), value.to_be_bytes()] {
                    for width in [4, 8] {
                        let mut broken = file.clone();
                        let from = if bytes[0] == 0 && width == 4 { 4 } else { 0 };
                        let Some(place) = broken.get_mut(at..at + width) else { continue };
                        place.copy_from_slice(&bytes[from..from + width]);
                        try_everything(&with_sums(broken));
                    }
                }
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    for Minimal { name, file, block, .. } in all() {
        let step = if name == "vhdx" { 64 << 10 } else { 100 };
        // A VHD without its footer is whole, thanks to the copy.
        let whole = if name == "vhd" { file.len() - 512 } else { file.len() };
        for len in (0..whole).step_by(step).chain([whole - 1]) {
            match open(&file[..len]) {
                Err(Error::Refused { .. } | Error::Damaged { .. }) => {}
                other => panic!("{name} of {block}, {len}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_table_that_names_one_block_for_the_whole_disk_is_refused() {
    let le = |number: u64| number.to_le_bytes();
    let mut bombs = Vec::new();
    let mut file = vmdk().file;
    for at in (2048..2048 + BLOCKS * 4).step_by(4) {
        file[at..at + 4].copy_from_slice(&le(16)[..4]);
    }
    bombs.push(file);
    // The same table for a disk of 128 times the size.
    let mut file = vmdk().file;
    file[12..20].copy_from_slice(&le(128 * 4096));
    let text = String::from_utf8(file[512..1536].to_vec()).unwrap();
    file[512..1536].copy_from_slice(&text.replace("RW 128", "RW 524288").as_bytes()[..1024]);
    file[1536..2048].copy_from_slice(&[4_u32.to_le_bytes(); 128].concat());
    bombs.push(file);
    let mut file = vdi().file;
    file[512..512 + BLOCKS * 4].fill(0);
    bombs.push(file);
    let mut file = vhd().file;
    file[1536..1536 + BLOCKS * 4].copy_from_slice(&[4_u32.to_be_bytes(); BLOCKS].concat());
    bombs.push(file);
    let mut file = vhdx().file;
    let table = [((3 << 20) + 6_u64).to_le_bytes(); BLOCKS].concat();
    file[1 << 20..(1 << 20) + BLOCKS * 8].copy_from_slice(&table);
    bombs.push(file);
    for (index, file) in bombs.into_iter().enumerate() {
        match open(&with_sums(file)) {
            Err(Error::Damaged { what, .. }) => assert!(what.contains("room for"), "{index}: {what}"),
            other => panic!("{index}: {other:?}"),
        }
    }
}

#[test]
fn a_block_in_the_tables_is_refused() {
    let cases: [(Minimal, usize, [u8; 8], usize); 4] = [
        (vmdk(), 2048, 8_u64.to_le_bytes(), 4),
        (vdi(), 0x158, 256_u64.to_le_bytes(), 4),
        (vhd(), 1536, (3_u64 << 32).to_be_bytes(), 4),
        (vhdx(), 1 << 20, ((2_u64 << 20) + 6).to_le_bytes(), 8),
    ];
    for (Minimal { name, mut file, .. }, at, value, width) in cases {
        file[at..at + width].copy_from_slice(&value[..width]);
        assert!(matches!(open(&with_sums(file)), Err(Error::Damaged { .. })), "{name}");
    }
}

#[test]
fn whole_disks_and_files_of_other_kinds_are_refused_in_words() {
    let mut whole_vmdk = vmdk().file;
    let text = String::from_utf8(whole_vmdk[512..1536].to_vec()).unwrap();
    let change = |from: &str, to: &str| text.replace(from, to).as_bytes()[..1024].to_vec();
    whole_vmdk[512..1536].copy_from_slice(&change("parentCID=00000002", "parentCID=ffffffff"));
    let mut split = vmdk().file;
    split[512..1536].copy_from_slice(&change("monolithicSparse", "twoGbMaxExtentSparse"));
    let mut stream = vmdk().file;
    stream[10] = 3;
    let mut growing_vdi = vdi().file;
    growing_vdi[0x4c] = 1;
    let mut old_vdi = vdi().file;
    old_vdi[0x44] = 0;
    let mut growing_vhd = vhd().file;
    growing_vhd[63] = 3;
    let mut fixed_vhd = vec![7; 8192];
    fixed_vhd.extend(&vhd().file[..512]);
    let mut growing_vhdx = vhdx().file;
    growing_vhdx[(2 << 20) + 0x1_0004] = 0;
    let mut logged = vhdx().file;
    logged[0x2_0030] = 1;
    let cases = [
        (whole_vmdk, Refusal::WholeDisk),
        (split, Refusal::SeveralFiles),
        (b"# Disk DescriptorFile\nversion=1\n".to_vec(), Refusal::SeveralFiles),
        (stream, Refusal::CompressedOverlay),
        (growing_vdi, Refusal::WholeDisk),
        (old_vdi, Refusal::OverlayVersion("VDI 1.0".to_owned())),
        (growing_vhd, Refusal::WholeDisk),
        (fixed_vhd, Refusal::WholeDisk),
        (growing_vhdx, Refusal::WholeDisk),
        (logged, Refusal::UnfinishedLog),
        (vec![7; 4096], Refusal::NotOverlay),
        (Vec::new(), Refusal::NotOverlay),
    ];
    for (index, (file, expected)) in cases.into_iter().enumerate() {
        match open(&with_sums(file)) {
            Err(Error::Refused { why, .. }) => {
                assert_eq!(why, expected, "{index}");
                assert!(why.hint().is_some());
            }
            other => panic!("{index}: {other:?}"),
        }
    }
}

#[test]
fn a_sparse_file_of_any_length_asks_for_no_more_work_than_its_tables() {
    for Minimal { name, file, .. } in all() {
        for len in [1 << 40, 1 << 62, u64::MAX >> 1] {
            let mut storage = Bounded::new(&file);
            storage.len = len;
            let opened = Overlay::open(storage);
            assert!(opened.is_ok(), "{name}: {opened:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600 * common::soak()))]

    #[test]
    fn random_damage_to_tables_is_noticed_or_read_consistently(
        which in 0..4_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.1, any::<proptest::sample::Index>()),
        sums in proptest::bool::weighted(0.8),
    ) {
        let Minimal { mut file, tables, .. } = all().into_iter().nth(which).unwrap();
        let places: Vec<usize> = tables.into_iter().flatten().collect();
        for (at, byte) in damage {
            file[places[at.index(places.len())]] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        try_everything(&if sums { with_sums(file) } else { file });
    }
}
