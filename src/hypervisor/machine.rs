//! A machine as a hypervisor is told of it: complete, nothing is looked up later.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// A machine to run, complete: nothing is looked up later.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The name people know it by; goes into the window title. Any Unicode text.
    pub name: String,
    /// SMBIOS UUID.
    pub uuid: uuid::Uuid,
    /// Ethernet address, `52:54:00:…`.
    pub mac: String,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The accelerator to use.
    pub accelerator: String,
    /// What starts it, as in the manifest.
    pub firmware: String,
    /// No window on the host.
    pub headless: bool,
    /// In boot order; the first is the system disk.
    pub disks: Vec<MachineDisk>,
    /// What its chips remember.
    pub chips: Chips,
    /// Its network card, as the door calls it; the door's own choice if nothing is known of the guest.
    pub card: Option<&'static str>,
    /// The name that a Linux expects of its network card; none if any will do.
    pub card_name: Option<String>,
    /// Its display, as the door calls it; the door's own choice if nothing is known of the guest.
    pub graphics: Option<&'static str>,
    /// Its hardware clock shows local time, not universal time.
    pub local_time: bool,
    /// The kernel that is started in place of the guest's boot loader.
    pub boot: Option<Boot>,
    /// Private folder of the session, for sockets and logs.
    pub scratch: PathBuf,
    /// The guest's serial port is written to this file in scratch.
    pub serial_log: PathBuf,
    /// What it has besides disks.
    pub devices: Devices<bool>,
    /// Width and height of its screen in points; none leaves that to the guest.
    pub display: Option<(u32, u32)>,
    /// A folder of this PC that the guest may read and write; its user named it.
    pub share: Option<PathBuf>,
    /// Free variables of the manifest for the template (`hypervisors.NAME.variables`), strings only.
    pub variables: BTreeMap<String, String>,
}

impl Machine {
    /// The session that it belongs to: the name of its folder, or one that follows from the machine's for a folder that
    /// is named otherwise (where a configuration is only shown).
    #[must_use]
    pub fn session(&self) -> uuid::Uuid {
        let name = self.scratch.file_name().and_then(|name| name.to_str());
        name.and_then(|name| uuid::Uuid::try_parse(name).ok()).unwrap_or(self.uuid)
    }
}

/// The devices that a manifest can wish for; each a value of `T`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Devices<T> {
    /// A network card with a way out to the world and none in.
    pub network: T,
    /// A sound card.
    pub sound: T,
    /// One clipboard for guest and PC.
    pub clipboard: T,
    /// A way for USB devices of this PC into the guest.
    pub usb: T,
    /// A screen of a size that the manifest names.
    pub display: T,
    /// A folder of this PC in the guest.
    pub share: T,
    /// Variables of UEFI that outlive a session.
    pub variables: T,
    /// A TPM 2.0 whose content outlives a session.
    pub tpm: T,
}

/// What the chips of a machine remember while it is off: files in scratch that are the same for every hypervisor. They are
/// there before the start, and [`collect`](super::collect) brings them up to date after the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Chips {
    /// The firmware volume with UEFI's variables, as in the flash of QEMU's firmware.
    pub variables: Option<PathBuf>,
    /// A TPM's permanent state as libtpms has it, which QEMU and VirtualBox both use; empty for a TPM that is new.
    pub tpm: Option<PathBuf>,
}

/// A kernel of the guest that the hypervisor starts itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// The file of its image, in scratch.
    pub kernel: PathBuf,
    /// The file of its initramfs, in scratch.
    pub initramfs: PathBuf,
    /// Its command line: text of the guest's.
    pub command_line: String,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineDisk {
    /// `system`, `user`, `paging`, …: unique, `[a-z0-9-]{1,16}`.
    pub name: String,
    /// The image that takes the writes, in the hypervisor's format.
    pub overlay: PathBuf,
    /// Bytes that the guest sees.
    pub size: u64,
    /// Its base, opened read-only; none for the paging disk.
    pub base: Option<Base>,
    /// The controller that it is on, as in the manifest: `ahci`, `virtio`, `ide`, ….
    pub controller: String,
}

/// The read-only image under an overlay, with everything that shows through it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Base {
    /// Where it is now.
    pub path: PathBuf,
    /// `qcow2` or `raw`; for a copy on this PC, the format of the overlay.
    pub format: String,
    /// The layers below it, the next one first; none if it stands alone. Only these are opened, whatever name of a backing
    /// file an image has.
    pub below: Vec<Layer>,
}

/// A read-only image below a base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Where it is now.
    pub path: PathBuf,
    /// `qcow2`, or `raw` for the lowest one.
    pub format: String,
}

impl<T: Copy> Devices<T> {
    /// Device by device, what `combine` makes of it here and in `other`.
    #[must_use]
    pub fn with<U: Copy, V>(self, other: Devices<U>, combine: impl Fn(T, U) -> V) -> Devices<V> {
        Devices {
            network: combine(self.network, other.network),
            sound: combine(self.sound, other.sound),
            clipboard: combine(self.clipboard, other.clipboard),
            usb: combine(self.usb, other.usb),
            display: combine(self.display, other.display),
            share: combine(self.share, other.share),
            variables: combine(self.variables, other.variables),
            tpm: combine(self.tpm, other.tpm),
        }
    }
}

/// The id of a disk image that a hypervisor knows by an id: of `disk`'s `role` (`overlay`, `base`) in `session`. No other
/// session has it, so that a hypervisor never takes one for the other.
#[must_use]
pub fn image_id(session: uuid::Uuid, disk: &str, role: &str) -> uuid::Uuid {
    let mut hasher = blake3::Hasher::new_derive_key("pocketvm 2026-11 id of a session's disk image");
    hasher.update(session.as_bytes());
    for text in [role, disk] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
