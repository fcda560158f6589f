//! The list of keys of a configuration that can do no harm to the PC.
//!
//! The rule for additions: nothing that names a file, a program, a device or a port of the host, or that makes VMware offer a
//! service. Paths are compared with the machine's own. Not on the list, for instance: serial and parallel ports to anything but
//! the log; `RemoteDisplay.*`; `floppy0.fileName`; `*.fileType` but for the log's; `pciPassthru*`; `guestinfo.*`; `log.*`;
//! `vmx.*`; `monitor*`; `vprobe.*`; `debugStub.*`; `usb.autoConnect.*`; `annotation`, and whatever VMware writes itself.

use crate::hypervisor::Machine;

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// Letters, digits and `._-`, but no path.
    Token,
    /// A whole number.
    Number,
    /// TRUE or FALSE.
    Switch,
    /// Only this.
    Only(&'static str),
    /// One of these.
    Of(&'static [&'static str]),
    /// FALSE, and TRUE as well if the machine is to have it.
    If(fn(&Machine) -> bool),
    /// TRUE, and FALSE as well if the machine is to have it.
    Unless(fn(&Machine) -> bool),
    /// The machine's name in VMware.
    Title,
    /// What starts the machine.
    Firmware,
    /// The version of the virtual hardware that the machine needs.
    Hardware,
    /// The machine's SMBIOS UUID.
    Uuid,
    /// The memory that was planned.
    Memory,
    /// The CPUs that were planned.
    Cpus,
    /// The machine's Ethernet address.
    Mac,
    /// The image of the machine's disk at this place.
    Image,
    /// The machine's serial log.
    SerialLog,
    /// The folder of this PC that its user shares with the guest.
    Share,
}

fn network(machine: &Machine) -> bool {
    machine.devices.network
}

fn clipboard(machine: &Machine) -> bool {
    machine.devices.clipboard
}

fn usb(machine: &Machine) -> bool {
    machine.devices.usb
}

fn share(machine: &Machine) -> bool {
    machine.share.is_some()
}

fn headless(machine: &Machine) -> bool {
    machine.headless
}

/// Every key that a template may have; `#` is a whole number.
pub const RULES: &[(&str, Is)] = &[
    (".encoding", Is::Only("UTF-8")),
    ("config.version", Is::Only("8")),
    ("virtualHW.version", Is::Hardware),
    ("displayName", Is::Title),
    ("guestOS", Is::Token),
    ("uuid.bios", Is::Uuid),
    ("uuid.action", Is::Only("keep")),
    ("nvram", Is::Only("machine.nvram")),
    ("extendedConfigFile", Is::Only("machine.vmxf")),
    ("firmware", Is::Firmware),
    ("uefi.secureBoot.enabled", Is::Only("FALSE")),
    ("memsize", Is::Memory),
    ("mainMem.useNamedFile", Is::Only("FALSE")),
    ("numvcpus", Is::Cpus),
    ("cpuid.coresPerSocket", Is::Number),
    ("vhv.enable", Is::Switch),
    ("vpmc.enable", Is::Switch),
    ("hpet0.present", Is::Switch),
    ("pciBridge#.present", Is::Switch),
    ("pciBridge#.virtualDev", Is::Only("pcieRootPort")),
    ("pciBridge#.functions", Is::Number),
    ("vmci0.present", Is::Only("FALSE")),
    ("floppy0.present", Is::Only("FALSE")),
    ("rtc.diffFromUTC", Is::Number),
    ("rtc.startTime", Is::Number),
    ("tools.syncTime", Is::Switch),
    ("tools.upgrade.policy", Is::Of(&["manual", "useGlobal"])),
    ("bios.bootOrder", Is::Only("hdd")),
    ("bios.bootDelay", Is::Number),
    ("snapshot.disabled", Is::Only("TRUE")),
    ("snapshot.maxSnapshots", Is::Only("0")),
    ("suspend.disabled", Is::Only("TRUE")),
    ("logging", Is::Only("TRUE")),
    ("sata0.present", Is::Switch),
    ("sata0:#.present", Is::Only("TRUE")),
    ("sata0:#.deviceType", Is::Only("disk")),
    ("sata0:#.fileName", Is::Image),
    ("sata0:#.mode", Is::Only("persistent")),
    ("sata0:#.virtualSSD", Is::Of(&["0", "1"])),
    ("ide#:#.present", Is::Only("TRUE")),
    ("ide#:#.deviceType", Is::Only("disk")),
    ("ide#:#.fileName", Is::Image),
    ("ide#:#.mode", Is::Only("persistent")),
    ("ide#:#.virtualSSD", Is::Of(&["0", "1"])),
    ("serial0.present", Is::Switch),
    ("serial0.fileType", Is::Only("file")),
    ("serial0.fileName", Is::SerialLog),
    ("serial0.startConnected", Is::Switch),
    ("serial0.tryNoRxLoss", Is::Only("FALSE")),
    ("serial0.yieldOnMsrRead", Is::Switch),
    ("answer.msg.serial.file.open", Is::Of(&["Append", "Replace"])),
    ("ethernet0.present", Is::If(network)),
    ("ethernet0.virtualDev", Is::Of(&["e1000", "e1000e", "vmxnet3", "vlance"])),
    ("ethernet0.pciSlotNumber", Is::Number),
    ("ethernet0.connectionType", Is::Only("nat")),
    ("ethernet0.addressType", Is::Only("static")),
    ("ethernet0.address", Is::Mac),
    ("ethernet0.checkMACAddress", Is::Only("FALSE")),
    ("ethernet0.wakeOnPcktRcv", Is::Only("FALSE")),
    ("sound.present", Is::Only("FALSE")),
    ("usb.present", Is::If(usb)),
    ("ehci.present", Is::If(usb)),
    ("usb_xhci.present", Is::If(usb)),
    ("usb.generic.autoconnect", Is::Only("FALSE")),
    ("usb.vbluetooth.startConnected", Is::Only("FALSE")),
    ("svga.vramSize", Is::Number),
    ("svga.autodetect", Is::Switch),
    ("svga.maxWidth", Is::Number),
    ("svga.maxHeight", Is::Number),
    ("svga.numDisplays", Is::Number),
    ("svga.guestBackedPrimaryAware", Is::Switch),
    ("mks.enable3d", Is::Switch),
    ("isolation.tools.copy.disable", Is::Unless(clipboard)),
    ("isolation.tools.paste.disable", Is::Unless(clipboard)),
    ("isolation.tools.dnd.disable", Is::Only("TRUE")),
    ("isolation.tools.hgfs.disable", Is::Unless(share)),
    ("isolation.tools.log.disable", Is::Only("TRUE")),
    ("sharedFolder.maxNum", Is::Of(&["0", "1"])),
    ("sharedFolder0.present", Is::If(share)),
    ("sharedFolder0.enabled", Is::If(share)),
    ("sharedFolder0.readAccess", Is::Switch),
    ("sharedFolder0.writeAccess", Is::Switch),
    ("sharedFolder0.hostPath", Is::Share),
    ("sharedFolder0.guestName", Is::Token),
    ("sharedFolder0.expiration", Is::Only("never")),
    ("powerType.powerOff", Is::Of(&["soft", "hard"])),
    ("powerType.reset", Is::Of(&["soft", "hard"])),
    ("gui.exitOnCLIHLT", Is::Switch),
    ("gui.restricted", Is::Switch),
    ("gui.perVMFullscreenAutofitMode", Is::Token),
    ("gui.perVMWindowAutofitMode", Is::Token),
    ("gui.fullScreenAtPowerOn", Is::Switch),
    ("gui.viewModeAtPowerOn", Is::Of(&["windowed", "fullscreen"])),
    ("hint.hideAll", Is::Switch),
    ("msg.autoAnswer", Is::If(headless)),
];

/// Keys that a template must have: what VMware takes for granted without them is not what the machine is to be, or would
/// leave changes where nobody looks for them.
pub const REQUIRED: &[&str] = &[
    ".encoding",
    "config.version",
    "virtualHW.version",
    "displayName",
    "guestOS",
    "uuid.bios",
    "uuid.action",
    "memsize",
    "numvcpus",
    "floppy0.present",
    "snapshot.disabled",
    "snapshot.maxSnapshots",
    "suspend.disabled",
    "logging",
    "ethernet0.present",
    "sound.present",
    "usb.present",
    "usb.generic.autoconnect",
    "isolation.tools.copy.disable",
    "isolation.tools.paste.disable",
    "isolation.tools.dnd.disable",
    "isolation.tools.hgfs.disable",
    "isolation.tools.log.disable",
    "msg.autoAnswer",
];

/// Keys that a network card must have: without them VMware puts it on the PC's own network, or gives it an address.
pub const REQUIRED_OF_NETWORK: &[&str] =
    &["ethernet0.connectionType", "ethernet0.addressType", "ethernet0.address", "ethernet0.checkMACAddress"];

/// Keys that a serial port must have: without them it is a port of the PC.
pub const REQUIRED_OF_SERIAL: &[&str] = &["serial0.fileType", "serial0.fileName"];
