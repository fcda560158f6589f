//! What a template may tell QEMU. The template comes from a stick that may be anybody's, and QEMU's options can read and
//! write any file, open ports and start programs. So [`super::rules`] is a list of what is known to be harmless, and what is
//! not on it is refused.

use std::path::Path;

use serde_json::{Map, Value};

use super::rules::{DRIVERS, Is, RULES, Rule, SHARING_DRIVER, SHARING_OPTION, TPM_DRIVERS, TPM_OPTION};
use super::template::{self, FORMAT, Setting};
use super::{disks, tpm};
use crate::hypervisor::Machine;
use crate::hypervisor::rendering::shown;
use crate::{Error, Kind, Result};

/// Checks every setting of a rendered template for `machine`.
///
/// # Errors
/// The first setting that is not on the list, or what the disks lack, in one sentence.
pub fn check(settings: &[Setting], machine: &Machine, uefi: Option<&Path>) -> Result<()> {
    for setting in settings.iter().filter(|setting| setting.option != "blockdev") {
        check_setting(setting, machine).map_err(|why| refused(setting, &why))?;
    }
    for option in ["machine", "accel", "cpu", "m", "smp", "display"] {
        match settings.iter().filter(|setting| setting.option == option).count() {
            1 => {}
            0 => return Err(lacking(format!("the template for QEMU has no {option}"))),
            _ => return Err(lacking(format!("the template for QEMU has {option} more than once"))),
        }
    }
    check_tpm(settings, machine)?;
    for option in ["kernel", "initrd", "append"].into_iter().filter(|_| machine.boot.is_some()) {
        if settings.iter().filter(|setting| setting.option == option).count() != 1 {
            return Err(lacking(format!(
                "the template for QEMU must have one {option}: the guest needs drivers beside its disk"
            )));
        }
    }
    disks::check(settings, machine, uefi)
}

/// A machine with a TPM reaches it once, through its socket, and nothing else does: what speaks there may change its state.
fn check_tpm(settings: &[Setting], machine: &Machine) -> Result<()> {
    if machine.chips.tpm.is_none() {
        return Ok(());
    }
    let text = |setting: &Setting, key: &str| {
        template::map(&setting.value).get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let emulators: Vec<_> = settings.iter().filter(|setting| setting.option == TPM_OPTION).collect();
    let [emulator] = emulators[..] else {
        return Err(lacking(format!(
            "the template for QEMU must have one {TPM_OPTION} for the machine's TPM"
        )));
    };
    let channel = text(emulator, "chardev");
    for setting in settings.iter().filter(|setting| setting.option == "chardev") {
        let is_socket = text(setting, "backend") == "socket";
        let is_tpm = text(setting, "path") == tpm::SOCKET && text(setting, "id") == channel;
        if is_socket != is_tpm {
            return Err(refused(
                setting,
                "only the machine's TPM is behind a socket, and only behind its own",
            ));
        }
    }
    let mut others = settings.iter().filter(|setting| setting.option != TPM_OPTION);
    match others.find(|setting| text(setting, "chardev") == channel) {
        Some(setting) => Err(refused(setting, "this is the way to the machine's TPM")),
        None => Ok(()),
    }
}

/// The error for one setting.
pub fn refused(setting: &Setting, why: &str) -> Error {
    FORMAT.refused(&setting.option, why, Some(setting.line))
}

/// The error for something that must be there.
pub fn lacking(what: String) -> Error {
    Error::new(Kind::Drive, what)
        .safe("nothing was started")
        .hint("compare the template with templates/qemu.yaml.hbs of this PocketVM version")
}

fn check_setting(setting: &Setting, machine: &Machine) -> Result<(), String> {
    let rule = RULES
        .iter()
        .find(|rule| rule.option == setting.option)
        .filter(|rule| match rule.option {
            SHARING_OPTION => machine.share.is_some(),
            TPM_OPTION => machine.chips.tpm.is_some(),
            _ => true,
        })
        .ok_or_else(|| "this option is not on the list".to_owned())?;
    match (&setting.value, rule.word) {
        (Value::Object(map), _) if !rule.keys.is_empty() => check_map(rule, map, machine),
        (value @ (Value::String(_) | Value::Number(_)), Some(is)) => fits(is, value, machine)
            .then_some(())
            .ok_or_else(|| format!("{} is not allowed", value_shown(value))),
        _ => Err("it must be written in another form (a map with keys, or one word)".into()),
    }
}

fn check_map(rule: &Rule, map: &Map<String, Value>, machine: &Machine) -> Result<(), String> {
    if !rule.required.is_empty() && !map.contains_key(rule.required) {
        return Err(format!("{} is missing", shown(rule.required)));
    }
    for (key, value) in map {
        let is = match rule.keys.iter().find(|(name, _)| name == key) {
            Some((_, is)) => *is,
            None if rule.open && is_feature(key) => Is::Token,
            None => return Err(format!("{} is not on the list", shown(key))),
        };
        let feature = rule.open && fits(Is::Switch, value, machine);
        if !feature && !fits(is, value, machine) {
            return Err(format!("{} can't be {}", shown(key), value_shown(value)));
        }
    }
    Ok(())
}

fn value_shown(value: &Value) -> String {
    value.as_str().map_or_else(|| shown(&value.to_string()), shown)
}

/// The name of a CPU feature.
fn is_feature(key: &str) -> bool {
    key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn fits(is: Is, value: &Value, machine: &Machine) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        _ => return false,
    };
    let text = text.as_str();
    match is {
        // A line break or a zero byte in a text would mean something else to those who read QEMU's output.
        Is::Text => text.len() <= 1024 && !text.contains(char::is_control),
        Is::Token => {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-+:/".contains(c);
            (1..=128).contains(&text.len())
                && text.chars().all(known)
                && !text.starts_with(['/', '.'])
                && !text.contains("..")
                // Our own channel's name.
                && !text.starts_with("pocketvm-")
        }
        Is::Number => {
            text.parse::<u32>().is_ok()
                || matches!(text.strip_prefix("0x"), Some(hex) if u32::from_str_radix(hex, 16).is_ok())
        }
        Is::Size => {
            let digits = text.trim_end_matches(['K', 'M', 'G']);
            text.len() - digits.len() <= 1 && digits.parse::<u32>().is_ok()
        }
        Is::Switch => matches!(text, "on" | "off"),
        Is::Of(words) => words.contains(&text),
        Is::Accelerator => text == machine.accelerator,
        Is::Memory => text == format!("{}M", machine.memory_mib),
        Is::Cpus => text == machine.cpus.to_string(),
        Is::Backend => {
            matches!(text, "file" | "qemu-vdagent") || (text == "socket" && machine.chips.tpm.is_some())
        }
        Is::ChannelPath => {
            machine.serial_log.to_str() == Some(text) || (machine.chips.tpm.is_some() && text == tpm::SOCKET)
        }
        Is::FirmwareCode => machine.firmware == "uefi" && text == disks::FIRMWARE_CODE,
        Is::FirmwareVariables => machine.chips.variables.is_some() && text == disks::FIRMWARE_VARIABLES,
        Is::Driver => {
            DRIVERS.contains(&text)
                || (text == SHARING_DRIVER && machine.share.is_some())
                || (TPM_DRIVERS.contains(&text) && machine.chips.tpm.is_some())
        }
        Is::Share => machine.share.as_deref().and_then(|share| share.to_str()) == Some(text),
        Is::Clipboard => text == "off" || (text == "on" && machine.devices.clipboard),
        Is::BootKernel => machine.boot.as_ref().is_some_and(|boot| boot.kernel.to_str() == Some(text)),
        Is::BootInitramfs => machine.boot.as_ref().is_some_and(|boot| boot.initramfs.to_str() == Some(text)),
        Is::BootCommandLine => machine.boot.as_ref().is_some_and(|boot| boot.command_line == text),
        Is::Overlay => machine.disks.iter().any(|disk| disks::overlay_node(&disk.name) == text),
        Is::MachineType => {
            let version = text.strip_prefix("pc-q35-").or_else(|| text.strip_prefix("pc-i440fx-"));
            matches!(text, "q35" | "pc")
                || version.is_some_and(|version| {
                    version.len() <= 8 && version.chars().all(|c| c.is_ascii_digit() || c == '.')
                })
        }
    }
}
