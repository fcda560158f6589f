//! What a template from a stranger's stick can't tell VMware.

use pocketvm::hypervisor::vmware::TEMPLATE;
use pocketvm::hypervisor::{Hypervisor as _, Machine};

use crate::bench::{machine, vmware};

/// A machine with four disks, everything switched off.
fn plain() -> Machine {
    machine(3, "ahci", "vmdk")
}

fn render(machine: &Machine, template: &str) -> Result<String, String> {
    let rendered = vmware().render(machine, template).map_err(|error| error.to_string())?;
    Ok(rendered.files.into_iter().map(|file| file.content).collect())
}

/// Replaces `from`, which must be there, in the built-in template.
fn with(from: &str, to: &str) -> String {
    assert!(TEMPLATE.contains(from), "the built-in template no longer has {from}");
    TEMPLATE.replace(from, to)
}

/// The built-in template and more lines.
fn and(lines: &str) -> String {
    format!("{TEMPLATE}\n{lines}\n")
}

#[track_caller]
fn refused(template: &str, because: &str) {
    let error = render(&plain(), template).expect_err("this must be refused");
    assert!(error.contains(because), "{error}");
}

#[test]
fn the_built_in_template_renders_to_this_configuration() {
    insta::assert_snapshot!(render(&machine(60, "ide", "vmdk"), TEMPLATE).unwrap());
}

#[test]
fn vmrun_is_told_the_configuration_and_nothing_else() {
    let mut machine = plain();
    let told = vmware().render(&machine, TEMPLATE).unwrap();
    let file = machine.scratch.join("machine.vmx").display().to_string();
    assert_eq!(told.args, ["-T", "ws", "start", &file, "nogui"]);
    machine.headless = false;
    assert_eq!(vmware().render(&machine, TEMPLATE).unwrap().args[4], "gui");
}

#[test]
fn no_other_key_is_accepted() {
    for line in [
        "RemoteDisplay.vnc.enabled = \"TRUE\"",
        "RemoteDisplay.vnc.port = \"5900\"",
        "serial1.fileType = \"pipe\"",
        "serial0.pipe.endPoint = \"server\"",
        "parallel0.fileName = \"/dev/parport0\"",
        "floppy0.fileName = \"/dev/fd0\"",
        "vmx.log.filename = \"/root/.bashrc\"",
        "log.fileName = \"/root/.bashrc\"",
        "vmx.log.keepOld = \"0\"",
        "workingDir = \"/root\"",
        "vprobe.enable = \"TRUE\"",
        "debugStub.listen.guest64 = \"TRUE\"",
        "pciPassthru0.present = \"TRUE\"",
        "usb.autoConnect.device0 = \"0x046d:0xc52b\"",
        "guestinfo.x = \"y\"",
        "bios440.filename = \"/etc/passwd\"",
        "vga.romfile = \"/etc/passwd\"",
        "scsi0.present = \"TRUE\"",
        "nvme0:0.fileName = \"/etc/passwd\"",
        "ethernet1.present = \"TRUE\"",
        "ethernet0.vnet = \"/dev/vmnet0\"",
        "ethernet0.filter0.name = \"x\"",
        "sharedFolder1.hostPath = \"/\"",
        "isolation.tools.setOption.disable = \"FALSE\"",
        "tools.remindInstall = \"TRUE\"",
        "annotation = \"x\"",
        "snapshot.action = \"autoCommit\"",
        "checkpoint.vmState = \"/tmp/x.vmss\"",
        "answer.msg.hbacommon.outofspace = \"Cancel\"",
        "monitor.virtual_exec = \"software\"",
        "powerType.powerOn = \"soft\"",
        "policy.vm.mvmtid = \"x\"",
        "disk.locking = \"FALSE\"",
        "vmxstats.filename = \"/tmp/x\"",
        "Memsize2 = \"4\"",
    ] {
        refused(&and(line), "is not on the list");
    }
}

#[test]
fn no_key_comes_twice_however_it_is_written() {
    refused(&and("memsize = \"4\""), "its key is there already");
    refused(&and("MEMSIZE = \"4\""), "its key is there already");
    refused(&and("Sata0:0.FileName = \"/etc/passwd\""), "its key is there already");
    refused(&with("memsize = ", "MemSize = "), "is not on the list");
}

#[test]
fn no_other_file_of_the_pc_is_a_disk() {
    refused(&with("fileName = \"{{overlay}}\"", "fileName = \"/etc/shadow\""), "it can't be “/etc/shadow”");
    refused(&and("sata0:9.fileName = \"/etc/shadow\""), "it can't be “/etc/shadow”");
    refused(&and("sata0:9.present = \"TRUE\""), "the machine has no disk there");
    refused(&and("ide1:1.deviceType = \"disk\""), "the machine has no disk there");
    refused(&with("deviceType = \"disk\"", "deviceType = \"rawDisk\""), "it can't be “rawDisk”");
    refused(&with("deviceType = \"disk\"", "deviceType = \"cdrom-raw\""), "it can't be “cdrom-raw”");
    refused(&with("mode = \"persistent\"", "mode = \"independent-nonpersistent\""), "it can't be");
    // Another disk's image, at this one's place.
    refused(&with("fileName = \"{{overlay}}\"", "fileName = \"{{@root.disks.[0].overlay}}\""), "it can't be");
}

#[test]
fn every_disk_is_there() {
    refused(&with("{{place}}.fileName = \"{{overlay}}\"\n", ""), "must have the disk system at sata0:0");
    refused(&with("{{place}}.present = \"TRUE\"\n", ""), "must have the disk system");
    refused(&with("sata0.present = \"TRUE\"", "sata0.present = \"FALSE\""), "must have the disk system");
    refused(
        &with("{{#each disks}}", "{{#each disks}}{{#if @first}}").replace("{{/each}}", "{{/if}}{{/each}}"),
        "must have the disk user at sata0:1",
    );
}

#[test]
fn the_serial_port_is_the_log_and_nothing_else() {
    refused(&with("serial0.fileType = \"file\"", "serial0.fileType = \"device\""), "it can't be “device”");
    refused(&with("serial0.fileType = \"file\"", "serial0.fileType = \"pipe\""), "it can't be “pipe”");
    refused(&with("serial0.fileType = \"file\"", "serial0.fileType = \"network\""), "it can't be");
    refused(&with("serial0.fileType = \"file\"\n", ""), "lacks serial0.fileType");
    refused(&with("\"{{serial_log}}\"", "\"/root/.bashrc\""), "it can't be “/root/.bashrc”");
    refused(&with("\"{{serial_log}}\"", "\"{{serial_log}}|2F..|2Fx\""), "it can't be");
}

#[test]
fn what_the_manifest_does_not_wish_for_can_not_be_had() {
    let mut machine = plain();
    machine.devices.network = false;
    for line in ["usb.present", "ehci.present", "usb_xhci.present", "sound.present"] {
        let template: String = TEMPLATE
            .lines()
            .map(
                |old| if old.starts_with(line) { format!("{line} = \"TRUE\"\n") } else { format!("{old}\n") },
            )
            .collect();
        refused(&template, "it can't be “TRUE”");
    }
    let template = with("{{#if devices.network}}", "{{#if name}}");
    let error = render(&machine, &template).unwrap_err();
    assert!(error.contains("ethernet0.present"), "{error}");
    refused(&with("{{#if devices.clipboard}}FALSE{{else}}TRUE{{/if}}", "FALSE"), "it can't be “FALSE”");
    refused(&with("dnd.disable = \"TRUE\"", "dnd.disable = \"FALSE\""), "it can't be “FALSE”");
    refused(&with("{{#if share}}FALSE{{else}}TRUE{{/if}}", "FALSE"), "it can't be “FALSE”");
    refused(&and("sharedFolder0.hostPath = \"/\""), "it can't be “/”");
    refused(&and("sharedFolder0.present = \"TRUE\""), "it can't be “TRUE”");
}

#[test]
fn the_network_opens_nothing_on_the_pc() {
    let mut machine = plain();
    machine.devices.network = true;
    for (from, to) in [
        ("connectionType = \"nat\"", "connectionType = \"bridged\""),
        ("connectionType = \"nat\"", "connectionType = \"custom\""),
        ("connectionType = \"nat\"", "connectionType = \"hostonly\""),
        ("addressType = \"static\"", "addressType = \"generated\""),
        ("ethernet0.address = \"{{mac}}\"", "ethernet0.address = \"52:54:00:00:00:01\""),
        ("ethernet0.connectionType = \"nat\"\n", ""),
    ] {
        let error = render(&machine, &with(from, to)).unwrap_err();
        assert!(error.contains("it can't be") || error.contains("lacks ethernet0."), "{error}");
    }
}

#[test]
fn no_change_is_kept_elsewhere() {
    for key in ["snapshot.disabled", "suspend.disabled", "logging", "isolation.tools.log.disable"] {
        refused(&with(&format!("\n{key} = \"TRUE\""), ""), &format!("lacks {key}"));
        refused(&with(&format!("\n{key} = \"TRUE\""), &format!("\n{key} = \"FALSE\"")), "it can't be");
    }
    refused(&with("maxSnapshots = \"0\"", "maxSnapshots = \"9\""), "it can't be “9”");
    refused(&with("uuid.action = \"keep\"", "uuid.action = \"create\""), "it can't be “create”");
    refused(&with("useNamedFile = \"FALSE\"", "useNamedFile = \"TRUE\""), "it can't be “TRUE”");
    refused(&with("nvram = \"machine.nvram\"", "nvram = \"/root/x\""), "it can't be “/root/x”");
}

#[test]
fn the_plan_is_kept() {
    refused(&with("memsize = \"{{memory_mib}}\"", "memsize = \"65536\""), "it can't be “65536”");
    refused(&with("numvcpus = \"{{cpus}}\"", "numvcpus = \"64\""), "it can't be “64”");
    refused(&with("virtualHW.version = \"{{hardware}}\"", "virtualHW.version = \"20\""), "it can't be “20”");
    refused(&with("uuid.bios = \"{{uuid_bios}}\"", "uuid.bios = \"{{uuid}}\""), "it can't be");
    refused(&with("displayName = \"{{title}}\"", "displayName = \"{{name}}\""), "it can't be");
    refused(&with("{{else}}other-64", "{{else}}../x"), "it can't be “../x”");
    refused("", "lacks .encoding");
}

#[test]
fn what_is_not_of_vmwares_form_is_refused() {
    refused(&and("memsize = 4"), "not between quotation marks");
    refused(&and("x = \"a\" y = \"b\""), "not escaped");
    refused(&and("x = \"|0\""), "not escaped");
    refused(&and("include \"/etc/passwd\""), "mistake in line");
    refused(&and("{{> vmware}}"), "not supported");
    refused(&with("\"{{title}}\"", "\"{{{title}}}\""), "would not be escaped");
    refused(&and("a = \"{{nobody}}\""), "nobody");
    refused(&and(&"#".repeat(70_000)), "longer than 64 KiB");
    let many: String = (0..600).map(|n| format!("x{n} = \"\"\n")).collect();
    refused(&and(&many), "too many");
}

#[test]
fn a_controller_that_vmware_has_not_is_no_place_for_a_disk() {
    let error = render(&machine(1, "virtio", "vmdk"), TEMPLATE).unwrap_err();
    assert!(error.contains("no place for the disk system on virtio"), "{error}");
    let mut machine = machine(3, "ide", "vmdk");
    let fifth = machine.disks[0].clone();
    machine.disks.push(fifth);
    assert!(render(&machine, TEMPLATE).unwrap_err().contains("no place"));
}
