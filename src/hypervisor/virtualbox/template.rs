//! From a template to a settings file of VirtualBox. What comes out is checked in [`super::allowed`].

use pocketvm_guest::Hardware;
use serde_json::{Value, json};
use uuid::Uuid;

use super::INTERPRETER;
use crate::hypervisor::rendering::{self, Format, text};
use crate::hypervisor::{CardNames, Machine, Offer, Offered};
use crate::{Error, Kind, Result};

/// What can be given. The network card is always in the same place of the same board.
pub const HARDWARE: Offered = Offered {
    controllers: &[Offer::new("ahci", Hardware::Ahci), Offer::new("ide", Hardware::Piix)],
    cards: &[Offer::new("virtio", Hardware::VirtioNet), Offer::new("82540EM", Hardware::E1000)],
    displays: &[
        Offer::new("VMSVGA", Hardware::Vmsvga),
        Offer::new("VBoxSVGA", Hardware::Vboxsvga),
        Offer::new("VBoxVGA", Hardware::Vga),
    ],
    card_names: CardNames::Always("enp0s3"),
    starts_kernel: false,
};

/// The most disks on AHCI, and on IDE.
pub const MOST_AHCI: usize = 30;
const MOST_IDE: usize = 4;

/// What comes of a template.
pub const FORMAT: Format = Format { title: "VirtualBox", escape };

/// Where a disk is attached, as VirtualBox calls it in its answers: `AHCI-0-0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `AHCI` or `IDE`.
    pub controller: &'static str,
    /// From 0.
    pub port: usize,
    /// 0, and 1 on IDE.
    pub device: usize,
}

impl Place {
    /// The key under which VirtualBox tells the image.
    pub fn key(&self) -> String {
        format!("{}-{}-{}", self.controller, self.port, self.device)
    }
}

/// Where the disks of a machine are attached, in its order.
///
/// # Errors
/// A controller that VirtualBox does not have, or too many disks on one.
pub fn places(machine: &Machine) -> Result<Vec<Place>> {
    let (mut ahci, mut ide) = (0, 0);
    let mut places = Vec::with_capacity(machine.disks.len());
    for disk in &machine.disks {
        places.push(match disk.controller.as_str() {
            "ahci" if ahci < MOST_AHCI => {
                ahci += 1;
                Place { controller: "AHCI", port: ahci - 1, device: 0 }
            }
            "ide" if ide < MOST_IDE => {
                ide += 1;
                Place { controller: "IDE", port: (ide - 1) / 2, device: (ide - 1) % 2 }
            }
            other => {
                let what = format!("VirtualBox has no place for the disk {} on {other}", disk.name);
                return Err(Error::new(Kind::Drive, what).hint("use ahci as its controller"));
            }
        });
    }
    Ok(places)
}

/// The machine's name in VirtualBox: two machines there can't have the same.
pub fn title(machine: &Machine) -> String {
    let session = machine.session().to_string();
    format!("{} (PocketVM {})", machine.name, &session[..8])
}

/// The id of a disk's overlay in VirtualBox.
pub fn overlay_id(machine: &Machine, disk: &str) -> Uuid {
    crate::hypervisor::image_id(machine.session(), disk, "overlay")
}

/// The id of the copy of a disk's base in VirtualBox.
pub fn base_id(machine: &Machine, disk: &str) -> Uuid {
    crate::hypervisor::image_id(machine.session(), disk, "base")
}

/// The Ethernet address as VirtualBox writes it.
pub fn mac(machine: &Machine) -> String {
    machine.mac.replace(':', "").to_uppercase()
}

/// What starts the machine, as VirtualBox calls it.
pub fn firmware(machine: &Machine) -> &'static str {
    if machine.firmware == "uefi" { "EFI64" } else { "BIOS" }
}

/// The machine's TPM, as VirtualBox calls it.
pub fn tpm(machine: &Machine) -> &'static str {
    if machine.chips.tpm.is_some() { "v2_0" } else { "None" }
}

/// The key that gives mouse and keyboard back, where VirtualBox's user did not choose another one.
pub fn host_key() -> &'static str {
    if std::env::consts::OS == "macos" { "Left ⌘" } else { "Right Ctrl" }
}

/// Renders `template` for `machine`.
///
/// # Errors
/// One sentence about what is wrong, with the line where it is known.
pub fn render(machine: &Machine, template: &str) -> Result<String> {
    let places = places(machine)?;
    let count = |controller| places.iter().filter(|place| place.controller == controller).count();
    let disks = machine.disks.iter().zip(&places).map(|(disk, place)| {
        let base = match &disk.base {
            Some(base) => {
                json!({ "path": text(&base.path)?, "id": base_id(machine, &disk.name).to_string() })
            }
            None => Value::Null,
        };
        Ok(json!({
            "name": disk.name,
            "id": overlay_id(machine, &disk.name).to_string(),
            "overlay": text(&disk.overlay)?,
            "base": base,
            "controller": disk.controller,
            "port": place.port,
            "device": place.device,
        }))
    });
    let disks = disks.collect::<Result<Vec<_>>>()?;
    let mut context = rendering::context(machine)?;
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("session", machine.session().to_string().into());
    put("title", title(machine).into());
    put("mac", mac(machine).into());
    put("platform", platform().into());
    put("audio", audio().into());
    put("interpreter", (machine.accelerator == INTERPRETER).into());
    put("disks", disks.into());
    put("firmware", firmware(machine).into());
    put("nvram", super::nvram::FILE.into());
    put("tpm", tpm(machine).into());
    put("ahci", count("AHCI").into());
    put("ports", count("AHCI").max(1).into());
    put("ide", count("IDE").into());
    FORMAT.expand(template, &context.into())
}

/// The system in the version of the settings' format.
fn platform() -> &'static str {
    match std::env::consts::OS {
        "windows" => "windows",
        "macos" => "macosx",
        _ => "linux",
    }
}

/// How VirtualBox calls the sound of this system.
fn audio() -> &'static str {
    match std::env::consts::OS {
        "windows" => "DirectSound",
        "macos" => "CoreAudio",
        _ => "Pulse",
    }
}

/// Escapes a value for the inside of a double-quoted XML attribute (XML 1.0, 2.4 and 3.3.3). What XML can't hold at all
/// becomes a sign that shows that something was there.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", c as u32)),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
