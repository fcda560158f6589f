//! From a template to a configuration for VMware. What comes out is checked in [`super::allowed`].

use pocketvm_guest::Hardware;
use serde_json::{Value, json};

use super::dictionary::{self, Entry};
use crate::hypervisor::rendering::{self, Format, text};
use crate::hypervisor::{CardNames, Machine, Offer, Offered};
use crate::{Error, Kind, Result};

/// What can be given. The place of the network card is one of VMware's numbers, after which Linux names it.
pub const HARDWARE: Offered = Offered {
    controllers: &[Offer::new("ahci", Hardware::Ahci), Offer::new("ide", Hardware::Piix)],
    cards: &[
        Offer::new("vmxnet3", Hardware::Vmxnet3),
        Offer::new("e1000e", Hardware::E1000e),
        Offer::new("e1000", Hardware::E1000),
    ],
    displays: &[],
    card_names: CardNames::OneOf(&["ens32", "ens33", "ens34", "ens160"]),
    starts_kernel: false,
};

/// The most disks on AHCI, and on IDE.
pub const MOST_AHCI: usize = 30;
const MOST_IDE: usize = 4;

/// What comes of a template.
pub const FORMAT: Format = Format { title: "VMware", escape: dictionary::escape };

/// The virtual hardware of Workstation 12 and Fusion 8, which all later ones have as well. Its limits are 16 CPUs and 64 GiB.
const VIRTUAL_HARDWARE: u32 = 12;
const MOST_CPUS: u32 = 16;
const MOST_MIB: u64 = 64 * 1024;

/// The virtual hardware of Workstation 16 and Fusion 12, for machines above those limits.
const LARGE_HARDWARE: u32 = 18;

/// The version of the virtual hardware that `machine` needs.
pub fn hardware(machine: &Machine) -> u32 {
    if machine.cpus > MOST_CPUS || machine.memory_mib > MOST_MIB { LARGE_HARDWARE } else { VIRTUAL_HARDWARE }
}

/// Where the disks of a machine are attached, in its order: `sata0:0`, `ide0:1`, ….
///
/// # Errors
/// A controller that VMware does not have, or too many disks on one.
pub fn places(machine: &Machine) -> Result<Vec<String>> {
    let (mut ahci, mut ide) = (0, 0);
    let mut places = Vec::with_capacity(machine.disks.len());
    for disk in &machine.disks {
        places.push(match disk.controller.as_str() {
            "ahci" if ahci < MOST_AHCI => {
                ahci += 1;
                format!("sata0:{}", ahci - 1)
            }
            "ide" if ide < MOST_IDE => {
                ide += 1;
                format!("ide{}:{}", (ide - 1) / 2, (ide - 1) % 2)
            }
            other => {
                let what = format!("VMware has no place for the disk {} on {other}", disk.name);
                return Err(Error::new(Kind::Drive, what).hint("use ahci as its controller"));
            }
        });
    }
    Ok(places)
}

/// The machine's name in VMware. Some of those who read it take a percent sign for the beginning of an escape.
pub fn title(machine: &Machine) -> String {
    let session = machine.session().to_string();
    format!("{} (PocketVM {})", machine.name.replace('%', "％"), &session[..8])
}

/// The machine's memory: VMware takes multiples of 4 MiB.
pub fn memory_mib(machine: &Machine) -> u64 {
    machine.memory_mib / 4 * 4
}

/// The SMBIOS UUID in VMware's form, `56 4d 2c 9e 43 17 e3 9a-2b b2 65 95 06 fe 36 25`: the bytes as they come to lie in the
/// guest's tables. Up to hardware version 12 these are of SMBIOS 2.4, where a guest reads a UUID as it is written; later
/// ones are of 2.7, where its first three numbers are little-endian (SMBIOS 2.6, 7.2.1).
pub fn uuid_bios(machine: &Machine) -> String {
    let large = hardware(machine) == LARGE_HARDWARE;
    let bytes = if large { machine.uuid.to_bytes_le() } else { machine.uuid.into_bytes() };
    let half = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    format!("{}-{}", half(&bytes[..8]), half(&bytes[8..]))
}

/// The keys that give mouse and keyboard back, where VMware's user did not choose other ones.
pub fn release_keys() -> &'static str {
    if std::env::consts::OS == "macos" { "Ctrl+⌘" } else { "Ctrl+Alt" }
}

/// Renders `template` for `machine`.
///
/// # Errors
/// One sentence about what is wrong, with the line where it is known.
pub fn render(machine: &Machine, template: &str) -> Result<Vec<Entry>> {
    let places = places(machine)?;
    let disks = machine.disks.iter().zip(&places).map(|(disk, place)| {
        Ok(json!({
            "name": disk.name,
            "overlay": text(&disk.overlay)?,
            "controller": disk.controller,
            "place": place,
        }))
    });
    let disks = disks.collect::<Result<Vec<_>>>()?;
    let count = |start: &str| places.iter().filter(|place| place.starts_with(start)).count();
    let mut context = rendering::context(machine)?;
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("title", title(machine).into());
    put("uuid_bios", uuid_bios(machine).into());
    // Linux names a card after the number of its place.
    let names = machine.card_name.as_deref().filter(|name| HARDWARE.card_names.has(name, ""));
    put("card_slot", names.and_then(|name| name.strip_prefix("ens")).into());
    put("hardware", hardware(machine).into());
    put("memory_mib", memory_mib(machine).into());
    put("disks", disks.into());
    put("ahci", count("sata").into());
    put("ide", count("ide").into());
    let text = FORMAT.expand(template, &context.into())?;
    dictionary::parse(&text).map_err(|mistake| {
        FORMAT.mistake(format!("has a mistake in line {} after rendering: {}", mistake.line, mistake.why))
    })
}
