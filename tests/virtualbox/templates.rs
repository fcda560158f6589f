//! The template for VirtualBox: what VirtualBox makes of it over a matrix of machines, and what one from a stranger's stick can't
//! do.

use std::path::{Path, PathBuf};
use std::process::Command;

use pocketvm::hypervisor::virtualbox::TEMPLATE;
use pocketvm::hypervisor::{
    Accelerator, Base, Candidate, Chips, Devices, Hypervisor, Machine, MachineDisk, image_id, open,
};
use pocketvm_disk::{BaseFormat, CopyFormat, CreateOptions, copy_base, create, create_child, create_disk};

use crate::bench::{Bench, must, programs};

fn door() -> Box<dyn Hypervisor> {
    let accelerator = |name: &str| Accelerator {
        name: name.into(),
        rate: None,
        rejected: None,
        remembered: false,
        on_request: false,
    };
    open(Candidate {
        hypervisor: "virtualbox".into(),
        version: Some("7.2.22".into()),
        edition: None,
        program: programs().join("VBoxManage"),
        found_in: "path",
        accelerators: vec![accelerator("hardware"), accelerator("interpreter")],
        rejected: None,
    })
    .unwrap()
}

/// A machine with these disks in `scratch`: described only.
fn machine(scratch: &Path, controllers: &[&str]) -> Machine {
    let mut disks: Vec<MachineDisk> = controllers
        .iter()
        .enumerate()
        .map(|(index, controller)| {
            let name = format!("disk-{index}");
            MachineDisk {
                overlay: scratch.join(format!("{name}.vmdk")),
                base: Some(Base {
                    path: scratch.join(format!("{name}.base.vmdk")),
                    format: "vmdk".into(),
                    below: vec![],
                }),
                size: 8 << 20,
                controller: (*controller).into(),
                name,
            }
        })
        .collect();
    disks.push(MachineDisk {
        name: "paging".into(),
        overlay: scratch.join("paging.vmdk"),
        base: None,
        size: 8 << 20,
        controller: controllers[0].into(),
    });
    Machine {
        name: "Büro <&> \"日本\" '$(x)'".into(),
        uuid: uuid::Uuid::from_u128(0x0f6f_3a43_5d5e_4b7c_9f0e_3a1c_5b2d_7e11),
        mac: "52:54:00:12:34:56".into(),
        memory_mib: 64,
        cpus: 1,
        accelerator: "hardware".into(),
        firmware: "bios".into(),
        headless: true,
        disks,
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
        variables: Default::default(),
    }
}

/// Makes the machine's disks, as a session would.
fn make_disks(machine: &Machine) {
    for disk in &machine.disks {
        let id = |role| image_id(machine.session(), &disk.name, role).into_bytes();
        let Some(base) = &disk.base else {
            create_disk(&disk.overlay, CopyFormat::Vmdk, id("overlay"), disk.size, &[]).unwrap();
            continue;
        };
        let folder = machine.scratch.join(format!("{} on the drive", disk.name));
        std::fs::create_dir(&folder).unwrap();
        create(&folder.join("base.qcow2"), &CreateOptions::new(disk.size)).unwrap();
        let to = CopyFormat::Vmdk;
        copy_base(&folder, "base.qcow2", BaseFormat::Qcow2, &base.path, to, id("base"), &()).unwrap();
        create_child(&disk.overlay, to, id("overlay"), &base.path, &[]).unwrap();
    }
}

/// What VirtualBox says about the machine after it has read its settings.
fn told(bench: &Bench, machine: &Machine, template: &str) -> String {
    let rendered = door().render(machine, template).unwrap_or_else(|error| panic!("{error}"));
    let [file] = &rendered.files[..] else { panic!("one file was expected: {rendered:?}") };
    let settings = machine.scratch.join(&file.name);
    std::fs::write(&settings, &file.content).unwrap();
    bench.manage(&["registervm", settings.to_str().unwrap()]);
    let id = machine.session().to_string();
    let said = bench.manage(&["showvminfo", &id, "--machinereadable"]);
    bench.manage(&["unregistervm", &id]);
    said
}

/// A session's folder.
fn scratch(bench: &Bench, number: u128) -> PathBuf {
    let path = bench.path().join(uuid::Uuid::from_u128(number + 1).to_string());
    std::fs::create_dir(&path).unwrap();
    path
}

#[test]
fn virtualbox_understands_the_built_in_template_as_it_is_meant_whatever_the_machine_has() {
    let bench = Bench::new(b'P');
    let share = bench.path().join("shared, ß");
    std::fs::create_dir(&share).unwrap();
    let controllers: [&[&str]; 4] =
        [&["ahci"], &["ide"], &["ahci", "ahci", "ide"], &["ide", "ahci", "ahci", "ahci"]];
    for (number, controllers) in controllers.into_iter().enumerate() {
        for all in [false, true] {
            let scratch = scratch(&bench, (number * 2 + usize::from(all)) as u128);
            let mut machine = machine(&scratch, controllers);
            if all {
                machine.cpus = 2;
                machine.accelerator = "interpreter".into();
                machine.display = Some((1280, 800));
                machine.share = Some(share.clone());
                machine.firmware = "uefi".into();
                machine.chips = Chips {
                    variables: Some(scratch.join("firmware.chip")),
                    tpm: Some(scratch.join("tpm.chip")),
                };
                machine.devices = Devices {
                    network: true,
                    sound: true,
                    clipboard: true,
                    usb: true,
                    display: true,
                    share: true,
                    variables: true,
                    tpm: true,
                };
            } else {
                machine.devices = Devices::default();
            }
            make_disks(&machine);
            let said = told(&bench, &machine, TEMPLATE);
            let has = |line: &str| assert!(said.lines().any(|said| said == line), "{line}\n{said}");
            let name = machine.name.replace('"', "\\\"");
            has(&format!("name=\"{name} (PocketVM 00000000)\""));
            has("memory=64");
            has(&format!("cpus={}", machine.cpus));
            has(if all { "firmware=\"EFI64\"" } else { "firmware=\"BIOS\"" });
            if all {
                has(&format!("NvramFile=\"{}\"", scratch.join("machine.nvram").display()));
            }
            has(&format!("hardwareuuid=\"{}\"", machine.uuid));
            has(if all { "nic1=\"nat\"" } else { "nic1=\"none\"" });
            has(if all { "clipboard=\"bidirectional\"" } else { "clipboard=\"disabled\"" });
            has(if all { "audio_out=\"on\"" } else { "audio=\"none\"" });
            has("audio_in=\"off\"");
            has("vrde=\"off\"");
            has(&format!("uartmode1=\"file,{}\"", machine.serial_log.display()));
            has("VMState=\"poweroff\"");
            if all {
                has("macaddress1=\"525400123456\"");
                has(&format!("SharedFolderPathMachineMapping1=\"{}\"", share.display()));
            }
            let attached =
                said.lines().filter(|line| line.contains(".vmdk\"") && line.contains("-0\"=")).count()
                    + said.lines().filter(|line| line.contains(".vmdk\"") && line.contains("-1\"=")).count();
            assert_eq!(attached, machine.disks.len(), "{said}");
        }
    }
    bench.assert_as_before();
}

#[test]
fn virtualbox_itself_refuses_what_is_not_xml_and_passes_over_what_it_does_not_know() {
    let bench = Bench::new(b'P');
    let scratch = scratch(&bench, 0);
    let machine = machine(&scratch, &["ahci"]);
    make_disks(&machine);
    let rendered = door().render(&machine, TEMPLATE).unwrap();
    let settings = scratch.join("machine.vbox");
    let try_it = |content: &str| {
        std::fs::write(&settings, content).unwrap();
        let mut register = Command::new(programs().join("VBoxManage"));
        bench
            .here(register.args(["registervm", settings.to_str().unwrap()]))
            .output()
            .unwrap()
            .status
            .success()
    };
    let good = &rendered.files[0].content;
    assert!(!try_it(&good.replace("</Hardware>", "")), "no XML");
    assert!(!try_it(&good.replace("type=\"AHCI\"", "type=\"Floppy\"")), "no such controller");
    // This is why it is asked afterwards, and why our own list is strict.
    assert!(try_it(&good.replace("RAMSize=\"64\"", "RAMSize=\"abc\"")));
    let id = machine.session().to_string();
    assert!(!bench.manage(&["showvminfo", &id, "--machinereadable"]).contains("memory=64"));
    bench.manage(&["unregistervm", &id]);
}

#[test]
fn a_template_from_a_stranger_reaches_nothing_of_the_pc() {
    let scratch = Path::new("/scratch/00000000-0000-0000-0000-000000000001");
    let machine = machine(scratch, &["ahci", "ide"]);
    let error = |template: &str| match door().render(&machine, template) {
        Ok(_) => panic!("this was accepted: {template}"),
        Err(error) => error.to_string(),
    };
    let changes: &[(&str, &str)] = &[
        // Libraries, files, devices and ports of the PC.
        (
            "<ExtraDataItem name=\"GUI/SuppressMessages\" value=\"all\"/>",
            "<ExtraDataItem name=\"VBoxInternal/PDM/Devices/evil/Path\" value=\"x.so\"/>",
        ),
        ("path=\"{{serial_log}}\"", "path=\"/etc/passwd\""),
        ("hostMode=\"RawFile\"", "hostMode=\"HostDevice\""),
        ("hostMode=\"RawFile\"", "hostMode=\"TCP\" server=\"true\""),
        ("<NAT/>", "<NAT><Forwarding name=\"ssh\" proto=\"1\" hostport=\"22\" guestport=\"22\"/></NAT>"),
        ("<NAT/>", "<BridgedInterface name=\"eth0\"/>"),
        ("<RemoteDisplay enabled=\"false\"/>", "<RemoteDisplay enabled=\"true\"/>"),
        ("<Clipboard mode=", "<Clipboard fileTransfersEnabled=\"true\" mode="),
        ("{{#if devices.clipboard}}Bidirectional{{else}}Disabled{{/if}}", "Bidirectional"),
        ("enabledIn=\"false\"", "enabledIn=\"true\""),
        ("displayTime=\"0\"", "displayTime=\"0\" imagePath=\"/etc/hostname\""),
        (
            "{{#if share}}",
            "<SharedFolders><SharedFolder name=\"x\" hostPath=\"/\" writable=\"true\" autoMount=\"true\"/></SharedFolders>{{#if share}}",
        ),
        ("snapshotFolder=\"Snapshots\"", "snapshotFolder=\"/root\""),
        ("<Hardware uuid", "<Teleporter enabled=\"true\" port=\"1\"/><Hardware uuid"),
        // Disks.
        ("location=\"{{base.path}}\"", "location=\"/dev/sda\""),
        ("location=\"{{overlay}}\"", "location=\"{{base.path}}\""),
        ("type=\"Normal\">", "type=\"Writethrough\">"),
        (
            "type=\"HardDisk\" hotpluggable=\"false\"",
            "type=\"HardDisk\" passthrough=\"true\" hotpluggable=\"false\"",
        ),
        ("port=\"{{port}}\" device", "port=\"7\" device"),
        ("{{#if ahci}}", "{{#if false}}"),
        // The window must not offer what loses changes.
        ("Detach,SaveState,PowerOff,PowerOffRestoringSnapshot", "Detach"),
        ("SettingsDialog,TakeSnapshot,SaveState,PowerOff,Detach", "Detach"),
        // What was planned.
        ("RAMSize=\"{{memory_mib}}\"", "RAMSize=\"4096\""),
        ("<CPU count=\"{{cpus}}\">", "<CPU count=\"64\">"),
        // Its own escape.
        ("name=\"{{title}}\"", "name=\"{{{title}}}\""),
        (
            "<?xml version=\"1.0\"?>",
            "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>",
        ),
        ("<Paravirt provider=\"Default\"/>", "<Paravirt provider=\"Default\">text</Paravirt>"),
        ("<Paravirt provider=\"Default\"/>", "<x:Paravirt xmlns:x=\"http://x/\" provider=\"Default\"/>"),
        ("</VirtualBox>", ""),
        ("<ExtraData>", "<Description>x</Description><ExtraData>"),
    ];
    for (from, to) in changes {
        assert!(TEMPLATE.contains(from), "the built-in template has changed: {from}");
        let error = error(&TEMPLATE.replacen(from, to, 1));
        assert!(error.starts_with("the template for VirtualBox "), "{to}: {error}");
    }
}

#[test]
fn virtualbox_reads_what_we_have_understood_and_nothing_else_of_the_template() {
    let scratch = Path::new("/scratch/00000000-0000-0000-0000-000000000001");
    let machine = machine(scratch, &["ahci"]);
    // To a reader that heeds it, the comment ends before what follows in UTF-7.
    let declared = TEMPLATE
        .replace("<?xml version=\"1.0\"?>", "<?xml version=\"1.0\" encoding=\"UTF-7\"?>")
        .replace("<ExtraData>", "<!-- +AC0ALQA+- --><?pi x?><ExtraData>");
    let [plain, other] = [TEMPLATE, &declared].map(|template| {
        let rendered = door().render(&machine, template).unwrap_or_else(|error| panic!("{error}"));
        rendered.files[0].content.clone()
    });
    assert_eq!(plain, other);
    assert!(plain.starts_with("<?xml version=\"1.0\"?>\n<VirtualBox xmlns="), "{plain}");
    assert!(!plain.contains("<!--") && !plain.contains("<?pi") && !plain.contains("UTF-7"), "{plain}");
    assert!(plain.contains("Büro &lt;&amp;&gt; &quot;日本&quot;"), "{plain}");
}

#[test]
fn a_program_of_virtualbox_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("VBoxManage");
    std::fs::write(&program, "").unwrap();
    let mut candidate = door().candidate().clone();
    candidate.program = program;
    let door = open(candidate).unwrap();
    assert!(!door.capabilities().window);
    let scratch = Path::new("/scratch/00000000-0000-0000-0000-000000000001");
    let error = door.render(&machine(scratch, &["ahci"]), TEMPLATE).unwrap_err();
    assert!(error.to_string().contains("VBoxHeadless is missing"), "{error}");
}

#[test]
fn the_images_for_virtualbox_are_sound_for_qemu_too() {
    let bench = Bench::new(b'P');
    let scratch = scratch(&bench, 0);
    let machine = machine(&scratch, &["ahci"]);
    make_disks(&machine);
    for disk in &machine.disks {
        must(Command::new("qemu-img").args(["info", "--backing-chain"]).arg(&disk.overlay));
        must(Command::new("qemu-img").args(["check", "-q"]).arg(&disk.overlay));
    }
}
