//! The list of options, devices and properties that can do no harm to the PC.
//!
//! The rule for additions: no option or property that names a file, a program, a socket or a device of the host, or that
//! makes QEMU offer a service. Paths are compared with the machine's own.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// Text that the guest or the window's title shows.
    Text,
    /// Letters, digits and `. _ - + : /`, which no parser of QEMU's takes apart; no path, because it must not start with
    /// `/` or `.`.
    Token,
    /// A whole number.
    Number,
    /// A number with an optional unit.
    Size,
    /// true, false, on or off.
    Switch,
    /// One of these words.
    Of(&'static [&'static str]),
    /// The accelerator that was proved.
    Accelerator,
    /// The memory that was planned.
    Memory,
    /// The CPUs that were planned.
    Cpus,
    /// What is behind a character device: a socket only for a TPM.
    Backend,
    /// The machine's serial log, or the socket of its TPM.
    ChannelPath,
    /// The upper node of one of the machine's disks.
    Overlay,
    /// A machine type.
    MachineType,
    /// The folder of this PC that its user shares with the guest.
    Share,
    /// The node with the firmware's code.
    FirmwareCode,
    /// The node with the firmware's variables.
    FirmwareVariables,
    /// A device.
    Driver,
    /// On if the clipboard is to be shared, else off.
    Clipboard,
    /// The file of the guest's kernel that is started in place of its boot loader.
    BootKernel,
    /// The file of that kernel's initramfs.
    BootInitramfs,
    /// That kernel's command line.
    BootCommandLine,
}

/// Keys of a map.
pub type Keys = &'static [(&'static str, Is)];

const SWITCH_OR_AUTO: Is = Is::Of(&["on", "off", "auto"]);

/// How one option may be used.
pub struct Rule {
    /// Without its dash.
    pub option: &'static str,
    /// The key that must be there; empty if none must.
    pub required: &'static str,
    /// Keys with what their values may be.
    pub keys: Keys,
    /// Keys that are not listed may be any token with a harmless value.
    pub open: bool,
    /// The option may be one word instead.
    pub word: Option<Is>,
}

const fn rule(option: &'static str, required: &'static str, keys: Keys) -> Rule {
    Rule { option, required, keys, open: false, word: None }
}

/// Every option that a template may have, besides `blockdev`: that one is in [`super::disks`].
pub const RULES: &[Rule] = &[
    rule("name", "guest", &[("guest", Is::Text), ("debug-threads", Is::Switch)]),
    Rule { option: "uuid", required: "", keys: &[], open: false, word: Some(Is::Token) },
    Rule { option: "k", required: "", keys: &[], open: false, word: Some(Is::Token) },
    Rule { option: "vga", required: "", keys: &[], open: false, word: Some(VGA) },
    rule(
        "machine",
        "type",
        &[
            ("type", Is::MachineType),
            ("usb", Is::Switch),
            ("acpi", SWITCH_OR_AUTO),
            ("smm", SWITCH_OR_AUTO),
            ("vmport", SWITCH_OR_AUTO),
            ("hpet", Is::Switch),
            ("sata", Is::Switch),
            ("smbus", Is::Switch),
            ("i8042", Is::Switch),
            ("graphics", Is::Switch),
            ("mem-merge", Is::Switch),
            ("dump-guest-core", Is::Switch),
            ("kernel-irqchip", Is::Of(&["on", "off", "split"])),
            ("max-ram-below-4g", Is::Size),
            ("pflash0", Is::FirmwareCode),
            ("pflash1", Is::FirmwareVariables),
        ],
    ),
    rule(
        "accel",
        "accel",
        &[
            ("accel", Is::Accelerator),
            ("kernel-irqchip", Is::Of(&["on", "off", "split"])),
            ("thread", Is::Of(&["single", "multi"])),
            ("tb-size", Is::Number),
        ],
    ),
    Rule {
        option: "cpu",
        required: "model",
        keys: &[("model", Is::Token)],
        open: true,
        word: Some(Is::Token),
    },
    rule(
        "smp",
        "cpus",
        &[
            ("cpus", Is::Cpus),
            ("maxcpus", Is::Number),
            ("sockets", Is::Number),
            ("dies", Is::Number),
            ("cores", Is::Number),
            ("threads", Is::Number),
        ],
    ),
    Rule { option: "kernel", required: "", keys: &[], open: false, word: Some(Is::BootKernel) },
    Rule { option: "initrd", required: "", keys: &[], open: false, word: Some(Is::BootInitramfs) },
    Rule { option: "append", required: "", keys: &[], open: false, word: Some(Is::BootCommandLine) },
    // What the firmware tells a guest of sleeping.
    rule(
        "global",
        "driver",
        &[
            ("driver", Is::Of(&["ICH9-LPC", "PIIX4_PM"])),
            ("property", Is::Of(&["disable_s3", "disable_s4"])),
            ("value", Is::Of(&["0", "1"])),
        ],
    ),
    rule("m", "size", &[("size", Is::Memory)]),
    rule(
        "rtc",
        "base",
        &[
            ("base", Is::Of(&["utc", "localtime"])),
            ("clock", Is::Of(&["host", "rt", "vm"])),
            ("driftfix", Is::Of(&["none", "slew"])),
        ],
    ),
    rule(
        "boot",
        "",
        &[("menu", Is::Switch), ("strict", Is::Switch), ("order", Is::Token), ("splash-time", Is::Number)],
    ),
    rule(
        "smbios",
        "type",
        &[
            ("type", Is::Of(&["1", "11"])),
            ("manufacturer", Is::Text),
            ("product", Is::Text),
            ("version", Is::Text),
            ("serial", Is::Text),
            ("sku", Is::Text),
            ("family", Is::Text),
            ("uuid", Is::Token),
            ("value", Is::Text),
        ],
    ),
    rule(
        "display",
        "type",
        &[
            ("type", Is::Of(&["none", "gtk", "sdl", "cocoa"])),
            ("gl", Is::Of(&["on", "off", "core", "es"])),
            ("window-close", Is::Switch),
            ("full-screen", Is::Switch),
            ("show-cursor", Is::Switch),
            ("show-tabs", Is::Switch),
            ("show-menubar", Is::Switch),
            ("zoom-to-fit", Is::Switch),
            ("grab-on-hover", Is::Switch),
            ("grab-mod", Is::Token),
            ("full-grab", Is::Switch),
            ("swap-opt-cmd", Is::Switch),
            ("left-command-key", Is::Switch),
        ],
    ),
    rule(
        "audiodev",
        "driver",
        &[
            ("driver", Is::Of(&["none", "pa", "pipewire", "alsa", "sdl", "coreaudio", "dsound"])),
            ("id", Is::Token),
        ],
    ),
    rule(
        "netdev",
        "type",
        &[
            ("type", Is::Of(&["user"])),
            ("id", Is::Token),
            ("net", Is::Token),
            ("host", Is::Token),
            ("dhcpstart", Is::Token),
            ("dns", Is::Token),
            ("hostname", Is::Token),
            ("domainname", Is::Token),
            ("restrict", Is::Switch),
            ("ipv4", Is::Switch),
            ("ipv6", Is::Switch),
        ],
    ),
    rule(
        "chardev",
        "backend",
        &[
            ("backend", Is::Backend),
            ("id", Is::Token),
            ("path", Is::ChannelPath),
            ("append", Is::Switch),
            ("name", Is::Of(&["vdagent"])),
            ("clipboard", Is::Clipboard),
            ("mouse", Is::Switch),
        ],
    ),
    rule(TPM_OPTION, "type", &[("type", Is::Of(&["emulator"])), ("id", Is::Token), ("chardev", Is::Token)]),
    rule(
        "fsdev",
        "path",
        &[
            ("fsdriver", Is::Of(&["local"])),
            ("id", Is::Token),
            ("path", Is::Share),
            ("security_model", Is::Of(&["none", "mapped-xattr", "mapped-file"])),
            ("readonly", Is::Switch),
        ],
    ),
    rule("object", "qom-type", &[("qom-type", Is::Of(&["rng-builtin", "iothread"])), ("id", Is::Token)]),
    rule("device", "driver", DEVICE),
];

const VGA: Is = Is::Of(&["std", "virtio", "qxl", "vmware", "cirrus", "none"]);

/// Devices of a PC that touch nothing of the host but what is listed elsewhere: disks, networks, sounds by their id.
pub const DRIVERS: &[&str] = &[
    // Disks that can pause the guest on an error, and their controllers. NVMe can't.
    "ide-hd",
    "virtio-blk-pci",
    "scsi-hd",
    "ich9-ahci",
    "virtio-scsi-pci",
    "pvscsi",
    "piix3-ide",
    "piix4-ide",
    // Network.
    "virtio-net-pci",
    "e1000",
    "e1000e",
    "rtl8139",
    "vmxnet3",
    // Display.
    "VGA",
    "bochs-display",
    "virtio-vga",
    "virtio-gpu-pci",
    "qxl-vga",
    "cirrus-vga",
    "vmware-svga",
    // Input and USB.
    "usb-tablet",
    "usb-kbd",
    "usb-mouse",
    "usb-hub",
    "virtio-tablet-pci",
    "virtio-keyboard-pci",
    "virtio-mouse-pci",
    "qemu-xhci",
    "nec-usb-xhci",
    "usb-ehci",
    "ich9-usb-ehci1",
    "ich9-usb-uhci1",
    "ich9-usb-uhci2",
    "ich9-usb-uhci3",
    "piix3-usb-uhci",
    "piix4-usb-uhci",
    // Sound.
    "ich9-intel-hda",
    "intel-hda",
    "hda-duplex",
    "hda-output",
    "hda-micro",
    "AC97",
    "usb-audio",
    "virtio-sound-pci",
    // The rest of a PC.
    "virtio-rng-pci",
    "virtio-balloon-pci",
    "isa-serial",
    "pci-serial",
    "virtio-serial-pci",
    "virtconsole",
    "virtserialport",
    "pvpanic",
    "pvpanic-pci",
    "i6300esb",
    "pcie-root-port",
    "pcie-pci-bridge",
    "pci-bridge",
];

/// The device that shows a folder of this PC to the guest, and the option that names the folder: only for a machine whose user
/// shares one.
pub const SHARING_DRIVER: &str = "virtio-9p-pci";
pub const SHARING_OPTION: &str = "fsdev";

/// The devices of a TPM, and the option that says where it is: only for a machine that has one.
pub const TPM_DRIVERS: &[&str] = &["tpm-crb", "tpm-tis"];
pub const TPM_OPTION: &str = "tpmdev";

/// Properties of these devices; each is harmless on every device that has it.
const DEVICE: Keys = &[
    ("driver", Is::Driver),
    ("id", Is::Token),
    ("bus", Is::Token),
    ("addr", Is::Token),
    ("multifunction", Is::Switch),
    ("bootindex", Is::Number),
    ("disable-legacy", SWITCH_OR_AUTO),
    ("disable-modern", Is::Switch),
    ("rombar", Is::Number),
    // Disks and controllers.
    ("drive", Is::Overlay),
    ("rerror", Is::Of(&["stop"])),
    ("werror", Is::Of(&["stop"])),
    ("serial", Is::Token),
    ("model", Is::Text),
    ("ver", Is::Token),
    ("unit", Is::Number),
    ("scsi-id", Is::Number),
    ("lun", Is::Number),
    ("channel", Is::Number),
    ("write-cache", SWITCH_OR_AUTO),
    ("discard", Is::Switch),
    ("write-zeroes", Is::Switch),
    ("discard_granularity", Is::Number),
    ("logical_block_size", Is::Number),
    ("physical_block_size", Is::Number),
    ("min_io_size", Is::Number),
    ("opt_io_size", Is::Number),
    ("rotation_rate", Is::Number),
    ("num-queues", Is::Number),
    ("queue-size", Is::Number),
    ("iothread", Is::Token),
    // Network.
    ("netdev", Is::Token),
    ("mac", Is::Token),
    // Display.
    ("vgamem_mb", Is::Number),
    ("xres", Is::Number),
    ("yres", Is::Number),
    ("edid", Is::Switch),
    ("max_outputs", Is::Number),
    // USB, serial, sound, random numbers, memory, bridges.
    ("port", Is::Token),
    ("ports", Is::Number),
    ("p2", Is::Number),
    ("p3", Is::Number),
    ("chardev", Is::Token),
    ("name", Is::Token),
    ("fsdev", Is::Token),
    ("mount_tag", Is::Token),
    ("index", Is::Number),
    ("iobase", Is::Number),
    ("irq", Is::Number),
    ("audiodev", Is::Token),
    ("tpmdev", Is::Token),
    ("rng", Is::Token),
    ("max-bytes", Is::Number),
    ("period", Is::Number),
    ("deflate-on-oom", Is::Switch),
    ("free-page-reporting", Is::Switch),
    ("chassis", Is::Number),
    ("chassis_nr", Is::Number),
    ("slot", Is::Number),
    ("ioport", Is::Number),
    ("events", Is::Number),
];
