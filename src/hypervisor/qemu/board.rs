//! QEMU's two PCs, and where disks and the network card are on them.

use pocketvm_guest::linux::names::{self, Place as CardPlace};
use serde_json::{Value, json};

use crate::hypervisor::{MOST_PORTS, Machine};

/// A PC of QEMU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// i440fx, of 1996: two IDE buses for two disks each; its firmware numbers the PCI slots.
    Old,
    /// Q35, of 2009: six SATA ports, PCI Express.
    New,
}

impl Board {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Board::Old => "pc",
            Board::New => "q35",
        }
    }
}

/// The board for `machine`: the new one, unless its disks are on IDE.
pub fn of(machine: &Machine) -> Board {
    let ide = machine.disks.first().is_some_and(|disk| disk.controller == "ide");
    if ide { Board::Old } else { Board::New }
}

fn place_of_card(machine: &Machine) -> Option<CardPlace> {
    let place = machine.card_name.as_deref().and_then(names::slot_for)?;
    Some(place).filter(|place| !matches!(place, CardPlace::Port { bus } if *bus > MOST_PORTS))
}

/// Where the network card is, for the template: `bus`, `addr`, `ports`, the numbers of root ports that there have to be, and
/// `bridge`, whether there has to be one to a bus whose slots the firmware numbers as the old board's does; null if any place
/// will do.
pub fn card_place(machine: &Machine) -> Value {
    let place = |bus: &str, slot: u8, ports: u8, bridge: bool| {
        let ports: Vec<u8> = (1..=ports).collect();
        json!({ "bus": bus, "addr": format!("0x{slot:x}"), "ports": ports, "bridge": bridge })
    };
    match (of(machine), place_of_card(machine)) {
        (Board::Old, Some(CardPlace::Pci { slot })) => place("pci.0", slot, 0, false),
        (Board::New, Some(CardPlace::Pci { slot })) => place("bridge", slot, 0, true),
        (Board::New, Some(CardPlace::Root { slot })) => place("pcie.0", slot, 0, false),
        (Board::New, Some(CardPlace::Port { bus })) => place(&format!("port{bus}"), 0, bus, false),
        _ => Value::Null,
    }
}

/// Where a disk is plugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The bus; empty for a disk that is its own controller.
    pub bus: String,
    /// The unit on an IDE or SATA bus; the number on a SCSI bus.
    pub unit: usize,
}

/// Gives disks their places.
pub struct Places {
    board: Board,
    ide: usize,
    sata: usize,
    scsi: usize,
    extra: Vec<&'static str>,
}

impl Places {
    /// On `board`, which is empty.
    pub fn new(board: Board) -> Self {
        Places { board, ide: 0, sata: 0, scsi: 0, extra: Vec::new() }
    }

    /// The place of the next disk on the controller called `controller`.
    pub fn next(&mut self, controller: &str) -> Place {
        let mut extra = |device| {
            if !self.extra.contains(&device) {
                self.extra.push(device);
            }
        };
        let next = |count: &mut usize| std::mem::replace(count, *count + 1);
        match (controller, self.board) {
            ("virtio", _) => Place { bus: String::new(), unit: 0 },
            ("virtio-scsi" | "pvscsi", _) => {
                extra(if controller == "pvscsi" { "pvscsi" } else { "virtio-scsi-pci" });
                Place { bus: "scsi.0".to_owned(), unit: next(&mut self.scsi) }
            }
            ("ide", Board::Old) => {
                let at = next(&mut self.ide);
                Place { bus: format!("ide.{}", at / 2), unit: at % 2 }
            }
            // The old board has no SATA of its own.
            (_, Board::Old) => {
                extra("ich9-ahci");
                Place { bus: format!("sata.{}", next(&mut self.sata)), unit: 0 }
            }
            (_, Board::New) => Place { bus: format!("ide.{}", next(&mut self.sata)), unit: 0 },
        }
    }

    /// The controllers that have to be added to the board for them, as QEMU calls them.
    pub fn extra(self) -> Vec<&'static str> {
        self.extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_get_places_that_the_board_has() {
        let place = |bus: &str, unit| Place { bus: bus.to_owned(), unit };
        let mut old = Places::new(Board::Old);
        let given = ["ide", "ide", "ide", "ahci", "ahci"].map(|controller| old.next(controller));
        let expected = [("ide.0", 0), ("ide.0", 1), ("ide.1", 0), ("sata.0", 0), ("sata.1", 0)];
        assert_eq!(given, expected.map(|(bus, unit)| place(bus, unit)));
        assert_eq!(old.extra(), ["ich9-ahci"]);
        let mut new = Places::new(Board::New);
        let given = ["ahci", "virtio", "ahci", "pvscsi", "pvscsi"].map(|controller| new.next(controller));
        let expected = [("ide.0", 0), ("", 0), ("ide.1", 0), ("scsi.0", 0), ("scsi.0", 1)];
        assert_eq!(given, expected.map(|(bus, unit)| place(bus, unit)));
        assert_eq!(new.extra(), ["pvscsi"]);
    }
}
