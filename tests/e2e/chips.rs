//! UEFI and a TPM: code and chip are the PC's, and what they remember travels with the machine, saved like a disk.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Bench, Drive, Launcher, Pc, kill_hypervisor, must, program};

/// Remembers two variables: the first at each start, the second only where the first is known from before.
const STARTUP: &str = "@echo -off\r\n\
    setvar PocketVM -guid 5f1b3c84-6c0e-4f0f-9d5c-3d1b6d0f9a11\r\n\
    if %lasterror% == 0x0 then\r\n\
    setvar PocketVMAgain -guid 5f1b3c84-6c0e-4f0f-9d5c-3d1b6d0f9a11 -bs -rt -nv =0x42\r\n\
    endif\r\n\
    setvar PocketVM -guid 5f1b3c84-6c0e-4f0f-9d5c-3d1b6d0f9a11 -bs -rt -nv =0x41\r\n\
    reset -s\r\n";

/// The variables of Debian's firmware, as they come.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A drive whose machine runs a script in the firmware's own shell.
fn drive_with_uefi(bench: &Bench, saves: &str) -> Drive {
    assert!(Path::new(VARIABLES).is_file(), "{VARIABLES} is missing (package ovmf): run `make setup`");
    let path = bench.folder("drive");
    for name in ["system", "firmware"] {
        std::fs::create_dir_all(path.join("disks").join(name)).unwrap();
    }
    let (raw, script) = (bench.path().join("raw"), bench.path().join("startup.nsh"));
    std::fs::write(&script, STARTUP).unwrap();
    std::fs::File::create(&raw).unwrap().set_len(64 << 20).unwrap();
    must(Command::new("mkfs.vfat").arg(&raw));
    must(Command::new("mcopy").arg("-i").arg(&raw).arg(&script).arg("::startup.nsh"));
    let convert = |from: &Path, to: &str| {
        must(
            Command::new("qemu-img")
                .args(["convert", "-f", "raw", "-O", "qcow2"])
                .arg(from)
                .arg(path.join(to)),
        );
    };
    convert(&raw, "disks/system/base.qcow2");
    convert(Path::new(VARIABLES), "disks/firmware/base.qcow2");
    let text = format!(
        "schema: 1\nmachine: {{name: Modern, firmware: uefi}}\nmemory: {{min: 256 MiB, max: 256 MiB}}\n\
         cpus: {{min: 1, max: 1}}\ndisks:\n\
         - {{name: firmware, file: disks/firmware/base.qcow2, keep: {saves}, controller: flash}}\n\
         - {{name: system, file: disks/system/base.qcow2, keep: true}}\n\
         scratch: {{room: 64 MiB, plain: accepted}}\n"
    );
    std::fs::write(path.join("pocketvm.yaml"), text).unwrap();
    Drive::at(&path)
}

/// Whether the firmware remembers a variable of this name; it keeps names in UTF-16.
fn remembers(drive: &Drive, name: &str) -> bool {
    let base = drive.path.join("disks/firmware/base.qcow2");
    must(Command::new("qemu-img").args(["check", "-q"]).arg(&base));
    let raw = drive.path.with_extension("variables");
    must(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&base).arg(&raw));
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    std::fs::read(&raw).unwrap().windows(name.len()).any(|part| part == name)
}

#[test]
fn what_the_firmware_remembers_is_saved_with_the_machine_and_known_the_next_time() {
    let bench = Bench::new();
    let drive = drive_with_uefi(&bench, "true");
    let pc = Pc::new(&bench, "pc");
    pc.run(&drive).finish().expect(0);
    assert!(remembers(&drive, "PocketVM") && !remembers(&drive, "PocketVMAgain"));
    // Another PC, which has the firmware's code, too.
    let other = Pc::new(&bench, "other pc");
    other.run(&drive).finish().expect(0);
    assert!(remembers(&drive, "PocketVMAgain"));
    pc.assert_as_before();
    other.assert_as_before();
    // It is undone like any other disk, together with the others.
    pc.call(&["undo", drive.path.to_str().unwrap()]).expect(0);
    assert!(remembers(&drive, "PocketVM") && !remembers(&drive, "PocketVMAgain"));
}

#[test]
fn what_the_firmware_remembers_can_be_discarded_like_a_disk() {
    let bench = Bench::new();
    let drive = drive_with_uefi(&bench, "false");
    Pc::new(&bench, "pc").run(&drive).finish().expect(0);
    assert!(!remembers(&drive, "PocketVM"));
}

/// A drive whose guest asks its TPM whether it knows it, and then powers off (`P`) or halts (`H`): see tpm.S.
fn drive_with_tpm(bench: &Bench, mode: u8) -> Drive {
    let path = bench.folder("drive");
    for name in ["system", "tpm"] {
        std::fs::create_dir_all(path.join("disks").join(name)).unwrap();
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/tpm.S");
    let (object, raw) = (bench.path().join("tpm.o"), bench.path().join("tpm.raw"));
    must(Command::new("as").arg("--32").arg("-o").arg(&object).arg(source));
    let layout = ["-m", "elf_i386", "-Ttext", "0x7c00", "-e", "0x7c00", "--oformat", "binary"];
    must(Command::new("ld").args(layout).arg("-o").arg(&raw).arg(&object));
    let mut content = std::fs::read(&raw).unwrap();
    content[0x1b0] = mode;
    content.resize(1 << 20, 0);
    std::fs::write(&raw, content).unwrap();
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(path.join("disks/system/base.qcow2"));
    must(&mut convert);
    let mut create = Command::new("qemu-img");
    must(create.args(["create", "-q", "-f", "qcow2"]).arg(path.join("disks/tpm/base.qcow2")).arg("1M"));
    std::fs::write(
        path.join("pocketvm.yaml"),
        "schema: 1\nmachine: {name: Trusted}\nmemory: {min: 64 MiB, max: 64 MiB}\ncpus: {min: 1, max: 1}\ndisks:\n\
         - {name: system, file: disks/system/base.qcow2, keep: true}\n\
         - {name: tpm, file: disks/tpm/base.qcow2, keep: true, controller: tpm}\n\
         scratch: {room: 64 MiB, plain: accepted}\n",
    )
    .unwrap();
    Drive::at(&path)
}

/// Waits until the guest has said something whole, and returns it.
fn answer(launcher: &mut Launcher) -> String {
    let session = launcher.event("session", |event| event["event"] == "session");
    let path = Path::new(session["scratch"].as_str().unwrap()).join("serial.log");
    let end = Instant::now() + Duration::from_secs(60);
    // The file may be gone when the guest has spoken; what was in it is not, for those who have it open.
    let mut log = None;
    let mut said = String::new();
    while !said.ends_with('\n') {
        assert!(Instant::now() < end, "the guest says nothing");
        log = log.or_else(|| std::fs::File::open(&path).ok());
        match &mut log {
            Some(log) => drop(log.read_to_string(&mut said).unwrap()),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    said
}

/// The folder of the one session on this PC.
fn session_of(pc: &Pc) -> PathBuf {
    let mut folders = std::fs::read_dir(&pc.scratch).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|path| path.join("hypervisor.json").exists()).unwrap()
}

/// The programs that are a TPM for a session below `folder`.
fn tpms(folder: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mine = entries.filter(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // One that has ended works nowhere.
        name.trim_end() == "swtpm"
            && std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    mine.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Whether a TPM runs for a session below `folder`.
fn tpm_runs(folder: &Path) -> bool {
    !tpms(folder).is_empty()
}

#[test]
fn a_tpm_is_the_same_on_the_next_pc_and_nothing_of_it_stays_on_this_one() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'P');
    for (name, expected) in [("pc", "tpm new\r\n"), ("other pc", "tpm known\r\n")] {
        let pc = Pc::new(&bench, name);
        let mut launcher = pc.run(&drive);
        assert_eq!(answer(&mut launcher), expected);
        launcher.finish().expect(0);
        assert!(!tpm_runs(&pc.scratch));
        pc.assert_as_before();
        must(Command::new("qemu-img").args(["check", "-q"]).arg(drive.path.join("disks/tpm/base.qcow2")));
    }
    // What did not change is not written to the drive: the guest was there before.
    let saved = Pc::new(&bench, "third pc").run(&drive).finish();
    let merged = saved.all("merged")[0].clone();
    let tpm = merged["disks"].as_array().unwrap().iter().find(|disk| disk["name"] == "tpm").unwrap().clone();
    assert!(tpm["changed"].as_u64().unwrap() <= 16 << 10, "{tpm}");
}

#[test]
fn what_a_tpm_took_survives_the_death_of_qemu_and_its_program_does_not() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'H');
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    assert_eq!(answer(&mut launcher), "tpm new\r\n");
    assert!(tpm_runs(&pc.scratch));
    kill_hypervisor(&pc.scratch);
    launcher.finish().expect(8);
    pc.call(&["recover", drive.path.to_str().unwrap(), "--merge"]).expect(0);
    assert!(!tpm_runs(&pc.scratch));
    pc.assert_as_before();
    let mut launcher = pc.run(&drive);
    assert_eq!(answer(&mut launcher), "tpm known\r\n");
    // Nor does it when the launcher is killed first, and the session is thrown away.
    launcher.kill();
    assert!(tpm_runs(&pc.scratch));
    pc.call(&["discard", drive.path.to_str().unwrap(), "--yes"]).expect(0);
    assert!(!tpm_runs(&pc.scratch));
    pc.assert_as_before();
}

#[test]
fn a_disk_that_holds_no_state_of_a_tpm_is_refused_and_not_written_over() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'P');
    let base = drive.path.join("disks/tpm/base.qcow2");
    must(Command::new("qemu-io").args(["-f", "qcow2", "-c", "write -P 5 0 512"]).arg(&base));
    let before = std::fs::read(&base).unwrap();
    let pc = Pc::new(&bench, "pc");
    let ended = pc.run(&drive).finish();
    assert_ne!(ended.code, Some(0));
    assert!(ended.error().contains("something else than the state of a TPM"), "{}", ended.report());
    // It may have got a generation, which is in the header.
    assert_eq!(std::fs::read(&base).unwrap()[65536..], before[65536..]);
    pc.assert_as_before();
}

#[test]
fn the_plan_says_that_this_pc_has_no_tpm_for_the_machine_and_its_state_stays_as_it_is() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'P');
    // A PC with QEMU alone.
    let programs = bench.folder("programs");
    let qemu = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("qemu-system-x86_64"))
        .find(|program| program.exists());
    std::os::unix::fs::symlink(qemu.unwrap(), programs.join("qemu-system-x86_64")).unwrap();
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap();
    let run = |command: &str| {
        let arguments = [command, path, "--headless", "--accelerator", "tcg", "--json"];
        let output = pc.command(&program(), &arguments).env("PATH", &programs).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("plan").contains(r#""lacks":["tpm"]"#));
    run("run");
    let mut launcher = pc.run(&drive);
    assert_eq!(answer(&mut launcher), "tpm new\r\n");
    launcher.finish().expect(0);
}

#[test]
fn a_disk_that_is_too_small_for_a_tpm_is_refused_before_anything_starts() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'P');
    let base = drive.path.join("disks/tpm/base.qcow2");
    must(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&base).arg("128K"));
    let pc = Pc::new(&bench, "pc");
    let ended = pc.run(&drive).finish();
    assert_ne!(ended.code, Some(0));
    assert!(ended.error().contains("131072 bytes, and a TPM needs 262144"), "{}", ended.report());
    assert!(ended.all("session").is_empty() || ended.guest("ready").is_empty());
    pc.assert_as_before();
}

/// A TPM that keeps its state elsewhere than it was told to, and leaves there what nobody can read.
const SPOILT: &str = "mkdir -p elsewhere; echo spoilt > tpm/tpm2-00.permall\n\
    set -- socket --tpm2 --terminate --ctrl type=unixio,fd=0 --tpmstate dir=elsewhere";

#[test]
fn a_state_that_cant_be_used_makes_the_end_unclean_and_what_the_drive_holds_is_kept() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'P');
    let good = Pc::new(&bench, "good pc");
    good.run(&drive).finish().expect(0);
    let pc = Pc::new(&bench, "pc").with(&bench, "swtpm", SPOILT);
    let ended = pc.run(&drive).finish();
    ended.expect(8);
    assert!(ended.report().contains("what the machine wrote to tpm can't be used"), "{}", ended.report());
    let path = drive.path.to_str().unwrap();
    let recovered = pc.call(&["recover", path, "--merge"]);
    recovered.expect(0);
    assert!(recovered.report().contains("it stays as it was"), "{}", recovered.report());
    pc.assert_as_before();
    let mut launcher = good.run(&drive);
    assert_eq!(answer(&mut launcher), "tpm known\r\n");
    launcher.finish().expect(0);
}

#[test]
fn a_tpm_of_a_machine_that_nobody_knows_any_more_is_ended_and_its_state_saved_as_a_file() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'H');
    let pc = Pc::new(&bench, "pc");
    let path = drive.path.to_str().unwrap();
    for how in ["--save-as", "--discard"] {
        let mut launcher = pc.run(&drive);
        assert_eq!(answer(&mut launcher), "tpm new\r\n");
        launcher.kill();
        // It does not see QEMU's end.
        kill_process(tpms(&pc.scratch)[0], Signal::STOP).unwrap();
        kill_hypervisor(&pc.scratch);
        std::fs::write(session_of(&pc).join("hypervisor.json"), "{").unwrap();
        assert!(tpm_runs(&pc.scratch));
        if how == "--save-as" {
            let aside = bench.path().join("aside");
            pc.call(&["recover", path, how, aside.to_str().unwrap()]).expect(0);
            assert!(aside.join("tpm.chip").metadata().unwrap().len() > 1000);
        } else {
            pc.call(&["recover", path, how]).expect(0);
        }
        assert!(!tpm_runs(&pc.scratch));
        pc.assert_as_before();
    }
}

#[test]
fn a_disk_that_only_became_a_chip_while_the_session_waited_is_saved_as_the_disk_it_was() {
    let bench = Bench::new();
    let drive = drive_with_tpm(&bench, b'H');
    let manifest = drive.path.join("pocketvm.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace(", controller: tpm", "")).unwrap();
    let pc = Pc::new(&bench, "pc");
    let mut launcher = pc.run(&drive);
    assert_eq!(answer(&mut launcher), "tpm none\r\n");
    launcher.kill();
    kill_hypervisor(&pc.scratch);
    let overlay = session_of(&pc).join("tpm.qcow2");
    must(Command::new("qemu-io").args(["-f", "qcow2", "-c", "write -P 5 64k 64k"]).arg(&overlay));
    std::fs::write(&manifest, text).unwrap();
    pc.call(&["recover", drive.path.to_str().unwrap(), "--merge"]).expect(0);
    let base = drive.path.join("disks/tpm/base.qcow2");
    must(Command::new("qemu-io").args(["-f", "qcow2", "-c", "read -P 5 64k 64k"]).arg(&base));
    pc.assert_as_before();
}
