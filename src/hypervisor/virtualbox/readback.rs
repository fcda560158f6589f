//! What VirtualBox made of a machine's settings. It passes over what it does not understand, without a word: so it is asked
//! afterwards, and a machine that is not what was meant is not started.

use super::manage::Description;
use super::template::{self, Place};
use crate::hypervisor::Machine;
use crate::{Error, Kind, Result};

/// Compares what VirtualBox says with what was meant.
///
/// # Errors
/// The first difference.
pub fn compare(said: &Description, machine: &Machine, places: &[Place]) -> Result<()> {
    let mut meant: Vec<(String, String)> = Vec::new();
    let mut expect = |key: &str, value: String| meant.push((key.to_owned(), value));
    expect("memory", machine.memory_mib.to_string());
    expect("cpus", machine.cpus.to_string());
    expect("hardwareuuid", machine.uuid.to_string());
    expect("firmware", template::firmware(machine).into());
    let nvram = machine.scratch.join(super::nvram::FILE).display().to_string();
    if machine.chips.variables.is_some() && nvram.is_ascii() {
        expect("NvramFile", nvram);
    }
    expect("vrde", "off".into());
    expect("draganddrop", "disabled".into());
    expect("audio_in", "off".into());
    if machine.devices.network {
        expect("nic1", "nat".into());
        expect("macaddress1", template::mac(machine));
    } else {
        expect("nic1", "none".into());
    }
    if !machine.devices.clipboard {
        expect("clipboard", "disabled".into());
    }
    for (disk, place) in machine.disks.iter().zip(places) {
        let path = disk.overlay.display().to_string();
        // The terminal's alphabet may lack some letters; the id says which image it is.
        if path.is_ascii() {
            expect(&place.key(), path);
        }
        let key = format!("{}-ImageUUID-{}-{}", place.controller, place.port, place.device);
        expect(&key, template::overlay_id(machine, &disk.name).to_string());
    }
    for (key, value) in &meant {
        let said = said.get(key);
        if said != Some(value.as_str()) {
            return Err(differs(&format!("{key} is {} instead of {value}", said.unwrap_or("missing"))));
        }
    }
    // Anything attached that is not the machine's.
    let is_image = |value: &str| value != "none" && value != "emptydrive";
    for (key, value) in said.iter().filter(|(key, _)| is_place(key)) {
        let ours = places.iter().any(|place| place.key() == key);
        if !ours && is_image(value) {
            return Err(differs(&format!("there is a disk at {key}: {value}")));
        }
    }
    for (key, value) in said.iter().filter(|(key, _)| key.starts_with("SharedFolderPathMachineMapping")) {
        let share = machine.share.as_deref().and_then(|share| share.to_str());
        if share.is_none_or(|share| share.is_ascii() && share != value) {
            return Err(differs(&format!("it shares a folder, {key}: {value}")));
        }
    }
    for (key, value) in said.iter().filter(|(key, _)| key.starts_with("uartmode")) {
        let log = format!("file,{}", machine.serial_log.display());
        if value != "off" && value != log && (log.is_ascii() || !value.starts_with("file,")) {
            return Err(differs(&format!("it has a serial port, {key}: {value}")));
        }
    }
    if said.iter().any(|(key, _)| key.starts_with("Forwarding(")) {
        return Err(differs("it forwards a port"));
    }
    Ok(())
}

fn differs(what: &str) -> Error {
    let what: String = what.chars().filter(|c| !c.is_control()).take(300).collect();
    Error::new(
        Kind::Hypervisor,
        format!("VirtualBox understood the machine otherwise than it was meant: {what}"),
    )
    .safe("nothing was started")
    .hint("compare the template with the one of this PocketVM version, or use another hypervisor")
}

/// `NAME-PORT-DEVICE`.
fn is_place(key: &str) -> bool {
    let mut parts = key.rsplitn(3, '-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some_and(|name| !name.contains('-'))
}
