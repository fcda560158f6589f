//! What a template may tell Hyper-V. The template comes from a stick that may be anybody's, and PowerShell can do anything. So
//! [`super::commands`] reads hardly any of its language, [`super::rules`] is a list of what is known to be harmless, and every
//! disk must be attached exactly once.

use super::commands::{Command, Value};
use super::rules::{Is, ONCE, RULES};
use super::template::{self, FORMAT};
use crate::Result;
use crate::hypervisor::Machine;
use crate::hypervisor::rendering::shown;

/// Checks the rendered `commands` for `machine`.
///
/// # Errors
/// The first thing that is not on the list, or what the machine lacks, in one sentence.
pub fn check(commands: &[Command], machine: &Machine) -> Result<()> {
    for command in commands {
        check_command(command, machine)?;
    }
    let of = |name: &str| commands.iter().filter(|command| command.name == name).collect::<Vec<_>>();
    for name in ONCE {
        if of(name).len() != 1 {
            return Err(FORMAT.mistake(format!("must have {name} exactly once")));
        }
    }
    if commands.first().is_none_or(|command| !command.makes_machine) {
        return Err(FORMAT.mistake("must begin with $vm = New-VM"));
    }
    // A card that is added before all cards are removed would be gone.
    let place = |name: &str| commands.iter().position(|command| command.name == name);
    let cards = of("Add-VMNetworkAdapter").len();
    if cards > usize::from(machine.devices.network) {
        return Err(FORMAT.mistake("has more network cards than the machine"));
    }
    if cards == 1 && place("Add-VMNetworkAdapter") < place("Remove-VMNetworkAdapter") {
        return Err(FORMAT.mistake("removes the network card that it added"));
    }
    let drives = of("Add-VMHardDiskDrive");
    if place("Add-VMHardDiskDrive") < place("Remove-VMDvdDrive") && !drives.is_empty() {
        return Err(FORMAT.mistake("adds disks before it removes the drive that is in their place"));
    }
    for (disk, (number, location)) in machine.disks.iter().zip(template::places(machine)?) {
        let is_it = |drive: &&&Command| {
            drive.get("ControllerNumber") == Some(&Value::Number(number))
                && drive.get("ControllerLocation") == Some(&Value::Number(location))
                && is_path(drive.get("Path"), &disk.overlay)
        };
        if drives.iter().filter(is_it).count() != 1 {
            let what = format!("must have the disk {} exactly once, at {number}:{location}", disk.name);
            return Err(FORMAT.mistake(what));
        }
    }
    if drives.len() != machine.disks.len() {
        return Err(FORMAT.mistake("has more disks than the machine"));
    }
    Ok(())
}

fn check_command(command: &Command, machine: &Machine) -> Result<()> {
    let refused = |why: &str| FORMAT.refused(&command.name, why, Some(command.line));
    let (name, parameters, required) = RULES
        .iter()
        .find(|(known, ..)| *known == command.name)
        .ok_or_else(|| refused("this command is not on the list"))?;
    if command.makes_machine != (*name == "New-VM") {
        return Err(refused("only $vm = New-VM makes the machine"));
    }
    for (name, value) in &command.parameters {
        let (_, is) = parameters
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| refused(&format!("{} is not on the list", shown(name))))?;
        if !fits(*is, value, machine) {
            return Err(refused(&format!("{} can't be {}", shown(name), told(value))));
        }
    }
    match required.iter().find(|name| command.get(name).is_none()) {
        Some(missing) => Err(refused(&format!("{} is missing", shown(missing)))),
        None => Ok(()),
    }
}

fn fits(is: Is, value: &Value, machine: &Machine) -> bool {
    let text = |meant: String| *value == Value::Text(meant);
    match is {
        Is::Switch => *value == Value::Switch,
        Is::Number => matches!(value, Value::Number(number) if *number <= u64::from(u32::MAX)),
        Is::Bool => matches!(value, Value::Bool(_)),
        Is::No => *value == Value::Bool(false),
        Is::Exactly(number) => *value == Value::Number(number),
        Is::Of(words) => matches!(value, Value::Text(word) if words.contains(&word.as_str())),
        Is::Machine => *value == Value::Machine,
        Is::Network => *value == Value::Network && machine.devices.network,
        Is::Title => text(template::title(machine)),
        Is::Notes => text(template::notes(machine)),
        Is::Folder => is_path(Some(value), &machine.scratch),
        Is::Memory => *value == Value::Number(template::memory_bytes(machine)),
        Is::Cpus => *value == Value::Number(machine.cpus.into()),
        Is::Mac => text(template::mac(machine)),
        Is::Image => machine.disks.iter().any(|disk| is_path(Some(value), &disk.overlay)),
    }
}

fn is_path(value: Option<&Value>, path: &std::path::Path) -> bool {
    matches!(value, Some(Value::Text(text)) if path.to_str() == Some(text))
}

fn told(value: &Value) -> String {
    match value {
        Value::Switch => "without a value".into(),
        Value::Text(text) => shown(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => if *value { "$true" } else { "$false" }.into(),
        Value::Machine => "$vm".into(),
        Value::Network => "$lan".into(),
    }
}
