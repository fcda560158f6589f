//! Machines of all kinds; nothing of them exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pocketvm::hypervisor::hyperv::HyperV;
use pocketvm::hypervisor::vmware::VMware;
use pocketvm::hypervisor::{Base, Candidate, Chips, Devices, Machine, MachineDisk};
use uuid::Uuid;

/// Names that mean something else to somebody.
pub const NAMES: [&str; 8] = [
    "Work",
    "it's \"mine\" |22",
    "$(calc) `n ; & | # %",
    "Zoë’s ‘PC’ ‚x‛",
    "工作 🖥",
    "a\nmemsize = \"1\"\r\nb",
    "\\ ' \\\\ \u{2028}end",
    "C:\\..\\<x>*?",
];

/// A machine; every number gives another one.
pub fn machine(number: usize, controller: &str, extension: &str) -> Machine {
    let is = |bit: usize| number & (1 << bit) != 0;
    let scratch =
        PathBuf::from(format!("/scratch ß 'it’s' #{number}/00000000-0000-4000-8000-00000000{number:04}"));
    let name = |index: usize| ["system", "user", "third", "paging"][index].to_owned();
    let disk = |index: usize| MachineDisk {
        name: name(index),
        overlay: scratch.join(format!("{}.{extension}", name(index))),
        size: 1 << 30,
        base: (index < 3).then(|| Base {
            path: scratch.join(format!("{}.base.{extension}", name(index))),
            format: extension.into(),
            below: vec![],
        }),
        controller: controller.into(),
    };
    Machine {
        name: NAMES[number % NAMES.len()].into(),
        uuid: Uuid::from_u128(0x564d_2c9e_4317_439a_abb2_6595_06fe_3625 + number as u128),
        mac: format!("52:54:00:12:34:{number:02x}"),
        memory_mib: 1021 + number as u64,
        cpus: if is(5) && is(0) { 24 } else { 1 + (number % 6) as u32 },
        accelerator: "hardware".into(),
        // What has its overlays in VHD has no UEFI.
        firmware: if number % 7 == 3 && extension == "vmdk" { "uefi" } else { "bios" }.into(),
        headless: is(0),
        disks: (0..1 + number % 4).map(disk).collect(),
        chips: Chips::default(),
        serial_log: scratch.join("serial.log"),
        devices: Devices {
            network: !is(1),
            sound: false,
            clipboard: is(2),
            usb: is(3),
            display: is(4),
            share: is(5),
            variables: false,
            tpm: false,
        },
        display: is(4).then_some((1280, 800)),
        share: is(5).then(|| PathBuf::from("/home/Zoë/it's \"shared\" |7C")),
        card: [None, Some("vmxnet3"), Some("e1000e")][number % 3],
        card_name: is(2).then(|| ["ens160", "enp0s3"][number % 2].to_owned()),
        graphics: None,
        local_time: is(1) != is(4),
        boot: None,
        variables: BTreeMap::new(),
        scratch,
    }
}

/// How many machines tests look at.
pub const MACHINES: usize = 64;

fn candidate(hypervisor: &str, program: &Path) -> Candidate {
    Candidate {
        hypervisor: hypervisor.into(),
        version: None,
        edition: None,
        program: program.to_owned(),
        found_in: "path",
        accelerators: vec![],
        rejected: None,
    }
}

/// The door to a VMware that is not there.
pub fn vmware() -> VMware {
    VMware::new(candidate("vmware", Path::new("/usr/bin/vmrun")))
}

/// The door to a Hyper-V that is not there, but for the program that opens a window.
pub fn hyperv(system: &Path) -> HyperV {
    std::fs::write(system.join("vmconnect.exe"), "").unwrap();
    HyperV::new(candidate("hyperv", &system.join("WindowsPowerShell/v1.0/powershell.exe")))
}
