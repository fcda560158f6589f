//! The names that systemd gives network cards by their place, so that a place can be chosen which keeps the configured name.
//!
//! Source: systemd.net-naming-scheme(7). Measured with one guest in slot 3 of each bus of QEMU: `ens3`, `enp0s3`, `enp1s0`.

use serde::Serialize;

/// The first slot that is free on all boards: those before hold the bridge, the display and such.
pub const FIRST_SLOT: u8 = 0x3;
/// The last one.
pub const LAST_SLOT: u8 = 0x1e;

/// Where a card is plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "on")]
pub enum Place {
    /// The PCI bus of i440fx (QEMU's `pc`), whose firmware numbers the slots.
    Pci {
        /// 3 to 30.
        slot: u8,
    },
    /// The root bus of q35, and of VirtualBox.
    Root {
        /// 3 to 30.
        slot: u8,
    },
    /// Behind a root port of q35.
    Port {
        /// The bus behind the port: 1 and on, in the order of the ports.
        bus: u8,
    },
}

/// The name that a card in `place` gets.
#[must_use]
pub fn name(place: Place) -> String {
    match place {
        Place::Pci { slot } => format!("ens{slot}"),
        Place::Root { slot } => format!("enp0s{slot}"),
        Place::Port { bus } => format!("enp{bus}s0"),
    }
}

/// The place in which a card gets the name `name`; `None` if it gets that in none, as `eth0`.
#[must_use]
pub fn slot_for(name: &str) -> Option<Place> {
    let place = match name.strip_prefix("ens") {
        Some(slot) => Place::Pci { slot: slot.parse().ok()? },
        None => {
            let (bus, slot) = name.strip_prefix("enp")?.split_once('s')?;
            match (bus.parse().ok()?, slot.parse().ok()?) {
                (0, slot) => Place::Root { slot },
                (bus, 0) => Place::Port { bus },
                _ => return None,
            }
        }
    };
    let possible = match place {
        Place::Pci { slot } | Place::Root { slot } => (FIRST_SLOT..=LAST_SLOT).contains(&slot),
        Place::Port { bus } => (1..=31).contains(&bus),
    };
    // Only what would be written so: no "ens03".
    (possible && self::name(place) == name).then_some(place)
}

/// Whether `name` is one that follows from a place, in whatever hypervisor: `ens33`, `enp0s3`, `eno1`; or `eth0`.
#[must_use]
pub fn is_of_a_place(name: &str) -> bool {
    let rest = ["ens", "enp", "eno", "eth"].iter().find_map(|prefix| name.strip_prefix(prefix));
    rest.is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_its_name_belong_together() {
        let slots = FIRST_SLOT..=LAST_SLOT;
        let places = slots.flat_map(|slot| [Place::Pci { slot }, Place::Root { slot }]);
        for place in places.chain((1..=31).map(|bus| Place::Port { bus })) {
            assert_eq!(slot_for(&name(place)), Some(place));
        }
        assert_eq!(slot_for("ens3"), Some(Place::Pci { slot: 3 }));
        assert_eq!(slot_for("enp0s3"), Some(Place::Root { slot: 3 }));
        assert_eq!(slot_for("enp1s0"), Some(Place::Port { bus: 1 }));
    }

    #[test]
    fn a_name_of_no_place_has_none() {
        for name in [
            "eth0",
            "ens33",
            "ens2",
            "ens03",
            "ens+3",
            "enp2s1",
            "enp0s31f6",
            "enp0s0",
            "enp0s",
            "ens",
            "",
            "enp99s0",
        ] {
            assert_eq!(slot_for(name), None, "{name}");
        }
    }
}
