//! Makes the seeds of the fuzz targets `hive` and `windows` again: hives and volumes, of which only what is read.
//!
//!     cargo run --manifest-path crates/guest/fuzz/Cargo.toml --example windows-seeds
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::{fs, io};

use pocketvm_guest::windows::{inspect, plan};
use pocketvm_guest::{Disk, Part};

use pocketvm_specimen::flavours::Flavour;
use pocketvm_specimen::hives;
use pocketvm_specimen::image::{Image, Layout};

/// A volume that remembers which of its sectors were read.
struct Read<'v> {
    volume: &'v [u8],
    sectors: RefCell<BTreeSet<u16>>,
}

impl Disk for Read<'_> {
    fn size(&self) -> u64 {
        self.volume.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        self.sectors
            .borrow_mut()
            .extend((offset / 512..end.div_ceil(512)).map(|sector| u16::try_from(sector).unwrap()));
        self.volume.read_at(offset, buf)
    }
}

fn main() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let put = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus.join(target)).unwrap();
        fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    let seven = Flavour::windows_7();
    put("hive", "windows-7", &seven.system.hive());
    put("hive", "windows-10", &Flavour::windows_10_with(0).system.hive());
    put("hive", "empty", &hives::empty());
    let volumes = [
        ("windows-7", seven.image(Layout::Whole)),
        ("windows-10", Flavour::windows_10_with(0).image(Layout::Whole)),
        ("scattered", Flavour::windows_10_with(20).image(Layout::Scattered)),
    ];
    for (name, mut image) in volumes {
        put("windows", name, &seed(&mut image));
    }
}

/// The sectors that are read, as the target takes them.
fn seed(image: &mut Image) -> Vec<u8> {
    let read = Read { volume: image.volume(), sectors: RefCell::default() };
    let windows = inspect(&Part::new(&read, 0, read.size())).unwrap().unwrap();
    plan(&windows, &["LSI_SAS"]).unwrap();
    let mut seed = Vec::new();
    for number in read.sectors.take() {
        let sector = &read.volume[usize::from(number) * 512..][..512];
        if sector.iter().any(|byte| *byte != 0) {
            seed.extend(number.to_le_bytes());
            seed.extend(sector);
        }
    }
    seed
}
