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
    // Hyper-V is a part of Windows, here one that is switched off.
    let (code, text) = said(&Bench::new().run(&["detect", "."]));
    assert_eq!(code, Some(7), "{text}");
    for part in ["Hyper-V is switched off", "turn on the Windows feature", "or install QEMU or VirtualBox"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = said(&Bench::new().run(&["render", "."]));
    assert_eq!(code, Some(7), "{text}");
    for part in
        ["no hypervisor on this PC is usable", "Hyper-V is switched off", "install QEMU or VirtualBox"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A key of the registry that an installer would have written, for this user.
struct Installed(&'static str);

impl Installed {
    fn new(key: &'static str, value: &str, folder: &Path) -> Installed {
        let made = windows_registry::CURRENT_USER.create(key).unwrap();
        made.set_string(value, folder.to_str().unwrap()).unwrap();
        Installed(key)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = windows_registry::CURRENT_USER.remove_tree(self.0);
    }
}

#[test]
fn hypervisors_are_found_where_their_installers_say_and_judged_by_what_they_answer() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("Oracle & Co");
    std::fs::create_dir(&folder).unwrap();
    // A program that is none of VirtualBox's; nor does it hang or open a window.
    std::fs::copy(PROGRAM, folder.join("VBoxManage.exe")).unwrap();
    let _key = Installed::new(r"SOFTWARE\Oracle\VirtualBox", "InstallDir", &folder);
    let (code, text) = said(&bench.run(&["detect", ".", "--json"]));
    assert_eq!(code, Some(7), "{text}");
    let found = text.lines().find(|line| line.contains("virtualbox")).unwrap_or_else(|| panic!("{text}"));
    let found: serde_json::Value = serde_json::from_str(found).unwrap();
    let candidate = &found["candidate"];
    assert_eq!(candidate["found_in"], "registry");
    assert_eq!(candidate["program"], folder.join("VBoxManage.exe").to_str().unwrap());
    assert_eq!(candidate["rejected"]["reason"], "it does not say which version of VirtualBox it is");
}

#[test]
fn every_built_in_template_renders_with_the_paths_of_windows() {
    use pocketvm::hypervisor::{Accelerator, Base, Candidate, Devices, Machine, MachineDisk};
    let folder = tempfile::tempdir().unwrap();
    for program in ["VBoxManage.exe", "VBoxHeadless.exe", "VirtualBoxVM.exe", "vmrun.exe", "powershell.exe"] {
        std::fs::write(folder.path().join(program), "").unwrap();
    }
    let scratch = PathBuf::from(
        r"C:\Users\Jörg O'Neil & Söhne\AppData\Local\pocketvm\00000000-0000-0000-0000-000000000001",
    );
    for (name, program, accelerator, extension, controller) in [
        ("qemu", "qemu-system-x86_64.exe", "tcg", "qcow2", "ahci"),
        ("virtualbox", "VBoxManage.exe", "hardware", "vmdk", "ahci"),
        ("vmware", "vmrun.exe", "hardware", "vmdk", "ahci"),
        ("hyperv", "powershell.exe", "hardware", "vhd", "ide"),
    ] {
        let door = pocketvm::hypervisor::open(Candidate {
            hypervisor: name.into(),
            version: None,
            edition: None,
            program: folder.path().join(program),
            found_in: "well-known",
            accelerators: vec![Accelerator {
                name: accelerator.into(),
                rate: None,
                rejected: None,
                remembered: false,
                on_request: false,
            }],
            rejected: None,
        })
        .unwrap();
        let capabilities = door.capabilities();
        let copied = scratch.join(format!("system.base.{extension}"));
        let on_the_drive = PathBuf::from(r"E:\disks\system\base.qcow2");
        let machine = Machine {
            name: "Büro 'eins' & \"zwei\"".into(),
            uuid: "0f6f3a43-5d5e-4b7c-9f0e-3a1c5b2d7e11".parse().unwrap(),
            mac: "52:54:00:12:34:56".into(),
            memory_mib: 1024,
            cpus: 2,
            accelerator: accelerator.into(),
            firmware: "bios".into(),
            headless: true,
            disks: vec![MachineDisk {
                name: "system".into(),
                overlay: scratch.join(format!("system.{extension}")),
                size: 8 << 30,
                base: Some(Base {
                    path: if capabilities.reads_drive { on_the_drive } else { copied },
                    format: if capabilities.reads_drive { "qcow2".into() } else { extension.into() },
                    below: vec![],
                }),
                controller: controller.into(),
            }],
            chips: Default::default(),
            serial_log: scratch.join("serial.log"),
            scratch: scratch.clone(),
            devices: Devices { network: true, ..Devices::default() },
            display: None,
            share: None,
            card: None,
            card_name: None,
            graphics: None,
            local_time: false,
            boot: None,
            variables: Default::default(),
        };
        let template = pocketvm::hypervisor::template(name).unwrap();
        let rendered = door.render(&machine, template.text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let all = format!("{:?}{:?}", rendered.args, rendered.files);
        assert!(all.contains("system") && all.contains(extension), "{name}: {all}");
    }
}

#[test]
fn plain_images_are_merged_from_overlays_of_other_hypervisors() {
    use pocketvm_disk::{BaseFormat, CopyFormat, copy_base, create_child};
    let bench = Bench::new();
    let base = bench.base();
    for (copy, extension) in [(CopyFormat::Vmdk, "vmdk"), (CopyFormat::Vhd, "vhd")] {
        let (whole, child) = (
            bench.scratch().join(format!("whole.{extension}")),
            bench.scratch().join(format!("child.{extension}")),
        );
        let root = base.parent().unwrap();
        copy_base(root, "base.qcow2", BaseFormat::Qcow2, &whole, copy, [7; 16], &()).unwrap();
        create_child(&child, copy, [8; 16], &whole, &[]).unwrap();
        // Away from the drive, where only a session may merge.
        let plain = bench.scratch().join("plain.qcow2");
        std::fs::copy(&base, &plain).unwrap();
        let (code, text) =
            said(&bench.run(&["disk", "merge", plain.to_str().unwrap(), child.to_str().unwrap()]));
        assert_eq!(code, Some(0), "{extension}: {text}");
        let (code, text) =
            said(&bench.run(&["disk", "merge", plain.to_str().unwrap(), whole.to_str().unwrap()]));
        assert_eq!(code, Some(10), "{extension}: {text}");
        assert!(text.contains("whole disk"), "{extension}: {text}");
        std::fs::remove_file(&plain).unwrap();
    }
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
