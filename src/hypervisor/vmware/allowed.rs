//! What a template may tell VMware. The template comes from a stick that may be anybody's, and a configuration can name any
//! file, open ports and reach devices. So [`super::rules`] is a list of what is known to be harmless, and what is not on it is
//! refused; and every disk must be there, at its place, exactly once.

use super::dictionary::Entry;
use super::rules::{Is, REQUIRED, REQUIRED_OF_NETWORK, REQUIRED_OF_SERIAL, RULES};
use super::template::{self, FORMAT};
use crate::Result;
use crate::hypervisor::Machine;
use crate::hypervisor::rendering::shown;

/// Checks the rendered `entries` for `machine`. Their keys differ.
///
/// # Errors
/// The first thing that is not on the list, or what the machine lacks, in one sentence.
pub fn check(entries: &[Entry], machine: &Machine) -> Result<()> {
    let places = template::places(machine)?;
    for entry in entries {
        let refused = |why: &str| FORMAT.refused(&entry.key, why, Some(entry.line));
        let (_, is) = RULES
            .iter()
            .find(|(pattern, _)| matches(pattern, &entry.key))
            .ok_or_else(|| refused("this key is not on the list"))?;
        if !fits(*is, entry, machine, &places) {
            return Err(refused(&format!("it can't be {}", shown(&entry.value))));
        }
        let place = entry.key.split('.').next().unwrap_or_default();
        if place.contains(':') && !places.iter().any(|known| known == place) {
            return Err(refused("the machine has no disk there"));
        }
    }
    let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let is_on = |key: &str| value(key) == Some("TRUE");
    let mut required = REQUIRED.to_vec();
    if is_on("ethernet0.present") {
        required.extend(REQUIRED_OF_NETWORK);
    }
    if is_on("serial0.present") {
        required.extend(REQUIRED_OF_SERIAL);
    }
    if let Some(missing) = required.into_iter().find(|key| value(key).is_none()) {
        return Err(FORMAT.mistake(format!("lacks {missing}")));
    }
    for (disk, place) in machine.disks.iter().zip(&places) {
        let has = |what: &str| value(&format!("{place}.{what}")).is_some();
        let controller = !place.starts_with("sata") || is_on("sata0.present");
        if !(has("present") && has("deviceType") && has("fileName") && controller) {
            return Err(FORMAT.mistake(format!("must have the disk {} at {place}", disk.name)));
        }
    }
    Ok(())
}

/// Whether `key` is the one that `pattern` means, in which `#` is a whole number.
fn matches(pattern: &str, key: &str) -> bool {
    let Some((before, after)) = pattern.split_once('#') else { return pattern == key };
    let Some(rest) = key.strip_prefix(before) else { return false };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    (1..=2).contains(&digits) && (digits == 1 || !number.starts_with('0')) && matches(after, rest)
}

fn fits(is: Is, entry: &Entry, machine: &Machine, places: &[String]) -> bool {
    let value = entry.value.as_str();
    match is {
        Is::Token => {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            (1..=64).contains(&value.len()) && value.chars().all(known) && !value.contains("..")
        }
        Is::Number => value.len() <= 10 && value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty(),
        Is::Switch => matches!(value, "TRUE" | "FALSE"),
        Is::Only(word) => value == word,
        Is::Of(words) => words.contains(&value),
        Is::If(wished) => value == "FALSE" || (value == "TRUE" && wished(machine)),
        Is::Unless(wished) => value == "TRUE" || (value == "FALSE" && wished(machine)),
        Is::Title => value == template::title(machine),
        Is::Firmware => value == if machine.firmware == "uefi" { "efi" } else { "bios" },
        Is::Hardware => value == template::hardware(machine).to_string(),
        Is::Uuid => value == template::uuid_bios(machine),
        Is::Memory => value == template::memory_mib(machine).to_string(),
        Is::Cpus => value == machine.cpus.to_string(),
        Is::Mac => value == machine.mac,
        Is::Image => {
            let mut disks = machine.disks.iter().zip(places);
            disks.any(|(disk, place)| {
                entry.key == format!("{place}.fileName") && disk.overlay.to_str() == Some(value)
            })
        }
        Is::SerialLog => machine.serial_log.to_str() == Some(value),
        Is::Share => machine.share.as_deref().and_then(|share| share.to_str()) == Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_a_key_is_a_number_and_nothing_else() {
        assert!(matches("sata0:#.fileName", "sata0:0.fileName"));
        assert!(matches("ide#:#.fileName", "ide1:0.fileName"));
        for key in ["sata0:.fileName", "sata0:00.fileName", "sata0:123.fileName", "sata0:x.fileName"] {
            assert!(!matches("sata0:#.fileName", key), "{key}");
        }
        assert!(!matches("sata0:#.fileName", "sata0:0.fileNamex"));
        assert!(!matches("memsize", "Memsize"), "a key has one spelling");
    }
}
