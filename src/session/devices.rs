//! What the machine is to have besides disks, and what of it a hypervisor lacks.

use super::Options;
use crate::drive::manifest::{Controller, Manifest, Network};
use crate::hypervisor::Devices;

/// What the manifest, and the user of this PC, wish for.
pub fn wished(manifest: &Manifest, options: &Options) -> Devices<bool> {
    let devices = &manifest.devices;
    let has = |controller| manifest.disks.iter().any(|disk| disk.controller == controller);
    Devices {
        network: devices.network == Network::Nat,
        sound: devices.sound,
        clipboard: devices.clipboard,
        usb: devices.usb,
        display: devices.display.is_some(),
        share: options.share.is_some(),
        variables: has(Controller::Flash),
        tpm: has(Controller::Tpm),
    }
}

/// The names of what is wished for and not there. Without a window nobody misses what belongs to one.
pub fn lacks(wished: Devices<bool>, has: Devices<bool>, headless: bool) -> Vec<&'static str> {
    let missing = wished.with(has, |wished, has| wished && !has);
    let names = [
        ("network", missing.network),
        ("sound", missing.sound && !headless),
        ("clipboard", missing.clipboard && !headless),
        ("usb", missing.usb && !headless),
        ("display", missing.display && !headless),
        ("share", missing.share),
        ("variables", missing.variables),
        ("tpm", missing.tpm),
    ];
    names.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect()
}
