//! What kind of Linux that is: its name and version, its processor, the hypervisors' tools in it.

use serde::Serialize;

use super::files::Files;
use crate::Result;

/// Bytes of a text that is read.
const TEXT_AT_MOST: u64 = 64 << 10;
/// Programs of which one is there in every Linux.
const PROGRAMS: [&str; 5] =
    ["/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/lib/systemd/systemd", "/bin/busybox"];

/// How a distribution calls itself (os-release(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Release {
    /// `debian`, `fedora`, ….
    pub id: Option<String>,
    /// With its version, for people.
    pub name: Option<String>,
    /// The version alone.
    pub version: Option<String>,
}

/// Tools of a hypervisor in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tools {
    /// open-vm-tools, or VMware's own.
    OpenVmTools,
    /// VirtualBox's guest additions.
    VirtualboxGuest,
    /// QEMU's guest agent.
    QemuGuestAgent,
    /// SPICE's agent.
    SpiceVdagent,
    /// Hyper-V's daemons.
    HypervDaemons,
}

/// Where the programs and services of each are.
const TOOLS: [(Tools, &[&str]); 5] = [
    (
        Tools::OpenVmTools,
        &["/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd", "/usr/lib/systemd/system/vmtoolsd.service"],
    ),
    (Tools::VirtualboxGuest, &["/usr/sbin/VBoxService", "/usr/bin/VBoxService", "/usr/bin/VBoxClient"]),
    (Tools::QemuGuestAgent, &["/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"]),
    (Tools::SpiceVdagent, &["/usr/sbin/spice-vdagentd", "/usr/bin/spice-vdagent"]),
    (Tools::HypervDaemons, &["/usr/sbin/hv_kvp_daemon", "/usr/sbin/hypervkvpd", "/usr/bin/hv_kvp_daemon"]),
];

pub(super) fn release(files: &Files) -> Result<Release> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        let text = files.text(path, TEXT_AT_MOST)?;
        if !text.is_empty() {
            return Ok(parse_release(&text));
        }
    }
    Ok(Release::default())
}

fn parse_release(text: &str) -> Release {
    let value = |key: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        let inside = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let value = inside.unwrap_or(value).replace('\\', "");
        // A terminal shows it.
        let value: String = value.chars().filter(|next| !next.is_control()).take(200).collect();
        (!value.is_empty()).then_some(value)
    };
    Release {
        id: value("ID"),
        name: value("PRETTY_NAME").or_else(|| value("NAME")),
        version: value("VERSION_ID"),
    }
}

/// The processor that the programs are for, as Rust and `uname -m` call it; `None` if no program is found.
pub(super) fn architecture(files: &Files) -> Result<Option<&'static str>> {
    use std::io::Read;
    for path in PROGRAMS {
        let Some(file) = files.file(path)? else { continue };
        let mut header = Vec::new();
        file.take(20).read_to_end(&mut header).map_err(super::files::read_error)?;
        if let Some(architecture) = machine(&header) {
            return Ok(Some(architecture));
        }
    }
    Ok(None)
}

/// The machine in an ELF header (elf(5): `e_machine`).
fn machine(header: &[u8]) -> Option<&'static str> {
    let (class, order) = (*header.get(4)?, *header.get(5)?);
    let bytes = [*header.get(18)?, *header.get(19)?];
    let machine = if order == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    header.starts_with(b"\x7fELF").then_some(match (machine, class) {
        (3, _) => "x86",
        (62, _) => "x86_64",
        (40, _) => "arm",
        (183, _) => "aarch64",
        (243, 2) => "riscv64",
        (21, _) => "powerpc64",
        (22, _) => "s390x",
        (258, _) => "loongarch64",
        _ => "other",
    })
}

pub(super) fn tools(files: &Files) -> Result<Vec<Tools>> {
    let mut found = Vec::new();
    for (tools, paths) in TOOLS {
        let mut there = false;
        for path in paths {
            there = there || files.exists(path)?;
        }
        if there {
            found.push(tools);
        }
    }
    if !found.contains(&Tools::VirtualboxGuest)
        && files.names("/opt")?.iter().any(|name| name.starts_with("VBoxGuestAdditions"))
    {
        found.push(Tools::VirtualboxGuest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_says_what_it_is() {
        let release = parse_release(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME='x'\nVERSION_ID=\"12\"\nID=debian\n",
        );
        let some = |text: &str| Some(text.to_owned());
        let name = some("Debian GNU/Linux 12 (bookworm)");
        assert_eq!(release, Release { id: some("debian"), name, version: some("12") });
        assert_eq!(parse_release("NAME=\x1b[31mred\n").name, some("[31mred"));
        assert_eq!(parse_release("nothing"), Release::default());
    }

    #[test]
    fn a_program_tells_its_processor() {
        let elf =
            |order: u8, machine: [u8; 2]| [b"\x7fELF\x02".as_slice(), &[order], &[0; 12], &machine].concat();
        assert_eq!(machine(&elf(1, [62, 0])), Some("x86_64"));
        assert_eq!(machine(&elf(1, [183, 0])), Some("aarch64"));
        assert_eq!(machine(&elf(2, [0, 22])), Some("s390x"));
        assert_eq!(machine(b"#!/bin/sh and then some"), None);
        assert_eq!(machine(b"\x7fELF"), None);
    }
}
