//! The program on Windows, or under Wine (`make windows`), on a PC without a hypervisor.
#![cfg(windows)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pocketvm::drive::{Drive, names};
use pocketvm_disk::{CommitFile, CreateOptions, GenerationId, MergeDisk, create, merge, stamp};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pocketvm");

const MANIFEST: &str = "\
schema: 1
machine: {name: Work}
memory: {min: 128 MiB, max: 256 MiB}
disks:
  - {name: user, file: disks/user/base.qcow2, keep: true}
scratch: {room: 64 MiB, plain: accepted}
";

/// A drive and a PC, in folders that go with this value.
struct Bench {
    folder: tempfile::TempDir,
    drive: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let drive = folder.path().join("Müllers Gerät, 100 %");
        std::fs::create_dir_all(drive.join("disks/user")).unwrap();
        std::fs::create_dir_all(drive.join("templates")).unwrap();
        std::fs::create_dir(folder.path().join("pc")).unwrap();
        std::fs::write(drive.join(names::MANIFEST), MANIFEST).unwrap();
        std::fs::write(drive.join("templates/qemu.yaml.hbs"), include_str!("../templates/qemu.yaml.hbs"))
            .unwrap();
        let bench = Bench { folder, drive };
        create(&bench.base(), &CreateOptions { content: &[(0, b"old")], ..CreateOptions::new(8 << 20) })
            .unwrap();
        bench
    }

    fn base(&self) -> PathBuf {
        self.drive.join("disks/user/base.qcow2")
    }

    /// Saves a change to the drive, as a session would.
    fn save(&self) {
        Drive::open(&self.drive).unwrap().prepare_state().unwrap();
        let commit = CommitFile::open(&self.drive.join("state/commit"), &self.drive).unwrap();
        let expected = stamp(&commit, &["disks/user/base.qcow2"]).unwrap()[0];
        let overlay = self.folder.path().join("overlay.qcow2");
        // What an overlay holds is merged whatever its backing file's name; one made here can't have content and a name.
        create(&overlay, &CreateOptions { content: &[(0, b"new")], ..CreateOptions::new(8 << 20) }).unwrap();
        let disk = MergeDisk {
            name: "user".into(),
            base: "disks/user/base.qcow2".into(),
            overlay,
            expected,
            next: GenerationId::random(),
        };
        merge(&commit, &[disk], &()).unwrap();
    }

    fn scratch(&self) -> PathBuf {
        self.folder.path().join("pc")
    }

    /// Runs `program` with the working folder on the drive.
    fn run_as(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(&self.drive)
            .env("POCKETVM_SCRATCH", self.scratch())
            .env_remove("PATH")
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_as(Path::new(PROGRAM), arguments)
    }

    fn left_on_the_pc(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.scratch()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Exit code, and all that was said.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_help_names_the_commands() {
    let (code, text) = said(&Bench::new().run(&["--help"]));
    assert_eq!(code, Some(0));
    assert!(text.contains("Usage: pocketvm.exe") && text.contains("recover"), "{text}");
}

#[test]
fn a_drive_is_named_by_its_letter_in_every_answer() {
    let bench = Bench::new();
    let drive = bench.drive.display().to_string();
    assert!(drive.as_bytes()[1] == b':', "{drive}");
    for (command, expected) in
        [("status", "The drive is clean."), ("plan", "Memory"), ("check", "The drive is healthy.")]
    {
        let (code, text) = said(&bench.run(&[command, "."]));
        assert_eq!(code, Some(if command == "plan" { 5 } else { 0 }), "{command}: {text}");
        assert!(text.contains(expected) && text.contains(&drive), "{command}: {text}");
        assert!(!text.contains(r"\\?\"), "{command}: {text}");
    }
}

#[test]
fn a_pc_without_a_hypervisor_is_told_what_to_install() {
    let (code, text) = said(&Bench::new().run(&["detect", "."]));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.contains("No hypervisor was found. PocketVM knows QEMU; install it"), "{text}");
}

#[test]
fn a_mistake_in_the_manifest_is_told_with_its_line() {
    let bench = Bench::new();
    std::fs::write(bench.drive.join(names::MANIFEST), MANIFEST.replace("keep: true", "keep: perhaps"))
        .unwrap();
    let (code, text) = said(&bench.run(&["status", "."]));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("line 5"), "{text}");
}

#[test]
fn a_save_is_undone_and_redone() {
    let bench = Bench::new();
    bench.save();
    let after = std::fs::read(bench.base()).unwrap();
    let (code, text) = said(&bench.run(&["undo", "."]));
    assert_eq!(code, Some(0), "{text}");
    assert_ne!(std::fs::read(bench.base()).unwrap(), after);
    let (code, text) = said(&bench.run(&["redo", "."]));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(std::fs::read(bench.base()).unwrap(), after);
    let (code, text) = said(&bench.run(&["history", "."]));
    assert!(code == Some(0) && text.contains("user"), "{text}");
    assert_eq!(said(&bench.run(&["check", "."])).0, Some(0));
    assert!(bench.left_on_the_pc().is_empty());
}

#[test]
fn a_launcher_on_the_drive_works_from_a_copy_and_leaves_nothing_on_the_pc() {
    let bench = Bench::new();
    bench.save();
    let launcher = bench.drive.join("pocketvm.exe");
    std::fs::copy(PROGRAM, &launcher).unwrap();
    // The drive is the one that the launcher lies on, although only a copy of it runs.
    let (code, text) = said(&bench.run_as(&launcher, &["undo"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(bench.left_on_the_pc().is_empty(), "{:?}", bench.left_on_the_pc());
    let (code, text) = said(&bench.run_as(&launcher, &["undo"]));
    assert_eq!(code, Some(2), "the exit code of the copy is passed on: {text}");
    assert!(bench.left_on_the_pc().is_empty(), "{:?}", bench.left_on_the_pc());
}
