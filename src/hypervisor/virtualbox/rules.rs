//! The list of elements and attributes of a settings file that can do no harm to the PC.
//!
//! The rule for additions: nothing that names a file, a program, a device or a port of the host, or that makes VirtualBox offer
//! a service. Paths are compared with the machine's own. Not on the list, for instance: extra data below `VBoxInternal`, which
//! loads libraries; a serial port to anything but the log; recording; remote display; port forwarding; the BIOS' logo.

use super::nvram;

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// Letters, digits and `._-+,:`, but no path.
    Token,
    /// A whole number.
    Number,
    /// true or false.
    Switch,
    /// Only this.
    Only(&'static str),
    /// One of these.
    Of(&'static [&'static str]),
    /// The session, in braces.
    Session,
    /// The machine's SMBIOS UUID, in braces.
    Uuid,
    /// The id of a disk image, in braces.
    Image,
    /// The place of a disk image.
    ImagePath,
    /// The machine's name in VirtualBox.
    Title,
    /// The memory that was planned.
    Memory,
    /// The CPUs that were planned.
    Cpus,
    /// The machine's Ethernet address.
    Mac,
    /// What starts the machine.
    Firmware,
    /// A TPM 2.0 for a machine that has one, else none.
    Tpm,
    /// The machine's serial log.
    SerialLog,
    /// The folder of this PC that its user shares with the guest.
    Share,
    /// How the clipboard may be shared.
    Clipboard,
    /// A key of extra data.
    ExtraKey,
}

/// An element, by its names from the root, and its attributes.
pub type Rule = (&'static str, &'static [(&'static str, Is)]);

const ENABLED: &[(&str, Is)] = &[("enabled", Is::Switch)];
const NONE: &[(&str, Is)] = &[];

/// Every element that a template may have.
pub const RULES: &[Rule] = &[
    ("VirtualBox", &[("version", Is::Token)]),
    (
        "VirtualBox/Machine",
        &[
            ("uuid", Is::Session),
            ("name", Is::Title),
            ("nameSync", Is::Only("false")),
            ("OSType", Is::Token),
            ("snapshotFolder", Is::Only("Snapshots")),
        ],
    ),
    ("VirtualBox/Machine/MediaRegistry", NONE),
    ("VirtualBox/Machine/MediaRegistry/HardDisks", NONE),
    ("VirtualBox/Machine/MediaRegistry/HardDisks/HardDisk", IMAGE),
    ("VirtualBox/Machine/MediaRegistry/HardDisks/HardDisk/HardDisk", IMAGE),
    ("VirtualBox/Machine/ExtraData", NONE),
    ("VirtualBox/Machine/ExtraData/ExtraDataItem", &[("name", Is::ExtraKey), ("value", Is::Token)]),
    ("VirtualBox/Machine/Hardware", &[("uuid", Is::Uuid)]),
    ("VirtualBox/Machine/Hardware/CPU", &[("count", Is::Cpus), ("executionCap", Is::Number)]),
    ("VirtualBox/Machine/Hardware/CPU/HardwareVirtEx", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/HardwareVirtExNestedPaging", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/HardwareVirtExVPID", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/HardwareVirtExUX", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/HardwareVirtExLargePages", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/PAE", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/LongMode", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/X2APIC", ENABLED),
    ("VirtualBox/Machine/Hardware/CPU/NestedHWVirt", ENABLED),
    ("VirtualBox/Machine/Hardware/Memory", &[("RAMSize", Is::Memory)]),
    ("VirtualBox/Machine/Hardware/Firmware", &[("type", Is::Firmware)]),
    ("VirtualBox/Machine/Hardware/TrustedPlatformModule", &[("type", Is::Tpm), ("location", Is::Only(""))]),
    (
        "VirtualBox/Machine/Hardware/HID",
        &[
            (
                "Pointing",
                Is::Of(&["None", "PS2Mouse", "USBMouse", "USBTablet", "ComboMouse", "USBMultiTouch"]),
            ),
            ("Keyboard", Is::Of(&["None", "PS2Keyboard", "USBKeyboard", "ComboKeyboard"])),
        ],
    ),
    ("VirtualBox/Machine/Hardware/HPET", ENABLED),
    ("VirtualBox/Machine/Hardware/Chipset", &[("type", Is::Of(&["PIIX3", "ICH9"]))]),
    (
        "VirtualBox/Machine/Hardware/Paravirt",
        &[("provider", Is::Of(&["None", "Default", "Legacy", "Minimal", "HyperV", "KVM"]))],
    ),
    ("VirtualBox/Machine/Hardware/Boot", NONE),
    (
        "VirtualBox/Machine/Hardware/Boot/Order",
        &[("position", Is::Number), ("device", Is::Of(&["None", "HardDisk"]))],
    ),
    (
        "VirtualBox/Machine/Hardware/Display",
        &[
            ("controller", Is::Of(&["VBoxVGA", "VMSVGA", "VBoxSVGA", "None"])),
            ("VRAMSize", Is::Number),
            ("monitorCount", Is::Number),
            ("accelerate3D", Is::Switch),
            ("accelerate2DVideo", Is::Switch),
        ],
    ),
    ("VirtualBox/Machine/Hardware/RemoteDisplay", &[("enabled", Is::Only("false"))]),
    ("VirtualBox/Machine/Hardware/BIOS", NONE),
    ("VirtualBox/Machine/Hardware/BIOS/NVRAM", &[("path", Is::Only(nvram::FILE))]),
    ("VirtualBox/Machine/Hardware/BIOS/ACPI", &[("enabled", Is::Only("true"))]),
    ("VirtualBox/Machine/Hardware/BIOS/IOAPIC", ENABLED),
    (
        "VirtualBox/Machine/Hardware/BIOS/Logo",
        &[("fadeIn", Is::Switch), ("fadeOut", Is::Switch), ("displayTime", Is::Number)],
    ),
    (
        "VirtualBox/Machine/Hardware/BIOS/BootMenu",
        &[("mode", Is::Of(&["Disabled", "MenuOnly", "MessageAndMenu"]))],
    ),
    ("VirtualBox/Machine/Hardware/BIOS/TimeOffset", &[("value", Is::Number)]),
    ("VirtualBox/Machine/Hardware/BIOS/SmbiosUuidLittleEndian", ENABLED),
    ("VirtualBox/Machine/Hardware/USB", NONE),
    ("VirtualBox/Machine/Hardware/USB/Controllers", NONE),
    (
        "VirtualBox/Machine/Hardware/USB/Controllers/Controller",
        &[("name", Is::Token), ("type", Is::Of(&["OHCI", "EHCI", "XHCI"]))],
    ),
    ("VirtualBox/Machine/Hardware/Network", NONE),
    (
        "VirtualBox/Machine/Hardware/Network/Adapter",
        &[
            ("slot", Is::Number),
            ("enabled", Is::Switch),
            ("MACAddress", Is::Mac),
            ("cable", Is::Switch),
            ("type", Is::Of(&["82540EM", "82543GC", "82545EM", "82583V", "virtio", "Am79C973"])),
        ],
    ),
    ("VirtualBox/Machine/Hardware/Network/Adapter/NAT", NONE),
    ("VirtualBox/Machine/Hardware/UART", NONE),
    (
        "VirtualBox/Machine/Hardware/UART/Port",
        &[
            ("slot", Is::Number),
            ("enabled", Is::Switch),
            ("IOBase", Is::Token),
            ("IRQ", Is::Number),
            ("hostMode", Is::Only("RawFile")),
            ("path", Is::SerialLog),
            ("uartType", Is::Of(&["16450", "16550A", "16750"])),
        ],
    ),
    (
        "VirtualBox/Machine/Hardware/AudioAdapter",
        &[
            ("controller", Is::Of(&["AC97", "SB16", "HDA"])),
            (
                "driver",
                Is::Of(&[
                    "Null",
                    "OSS",
                    "ALSA",
                    "Pulse",
                    "CoreAudio",
                    "WinMM",
                    "DirectSound",
                    "WAS",
                    "Default",
                ]),
            ),
            ("enabled", Is::Switch),
            ("enabledIn", Is::Only("false")),
            ("enabledOut", Is::Switch),
            ("codec", Is::Token),
        ],
    ),
    ("VirtualBox/Machine/Hardware/RTC", &[("localOrUTC", Is::Of(&["local", "UTC"]))]),
    ("VirtualBox/Machine/Hardware/SharedFolders", NONE),
    (
        "VirtualBox/Machine/Hardware/SharedFolders/SharedFolder",
        &[
            ("name", Is::Token),
            ("hostPath", Is::Share),
            ("writable", Is::Switch),
            ("autoMount", Is::Switch),
            ("autoMountPoint", Is::Only("")),
        ],
    ),
    (
        "VirtualBox/Machine/Hardware/Clipboard",
        &[("mode", Is::Clipboard), ("fileTransfersEnabled", Is::Only("false"))],
    ),
    ("VirtualBox/Machine/Hardware/DragAndDrop", &[("mode", Is::Only("Disabled"))]),
    ("VirtualBox/Machine/StorageControllers", NONE),
    (
        "VirtualBox/Machine/StorageControllers/StorageController",
        &[
            ("name", Is::Of(&["AHCI", "IDE"])),
            ("type", Is::Of(&["AHCI", "PIIX3", "PIIX4", "ICH6"])),
            ("PortCount", Is::Number),
            ("useHostIOCache", Is::Switch),
            ("Bootable", Is::Switch),
        ],
    ),
    (
        "VirtualBox/Machine/StorageControllers/StorageController/AttachedDevice",
        &[
            ("type", Is::Only("HardDisk")),
            ("hotpluggable", Is::Only("false")),
            ("nonrotational", Is::Switch),
            ("port", Is::Number),
            ("device", Is::Number),
        ],
    ),
    ("VirtualBox/Machine/StorageControllers/StorageController/AttachedDevice/Image", &[("uuid", Is::Image)]),
];

const IMAGE: &[(&str, Is)] = &[
    ("uuid", Is::Image),
    ("location", Is::ImagePath),
    ("format", Is::Only("VMDK")),
    ("type", Is::Only("Normal")),
];

/// Extra data that a template may have. None of it is more than looks, but for the last.
pub const EXTRA_KEYS: &[&str] = &[
    "GUI/RestrictedCloseActions",
    "GUI/DefaultCloseAction",
    "GUI/RestrictedRuntimeMenus",
    "GUI/RestrictedRuntimeMachineMenuActions",
    "GUI/RestrictedRuntimeDevicesMenuActions",
    "GUI/SuppressMessages",
    "GUI/LastGuestSizeHint",
    "GUI/LastNormalWindowPosition",
    "GUI/AutoresizeGuest",
    "GUI/Fullscreen",
    "GUI/Scale",
    "GUI/ScaleFactor",
    "GUI/MenuBar/Enabled",
    "GUI/StatusBar/Enabled",
    "GUI/MiniToolBarAlignment",
    "GUI/ShowMiniToolBar",
    "VBoxInternal/HM/FallbackToIEM",
];

/// Extra data that a template must have, each with the words that its value must hold: without them the window would offer to
/// cut the power, to save the state or to take a snapshot, and changes would lie where nobody looks for them.
pub const REQUIRED_EXTRA: &[(&str, &[&str])] = &[
    ("GUI/RestrictedCloseActions", &["Detach", "SaveState", "PowerOff", "PowerOffRestoringSnapshot"]),
    (
        "GUI/RestrictedRuntimeMachineMenuActions",
        &["SettingsDialog", "TakeSnapshot", "SaveState", "PowerOff", "Detach"],
    ),
];
