//! Configurations for VMware, as libvirt understands them.

use std::path::PathBuf;
use std::process::Command;

use pocketvm::hypervisor::vmware::TEMPLATE;
use pocketvm::hypervisor::{Hypervisor as _, Machine};
use roxmltree::{Document, Node};

use crate::bench::{MACHINES, machine, vmware};

/// `virsh`, which `scripts/virtualbox.sh` brings.
fn virsh() -> PathBuf {
    let folder = std::env::var_os("POCKETVM_TEST_VIRTUALBOX").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/pocketvm/virtualbox/bin")
    });
    let program = folder.join("virsh");
    assert!(
        program.exists(),
        "the tests need libvirt's virsh in {}: scripts/virtualbox.sh",
        folder.display()
    );
    program
}

/// The machine that libvirt takes `configuration` for, as XML; or its words.
fn understood(configuration: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machine.vmx");
    std::fs::write(&file, configuration).unwrap();
    let output = Command::new(virsh())
        .args(["-c", "vmwareplayer:///session", "domxml-from-native", "vmware-vmx"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !said.contains("failed to connect"),
        "libvirt's driver for VMware does not work here: run scripts/virtualbox.sh again ({said})"
    );
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
}

fn rendered(machine: &Machine) -> String {
    vmware().render(machine, TEMPLATE).unwrap().files.remove(0).content
}

fn text<'a>(root: Node<'a, '_>, name: &str) -> &'a str {
    root.children().find(|node| node.has_tag_name(name)).and_then(|node| node.text()).unwrap_or_default()
}

fn attributes<'a>(root: Node<'a, '_>, parent: &str, child: &str, name: &str) -> Vec<&'a str> {
    let parents = root.descendants().filter(|node| node.has_tag_name(parent));
    let children = parents.flat_map(|node| node.children()).filter(|node| node.has_tag_name(child));
    children.filter_map(|node| node.attribute(name)).collect()
}

#[test]
fn libvirt_understands_every_machine_as_it_was_meant() {
    for number in 0..MACHINES {
        let controller = if number % 3 == 0 { "ide" } else { "ahci" };
        let machine = machine(number, controller, "vmdk");
        let configuration = rendered(&machine);
        let xml = understood(&configuration).unwrap_or_else(|said| panic!("{said}\n{configuration}"));
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert_eq!(text(root, "memory"), (machine.memory_mib / 4 * 4 * 1024).to_string(), "{xml}");
        assert_eq!(text(root, "vcpu"), machine.cpus.to_string(), "{xml}");
        // On the newer hardware the guest sees the first three numbers the other way round.
        let bytes = if machine.cpus > 16 { machine.uuid.to_bytes_le() } else { machine.uuid.into_bytes() };
        assert_eq!(text(root, "uuid"), uuid::Uuid::from_bytes(bytes).to_string(), "{xml}");
        let firmware =
            root.descendants().find(|node| node.has_tag_name("os")).and_then(|os| os.attribute("firmware"));
        assert_eq!(firmware, (machine.firmware == "uefi").then_some("efi"), "{xml}");
        let overlays: Vec<&str> = machine.disks.iter().map(|disk| disk.overlay.to_str().unwrap()).collect();
        // libvirt leaves VMware's escapes of paths as they are.
        let files =
            attributes(root, "disk", "source", "file").into_iter().map(|file| file.replace("|23", "#"));
        assert_eq!(files.collect::<Vec<_>>(), overlays, "{xml}");
        let bus = if controller == "ide" { "ide" } else { "sata" };
        assert!(attributes(root, "disk", "target", "bus").iter().all(|one| *one == bus), "{xml}");
        let macs = attributes(root, "interface", "mac", "address");
        assert_eq!(macs, if machine.devices.network { vec![machine.mac.as_str()] } else { vec![] }, "{xml}");
        let ways: Vec<_> = root.descendants().filter(|node| node.has_tag_name("interface")).collect();
        assert!(ways.iter().all(|way| way.attribute("type") == Some("user")), "{xml}");
        let shared = attributes(root, "filesystem", "source", "dir").len();
        assert_eq!(shared, usize::from(machine.share.is_some()), "{xml}");
        let name = text(root, "name");
        assert!(name.contains("(PocketVM 00000000)"), "{name}");
        for unwanted in ["graphics", "hostdev", "parallel", "floppy", "cdrom", "sound"] {
            assert!(!root.descendants().any(|node| node.has_tag_name(unwanted)), "{unwanted} in {xml}");
        }
    }
}

#[test]
fn a_name_does_not_become_a_setting() {
    let mut machine = machine(0, "ahci", "vmdk");
    machine.name = "a\"\nmemsize = \"4\"\nserial1.fileType = \"pipe".into();
    let configuration = rendered(&machine);
    assert_eq!(configuration.matches("\nmemsize = ").count(), 1, "{configuration}");
    assert!(!configuration.contains("\nserial1"), "{configuration}");
    let xml = understood(&configuration).unwrap();
    assert_eq!(
        attributes(Document::parse(&xml).unwrap().root_element(), "serial", "source", "path").len(),
        1
    );
}

#[test]
fn libvirt_finds_what_is_broken() {
    let sound = rendered(&machine(1, "ahci", "vmdk"));
    assert!(understood(&sound).is_ok());
    for (from, to) in [
        ("memsize = \"1020\"", "memsize = \"1021\""),
        ("virtualHW.version = \"12\"\n", ""),
        ("displayName = \"", "displayName = "),
        ("ethernet0.virtualDev = \"vmxnet3\"", "ethernet0.virtualDev = \"vmxnet4\""),
        ("numvcpus = \"2\"", "numvcpus = \"0\""),
        ("uuid.bios = \"56 4d", "uuid.bios = \"56 4x"),
    ] {
        assert!(sound.contains(from), "{from} is not in {sound}");
        assert!(understood(&sound.replace(from, to)).is_err(), "{to} passes");
    }
}
