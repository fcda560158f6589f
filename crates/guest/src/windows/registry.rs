//! What the hives SOFTWARE and SYSTEM say of a Windows.

use super::drivers::{ControlSet, System};
use super::hive::{BINARY, Hive, Key, MULTI_SZ};
use super::{Architecture, Clock, GuestTool, Letter, Mounted, Windows};
use crate::bytes::{Guid, array, le32, le64, utf16};
use crate::{Disk, Error, Result};

/// More control sets than this are not read; Windows makes three or four.
const MOST_SETS: usize = 32;
/// Page files and drive letters that are listed.
const MOST_LISTED: usize = 64;

/// Services of guest tools, and what they belong to.
const TOOLS: &[(&str, &str)] = &[
    ("VBoxGuest", "VirtualBox Guest Additions"),
    ("VBoxService", "VirtualBox Guest Additions"),
    ("VMTools", "VMware Tools"),
    ("QEMU-GA", "QEMU guest agent"),
    ("viostor", "virtio disk driver"),
    ("vioscsi", "virtio SCSI driver"),
    ("netkvm", "virtio network driver"),
    ("vioserial", "virtio serial driver"),
    ("VirtioSerial", "virtio serial driver"),
    ("balloon", "virtio balloon driver"),
    ("viorng", "virtio random number driver"),
];

/// The name and the build, from SOFTWARE.
pub(super) fn software<F: Disk>(file: F, windows: &mut Windows) -> Result<()> {
    let hive = Hive::open(file)?;
    let Some(version) = hive.find(&hive.root()?, r"Microsoft\Windows NT\CurrentVersion")? else {
        return Ok(());
    };
    let build = match hive.text(&version, "CurrentBuildNumber")? {
        Some(build) => Some(build),
        None => hive.text(&version, "CurrentBuild")?,
    };
    windows.build = build.and_then(|build| build.trim().parse().ok());
    windows.name = hive.text(&version, "ProductName")?.map(|name| as_sold(name, windows.build));
    Ok(())
}

/// Windows 11 still has the name of 10 in its registry; Microsoft tells them apart by the build.
fn as_sold(name: String, build: Option<u32>) -> String {
    if build >= Some(22_000) { name.replacen("Windows 10", "Windows 11", 1) } else { name }
}

/// All else, from SYSTEM. What was read stays if a later part makes no sense.
pub(super) fn system<D: Disk + ?Sized>(system: &System<'_, '_, D>, windows: &mut Windows) -> Result<()> {
    let hive = system.hive;
    let root = hive.root()?;
    let (default, last) = match hive.find(&root, "Select")? {
        Some(select) => (hive.number(&select, "Default")?, hive.number(&select, "Current")?),
        None => (None, None),
    };
    let next = default.or(last);
    let mut sets = Vec::new();
    for key in hive.children(&root)? {
        if let Some(number) = set_number(&key.name) {
            sets.push((number, key));
        }
    }
    if sets.len() > MOST_SETS {
        return Err(Error::TooLarge("the list of control sets".into()));
    }
    sets.sort_by_key(|(number, _)| *number);
    let mut read = Vec::with_capacity(sets.len());
    for (number, key) in &sets {
        read.push(ControlSet {
            number: *number,
            current: Some(*number) == next,
            drivers: system.drivers(key)?,
        });
    }
    // All or none: a plan for some of them would be half a plan.
    windows.control_sets = read;
    if let Some(mounted) = hive.find(&root, "MountedDevices")? {
        letters(hive, &mounted, windows)?;
    }
    let current = sets.iter().find(|(number, _)| Some(*number) == next).or(sets.first());
    if let Some((_, key)) = current {
        settings(system, key, windows)?;
    }
    Ok(())
}

/// The number of a key that is called `ControlSetNNN`.
fn set_number(name: &str) -> Option<u32> {
    let head = name.get(..10).filter(|head| head.eq_ignore_ascii_case("ControlSet"))?;
    let digits = &name[head.len()..];
    (digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What is set in the control set `key`.
fn settings<D: Disk + ?Sized>(system: &System<'_, '_, D>, key: &Key, windows: &mut Windows) -> Result<()> {
    let hive = system.hive;
    let number = |path, name| match hive.find(key, path)? {
        Some(key) => hive.number(&key, name),
        None => Ok(None),
    };
    if let Some(environment) = hive.find(key, r"Control\Session Manager\Environment")? {
        windows.architecture = match hive.text(&environment, "PROCESSOR_ARCHITECTURE")?.as_deref() {
            Some("AMD64") => Some(Architecture::X86_64),
            Some("x86") => Some(Architecture::X86),
            Some("ARM64") => Some(Architecture::Arm64),
            _ => None,
        };
    }
    if let Some(memory) = hive.find(key, r"Control\Session Manager\Memory Management")? {
        windows.page_files = texts(hive, &memory, "PagingFiles")?;
    }
    if number(r"Control\TimeZoneInformation", "RealTimeIsUniversal")?.is_some_and(|value| value != 0) {
        windows.clock = Clock::Utc;
    }
    let hibernation = match number(r"Control\Power", "HibernateEnabled")? {
        Some(enabled) => Some(enabled),
        None => number(r"Control\Power", "HibernateEnabledDefault")?,
    };
    windows.hibernation = hibernation.map(|value| value != 0);
    windows.fast_startup =
        number(r"Control\Session Manager\Power", "HiberbootEnabled")?.map(|value| value != 0);
    let names: Vec<&'static str> = TOOLS.iter().map(|(service, _)| *service).collect();
    let found = system.has_services(key, &names)?;
    windows.guest_tools = TOOLS
        .iter()
        .filter(|(service, _)| found.contains(service))
        .map(|&(service, product)| GuestTool { service, product })
        .collect();
    Ok(())
}

/// The texts of a REG_MULTI_SZ.
fn texts<F: Disk>(hive: &Hive<F>, key: &Key, name: &str) -> Result<Vec<String>> {
    let Some(value) = hive.value(key, name)?.filter(|value| value.kind == MULTI_SZ) else {
        return Ok(Vec::new());
    };
    let data = hive.data(&value)?.unwrap_or_default();
    let units: Vec<&[u8]> = data.chunks_exact(2).collect();
    let texts = units.split(|unit| *unit == [0, 0]).filter(|text| !text.is_empty());
    Ok(texts.take(MOST_LISTED).map(|text| utf16(&text.concat())).collect())
}

/// The letters of volumes: values `\DosDevices\C:` of the key `MountedDevices`.
fn letters<F: Disk>(hive: &Hive<F>, key: &Key, windows: &mut Windows) -> Result<()> {
    for value in hive.values(key)? {
        let Some(drive) = value.name.strip_prefix(r"\DosDevices\") else { continue };
        let [letter @ (b'A'..=b'Z' | b'a'..=b'z'), b':'] = *drive.as_bytes() else { continue };
        if value.kind != BINARY || windows.letters.len() >= MOST_LISTED {
            continue;
        }
        let data = hive.data(&value)?.unwrap_or_default();
        let letter = char::from(letter.to_ascii_uppercase());
        windows.letters.push(Letter { letter, volume: mounted(&data) });
    }
    windows.letters.sort_by_key(|letter| letter.letter);
    Ok(())
}

/// How the data of such a value names a volume.
fn mounted(data: &[u8]) -> Mounted {
    let gpt = data.strip_prefix(b"DMIO:ID:").filter(|id| id.len() == 16).and_then(|id| array(id, 0));
    let mbr = || (data.len() == 12).then(|| Some((le32(data, 0)?, le64(data, 4)?))).flatten();
    match gpt {
        Some(id) => Mounted::Gpt { partition: Guid(id) },
        None => mbr().map_or(Mounted::Device, |(signature, start)| Mounted::Mbr { signature, start }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_set_has_three_digits() {
        assert_eq!(set_number("ControlSet001"), Some(1));
        assert_eq!(set_number("CONTROLSET012"), Some(12));
        for other in [
            "ControlSet",
            "ControlSet1",
            "ControlSet+01",
            "ControlSet0001",
            "CurrentControlSet",
            "ControlSé001",
        ] {
            assert_eq!(set_number(other), None, "{other}");
        }
    }

    #[test]
    fn windows_11_is_told_by_its_build() {
        assert_eq!(as_sold("Windows 10 Home".into(), Some(22631)), "Windows 11 Home");
        assert_eq!(as_sold("Windows 10 Home".into(), Some(19045)), "Windows 10 Home");
        assert_eq!(as_sold("Windows 10 Home".into(), None), "Windows 10 Home");
    }

    #[test]
    fn volumes_are_known_by_disk_and_place_or_by_partition() {
        let data = [0x78, 0x56, 0x34, 0x12, 0, 0, 0x10, 0, 0, 0, 0, 0];
        assert_eq!(mounted(&data), Mounted::Mbr { signature: 0x1234_5678, start: 0x10_0000 });
        assert_eq!(
            mounted(b"DMIO:ID:0123456789abcdef"),
            Mounted::Gpt { partition: Guid(*b"0123456789abcdef") }
        );
        assert_eq!(mounted(b"DMIO:ID:short"), Mounted::Device);
    }
}
