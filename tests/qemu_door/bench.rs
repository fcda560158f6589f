//! A bench for the QEMU door: machines with a tiny guest, in a scratch folder with a nasty name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use pocketvm::hypervisor::qemu::{Qemu, TEMPLATE};
use pocketvm::hypervisor::{
    Accelerator, Base, Candidate, Chips, Devices, Ending, GuestEvent, Hypervisor, Machine, MachineDisk,
    Running,
};

/// Nothing here takes longer, unless it hangs.
pub const SOON: Duration = Duration::from_secs(30);

/// The image's virtual size in bytes.
pub const SIZE: u64 = 64 << 20;

/// Runs a program that the tests need; its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("the tests need {program}: install it ({error})"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The door to the QEMU of this PC, with emulation.
pub fn door() -> Qemu {
    let program = PathBuf::from("/usr/bin/qemu-system-x86_64");
    assert!(program.exists(), "the tests need qemu-system-x86_64: install qemu-system-x86");
    let tcg =
        Accelerator { name: "tcg".into(), rate: None, rejected: None, remembered: false, on_request: false };
    Qemu::new(Candidate {
        hypervisor: "qemu".into(),
        version: None,
        edition: None,
        program,
        found_in: "path",
        accelerators: vec![tcg],
        rejected: None,
    })
}

/// The guest's boot sector with `mode` set.
fn boot_sector(mode: u8) -> Vec<u8> {
    static SECTOR: OnceLock<Vec<u8>> = OnceLock::new();
    let mut sector = SECTOR
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let (object, binary) = (folder.path().join("guest.o"), folder.path().join("guest.bin"));
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu_door/guest.S");
            run("as", &["--32", "-o", text(&object), source]);
            let layout = ["-m", "elf_i386", "-Ttext", "0x7c00", "-e", "0x7c00", "--oformat", "binary"];
            run("ld", &[&layout[..], &["-o", text(&binary), text(&object)]].concat());
            std::fs::read(binary).unwrap()
        })
        .clone();
    assert_eq!(sector.len(), 512);
    sector[0x1b0] = mode;
    sector
}

/// A machine with one disk.
pub struct Bench {
    pub machine: Machine,
    /// Goes when this goes.
    _folder: Option<tempfile::TempDir>,
}

/// A guest of a test that failed does not stay behind.
impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(Some(left)) = pocketvm::hypervisor::adopt(&self.machine.scratch)
        {
            let _ = left.guest.force_off();
        }
    }
}

impl Bench {
    /// `mode` is what the guest does: see guest.S.
    pub fn new(mode: u8) -> Self {
        let folder = nasty_folder();
        let mut bench = Self::at(mode, folder.path());
        bench._folder = Some(folder);
        bench
    }

    /// The same in a folder that stays.
    pub fn at(mode: u8, folder: &Path) -> Self {
        let scratch = scratch_in(folder);
        std::fs::create_dir(&scratch).unwrap();
        let machine = machine(folder, &scratch);
        make_base(&machine.disks[0].base.as_ref().unwrap().path, mode);
        run("qemu-img", &["create", "-q", "-f", "qcow2", text(&machine.disks[0].overlay), &SIZE.to_string()]);
        Bench { machine, _folder: None }
    }

    pub fn launch(&self) -> Running {
        let door = door();
        let rendered = door.render(&self.machine, TEMPLATE).unwrap();
        door.launch(&self.machine, &rendered).unwrap()
    }

    /// What the guest said so far.
    pub fn serial(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.machine.serial_log).unwrap_or_default()).into_owned()
    }

    /// Waits until the guest said something. There is no event for a growing file, so this looks.
    pub fn wait_for_serial(&self, done: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !done(&self.serial()) {
            assert!(start.elapsed() < SOON, "the guest only said {:?}", self.serial());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A folder whose name needs every escape.
pub fn nasty_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pvm, \"ü x\" ").tempdir().unwrap()
}

pub fn scratch_in(folder: &Path) -> PathBuf {
    folder.join("scratch")
}

/// A machine with its base in `folder`, described only.
pub fn machine(folder: &Path, scratch: &Path) -> Machine {
    Machine {
        name: "Test, \"naïve\" 日本".into(),
        uuid: uuid::Uuid::from_u128(0x1234),
        mac: "52:54:00:12:34:56".into(),
        memory_mib: 32,
        cpus: 1,
        accelerator: "tcg".into(),
        firmware: "bios".into(),
        headless: true,
        disks: vec![MachineDisk {
            name: "system".into(),
            overlay: scratch.join("over,lay ß.qcow2"),
            size: 64 << 20,
            base: Some(Base {
                path: folder.join("base, ö \"1\".qcow2"),
                format: "qcow2".into(),
                below: vec![],
            }),
            controller: "ahci".into(),
        }],
        chips: Chips::default(),
        serial_log: scratch.join("serial, ä.log"),
        scratch: scratch.to_owned(),
        devices: Devices { network: true, ..Devices::default() },
        display: None,
        share: None,
        card: None,
        card_name: None,
        graphics: None,
        local_time: false,
        boot: None,
        variables: BTreeMap::new(),
    }
}

/// A qcow2 with the boot sector and 48 MiB that are not zero.
pub fn make_base(path: &Path, mode: u8) {
    let raw = tempfile::NamedTempFile::new().unwrap();
    let mut content = boot_sector(mode);
    content.resize(48 << 20, 0x5a);
    std::fs::write(raw.path(), content).unwrap();
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", text(raw.path()), text(path)]);
    run("qemu-img", &["resize", "-q", text(path), &SIZE.to_string()]);
}

/// The next event.
pub fn next(events: &Receiver<GuestEvent>) -> GuestEvent {
    events.recv_timeout(SOON).expect("an event")
}

/// Skips to the first event that `wanted` accepts.
pub fn wait_for(events: &Receiver<GuestEvent>, wanted: impl Fn(&GuestEvent) -> bool) -> GuestEvent {
    loop {
        let event = next(events);
        if wanted(&event) {
            return event;
        }
        assert!(!matches!(event, GuestEvent::Ended(_)), "ended instead: {event:?}");
    }
}

/// The last event.
pub fn ending(events: &Receiver<GuestEvent>) -> Ending {
    loop {
        if let GuestEvent::Ended(ending) = next(events) {
            assert!(events.recv().is_err(), "nothing comes after the end");
            return ending;
        }
    }
}
