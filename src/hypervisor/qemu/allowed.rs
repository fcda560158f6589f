//! What a template may tell QEMU. The template comes from a stick that may be anybody's, and QEMU's options can read and
//! write any file, open ports and start programs. So [`super::rules`] is a list of what is known to be harmless, and what is
//! not on it is refused.

use serde_json::{Map, Value};

use super::disks;
use super::rules::{Is, RULES, Rule};
use super::template::{self, Setting};
use crate::hypervisor::Machine;
use crate::{Error, Kind, Result};

/// Checks every setting of a rendered template for `machine`.
///
/// # Errors
/// The first setting that is not on the list, or what the disks lack, in one sentence.
pub fn check(settings: &[Setting], machine: &Machine) -> Result<()> {
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
    disks::check(settings, machine)
}

/// The error for one setting.
pub fn refused(setting: &Setting, why: &str) -> Error {
    let place = format!("line {} after rendering", setting.line);
    Error::new(
        Kind::Drive,
        format!(
            "the template for QEMU has a setting that is not allowed: {}: {why} ({place})",
            shown(&setting.option)
        ),
    )
    .safe("nothing was started")
    .hint("remove the setting from the template, or compare it with templates/qemu.yaml.hbs of this PocketVM version")
}

/// The error for something that must be there.
pub fn lacking(what: String) -> Error {
    Error::new(Kind::Drive, what)
        .safe("nothing was started")
        .hint("compare the template with templates/qemu.yaml.hbs of this PocketVM version")
}

/// Words of the template in a message: short, and without control characters.
pub fn shown(words: &str) -> String {
    let short: String = words.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("“{short}”")
}

fn check_setting(setting: &Setting, machine: &Machine) -> Result<(), String> {
    let rule = RULES
        .iter()
        .find(|rule| rule.option == setting.option)
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
        Is::SerialLog => template::text(&machine.serial_log).is_ok_and(|path| path == text),
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
