//! Templates: what the built-in one renders to, and what one from a stranger's stick can't do.

use std::path::Path;

use pocketvm::hypervisor::qemu::TEMPLATE;
use pocketvm::hypervisor::{Base, Boot, Devices, Hypervisor as _, Layer, Machine, MachineDisk};

use crate::bench::{door, machine};

/// A machine with all three kinds of disks; nothing of it exists.
fn described() -> Machine {
    let mut machine = machine(Path::new("/media/Stick, \"ä\" \\"), Path::new("/scratch/ß x"));
    machine.disks.push(MachineDisk {
        name: "user".into(),
        overlay: "/scratch/user.qcow2".into(),
        size: 64 << 20,
        base: Some(Base { path: "/media/user.raw".into(), format: "raw".into(), below: vec![] }),
        controller: "virtio".into(),
    });
    machine.disks.push(MachineDisk {
        name: "paging".into(),
        overlay: "/scratch/paging.qcow2".into(),
        size: 64 << 20,
        base: None,
        controller: "ahci".into(),
    });
    machine
}

fn render(template: &str) -> Result<String, String> {
    door()
        .render(&described(), template)
        .map(|rendered| rendered.args.join("\n"))
        .map_err(|error| error.to_string())
}

#[test]
fn the_built_in_template_renders_to_these_arguments() {
    insta::assert_snapshot!(render(TEMPLATE).unwrap());
}

fn layer(path: &str, format: &str) -> Layer {
    Layer { path: path.into(), format: format.into() }
}

#[test]
fn the_layers_below_a_base_are_the_machines_and_not_the_templates_business() {
    let mut machine = described();
    let base = machine.disks[0].base.as_mut().unwrap();
    base.below = vec![layer("/media/Stick, \"ä\"/middle.qcow2", "qcow2"), layer("/media/golden.img", "raw")];
    let args = door().render(&machine, TEMPLATE).unwrap().args;
    let node = args.iter().find(|arg| arg.contains("\"node-name\":\"base-system\"")).unwrap();
    let node: serde_json::Value = serde_json::from_str(node).unwrap();
    assert_eq!(
        node["backing"],
        serde_json::json!({
            "driver": "qcow2",
            "read-only": true,
            "file": { "driver": "file", "filename": "/media/Stick, \"ä\"/middle.qcow2", "read-only": true },
            "backing": {
                "driver": "raw",
                "read-only": true,
                "file": { "driver": "file", "filename": "/media/golden.img", "read-only": true },
            },
        })
    );
    // A template that names them itself is refused all the same.
    let own = with("read-only: true, backing: null", "read-only: true, backing: { driver: \"null-co\" }");
    let error = door().render(&machine, &own).unwrap_err().to_string();
    assert!(error.contains("“backing” must be null"), "{error}");
}

#[test]
fn the_lowest_layer_names_nothing_below_it_and_a_raw_one_can_only_be_the_lowest() {
    let mut machine = described();
    machine.disks[0].base.as_mut().unwrap().below = vec![layer("/media/golden.qcow2", "qcow2")];
    let args = door().render(&machine, TEMPLATE).unwrap().args.join("\n");
    assert!(args.contains(r#""backing":{"backing":null,"driver":"qcow2""#), "{args}");
    for (below, why) in [
        (vec![layer("/a", "raw"), layer("/b", "qcow2")], "something below a raw image"),
        (vec![layer("/a", "vmdk")], "an unknown format: “vmdk”"),
    ] {
        machine.disks[0].base.as_mut().unwrap().below = below;
        let error = door().render(&machine, TEMPLATE).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    machine.disks[0].base.as_mut().unwrap().below.clear();
    machine.disks[1].base.as_mut().unwrap().below = vec![layer("/a", "qcow2")];
    let error = door().render(&machine, TEMPLATE).unwrap_err().to_string();
    assert!(error.contains("the base of the disk user has something below a raw image"), "{error}");
}

#[test]
fn variables_and_controllers_choose_the_hardware() {
    let mut machine = described();
    machine.variables.insert("oem".into(), "run=\"x\", then\\stop".into());
    machine.disks[0].controller = "ide".into();
    let args = door().render(&machine, TEMPLATE).unwrap().args;
    assert!(args.contains(&"type=11,value=run=\"x\",, then\\stop".to_owned()), "{args:?}");
    assert!(args.contains(&"type=pc".to_owned()), "{args:?}");

    machine.disks[0].controller = "nvme".into();
    let error = door().render(&machine, TEMPLATE).unwrap_err().to_string();
    assert!(error.contains("would not be paused when it fails"), "{error}");
}

#[test]
fn an_unknown_value_is_an_error_that_names_its_line() {
    let template = TEMPLATE.replace("{{memory_mib}}", "{{memory}}");
    let line = 1 + template.lines().position(|line| line.contains("{{memory}}")).unwrap();
    let error = render(&template).unwrap_err();
    assert!(error.contains(&format!("in line {line}")) && error.contains("memory"), "{error}");
}

/// Replaces `from`, which must be there, in the built-in template.
fn with(from: &str, to: &str) -> String {
    assert!(TEMPLATE.contains(from), "the built-in template no longer has {from}");
    TEMPLATE.replace(from, to)
}

/// The built-in template and one more line.
fn and(line: &str) -> String {
    format!("{TEMPLATE}\n{line}\n")
}

#[track_caller]
fn refused(template: &str, because: &str) {
    let error = render(template).expect_err("this must be refused");
    assert!(error.contains(because), "{error}");
}

#[test]
fn no_other_option_is_accepted() {
    for option in [
        "monitor",
        "qmp",
        "mon",
        "incoming",
        "plugin",
        "sandbox",
        "readconfig",
        "writeconfig",
        "drive",
        "hda",
        "cdrom",
        "fsdev",
        "virtfs",
        "bios",
        "pflash",
        "L",
        "D",
        "pidfile",
        "runas",
        "chroot",
        "daemonize",
        "vnc",
        "spice",
        "trace",
        "fw_cfg",
        "net",
        "nic",
        "serial",
        "parallel",
        "debugcon",
        "gdb",
        "loadvm",
        "add-fd",
        "set",
        "tpmdev",
        "semihosting-config",
        "acpitable",
        "dtb",
        "mem-path",
        "nodefaults",
        "no-user-config",
        "action",
        "numa",
    ] {
        refused(&and(&format!("- {option}: \"x\"")), "not on the list");
        refused(&and(&format!("- {option}: {{ file: \"/etc/passwd\" }}")), "not on the list");
    }
}

#[test]
fn no_other_file_of_the_pc_is_opened_as_a_disk() {
    let extra = "- blockdev: { driver: file, node-name: extra, filename: \"/etc/shadow\", read-only: true }";
    refused(&and(extra), "no disk of the machine has a node named “extra”");
    refused(&with("filename: \"{{base.path}}\"", "filename: \"/etc/shadow\""), "“filename” must be");
    refused(&with("filename: \"{{overlay}}\"", "filename: \"/etc/shadow\""), "“filename” must be");
    refused(
        &with("driver: file, node-name: \"file-base", "driver: host_device, node-name: \"file-base"),
        "“driver” must be",
    );
    refused(
        &with("file: \"file-overlay-{{name}}\"", "file: { driver: file, filename: \"/etc/shadow\" }"),
        "“file” must be",
    );
    refused(&with("read-only: true, backing: null", "read-only: true"), "“backing” must be null");
    refused(
        &with("detect-zeroes: unmap", "detect-zeroes: unmap\n    data-file: file-base-user"),
        "“data-file” can't be",
    );
    refused(&with("{{else}}null{{/if}}", "{{else}}\"base-system\"{{/if}}"), "“backing” must be null");
}

#[test]
fn a_base_is_never_writable() {
    refused(
        &with("filename: \"{{base.path}}\", read-only: true", "filename: \"{{base.path}}\""),
        "“read-only” must be true",
    );
    refused(
        &with("file: \"file-base-{{name}}\", read-only: true, b", "file: \"file-base-{{name}}\", b"),
        "“read-only” must be true",
    );
    refused(&with("drive: \"overlay-{{name}}\"", "drive: \"base-{{name}}\""), "“drive” can't be");
}

#[test]
fn every_disk_is_attached_once_and_pauses_the_guest_when_it_fails() {
    refused(&with("    rerror: stop\n", ""), "needs rerror: stop");
    refused(&with("werror: stop", "werror: report"), "“werror” can't be “report”");
    refused(&with("    drive: \"overlay-{{name}}\"\n", ""), "exactly one device");
    refused(
        &and("- device: { driver: ide-hd, drive: overlay-user, rerror: stop, werror: stop }"),
        "exactly one device",
    );
    refused(
        &with("{{#each disks}}", "{{#each disks}}{{#if base}}")
            .replace("    werror: stop\n{{/each}}", "    werror: stop\n{{/if}}{{/each}}"),
        "lacks the overlay's file of the disk paging",
    );
    refused(&with("    discard: unmap\n", ""), "“discard” must be");
    refused(&and("- device: { driver: nvme, drive: overlay-user }"), "“driver” can't be “nvme”");
    refused(
        &with("detect-zeroes: unmap", "detect-zeroes: unmap\n    cache: { no-flush: true }"),
        "“cache” can't be",
    );
}

#[test]
fn no_device_reaches_the_pc() {
    for driver in [
        "vfio-pci",
        "usb-host",
        "virtio-9p-pci",
        "vhost-vsock-pci",
        "vhost-user-fs-pci",
        "loader",
        "guest-loader",
        "ivshmem-plain",
        "usb-mtp",
        "usb-redir",
        "scsi-generic",
        "scsi-block",
        "u2f-passthru",
        "ccid-card-passthru",
        "tpm-tis",
        "virtio-input-host-pci",
    ] {
        refused(&and(&format!("- device: {{ driver: {driver} }}")), "“driver” can't be");
    }
    refused(
        &with("    netdev: net0\n", "    romfile: \"/etc/shadow\"\n    netdev: net0\n"),
        "“romfile” is not on the list",
    );
    refused(&with("    netdev: net0\n", "    netdev: \"../x\"\n"), "“netdev” can't be");
    refused(&and("- device: { id: a }"), "“driver” is missing");
    refused(&and("- device: \"vfio-pci\""), "another form");
    refused(&and("- device: { driver: usb-kbd, id: [a] }"), "“id” can't be");
}

#[test]
fn no_program_socket_or_other_file_is_behind_a_serial_port() {
    refused(&with("backend: file", "backend: socket"), "“backend” can't be");
    refused(&with("backend: file", "backend: pipe"), "“backend” can't be");
    refused(&with("path: \"{{serial_log}}\"", "path: \"/root/.bashrc\""), "“path” can't be");
    refused(
        &with("path: \"{{serial_log}}\"", "path: \"{{serial_log}}\", logfile: \"/x\""),
        "“logfile” is not on the list",
    );
    refused(
        &with("path: \"{{serial_log}}\"", "path: \"{{serial_log}}\", input-path: \"/etc/shadow\""),
        "not on the list",
    );
}

#[test]
fn the_network_opens_nothing_on_the_pc() {
    for property in [
        "hostfwd: \"tcp::22-:22\"",
        "guestfwd: \"tcp:10.0.2.9:1-cmd:sh\"",
        "smb: \"/home\"",
        "tftp: \"/etc\"",
        "bootfile: \"x\"",
        "tftp-server-name: \"x\"",
        "script: \"/x\"",
    ] {
        refused(&with("type: user, id", &format!("type: user, {property}, id")), "is not on the list");
    }
    refused(&with("type: user", "type: tap"), "“type” can't be “tap”");
    refused(&with("id: net0 }", "id: \"net0,hostfwd=tcp::22-:22\" }"), "“id” can't be");
}

#[test]
fn firmware_tables_screen_and_machine_name_no_file() {
    refused(
        &with("type: 1, product", "type: 1, file: \"/etc/shadow\", product"),
        "“file” is not on the list",
    );
    refused(&and("- smbios: { type: 11, path: \"/etc/shadow\" }"), "“path” is not on the list");
    refused(&and("- smbios: { type: 4, value: x }"), "“type” can't be “4”");
    refused(&with("strict: true", "strict: true, splash: \"/etc/shadow\""), "“splash” is not on the list");
    refused(&with("- display: { type: \"{{display}}\" }", "- display: \"vnc=:0\""), "another form");
    refused(
        &with("- display: { type: \"{{display}}\" }", "- display: { type: spice-app }"),
        "“type” can't be",
    );
    refused(&with("type: \"{{board}}\"", "type: q35, pflash0: x"), "“pflash0” can't be “x”");
    refused(&with("type: \"{{board}}\"", "type: \"q35,firmware=/x\""), "“type” can't be");
    refused(
        &and("- object: { qom-type: memory-backend-file, id: m, mem-path: \"/x\", size: 1 }"),
        "is not on the list",
    );
    refused(&and("- object: { qom-type: secret, id: s, file: \"/etc/shadow\" }"), "is not on the list");
    refused(&and("- object: { qom-type: rng-random, id: r }"), "“qom-type” can't be");
    refused(&and("- audiodev: { driver: wav, id: a, path: \"/x\" }"), "can't be");
    refused(&and("- k: \"../../x\""), "is not allowed");
}

#[test]
fn the_plan_is_kept() {
    refused(&with("{{memory_mib}}M", "8192M"), "“size” can't be “8192M”");
    refused(&with("cpus: {{cpus}}", "cpus: 64"), "“cpus” can't be “64”");
    refused(
        &with("- accel: { accel: \"{{accelerator}}\" }", "- accel: { accel: kvm }"),
        "“accel” can't be “kvm”",
    );
    refused(&and("- accel: { accel: tcg }"), "more than once");
    refused(&with("- cpu: \"{{cpu}}\"\n", ""), "has no cpu");
}

#[test]
fn oversized_and_endless_templates_are_refused() {
    refused(&and(&"#".repeat(70_000)), "longer than 64 KiB");
    refused(&format!("{}x{}", "{{#each @root.disks}}".repeat(5), "{{/each}}".repeat(5)), "nests blocks");
    refused(&"{{#if name}}".repeat(100), "blocks");
    refused("{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}", "not supported");
    refused("{{> qemu}}", "not supported");
    refused("- name: { guest: \"{{{name}}}\" }", "would not be escaped");
    refused(&format!("{{{{#if {}}}}}", "(".repeat(50_000)), "too long");
    let wide = format!(
        "{{{{#each disks}}}}{{{{#each @root.disks}}}}{{{{#each @root.disks}}}}{}{{{{/each}}}}{{{{/each}}}}{{{{/each}}}}",
        "#".repeat(60_000)
    );
    refused(&wide, "256 KiB");
    refused(&and(&"- k: de\n".repeat(300)), "more than 200");
    refused(&format!("{TEMPLATE}\n- cpu: {}", "[".repeat(20_000)), "recursion limit");
    refused("- a: &x [1]\n- b: *x\n", "is not a list of options");
    refused("machine: q35", "is not a list of options");
    refused(&and("- { k: de, vga: std }"), "not one “option: value”");
    refused("", "has no machine");
}

#[test]
fn a_folder_and_the_clipboard_of_the_pc_are_the_users_to_share() {
    let mut machine = described();
    machine.headless = true;
    machine.devices = Devices { network: true, ..Devices::default() };
    let rendered = |machine: &Machine, template: &str| {
        door()
            .render(machine, template)
            .map(|rendered| rendered.args.join("\n"))
            .map_err(|error| error.to_string())
    };
    let without = rendered(&machine, TEMPLATE).unwrap();
    assert!(!without.contains("9p") && !without.contains("vdagent"), "{without}");
    machine.share = Some("/home/anna/exchange, ß".into());
    let shared = rendered(&machine, TEMPLATE).unwrap();
    assert!(shared.contains("path=/home/anna/exchange,, ß"), "{shared}");
    let elsewhere = TEMPLATE.replace("path: \"{{share}}\"", "path: /etc");
    assert!(rendered(&machine, &elsewhere).unwrap_err().contains("“path” can't be “/etc”"));
    let listens = format!(
        "{TEMPLATE}\n- chardev: {{ backend: qemu-vdagent, id: v, name: vdagent, clipboard: true }}\n"
    );
    assert!(rendered(&machine, &listens).unwrap_err().contains("“clipboard” can't be “true”"));

    machine.devices.network = false;
    machine.display = Some((1280, 800));
    let more = rendered(&machine, TEMPLATE).unwrap();
    assert!(!more.contains("-netdev") && more.contains("\"xres\":1280"), "{more}");
}

#[test]
fn the_firmware_is_the_pcs_and_its_variables_are_the_machines() {
    let mut machine = described();
    machine.firmware = "uefi".into();
    let rendered = |machine: &Machine, template: &str| {
        door()
            .render(machine, template)
            .map(|rendered| rendered.args.join("\n"))
            .map_err(|error| error.to_string())
    };
    assert!(rendered(&machine, TEMPLATE).unwrap_err().contains("a place for its variables"));
    machine.chips.variables = Some("/scratch/firmware, ä.chip".into());
    let args = rendered(&machine, TEMPLATE).unwrap();
    assert!(args.contains("pflash0=firmware-code,pflash1=firmware-variables"), "{args}");
    assert!(args.contains("\"filename\":\"/scratch/firmware, ä.chip\""), "{args}");
    for (from, to, why) in [
        ("filename: \"{{firmware_code}}\"", "filename: /etc/passwd", "“filename” must be"),
        ("filename: \"{{firmware_variables}}\"", "filename: /etc/passwd", "“filename” must be"),
        ("pflash1: firmware-variables", "pflash1: overlay-system", "“pflash1” can't be"),
        (", pflash1: firmware-variables", "", "firmware-variables as pflash1"),
    ] {
        let error = rendered(&machine, &TEMPLATE.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(why), "{to}: {error}");
    }
    // Without UEFI none of it is there to be used.
    machine.firmware = "bios".into();
    machine.chips = Default::default();
    let code = "- machine: { type: q35, pflash0: firmware-code }";
    assert!(
        rendered(&machine, &TEMPLATE.replace("- machine: { type: \"{{board}}\" }", code))
            .unwrap_err()
            .contains("“pflash0”")
    );
}

#[test]
fn a_tpm_is_reached_through_its_socket_and_nothing_else_is() {
    let mut machine = described();
    machine.chips.tpm = Some("/scratch/tpm.chip".into());
    let rendered = |machine: &Machine, template: &str| {
        door()
            .render(machine, template)
            .map(|rendered| rendered.args.join("\n"))
            .map_err(|error| error.to_string())
    };
    let args = rendered(&machine, TEMPLATE).unwrap();
    assert!(args.contains("backend=socket,id=tpm,path=tpm.sock"), "{args}");
    assert!(args.contains("chardev=tpm,id=tpm0,type=emulator"), "{args}");
    for (from, to, why) in [
        ("path: \"{{tpm}}\"", "path: /run/some.sock", "“path” can't be"),
        ("type: emulator", "type: passthrough", "“type” can't be"),
        ("type: emulator,", "type: emulator, path: /dev/tpm0,", "“path” is not on the list"),
        ("- tpmdev:", "#", "must have one tpmdev"),
        ("backend: socket,", "backend: socket, host: localhost,", "“host” is not on the list"),
    ] {
        let error = rendered(&machine, &TEMPLATE.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(why), "{to}: {error}");
    }
    for (more, why) in [
        ("- chardev: { backend: socket, id: other, path: tpm.sock }", "only behind its own"),
        ("- device: { driver: virtio-serial-pci, chardev: tpm }", ""),
        ("- device: { driver: isa-serial, chardev: tpm }", "the way to the machine's TPM"),
        ("- serial: \"chardev:tpm\"", ""),
        ("- tpmdev: { type: emulator, id: tpm1, chardev: tpm }", "must have one tpmdev"),
    ] {
        let error = rendered(&machine, &format!("{TEMPLATE}\n{more}\n")).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
    machine.chips.tpm = None;
    let without = rendered(&machine, TEMPLATE).unwrap();
    assert!(!without.contains("tpm"), "{without}");
    let socket = format!("{TEMPLATE}\n- chardev: {{ backend: socket, id: x, path: tpm.sock }}\n");
    assert!(rendered(&machine, &socket).unwrap_err().contains("“backend” can't be"));
}

#[test]
fn the_guest_is_given_the_hardware_that_it_was_fitted_to() {
    let rendered = |change: &dyn Fn(&mut Machine)| {
        let mut machine = described();
        change(&mut machine);
        door()
            .render(&machine, TEMPLATE)
            .map(|rendered| rendered.args.join("\n"))
            .map_err(|error| error.to_string())
    };
    let all = |controller: &'static str| {
        move |machine: &mut Machine| {
            machine.disks.iter_mut().for_each(|disk| disk.controller = controller.into())
        }
    };
    for (controller, parts) in [
        ("virtio", ["virtio-blk-pci", "type=q35"]),
        ("ahci", ["\"bus\":\"ide.1\"", "type=q35"]),
        ("virtio-scsi", ["\"driver\":\"virtio-scsi-pci\",\"id\":\"scsi\"", "\"bus\":\"scsi.0\""]),
        ("pvscsi", ["\"driver\":\"pvscsi\",\"id\":\"scsi\"", "\"scsi-id\":1"]),
        ("ide", ["\"bus\":\"ide.0\"", "type=pc"]),
    ] {
        let args = rendered(&all(controller)).unwrap();
        for part in parts {
            assert!(args.contains(part), "{controller}, {part}: {args}");
        }
    }
    // The network card is where the guest knows its name.
    for (name, controller, parts) in [
        ("ens3", "ahci", &["pcie-pci-bridge", "\"addr\":\"0x3\",\"bus\":\"bridge\""][..]),
        ("ens3", "ide", &["\"addr\":\"0x3\",\"bus\":\"pci.0\""]),
        ("enp0s7", "ahci", &["\"addr\":\"0x7\",\"bus\":\"pcie.0\""]),
        ("enp2s0", "ahci", &["\"id\":\"port1\"", "\"addr\":\"0x0\",\"bus\":\"port2\""]),
        ("eth0", "ahci", &["\"driver\":\"e1000e\",\"id\":\"nic0\""]),
    ] {
        let args = rendered(&|machine: &mut Machine| {
            all(controller)(machine);
            machine.card = Some("e1000e");
            machine.card_name = Some(name.into());
        });
        let args = args.unwrap();
        for part in parts {
            assert!(args.contains(part), "{name}, {part}: {args}");
        }
    }
    // No suspending to disk, on either board; a clock as the guest takes it.
    assert!(rendered(&|_| ()).unwrap().contains("driver=ICH9-LPC,property=disable_s4,value=1"));
    let args = rendered(&|machine: &mut Machine| {
        all("ide")(machine);
        machine.local_time = true;
    });
    let args = args.unwrap();
    assert!(
        args.contains("driver=PIIX4_PM,property=disable_s4,value=1") && args.contains("base=localtime"),
        "{args}"
    );
}

#[test]
fn only_the_kernel_of_the_guest_itself_is_started() {
    let mut machine = described();
    let rendered = |machine: &Machine, template: &str| {
        door().render(machine, template).map(|rendered| rendered.args).map_err(|error| error.to_string())
    };
    for line in ["- kernel: /boot/vmlinuz", "- initrd: /etc/shadow", "- append: \"init=/bin/sh\""] {
        assert!(rendered(&machine, &format!("{TEMPLATE}\n{line}\n")).unwrap_err().contains("is not allowed"));
    }
    machine.boot = Some(Boot {
        kernel: "/scratch/boot.kernel".into(),
        initramfs: "/scratch/boot, ä.initramfs".into(),
        command_line: "root=UUID=1 \"quoted, text\" ro".into(),
    });
    let args = rendered(&machine, TEMPLATE).unwrap();
    let after = |option: &str| args[args.iter().position(|arg| arg == option).unwrap() + 1].clone();
    assert_eq!(after("-kernel"), "/scratch/boot.kernel");
    assert_eq!(after("-initrd"), "/scratch/boot, ä.initramfs");
    assert_eq!(after("-append"), "root=UUID=1 \"quoted, text\" ro");
    // It would have the place of the first disk.
    assert!(!args.iter().any(|arg| arg.contains("bootindex")));
    for (from, to) in [("{{boot.kernel}}", "/etc/shadow"), ("{{boot.command_line}}", "init=/bin/sh")] {
        assert!(
            rendered(&machine, &TEMPLATE.replace(from, to)).unwrap_err().contains("is not allowed"),
            "{to}"
        );
    }
    assert!(rendered(&machine, &TEMPLATE.replace("{{boot.initramfs}}", "/root/x")).is_err());
    // A template that knows nothing of it would leave the guest without its drivers.
    let without = TEMPLATE.replace("{{#if boot}}", "{{#if (eq board \"none\")}}");
    assert!(rendered(&machine, &without).unwrap_err().contains("must have one kernel"));
}
