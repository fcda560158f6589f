//! A session on a real ext4 file system, made by the kernel's driver on a loop device: a package update, a database,
//! documents, and large temporary files that are deleted again.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pocketvm_stick::Random;

use crate::tools::{qemu_io, run, text};
use crate::workload::{Bench, MIB};

/// What is compared, in bytes: the file system's block.
const BLOCK: usize = 4096;

fn raw(folder: &Path) -> PathBuf {
    folder.join("session.raw")
}

/// A mounted raw image; dropping it unmounts it.
struct Mounted(PathBuf);

impl Mounted {
    fn new(raw: &Path, folder: &Path) -> Self {
        let place = folder.join("mount");
        std::fs::create_dir_all(&place).expect("a folder to mount in");
        run("mount", &["-o", "loop,nodiscard", text(raw), text(&place)]);
        Mounted(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[text(&self.0)]);
    }
}

/// Bytes that do not repeat.
fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(random.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Makes the file system once, and a base that holds it.
pub fn fill(base: &Path, bench: &Bench<'_>) {
    let folder = bench.folder;
    let raw = raw(folder);
    if !raw.exists() {
        let file = File::create(&raw).expect("a raw image");
        file.set_len(bench.size()).expect("a sparse file");
        run(
            "mke2fs",
            &["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&raw)],
        );
        let mounted = Mounted::new(&raw, folder);
        let mut random = Random(1);
        for package in 0..400 * bench.scale {
            let folder = mounted.0.join(format!("usr/{package}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in 0..8 {
                let len = 1024 + random.below(160 * 1024) as usize;
                std::fs::write(folder.join(file.to_string()), noise(&mut random, len)).expect("a file");
            }
        }
        std::fs::write(mounted.0.join("database"), noise(&mut random, (64 << 20) * bench.scale as usize))
            .expect("a database");
        drop(mounted);
    }
    let cluster = pocketvm_disk::inspect(base).expect("a base").cluster_size;
    let options = format!("cluster_size={cluster}");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-o", &options, text(&raw), text(base)]);
}

/// Works on the file system of the base under `overlay`, and writes what that changed into the overlay.
pub fn work(overlay: &Path, bench: &Bench<'_>, trim: bool) {
    let folder = bench.folder;
    let (before, after) = (raw(folder), folder.join(if trim { "trimmed.raw" } else { "untrimmed.raw" }));
    if !after.exists() {
        run("cp", &["--sparse=always", text(&before), text(&after)]);
        let mounted = Mounted::new(&after, folder);
        live(&mounted.0, bench.scale);
        if trim {
            run("fstrim", &[text(&mounted.0)]);
        }
    }
    let pieces = folder.join("pieces");
    let _ = std::fs::remove_dir_all(&pieces);
    std::fs::create_dir(&pieces).expect("a folder");
    qemu_io(overlay, &difference(&before, &after, &pieces, bench.size()));
    std::fs::remove_dir_all(&pieces).expect("the folder goes");
}

fn live(root: &Path, scale: u64) {
    let mut random = Random(2);
    // A tenth of the packages is replaced: new files beside the old ones, then renamed.
    for package in (0..400 * scale).step_by(10) {
        for file in 0..8 {
            let folder = root.join(format!("usr/{package}"));
            let len = 1024 + random.below(170 * 1024) as usize;
            std::fs::write(folder.join("new"), noise(&mut random, len)).expect("a file");
            std::fs::rename(folder.join("new"), folder.join(file.to_string()))
                .expect("it replaces the old one");
        }
    }
    let mut database =
        File::options().read(true).write(true).open(root.join("database")).expect("a database");
    for round in 0..300 * scale {
        let at = random.below(64 * scale * MIB / 4096) * 4096;
        database.seek(SeekFrom::Start(at)).expect("inside");
        database.write_all(&noise(&mut random, 4096)).expect("a page");
        if round % 30 == 0 {
            database.sync_all().expect("a transaction");
        }
    }
    for document in 0..60 * scale {
        let len = 20_000 + random.below(300_000) as usize;
        std::fs::write(root.join(format!("document {document}")), noise(&mut random, len))
            .expect("a document");
    }
    for file in 0..3 * scale {
        let path = root.join(format!("temporary {file}"));
        std::fs::write(&path, noise(&mut random, 32 << 20)).expect("a temporary file");
        File::open(&path).and_then(|file| file.sync_all()).expect("it reaches the disk");
        std::fs::remove_file(&path).expect("it goes");
    }
}

/// `qemu-io` commands that turn the one image into the other.
fn difference(before: &Path, after: &Path, pieces: &Path, size: u64) -> Vec<String> {
    let (before, after) = (File::open(before).expect("an image"), File::open(after).expect("an image"));
    let mut commands = Vec::new();
    let (mut old, mut new) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for mib in 0..size / MIB {
        before.read_exact_at(&mut old, mib * MIB).expect("an image");
        after.read_exact_at(&mut new, mib * MIB).expect("an image");
        let kind = |at: usize| {
            let (old, new) = (&old[at..at + BLOCK], &new[at..at + BLOCK]);
            (old != new).then(|| new.iter().any(|&byte| byte != 0))
        };
        let mut at = 0;
        while at < new.len() {
            let Some(data) = kind(at) else {
                at += BLOCK;
                continue;
            };
            let start = at;
            while at < new.len() && kind(at) == Some(data) {
                at += BLOCK;
            }
            let (offset, len) = (mib * MIB + start as u64, at - start);
            if data {
                let piece = pieces.join(commands.len().to_string());
                std::fs::write(&piece, &new[start..at]).expect("a piece");
                commands.push(format!("write -s {} {offset} {len}", text(&piece)));
            } else {
                commands.push(format!("discard {offset} {len}"));
            }
        }
    }
    commands
}
