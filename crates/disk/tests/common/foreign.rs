//! Overlays of other hypervisors: a base on a drive, a copy of it, and what must come of merging changes over it.

use std::path::{Path, PathBuf};

use pocketvm_disk::overlay::{Cache, Overlay};
use pocketvm_disk::qcow2::entry::Run;
use pocketvm_disk::storage::{Access, FileStorage};
use pocketvm_disk::{BaseFormat, Copied, CopyFormat, GenerationId, copy_base, stamp_raw};

use super::{Drive, Random, assert_clean, assert_same, io, qemu, text};

/// Of each base: no multiple of any block.
pub const SIZE: u64 = (9 << 20) + 11 * 512;

/// A drive with a qcow2 and a raw base of the same random content.
pub struct Bases {
    pub drive: Drive,
    pub generations: [GenerationId; 2],
}

/// Their names.
pub const NAMES: [&str; 2] = ["b.qcow2", "b.img"];

impl Bases {
    pub fn new(seed: u64) -> Self {
        Bases::with(seed, SIZE, "cluster_size=16k")
    }

    pub fn with(seed: u64, size: u64, options: &str) -> Self {
        let drive = Drive::new();
        let [base, raw] = NAMES.map(|name| drive.base(name));
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&base), &size.to_string()]);
        io(&base, &Random(seed).commands(25, size));
        qemu("qemu-img", &["convert", "-O", "raw", text(&base), text(&raw)]);
        let generation = drive.stamp(NAMES[0]);
        let raw_generation = stamp_raw(&drive.commit(), &["bases/b.img"]).unwrap()[0];
        Bases { drive, generations: [generation, raw_generation] }
    }

    pub fn raw(&self) -> PathBuf {
        self.drive.base(NAMES[1])
    }

    /// A copy of the qcow2 base.
    pub fn copy(&self, name: &str, format: CopyFormat) -> PathBuf {
        let path = self.drive.path(name);
        self.copy_of(NAMES[0], BaseFormat::Qcow2, &path, format);
        path
    }

    pub fn copy_of(&self, base: &str, format: BaseFormat, to: &Path, copy: CopyFormat) -> Copied {
        let base = format!("bases/{base}");
        copy_base(&self.drive.path("drive"), &base, format, to, copy, [7; 16], &()).unwrap()
    }

    /// Merges an overlay into both bases, which must read as the raw file `expected` then. Returns their generations.
    pub fn assert_merges(&self, overlay: &Path, expected: &Path) -> [GenerationId; 2] {
        let disks = [0, 1].map(|at| self.drive.disk(NAMES[at], overlay, self.generations[at]));
        let merged = self.drive.merge(&disks);
        assert!(merged.disks[0].amounts.changed > 0, "the overlay is empty");
        assert_clean(&self.drive.base(NAMES[0]));
        for name in NAMES {
            assert_same(&self.drive.base(name), expected);
        }
        disks.map(|disk| disk.next)
    }

    /// The raw base with random changes.
    pub fn changed(&self, seed: u64, name: &str) -> PathBuf {
        let path = self.drive.path(name);
        std::fs::copy(self.raw(), &path).unwrap();
        let commands = Random(seed).commands(25, SIZE);
        write(&path, "raw", &commands);
        path
    }
}

/// Random writes by QEMU.
pub fn write(image: &Path, format: &str, commands: &[String]) {
    let mut args = vec!["-f", format];
    commands.iter().for_each(|command| args.extend(["-c", command]));
    args.push(text(image));
    let output = qemu("qemu-io", &args);
    assert!(!output.contains("rror"), "{commands:?}: {output}");
}

/// What a guest reads through an overlay over the bytes of its parent.
pub fn through(overlay: &Path, parent: &Path) -> Vec<u8> {
    let overlay = Overlay::open(FileStorage::open(overlay, Access::ReadStable).unwrap()).unwrap();
    let mut bytes = std::fs::read(parent).unwrap();
    bytes.resize(overlay.virtual_size() as usize, 0);
    let mut runs = Vec::new();
    overlay
        .runs(&mut Cache::default(), 0, overlay.virtual_size(), |from, to, run| runs.push((from, to, run)))
        .unwrap();
    for (from, to, run) in runs.into_iter().filter(|(.., run)| *run != Run::Absent) {
        overlay.read_run(from, run, &mut bytes[from as usize..to as usize]).unwrap();
    }
    bytes
}

/// Makes sure that a qcow2 base holds whatever an overlay has; says how much that is.
pub fn through_in_part(overlay: &Path, base: &Path) -> u64 {
    let open = |path| Overlay::open(FileStorage::open(path, Access::ReadStable).unwrap()).unwrap();
    let (overlay, base) = (open(overlay), open(base));
    let (mut cache, mut lower) = (Cache::default(), Cache::default());
    let (mut at, mut found) = (0, 0);
    while let Some(start) = overlay.next_present(&mut cache, at).unwrap() {
        at = (start - start % overlay.step() + overlay.step()).min(overlay.virtual_size());
        let mut runs = Vec::new();
        overlay.runs(&mut cache, start, at, |from, to, run| runs.push((from, to, run))).unwrap();
        for (from, to, run) in runs.into_iter().filter(|(.., run)| *run != Run::Absent) {
            let mut bytes = vec![0; (to - from) as usize];
            overlay.read_run(from, run, &mut bytes).unwrap();
            let mut merged = vec![0; bytes.len()];
            let mut parts = Vec::new();
            base.runs(&mut lower, from, to, |from, to, run| parts.push((from, to, run))).unwrap();
            for (start, end, run) in parts {
                base.read_run(start, run, &mut merged[(start - from) as usize..(end - from) as usize])
                    .unwrap();
            }
            assert!(bytes == merged, "{from}..{to}");
            found += to - from;
        }
    }
    found
}
