//! From a template to the commands that make a machine. What comes out is checked in [`super::allowed`].

use pocketvm_guest::Hardware;
use serde_json::{Value, json};

use super::commands::{self, Command};
use crate::hypervisor::rendering::{self, Format, text};
use crate::hypervisor::{CardNames, Machine, Offer, Offered};
use crate::{Error, Kind, Result};

/// What can be given. The disks of a newer machine, and all SCSI ones, need drivers of Hyper-V's even to be started from.
pub const HARDWARE: Offered = Offered {
    controllers: &[Offer::new("ide", Hardware::HypervIde)],
    cards: &[Offer::new("synthetic", Hardware::HypervNet)],
    displays: &[],
    card_names: CardNames::Always("eth0"),
    starts_kernel: false,
};

/// The most disks.
pub const MOST_DISKS: usize = 4;

/// Longer names would make paths that Windows does not take.
const LONGEST_NAME: usize = 32;

/// What comes of a template.
pub const FORMAT: Format = Format { title: "Hyper-V", escape: commands::escape };

/// Where the disks of a machine are attached, in its order: controller and location.
///
/// # Errors
/// A controller that guests can't boot from here, or too many disks.
pub fn places(machine: &Machine) -> Result<Vec<(u64, u64)>> {
    let place = |(index, disk): (u64, &crate::hypervisor::MachineDisk)| {
        if disk.controller != "ide" || index >= MOST_DISKS as u64 {
            let what = format!("Hyper-V has no place for the disk {} on {}", disk.name, disk.controller);
            return Err(
                Error::new(Kind::Drive, what).hint("use ide as its controller, for at most four disks")
            );
        }
        Ok((index / 2, index % 2))
    };
    (0..).zip(&machine.disks).map(place).collect()
}

/// The machine's name in Hyper-V, which makes a folder of that name, and takes some signs in it for patterns.
pub fn title(machine: &Machine) -> String {
    let session = machine.session().to_string();
    let plain = |c: char| if c.is_control() || "\\/:*?\"<>|[]`".contains(c) { '_' } else { c };
    let name: String = machine.name.chars().take(LONGEST_NAME).map(plain).collect();
    format!("{} (PocketVM {})", name.trim(), &session[..8])
}

/// The Ethernet address as Hyper-V writes it.
pub fn mac(machine: &Machine) -> String {
    machine.mac.replace(':', "").to_uppercase()
}

/// The machine's memory: Hyper-V takes multiples of 2 MiB.
pub fn memory_bytes(machine: &Machine) -> u64 {
    (machine.memory_mib / 2 * 2) << 20
}

/// The notes by which the machine is found again.
pub fn notes(machine: &Machine) -> String {
    format!("PocketVM session {}", machine.session())
}

/// Renders `template` for `machine`.
///
/// # Errors
/// One sentence about what is wrong, with the line where it is known.
pub fn render(machine: &Machine, template: &str) -> Result<Vec<Command>> {
    let places = places(machine)?;
    let disks = machine.disks.iter().zip(&places).map(|(disk, (number, location))| {
        Ok(json!({
            "name": disk.name,
            "overlay": text(&disk.overlay)?,
            "number": number,
            "location": location,
        }))
    });
    let disks = disks.collect::<Result<Vec<_>>>()?;
    let mut context = rendering::context(machine)?;
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("title", title(machine).into());
    put("session", machine.session().to_string().into());
    put("folder", text(&machine.scratch)?.into());
    put("mac", mac(machine).into());
    put("memory_bytes", memory_bytes(machine).into());
    put("disks", disks.into());
    let text = FORMAT.expand(template, &context.into())?;
    commands::parse(&text).map_err(|mistake| {
        FORMAT.mistake(format!("has a mistake in line {} after rendering: {}", mistake.line, mistake.why))
    })
}
