//! Hardware as hypervisors show it to a guest, and the drivers that a guest needs for it.

use serde::Serialize;

/// A device, by what drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hardware {
    /// A SATA controller of Intel's pattern.
    Ahci,
    /// The IDE controller of Intel's PIIX.
    Piix,
    /// The same in Hyper-V, whose guests find their disks on Hyper-V's own bus as well and prefer them there.
    HypervIde,
    /// virtio's disk.
    VirtioBlk,
    /// virtio's SCSI controller.
    VirtioScsi,
    /// VMware's SCSI controller.
    Pvscsi,
    /// NVMe.
    Nvme,
    /// LSI Logic's SAS controller 1068.
    LsiSas,
    /// virtio's network card.
    VirtioNet,
    /// Intel's 82540EM.
    E1000,
    /// Intel's 82574L.
    E1000e,
    /// VMware's network card.
    Vmxnet3,
    /// Hyper-V's network card.
    HypervNet,
    /// A display that any VGA driver can use.
    Vga,
    /// VMware's display as VirtualBox has it.
    Vmsvga,
    /// VirtualBox's own display.
    Vboxsvga,
}

/// What kinds of guests need for one device. `None`: such a guest can't use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drivers {
    /// Linux' modules.
    pub linux: Option<&'static [&'static str]>,
    /// The services of Windows 7 and older.
    pub windows7: Option<&'static [&'static str]>,
    /// Those of Windows 8 and later.
    pub windows: Option<&'static [&'static str]>,
}

impl Hardware {
    /// The drivers that it needs.
    #[must_use]
    pub fn drivers(self) -> Drivers {
        let of = |linux, windows7, windows| Drivers { linux, windows7, windows };
        match self {
            Hardware::Ahci => of(Some(&["ahci", "sd_mod"]), Some(&["msahci"]), Some(&["storahci"])),
            Hardware::Piix => {
                of(Some(&["ata_piix", "sd_mod"]), Some(&["intelide", "atapi"]), Some(&["intelide", "atapi"]))
            }
            Hardware::HypervIde => {
                const WINDOWS: &[&str] = &["intelide", "atapi", "vmbus", "storflt", "storvsc"];
                of(Some(&["hv_vmbus", "hv_storvsc", "sd_mod"]), Some(WINDOWS), Some(WINDOWS))
            }
            Hardware::VirtioBlk => {
                of(Some(&["virtio_pci", "virtio_blk"]), Some(&["viostor"]), Some(&["viostor"]))
            }
            Hardware::VirtioScsi => {
                of(Some(&["virtio_pci", "virtio_scsi", "sd_mod"]), Some(&["vioscsi"]), Some(&["vioscsi"]))
            }
            Hardware::Pvscsi => of(Some(&["vmw_pvscsi", "sd_mod"]), Some(&["pvscsi"]), Some(&["pvscsi"])),
            // Windows 7 has it only after an update, under the same name.
            Hardware::Nvme => of(Some(&["nvme"]), Some(&["stornvme"]), Some(&["stornvme"])),
            Hardware::LsiSas => of(Some(&["mptsas", "sd_mod"]), Some(&["LSI_SAS"]), Some(&["LSI_SAS"])),
            Hardware::VirtioNet => {
                of(Some(&["virtio_pci", "virtio_net"]), Some(&["netkvm"]), Some(&["netkvm"]))
            }
            Hardware::E1000 => of(Some(&["e1000"]), Some(&["E1G60"]), Some(&["E1G60"])),
            Hardware::E1000e => of(Some(&["e1000e"]), None, Some(&["e1i65x64"])),
            Hardware::Vmxnet3 => of(Some(&["vmxnet3"]), Some(&["vmxnet3ndis6"]), Some(&["vmxnet3ndis6"])),
            Hardware::HypervNet => of(Some(&["hv_vmbus", "hv_netvsc"]), Some(&["vmbus"]), Some(&["vmbus"])),
            Hardware::Vga => of(Some(&[]), Some(&[]), Some(&[])),
            Hardware::Vmsvga => of(Some(&["vmwgfx"]), None, None),
            // Without its driver, Windows uses it as a VGA.
            Hardware::Vboxsvga => of(Some(&["vboxvideo"]), Some(&[]), Some(&[])),
        }
    }

    /// What Linux calls the disks behind it, without the letter or number of the disk; none for what has no disks.
    #[must_use]
    pub fn disk_prefix(self) -> Option<&'static str> {
        match self {
            Hardware::VirtioBlk => Some("vd"),
            Hardware::Nvme => Some("nvme"),
            Hardware::Ahci
            | Hardware::Piix
            | Hardware::HypervIde
            | Hardware::VirtioScsi
            | Hardware::Pvscsi
            | Hardware::LsiSas => Some("sd"),
            _ => None,
        }
    }
}
