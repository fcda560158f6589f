//! The manifest `pocketvm.yaml`: what the owner decides about a drive's machine. `templates/pocketvm.yaml` is its manual.
//!
//! It may come from a found stick and is hostile input: every text is bounded and checked while it is read, and a
//! value of these types is valid by construction.

mod check;
mod path;
mod size;
mod text;
mod yaml;

use std::fmt;
use std::io::Read;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use path::RelativePath;
pub use size::Size;
pub use text::{DiskName, Mac, MachineName, ScreenSize, Variables};

use crate::{Error, Kind, Result};

/// The schema version that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// Largest manifest in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Most disks that a machine has.
pub const MAX_DISKS: usize = 8;

/// Most saves that stay undoable.
pub const MAX_KEPT_SAVES: u32 = 64;

/// A portable machine as its owner describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The manifest of a PocketVM drive, pocketvm.yaml")]
pub struct Manifest {
    /// Version of this schema.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// What makes the machine this machine on every PC.
    pub machine: Machine,
    /// How much of the PC's memory the guest gets.
    #[serde(default)]
    pub memory: Memory,
    /// How many virtual CPUs the guest gets.
    #[serde(default)]
    pub cpus: Cpus,
    /// The disks in boot order, the system disk first. May be empty.
    #[schemars(length(max = MAX_DISKS))]
    pub disks: Vec<Disk>,
    /// A disk on the PC for the guest's swap or page file; never kept. Without this key there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paging: Option<Paging>,
    /// What a session keeps on the PC while it runs.
    #[serde(default)]
    pub scratch: Scratch,
    /// How saves are kept and proved.
    #[serde(default)]
    pub saves: Saves,
    /// Whether the guest is fitted to the hardware of the hypervisor that it meets.
    #[serde(default)]
    pub adapt: Adapt,
    /// What the machine has besides disks.
    #[serde(default)]
    pub devices: Devices,
    /// Which hypervisors may run the machine, and how.
    #[serde(default)]
    pub hypervisors: Hypervisors,
}

/// What makes the machine this machine on every PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The name people know it by; shown in the window's title.
    pub name: MachineName,
    /// A PNG image of at most 1 MiB and 1024 by 1024 points, shown in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<RelativePath>,
    /// SMBIOS UUID. Without this key it follows from the drive's identity, so that copied drives differ.
    #[serde(default, deserialize_with = "text::uuid", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9a-fA-F-]{32,36}$"))]
    pub uuid: Option<Uuid>,
    /// Ethernet address. Without this key it follows from the drive's identity, so that copied drives differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What starts the guest.
    #[serde(default)]
    pub firmware: Firmware,
}

/// What starts the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A classic BIOS.
    #[default]
    Bios,
    /// UEFI, with its variables on a disk of their own.
    Uefi,
}

/// How much of the PC's memory the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// With less than this the machine is not started. At least 16 MiB, a multiple of 1 MiB.
    pub min: Size,
    /// More than this is not taken. At most 1 TiB, a multiple of 1 MiB.
    pub max: Size,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { min: Size::gib(1), max: Size::gib(8) }
    }
}

/// How many virtual CPUs the guest gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cpus {
    /// At least this many, even on a PC with fewer.
    #[schemars(range(min = 1, max = 64))]
    pub min: u32,
    /// At most this many.
    #[schemars(range(min = 1, max = 64))]
    pub max: u32,
}

impl Default for Cpus {
    fn default() -> Self {
        Cpus { min: 1, max: 8 }
    }
}

/// One disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Unique among the disks.
    pub name: DiskName,
    /// The base. Each base in a folder of its own.
    pub file: RelativePath,
    /// What the base's file is. Never found out from the file, in which a raw disk's guest can write what it likes.
    #[serde(default)]
    pub format: Format,
    /// Whether a session's changes are merged into the base (true) or thrown away (false).
    pub keep: bool,
    /// The controller that this disk is on.
    #[serde(default)]
    pub controller: Controller,
}

/// What a base's file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A qcow2 image: takes only the room of what it holds, and is saved to without overwriting anything.
    #[default]
    Qcow2,
    /// The guest's bytes as they are. Saving to it writes everything three times.
    Raw,
}

impl Format {
    /// As written in the manifest, and as QEMU calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
        }
    }
}

/// Whether the guest is fitted to the hardware of the hypervisor that it meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Adapt {
    /// The disks are not looked at.
    Off,
    /// The hardware that it can start with is chosen. If it can't start with any as it is, it is not started.
    Check,
    /// If it can't start with any as it is, the least is changed, in the session's overlay only.
    #[default]
    On,
}

/// Disk controllers that the guest may see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// Of those that the hypervisor has, the one that the guest starts with; SATA if that is not known.
    #[default]
    Auto,
    /// SATA; every system of the last fifteen years and every hypervisor knows it.
    Ahci,
    /// Paravirtual: fast, needs a driver in the guest.
    Virtio,
    /// A SCSI controller of the same kind.
    VirtioScsi,
    /// VMware's SCSI controller.
    Pvscsi,
    /// For systems older than AHCI.
    Ide,
    /// Not a disk for the guest's system, but the memory in which UEFI keeps its variables.
    Flash,
    /// Not a disk for the guest's system, but what a TPM 2.0 keeps.
    Tpm,
}

impl Controller {
    /// As written in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Controller::Auto => "auto",
            Controller::Ahci => "ahci",
            Controller::Virtio => "virtio",
            Controller::VirtioScsi => "virtio-scsi",
            Controller::Pvscsi => "pvscsi",
            Controller::Ide => "ide",
            Controller::Flash => "flash",
            Controller::Tpm => "tpm",
        }
    }

    /// It leads to the memory of a chip, not to a disk of the guest's system.
    #[must_use]
    pub fn is_chip(self) -> bool {
        matches!(self, Controller::Flash | Controller::Tpm)
    }
}

impl Firmware {
    /// As written in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

/// The paging disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// Size as the guest sees it; on the PC it grows with use. 1 MiB to 64 GiB, a multiple of 1 MiB.
    pub size: Size,
}

/// What a session keeps on the PC while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scratch {
    /// Free room on the PC's internal disk without which the machine is not started.
    pub room: Size,
    /// Overlays lie unencrypted on the PC until they are wiped; whether the owner accepts that.
    pub plain: Plain,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { room: Size::gib(8), plain: Plain::Ask }
    }
}

/// Consent to unencrypted overlays on the PC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plain {
    /// The owner accepts it on every PC.
    Accepted,
    /// The launcher asks before the launch.
    #[default]
    Ask,
}

/// How saves are kept and proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Saves {
    /// How many saves stay undoable. Each takes the room of what was changed after it.
    #[schemars(range(min = 1, max = MAX_KEPT_SAVES))]
    pub keep: u32,
    /// What is read back from the drive before a save counts.
    pub verify: Verify,
}

impl Default for Saves {
    fn default() -> Self {
        Saves { keep: 1, verify: Verify::Tables }
    }
}

/// What is read back from the drive before a save counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// The disks' tables.
    #[default]
    Tables,
    /// The tables and all data that was written.
    Data,
}

/// What the machine has besides disks. Every hypervisor does what it can of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Devices {
    /// How the guest reaches the world.
    pub network: Network,
    /// Whether the guest is heard. It never listens.
    pub sound: bool,
    /// Whether guest and PC have one clipboard. The guest then reads what people copy on the PC.
    pub clipboard: bool,
    /// Whether USB devices of the PC can be given to the guest, in the hypervisor's menu.
    pub usb: bool,
    /// Width and height of the guest's screen. Without this key the guest decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<ScreenSize>,
}

impl Default for Devices {
    fn default() -> Self {
        Devices { network: Network::Nat, sound: false, clipboard: false, usb: false, display: None }
    }
}

/// How the guest reaches the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Through the PC's address: out to the world, nothing in.
    #[default]
    Nat,
    /// It has no network card.
    None,
}

/// Which hypervisors may run the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hypervisors {
    /// In which order they are tried; one that is left out is not used.
    pub order: Vec<HypervisorName>,
    /// QEMU.
    pub qemu: Hypervisor,
    /// VirtualBox.
    pub virtualbox: Hypervisor,
    /// VMware Workstation, Player and Fusion.
    pub vmware: Hypervisor,
    /// Hyper-V.
    pub hyperv: Hypervisor,
}

impl Default for Hypervisors {
    fn default() -> Self {
        Hypervisors {
            order: HypervisorName::ALL.into(),
            qemu: Hypervisor::default(),
            virtualbox: Hypervisor::default(),
            vmware: Hypervisor::default(),
            hyperv: Hypervisor::default(),
        }
    }
}

impl Hypervisors {
    /// How the hypervisor called `name` runs the machine; none if the manifest knows no such hypervisor.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Hypervisor> {
        let name = HypervisorName::ALL.into_iter().find(|known| known.as_str() == name)?;
        Some(match name {
            HypervisorName::Qemu => &self.qemu,
            HypervisorName::Virtualbox => &self.virtualbox,
            HypervisorName::Vmware => &self.vmware,
            HypervisorName::Hyperv => &self.hyperv,
        })
    }
}

/// A hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HypervisorName {
    /// QEMU.
    Qemu,
    /// VirtualBox.
    Virtualbox,
    /// VMware Workstation, Player and Fusion.
    Vmware,
    /// Hyper-V.
    Hyperv,
}

impl HypervisorName {
    /// All of them: those that read the drive's disks as they are, first.
    pub const ALL: [HypervisorName; 4] =
        [HypervisorName::Qemu, HypervisorName::Virtualbox, HypervisorName::Vmware, HypervisorName::Hyperv];

    /// As written in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HypervisorName::Qemu => "qemu",
            HypervisorName::Virtualbox => "virtualbox",
            HypervisorName::Vmware => "vmware",
            HypervisorName::Hyperv => "hyperv",
        }
    }
}

/// How one hypervisor runs the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hypervisor {
    /// The template of its configuration. Without this key it is looked for in the folder `templates`, and where it is not
    /// there either, the built-in one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<RelativePath>,
    /// Free variables for the template: names `[a-z][a-z0-9_]*`, values one line of text.
    pub variables: Variables,
}

impl Manifest {
    /// Reads and checks the manifest at `path`.
    ///
    /// # Errors
    /// [`Kind::Drive`], one sentence with line and column, and a hint.
    pub fn read(path: &Path) -> Result<Manifest> {
        let unreadable = |error: std::io::Error| {
            Error::new(Kind::Drive, "cannot read the manifest")
                .hint("check that the drive is attached")
                .because(error)
        };
        // A pipe or device of that name would block or never end; nothing but a file is opened.
        if !fs_err::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::new(Kind::Drive, format!("the manifest is not a file: {}", path.display())));
        }
        let file = fs_err::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Manifest::parse(&bytes, path)
    }

    /// Reads and checks a manifest from memory; `origin` is what errors call it.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(bytes: &[u8], origin: &Path) -> Result<Manifest> {
        yaml::parse(bytes).map_err(|problem| problem.into_error(origin))
    }

    /// The JSON schema of the manifest, as `docs/manifest.schema.json` has it.
    #[must_use]
    pub fn json_schema() -> String {
        let schema = schemars::schema_for!(Manifest);
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The disk called `name`.
    #[must_use]
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name.as_str() == name)
    }

    /// The SMBIOS UUID: the manifest's, else one that follows from the identity of the drive.
    #[must_use]
    pub fn machine_uuid(&self, drive: Uuid) -> Uuid {
        self.machine.uuid.unwrap_or_else(|| {
            let key = blake3::derive_key("pocketvm 2026-11 SMBIOS UUID of a drive", drive.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&key[..16]);
            uuid::Builder::from_random_bytes(bytes).into_uuid()
        })
    }

    /// The Ethernet address: the manifest's, else one that follows from the identity of the drive.
    #[must_use]
    pub fn machine_mac(&self, drive: Uuid) -> Mac {
        self.machine.mac.clone().unwrap_or_else(|| {
            let key = blake3::derive_key("pocketvm 2026-11 Ethernet address of a drive", drive.as_bytes());
            Mac::in_qemu_range([key[0], key[1], key[2]])
        })
    }
}

/// What is wrong with a value, for the person who wrote it: a clause and, where there is one, a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::drive) struct Mistake {
    what: String,
    hint: Option<String>,
}

impl Mistake {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Mistake {
        Mistake { what: what.into(), hint: Some(hint.into()) }
    }
}

/// The form in which a mistake travels through serde, which knows only text: the hint on a line of its own.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest() -> Manifest {
        let text = b"schema: 1\nmachine: {name: Work}\ndisks: []\n";
        Manifest::parse(text, Path::new("pocketvm.yaml")).unwrap()
    }

    #[test]
    fn what_the_manifest_leaves_out_follows_from_the_drive() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let manifest = smallest();
        assert_eq!(manifest.machine_uuid(one), manifest.machine_uuid(one));
        assert_ne!(manifest.machine_uuid(one), manifest.machine_uuid(other));
        assert_ne!(manifest.machine_mac(one), manifest.machine_mac(other));
        assert!(Mac::parse(manifest.machine_mac(one).as_str()).is_ok());
    }

    #[test]
    fn a_folder_in_the_place_of_the_manifest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert_eq!(error.kind, Kind::Drive);
        assert!(error.what.starts_with("the manifest is not a file"), "{error}");
    }
}
