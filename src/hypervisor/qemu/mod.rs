//! QEMU: the first door.
//!
//! `detect` finds it and proves its accelerators; [`Qemu`] renders a template into checked arguments, starts the guest,
//! and speaks QMP with it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pocketvm_guest::Hardware;

use crate::host::programs;
use crate::hypervisor::rendering::{self, shown};
use crate::hypervisor::{
    Base, Candidate, Capabilities, CardNames, Chips, Devices, DiskFormat, Door, Ending, Hypervisor, Machine,
    Offer, Offered, Places, Rendered, Running, Template, Unusable, Verdicts,
};
use crate::{Error, Kind, Result};

mod accelerator;
mod aftermath;
mod allowed;
mod arguments;
mod board;
mod detect;
mod disks;
mod launch;
pub mod probe;
mod qmp;
mod record;
mod reopen;
mod rules;
mod running;
mod template;
mod tpm;

/// The key in the manifest.
const NAME: &str = "qemu";

/// What is known of QEMU without having one.
pub(crate) const DOOR: Qemus = Qemus;

/// The built-in template: for a drive that has none where the manifest, left to its defaults, looks for it.
pub const TEMPLATE: &str = include_str!("../../../templates/qemu.yaml.hbs");

/// What can be given. Of controllers only those that can pause the guest when a disk fails: NVMe can't, QEMU's device passes errors
/// on to the guest.
const HARDWARE: Offered = Offered {
    controllers: &[
        Offer::new("virtio", Hardware::VirtioBlk),
        Offer::new("ahci", Hardware::Ahci),
        Offer::new("virtio-scsi", Hardware::VirtioScsi),
        Offer::new("pvscsi", Hardware::Pvscsi),
        Offer::new("ide", Hardware::Piix),
    ],
    cards: &[
        Offer::new("virtio-net-pci", Hardware::VirtioNet),
        Offer::new("e1000e", Hardware::E1000e),
        Offer::new("e1000", Hardware::E1000),
    ],
    displays: &[],
    card_names: CardNames::Chosen,
    starts_kernel: true,
};

/// Ways to a PC's sound, best first.
const SOUNDS: &[&str] = &["pipewire", "pa", "coreaudio", "dsound", "alsa"];

/// Kinds of windows, best first.
const WINDOWS: &[&str] = &["gtk", "sdl", "cocoa"];

/// Every QEMU.
pub(crate) struct Qemus;

impl Door for Qemus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "QEMU"
    }

    fn hardware(&self) -> Offered {
        HARDWARE
    }

    fn template(&self) -> Template {
        Template { name: "qemu.yaml.hbs", text: TEMPLATE }
    }

    fn detect(
        &self,
        places: &Places,
        remembered: &mut Verdicts,
        say: &(dyn Fn(&str) + Sync),
    ) -> Vec<Candidate> {
        detect::detect(places, remembered, say)
    }

    fn open(&self, candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
        Ok(Box::new(Qemu::new(candidate)))
    }

    fn adopt(&self, scratch: &Path) -> Result<Option<Running>> {
        launch::adopt(scratch)
    }

    fn ending(&self, scratch: &Path) -> Result<Option<Ending>> {
        aftermath::ending(scratch)
    }

    fn collect(&self, scratch: &Path, chips: &Chips) -> Result<Vec<Unusable>> {
        // UEFI's variables are written where they are collected from.
        chips.tpm.as_ref().map_or(Ok(vec![]), |file| Ok(tpm::collect(scratch, file)?.into_iter().collect()))
    }

    /// QEMU keeps no list of machines.
    fn forget(&self, scratch: &Path) -> Result<()> {
        tpm::end(scratch);
        Ok(())
    }
}

/// The door to one QEMU.
pub struct Qemu {
    candidate: Candidate,
    offers: OnceLock<Offers>,
}

/// What one QEMU program can do, as it says itself.
#[derive(Debug, Clone, Default)]
struct Offers {
    /// Kinds of windows and other displays.
    displays: Vec<String>,
    /// It can give up system calls that it does not need.
    sandbox: bool,
    /// Ways to this PC's sound.
    sounds: Vec<String>,
    /// It can share the clipboard of the window.
    clipboard: bool,
    /// It can show a folder of this PC to the guest.
    share: bool,
    /// The code of a UEFI for it.
    uefi: Option<PathBuf>,
    /// The program that is a TPM for it.
    tpm: Option<PathBuf>,
}

impl Qemu {
    /// The door to `candidate`.
    #[must_use]
    pub fn new(candidate: Candidate) -> Self {
        Qemu { candidate, offers: OnceLock::new() }
    }

    fn offers(&self) -> &Offers {
        self.offers.get_or_init(|| {
            let ask =
                |arguments: &[&str]| detect::ask(&self.candidate.program, arguments).unwrap_or_default();
            let help = ask(&["-help"]);
            let has = |option: &str| help.lines().any(|line| line.starts_with(option));
            let backends = detect::parse_list(&ask(&["-chardev", "help"]));
            Offers {
                displays: detect::parse_list(&ask(&["-display", "help"])),
                sandbox: has("-sandbox "),
                sounds: detect::parse_list(&ask(&["-audiodev", "help"])),
                clipboard: backends.iter().any(|backend| backend == "qemu-vdagent"),
                share: has("-fsdev local,"),
                uefi: programs::uefi_code(&self.candidate.program),
                tpm: tpm::program().filter(|_| has("-tpmdev emulator,")),
            }
        })
    }

    /// The best kind of window this QEMU has.
    fn window(&self) -> Option<&'static str> {
        let offered = &self.offers().displays;
        WINDOWS.iter().copied().find(|kind| offered.iter().any(|offered| offered == kind))
    }

    /// `none`, or the best window this QEMU has.
    fn display(&self, machine: &Machine) -> Result<&'static str> {
        if machine.headless {
            return Ok("none");
        }
        self.window().ok_or_else(|| {
            let what = format!("this QEMU can't open a window: {}", self.candidate.program.display());
            Error::new(Kind::Hypervisor, what)
                .hint("install the package qemu-system-gui, or run without a window (--headless)")
        })
    }

    /// The best way to this PC's sound.
    fn sound(&self) -> Option<&'static str> {
        let offered = &self.offers().sounds;
        SOUNDS
            .iter()
            .copied()
            .find(|way| offered.iter().any(|offered| offered == way) && crate::host::sound::is_there(way))
    }

    /// The code of the machine's UEFI; none if it has a BIOS.
    fn uefi(&self, machine: &Machine) -> Result<Option<&Path>> {
        match (machine.firmware.as_str(), &self.offers().uefi) {
            ("bios", _) => Ok(None),
            ("uefi", Some(code)) => Ok(Some(code)),
            _ => {
                let what = format!(
                    "this QEMU has no firmware {} for the machine",
                    rendering::shown(&machine.firmware)
                );
                Err(Error::new(Kind::Hypervisor, what)
                    .hint("install it (on Debian and Ubuntu: apt install ovmf)"))
            }
        }
    }

    /// What no template can change.
    fn fixed_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-nodefaults", "-no-user-config", "-S"];
        if self.offers().sandbox {
            arguments.extend([
                "-sandbox",
                "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            ]);
        }
        // A panic ends the run, as what it is; otherwise a guest that reboots by itself would hide it.
        arguments.extend(["-action", "panic=shutdown,shutdown=poweroff,reboot=reset"]);
        arguments.extend(launch::channel_arguments());
        arguments.into_iter().map(str::to_owned).collect()
    }
}

impl Hypervisor for Qemu {
    fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    fn capabilities(&self) -> Capabilities {
        let adopt = crate::host::channel::RECONNECTS;
        let window = self.window().is_some();
        let release_keys = window.then_some("Ctrl+Alt+G");
        Capabilities {
            overlay: DiskFormat::Qcow2,
            reads_drive: true,
            hardware: HARDWARE,
            firmware: if self.offers().uefi.is_some() { &["bios", "uefi"] } else { &["bios"] },
            // Of those on AHCI and IDE there are fewer places, which is looked at when the machine is known.
            most_disks: 26,
            reopen_base: true,
            pause: true,
            adopt,
            discard: true,
            window,
            headless: true,
            encryption: true,
            needs_administrator: false,
            release_keys,
            devices: Devices {
                network: true,
                sound: self.sound().is_some(),
                // The clipboard is the window's.
                clipboard: window && self.offers().clipboard,
                // Its window has no menu to choose a device from.
                usb: false,
                display: true,
                share: self.offers().share,
                variables: true,
                tpm: self.offers().tpm.is_some(),
            },
        }
    }

    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered> {
        check_machine(machine)?;
        let uefi = self.uefi(machine)?;
        let host = template::Host {
            display: self.display(machine)?,
            sound: self.sound().filter(|_| machine.devices.sound && !machine.headless),
            clipboard: machine.devices.clipboard
                && !machine.headless
                && self.capabilities().devices.clipboard,
            share: self.offers().share,
            uefi,
        };
        let mut settings = template::render(machine, template, &host)?;
        allowed::check(&settings, machine, uefi)?;
        disks::add_layers(&mut settings, machine)?;
        let mut args = self.fixed_arguments();
        args.extend(arguments::vector(&settings));
        Ok(Rendered { program: self.candidate.program.clone(), args, files: Vec::new() })
    }

    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running> {
        launch::launch(machine, rendered, self.offers().tpm.as_deref())
    }
}

/// What would otherwise fail later and in worse words.
fn check_machine(machine: &Machine) -> Result<()> {
    // The ports of a PC: six SATA ones, or two IDE buses for two disks each.
    let count = |names: &[&str]| {
        machine.disks.iter().filter(|disk| names.contains(&disk.controller.as_str())).count()
    };
    // The new board has no IDE; its disks are on SATA then.
    let (places, most) = match board::of(machine) {
        board::Board::Old => (count(&["ide"]), 4),
        board::Board::New => (count(&["ide", "ahci"]), 6),
    };
    if places > most || count(&["ahci"]) > 6 {
        let what = format!("a machine can have {most} disks on this controller at most");
        return Err(Error::new(Kind::Drive, what).hint("use virtio for some of them"));
    }
    if count(&["virtio-scsi"]) > 0 && count(&["pvscsi"]) > 0 {
        let what = "these disks can't be on controllers as different as that in one machine";
        return Err(Error::new(Kind::Drive, what).hint("use the same controller for all of them"));
    }
    if machine.chips.variables.is_some() != (machine.firmware == "uefi") {
        let what = "a machine with UEFI has a place for its variables, and one with a BIOS has none";
        return Err(Error::new(Kind::Drive, what));
    }
    for (at, disk) in machine.disks.iter().enumerate() {
        let name = &disk.name;
        let short = (1..=16).contains(&name.len());
        if !short || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return Err(Error::new(Kind::Drive, format!("a disk can't have this name: {}", shown(name)))
                .hint("use 1 to 16 of a to z, 0 to 9 and -"));
        }
        if machine.disks[..at].iter().any(|earlier| earlier.name == *name) {
            return Err(Error::new(Kind::Drive, format!("two disks have the name {name}")));
        }
        if HARDWARE.controller(&disk.controller).is_none() {
            let what = format!(
                "the disk {name} can't be attached safely, because the guest would not be paused when it fails: {}",
                shown(&disk.controller)
            );
            return Err(Error::new(Kind::Drive, what)
                .hint("use virtio, ahci, virtio-scsi, pvscsi or ide as its controller"));
        }
        if let Some(base) = &disk.base {
            check_base(name, base)?;
        }
    }
    Ok(())
}

/// A base and its layers have formats that are known here, and only a qcow2 image has something below it.
fn check_base(disk: &str, base: &Base) -> Result<()> {
    let mut rest = base.below.len();
    for format in [&base.format].into_iter().chain(base.below.iter().map(|layer| &layer.format)) {
        let what = match format.as_str() {
            "qcow2" => None,
            "raw" if rest == 0 => None,
            "raw" => Some("something below a raw image, which can't be".to_owned()),
            other => Some(format!("an unknown format: {}", shown(other))),
        };
        if let Some(what) = what {
            return Err(Error::new(Kind::Drive, format!("the base of the disk {disk} has {what}")));
        }
        rest = rest.saturating_sub(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(displays: &[&str]) -> Qemu {
        let displays = displays.iter().map(|name| (*name).to_owned()).collect();
        let offers = Offers { displays, ..Offers::default() };
        let candidate = Candidate {
            hypervisor: "qemu".into(),
            version: None,
            edition: None,
            program: "/usr/bin/qemu".into(),
            found_in: "path",
            accelerators: Vec::new(),
            rejected: None,
        };
        Qemu { candidate, offers: OnceLock::from(offers) }
    }

    fn machine(headless: bool) -> Machine {
        Machine {
            name: "x".into(),
            uuid: uuid::Uuid::nil(),
            mac: "52:54:00:00:00:01".into(),
            memory_mib: 128,
            cpus: 1,
            accelerator: "tcg".into(),
            firmware: "bios".into(),
            headless,
            disks: Vec::new(),
            chips: Chips::default(),
            scratch: "/s".into(),
            serial_log: "/s/serial.log".into(),
            devices: Devices { network: true, ..Devices::default() },
            display: None,
            share: None,
            card: None,
            card_name: None,
            graphics: None,
            local_time: false,
            boot: None,
            variables: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn the_window_is_the_best_one_that_this_qemu_has() {
        assert_eq!(door(&["none", "sdl", "gtk"]).display(&machine(false)).ok(), Some("gtk"));
        assert_eq!(door(&["none", "sdl"]).display(&machine(false)).ok(), Some("sdl"));
        assert_eq!(door(&[]).display(&machine(true)).ok(), Some("none"));
        let error = door(&["none", "curses"]).display(&machine(false)).err();
        assert!(error.and_then(|error| error.hint).is_some_and(|hint| hint.contains("qemu-system-gui")));
    }

    #[test]
    fn a_window_can_not_be_closed_under_a_running_guest() {
        let rendered = door(&["gtk"]).render(&machine(false), TEMPLATE).map(|rendered| rendered.args);
        assert!(rendered.is_ok_and(|args| args.contains(&"type=gtk,window-close=off".to_owned())));
    }

    #[test]
    fn a_machine_without_disks_renders_too() {
        assert!(door(&[]).render(&machine(true), TEMPLATE).is_ok());
    }
}
