//! What a hypervisor can do, so that callers need not know which one it is; and what a machine needs of one.

use pocketvm_guest::Hardware;
use pocketvm_guest::linux::names::{self, Place};
use serde::Serialize;

use super::{Devices, Rejection};

/// What a hypervisor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// What takes the guest's writes.
    pub overlay: DiskFormat,
    /// It reads the bases where they are, on the drive, and pauses the guest when it can't. Otherwise it is given copies
    /// on this PC's internal disk, in the format of the overlay, so that nothing depends on the drive while the guest runs.
    pub reads_drive: bool,
    /// The hardware that a guest can be given.
    pub hardware: Offered,
    /// What can start a guest, as in the manifest.
    pub firmware: &'static [&'static str],
    /// The most disks of a machine, the paging disk included.
    pub most_disks: usize,
    /// A paused guest's base can be opened again under another path.
    pub reopen_base: bool,
    /// The guest can be paused and resumed.
    pub pause: bool,
    /// A running guest can be taken over by a new launcher after the old one died.
    pub adopt: bool,
    /// The guest's discards reach the overlay.
    pub discard: bool,
    /// It can show the guest in a window on this PC.
    pub window: bool,
    /// It can run the guest without a window.
    pub headless: bool,
    /// It can encrypt what the guest writes on this PC.
    pub encryption: bool,
    /// Its user must be an administrator, or in a group that only one can put people into.
    pub needs_administrator: bool,
    /// The keys that give mouse and keyboard back to this PC when its window has taken them; none without a window.
    pub release_keys: Option<&'static str>,
    /// Which of the devices that a manifest can wish for it has.
    pub devices: Devices<bool>,
}

/// The hardware that a hypervisor can give a guest: where there is a choice, the best first. A guest is fitted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offered {
    /// Controllers that a guest can boot from.
    pub controllers: &'static [Offer],
    /// Network cards.
    pub cards: &'static [Offer],
    /// Displays.
    pub displays: &'static [Offer],
    /// The names that Linux gives the network card.
    pub card_names: CardNames,
    /// It can start a guest's kernel itself, without the guest's boot loader.
    pub starts_kernel: bool,
}

/// A device to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// A controller as in the manifest, anything else as the hypervisor's template calls it.
    pub name: &'static str,
    /// What a guest sees.
    pub hardware: Hardware,
}

impl Offer {
    /// `hardware`, called `name`.
    #[must_use]
    pub const fn new(name: &'static str, hardware: Hardware) -> Offer {
        Offer { name, hardware }
    }
}

/// The most root ports for a card behind the last of them.
pub const MOST_PORTS: u8 = 8;

/// The names that Linux gives a network card, by the place that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardNames {
    /// The place can be chosen: any that QEMU's boards have.
    Chosen,
    /// The card is always in the same place.
    Always(&'static str),
    /// One of these places can be chosen.
    OneOf(&'static [&'static str]),
}

impl CardNames {
    /// Whether the card can have the name, on a board whose disks are on `controller`.
    #[must_use]
    pub fn has(self, name: &str, controller: &str) -> bool {
        match self {
            CardNames::Chosen => match names::slot_for(name) {
                Some(Place::Pci { .. }) => true,
                // The board with IDE has no PCI Express.
                Some(Place::Root { .. }) => controller != "ide",
                Some(Place::Port { bus }) => controller != "ide" && bus <= MOST_PORTS,
                None => false,
            },
            CardNames::Always(only) => name == only,
            CardNames::OneOf(names) => names.contains(&name),
        }
    }
}

impl Offered {
    /// The controller that the manifest calls `name`.
    #[must_use]
    pub fn controller(&self, name: &str) -> Option<&'static Offer> {
        self.controllers.iter().find(|offer| offer.name == name)
    }
}

/// A format of disk images that a hypervisor writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// QEMU's.
    Qcow2,
    /// VMware's, and VirtualBox's second.
    Vmdk,
    /// Microsoft's first, with at most 2040 GiB.
    Vhd,
}

impl DiskFormat {
    /// The end of its files' names, which some hypervisors insist on.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Vmdk => "vmdk",
            DiskFormat::Vhd => "vhd",
        }
    }
}

/// Any controller will do: the guest is fitted to what the hypervisor has.
pub const ANY: &str = "auto";

/// What a machine can't do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The controllers of its disks, one for each, as in the manifest; [`ANY`] where the guest is fitted to the hypervisor.
    pub controllers: Vec<&'static str>,
    /// What starts it, as in the manifest.
    pub firmware: &'static str,
}

impl Capabilities {
    /// Why a machine with these needs can't run; none if it can.
    #[must_use]
    pub fn unfit(&self, needs: &Needs) -> Option<Rejection> {
        let reject = |reason: String, fix: &str| Some(Rejection { reason, fix: Some(fix.to_owned()) });
        let has = |name: &str| name == ANY || self.hardware.controller(name).is_some();
        if let Some(missing) = needs.controllers.iter().find(|one| !has(one)) {
            return reject(
                format!("it has no {missing} controller for the machine's disks"),
                "choose a controller in pocketvm.yaml that the guest boots from and this hypervisor has",
            );
        }
        if !self.firmware.contains(&needs.firmware) {
            return reject(
                format!("it can't start this machine with the firmware {}", needs.firmware),
                "use another hypervisor",
            );
        }
        if needs.controllers.len() > self.most_disks {
            return reject(
                format!(
                    "it takes {} disks, and the machine has {}",
                    self.most_disks,
                    needs.controllers.len()
                ),
                "use another hypervisor, or fewer disks",
            );
        }
        None
    }
}
