//! Real QEMU programs as oracles, and a drive folder to merge in.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "each test file uses a part of this")]

pub mod crash;
pub mod cuts;
pub mod foreign;
pub mod minimal;
pub mod scene;
pub mod virtualbox;
pub mod writers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pocketvm_disk::{CommitFile, GenerationId, MergeDisk, Merged, merge, stamp};

/// How many times as many cases as usual to try: `POCKETVM_SOAK`, 1 if it is not set.
pub fn soak() -> u32 {
    std::env::var("POCKETVM_SOAK").map_or(1, |factor| factor.parse().expect("POCKETVM_SOAK is a number"))
}

/// Runs one of QEMU's programs, which must be installed and succeed.
pub fn qemu(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program} (package qemu-utils): {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `qemu-io` commands on an image.
pub fn io(image: &Path, commands: &[String]) {
    let mut args = vec!["-d", "unmap", "-f", "qcow2"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(text(image));
    let output = qemu("qemu-io", &args);
    assert!(!output.contains("rror"), "{commands:?}: {output}");
}

/// `qemu-img check` finds neither errors nor leaks.
pub fn assert_clean(image: &Path) {
    let report = qemu("qemu-img", &["check", "-f", "qcow2", text(image)]);
    assert!(report.contains("No errors were found"), "{report}");
    let ours = pocketvm_disk::check(image).unwrap();
    assert_eq!((ours.error_count, ours.leaks), (0, 0), "{ours:?}");
}

/// `qemu-img compare` reads the same content in both, and they are of the same size.
pub fn assert_same(a: &Path, b: &Path) {
    let report = qemu("qemu-img", &["compare", text(a), text(b)]);
    assert_eq!(report.trim(), "Images are identical.");
}

/// A folder with a commit record, and a scratch folder beside it.
pub struct Drive {
    pub dir: tempfile::TempDir,
}

impl Drive {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("drive/bases")).unwrap();
        CommitFile::create(&dir.path().join("drive/commit")).unwrap();
        Drive { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn base(&self, name: &str) -> PathBuf {
        self.path("drive/bases").join(name)
    }

    pub fn commit(&self) -> CommitFile {
        CommitFile::open(&self.path("drive/commit"), &self.path("drive")).unwrap()
    }

    pub fn stamp(&self, base: &str) -> GenerationId {
        stamp(&self.commit(), &[&format!("bases/{base}")]).unwrap()[0]
    }

    /// Makes an overlay with QEMU.
    pub fn overlay(&self, name: &str, base: &Path, options: &str) -> PathBuf {
        let overlay = self.path(name);
        let mut args = vec!["create", "-q", "-f", "qcow2", "-b", text(base), "-F", "qcow2"];
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        args.push(text(&overlay));
        qemu("qemu-img", &args);
        overlay
    }

    pub fn disk(&self, base: &str, overlay: &Path, expected: GenerationId) -> MergeDisk {
        MergeDisk {
            name: base.to_owned(),
            base: format!("bases/{base}"),
            overlay: overlay.to_path_buf(),
            expected,
            next: GenerationId::random(),
        }
    }

    pub fn merge(&self, disks: &[MergeDisk]) -> Merged {
        merge(&self.commit(), disks, &()).unwrap()
    }
}

/// A small generator of numbers that is the same every time (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A random list of `qemu-io` writes, zeroes and discards in the first `size` bytes.
    pub fn commands(&mut self, count: u64, size: u64) -> Vec<String> {
        self.commands_of(&[512, 4096, 16384, 65536], count, size)
    }

    /// As [`Random::commands`], of one to twelve units each.
    pub fn commands_of(&mut self, units: &[u64], count: u64, size: u64) -> Vec<String> {
        (0..count)
            .map(|_| {
                let unit = units[self.below(units.len() as u64) as usize];
                let length = unit * (1 + self.below(12));
                let start = self.below((size - length) / unit) * unit;
                let pattern = 1 + self.below(255);
                match self.below(8) {
                    0..4 => format!("write -q -P {pattern} {start} {length}"),
                    4 => format!("write -q -P 0 {start} {length}"),
                    5 => format!("write -q -z {start} {length}"),
                    6 => format!("write -q -z -u {start} {length}"),
                    _ => format!("discard -q {start} {length}"),
                }
            })
            .collect()
    }
}

/// A `qemu-io` that has an image open until it is dropped.
pub struct Holder {
    child: std::process::Child,
    output: std::io::BufReader<std::process::ChildStdout>,
}

impl Holder {
    pub fn open(image: &Path, read_only: bool) -> Self {
        let mut command = Command::new("qemu-io");
        if read_only {
            command.arg("-r");
        }
        let mut child =
            command.arg(image).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("needs qemu-io");
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut holder = Holder { child, output };
        // It has the image open once it answers.
        holder.run("length");
        holder
    }

    /// Runs a command and returns what is said until the next one is answered.
    pub fn run(&mut self, command: &str) -> String {
        use std::io::{BufRead, Write};
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{command}\nlength\n").as_bytes()).unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "qemu-io ended: {said}");
            if line.trim_end().ends_with("iB") {
                return said;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cancels after some calls.
pub struct Impatient(pub std::cell::Cell<u32>);

impl pocketvm_disk::Progress for Impatient {
    fn advance(&self, done: u64, total: u64) {
        assert!(done <= total);
        self.0.set(self.0.get().saturating_sub(1));
    }

    fn is_cancelled(&self) -> bool {
        self.0.get() == 0
    }
}
