//! Disks with an NTFS volume, made by ntfs-3g.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pocketvm_guest::partition::Table;
use pocketvm_guest::windows::{self, Windows};
use pocketvm_guest::{Edit, Part};

use crate::programs::{ask, command, missing, run};

/// Where the volume begins on the disk, in bytes.
pub const START: u64 = 1 << 20;
/// Of a cluster, in bytes.
pub const CLUSTER: usize = 4096;

/// A disk with a GPT and one NTFS volume, in memory; its tools see it as files.
#[derive(Clone)]
pub struct Image {
    pub bytes: Vec<u8>,
}

/// How larger files lie on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In one piece.
    Whole,
    /// Each cluster somewhere else.
    Scattered,
}

impl Image {
    /// A disk with these files.
    pub fn new(files: &[(&str, &[u8])], layout: Layout) -> Image {
        // Files in pieces lie in as much again.
        let size = if layout == Layout::Whole { 8 << 20 } else { 24 << 20 };
        Image::with(size, |root| {
            for (path, content) in files {
                write(&root.join(path), content, layout);
            }
        })
    }

    /// A disk whose volume `fill` fills.
    fn with(size: u64, fill: impl FnOnce(&Path)) -> Image {
        let dir = tempfile::tempdir().unwrap();
        let (volume, mount) = (dir.path().join("volume"), dir.path().join("mount"));
        fs::create_dir(&mount).unwrap();
        File::create(&volume).unwrap().set_len(size).unwrap();
        let cluster = CLUSTER.to_string();
        run("mkntfs", ["-F", "-Q", "-q", "-L", "System", "-c", &cluster, volume.to_str().unwrap()]);
        fill(Mount::new(&volume, &mount).path());
        let disk = dir.path().join("disk");
        File::create(&disk).unwrap().set_len(START + size + START).unwrap();
        let number = format!("1:{}:{}", START / 512, (START + size) / 512 - 1);
        run(
            "sgdisk",
            ["-n", &number, "-t", "1:0700", "-c", "1:Basic data partition", disk.to_str().unwrap()],
        );
        let file = OpenOptions::new().write(true).open(&disk).unwrap();
        file.write_all_at(&fs::read(&volume).unwrap(), START).unwrap();
        Image { bytes: fs::read(&disk).unwrap() }
    }

    /// The volume.
    pub fn volume(&mut self) -> &mut [u8] {
        let end = self.bytes.len() - START as usize;
        &mut self.bytes[START as usize..end]
    }

    /// The Windows on the only partition.
    pub fn inspect(&self) -> Windows {
        self.try_inspect().unwrap().expect("there is a Windows")
    }

    pub fn try_inspect(&self) -> pocketvm_guest::Result<Option<Windows>> {
        let disk = self.bytes.as_slice();
        let table = Table::read(disk)?;
        assert_eq!((table.partitions.len(), table.partitions[0].start), (1, START));
        windows::inspect(&Part::new(disk, table.partitions[0].start, table.partitions[0].size))
    }

    /// Does what was planned, as a caller has to: only where the expected bytes are.
    pub fn apply(&mut self, edits: &[Edit]) {
        for edit in edits {
            let there = &mut self.bytes[edit.offset as usize..][..edit.before.len()];
            assert_eq!((&*there, edit.after.len()), (edit.before.as_slice(), there.len()), "{}", edit.what);
            there.copy_from_slice(&edit.after);
        }
    }

    /// The volume as a file.
    pub fn volume_file(&self, dir: &Path) -> PathBuf {
        let path = dir.join("volume");
        fs::write(&path, &self.bytes[START as usize..self.bytes.len() - START as usize]).unwrap();
        path
    }

    /// A file on the volume, as ntfs-3g reads it.
    pub fn read(&self, dir: &Path, path: &str) -> PathBuf {
        let content = run("ntfscat", [self.volume_file(dir).as_os_str(), path.as_ref()]);
        let file = dir.join("content");
        fs::write(&file, content).unwrap();
        file
    }

    /// Changes files on the volume.
    pub fn change(&mut self, dir: &Path, change: impl FnOnce(&Path)) {
        let (volume, mount) = (self.volume_file(dir), dir.join("mount"));
        fs::create_dir(&mount).unwrap();
        change(Mount::new(&volume, &mount).path());
        self.volume().copy_from_slice(&fs::read(&volume).unwrap());
    }

    /// What ntfs-3g thinks of mounting the volume to write; 0 is yes.
    pub fn probe(&self) -> i32 {
        let dir = tempfile::tempdir().unwrap();
        ask("ntfs-3g.probe", ["--readwrite".as_ref(), self.volume_file(dir.path()).as_os_str()])
            .status
            .code()
            .unwrap()
    }

    /// All that ntfs-3g knows of a file.
    pub fn told(&self, path: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let volume = self.volume_file(dir.path());
        let told = run("ntfsinfo", ["-v".as_ref(), "-F".as_ref(), path.as_ref(), volume.as_os_str()]);
        String::from_utf8(told).unwrap()
    }

    /// Where the record of a file is in the volume.
    pub fn record(&mut self, path: &str) -> usize {
        let told = self.told(path);
        let number = told.split_once("Dumping Inode ").unwrap().1.split_once(' ').unwrap().0;
        self.record_of(number.parse().unwrap())
    }

    /// Where a record is in the volume. The master file table of a small volume is in one piece.
    pub fn record_of(&mut self, number: u32) -> usize {
        let volume = self.volume();
        let start = u64::from_le_bytes(volume[0x30..0x38].try_into().unwrap()) as usize * CLUSTER;
        let at = start + number as usize * 1024;
        assert_eq!(
            (&volume[at..at + 4], &volume[at + 0x2C..at + 0x30]),
            (b"FILE".as_slice(), number.to_le_bytes().as_slice())
        );
        at
    }

    /// Where the attribute of this kind is in the volume.
    pub fn attribute(&mut self, record: usize, kind: u32) -> usize {
        let volume = self.volume();
        let word = |at: usize| u32::from_le_bytes(volume[at..at + 4].try_into().unwrap());
        let mut at = record
            + usize::from(u16::from_le_bytes(volume[record + 0x14..record + 0x16].try_into().unwrap()));
        while word(at) != kind {
            assert!(word(at) < kind, "there is such an attribute");
            at += word(at + 4) as usize;
        }
        at
    }
}

/// Writes a file, in as many pieces as it has clusters if it is to be scattered: another file grows with it.
fn write(path: &Path, content: &[u8], layout: Layout) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if layout == Layout::Whole || content.len() <= CLUSTER {
        return fs::write(path, content).unwrap();
    }
    let mut files = [File::create(path).unwrap(), File::create(path.with_added_extension("filler")).unwrap()];
    for cluster in content.chunks(CLUSTER) {
        for file in &mut files {
            file.write_all(cluster).unwrap();
        }
    }
}

/// An NTFS volume that is mounted, until this is dropped.
pub struct Mount<'p> {
    at: &'p Path,
    server: Child,
}

impl<'p> Mount<'p> {
    pub fn new(volume: &Path, at: &'p Path) -> Self {
        let before = at.metadata().unwrap().dev();
        // In the foreground: when it ends, everything is in the image.
        let server =
            command("ntfs-3g").arg("-o").arg("no_detach").arg(volume).arg(at).stderr(Stdio::null()).spawn();
        let mut server = server.unwrap_or_else(|error| missing("ntfs-3g", &error));
        let start = Instant::now();
        while at.metadata().map_or(before, |metadata| metadata.dev()) == before {
            let ended = server.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < Duration::from_secs(60),
                "ntfs-3g does not mount: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Mount { at, server }
    }

    pub fn path(&self) -> &Path {
        self.at
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        run("umount", [self.at]);
        assert!(self.server.wait().unwrap().success(), "ntfs-3g ended badly");
    }
}
