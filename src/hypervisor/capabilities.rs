//! What a hypervisor can do, so that callers need not know which one it is; and what a machine needs of one.

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
    /// Controllers that a guest can boot from, as in the manifest.
    pub controllers: &'static [&'static str],
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

    /// All of them.
    pub const ALL: [DiskFormat; 3] = [DiskFormat::Qcow2, DiskFormat::Vmdk, DiskFormat::Vhd];
}

/// What a machine can't do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The controllers of its disks, one for each, as in the manifest.
    pub controllers: Vec<&'static str>,
    /// What starts it, as in the manifest.
    pub firmware: &'static str,
}

impl Capabilities {
    /// Why a machine with these needs can't run; none if it can.
    #[must_use]
    pub fn unfit(&self, needs: &Needs) -> Option<Rejection> {
        let reject = |reason: String, fix: &str| Some(Rejection { reason, fix: Some(fix.to_owned()) });
        if let Some(missing) = needs.controllers.iter().find(|one| !self.controllers.contains(one)) {
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
