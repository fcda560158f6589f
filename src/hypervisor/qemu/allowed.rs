//! What a template may tell QEMU. The template comes from a stick that may be anybody's, and QEMU's options can read and
//! write any file, open ports and start programs. So this is a list of what is known to be harmless, not of what is harmful.
//!
//! The rule for additions: no option or property that names a file, a program, a socket or a device of the host. Paths are
//! compared with the machine's own.

use serde_json::{Map, Value};

use super::disks;
use super::template::{self, Setting};
use crate::hypervisor::Machine;
use crate::{Error, Kind, Result};

/// What a value may be.
#[derive(Debug, Clone, Copy)]
enum Is {
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
    /// The machine's serial log.
    SerialLog,
    /// The upper node of one of the machine's disks.
    Overlay,
    /// A machine type.
    MachineType,
}

type Keys = &'static [(&'static str, Is)];

const SWITCH_OR_AUTO: Is = Is::Of(&["on", "off", "auto"]);

/// Options as maps (`required` key first), or as one word.
struct Rule {
    option: &'static str,
    /// The key that must be there.
    required: &'static str,
    keys: Keys,
    /// Keys that are not listed may be any token with a harmless value.
    open: bool,
    /// The option may be one word instead.
    word: Option<Is>,
}

const fn rule(option: &'static str, required: &'static str, keys: Keys) -> Rule {
    Rule { option, required, keys, open: false, word: None }
}

const RULES: &[Rule] = &[
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
        &[("backend", Is::Of(&["file"])), ("id", Is::Token), ("path", Is::SerialLog), ("append", Is::Switch)],
    ),
    rule("object", "qom-type", &[("qom-type", Is::Of(&["rng-builtin", "iothread"])), ("id", Is::Token)]),
    rule("device", "driver", DEVICE),
];

const VGA: Is = Is::Of(&["std", "virtio", "qxl", "vmware", "cirrus", "none"]);

/// Devices of a PC that touch nothing of the host but what is listed elsewhere: disks, networks, sounds by their id.
const DRIVERS: Is = Is::Of(&[
    // Disks that can pause the guest on an error, and their controllers. NVMe can't.
    "ide-hd",
    "virtio-blk-pci",
    "scsi-hd",
    "ich9-ahci",
    "virtio-scsi-pci",
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
    "pvpanic",
    "pvpanic-pci",
    "i6300esb",
    "pcie-root-port",
    "pcie-pci-bridge",
    "pci-bridge",
]);

/// Properties of these devices; each is harmless on every device that has it.
const DEVICE: Keys = &[
    ("driver", DRIVERS),
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
    ("index", Is::Number),
    ("iobase", Is::Number),
    ("irq", Is::Number),
    ("audiodev", Is::Token),
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

/// Checks every setting of a rendered template for `machine`.
///
/// # Errors
/// The first setting that is not on the list, or what the disks lack, in one sentence.
pub fn check(settings: &[Setting], machine: &Machine) -> Result<()> {
    for setting in settings.iter().filter(|setting| setting.option != "blockdev") {
        check_setting(setting, machine).map_err(|why| refused(setting, &why))?;
    }
    for option in ["machine", "accel", "cpu", "m", "smp", "display"] {
        match settings.iter().filter(|setting| setting.option == option).count() {
            1 => {}
            0 => return Err(lacking(format!("the template for QEMU has no {option}"))),
            _ => return Err(lacking(format!("the template for QEMU has {option} more than once"))),
        }
    }
    disks::check(settings, machine)
}

/// The error for one setting.
pub fn refused(setting: &Setting, why: &str) -> Error {
    let place = format!("line {} after rendering", setting.line);
    Error::new(
        Kind::Drive,
        format!(
            "the template for QEMU has a setting that is not allowed: {}: {why} ({place})",
            shown(&setting.option)
        ),
    )
    .safe("nothing was started")
    .hint("remove the setting from the template; docs list what may be in one")
}

/// The error for something that must be there.
pub fn lacking(what: String) -> Error {
    Error::new(Kind::Drive, what)
        .safe("nothing was started")
        .hint("compare the template with the built-in one")
}

/// Words of the template in a message: short, and without control characters.
pub fn shown(words: &str) -> String {
    let short: String = words.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("“{short}”")
}

fn check_setting(setting: &Setting, machine: &Machine) -> Result<(), String> {
    let rule = RULES
        .iter()
        .find(|rule| rule.option == setting.option)
        .ok_or_else(|| "this option is not on the list".to_owned())?;
    match (&setting.value, rule.word) {
        (Value::Object(map), _) if !rule.keys.is_empty() => check_map(rule, map, machine),
        (value @ (Value::String(_) | Value::Number(_)), Some(is)) => fits(is, value, machine)
            .then_some(())
            .ok_or_else(|| format!("{} is not allowed", value_shown(value))),
        _ => Err("it must be written in another form (a map with keys, or one word)".into()),
    }
}

fn check_map(rule: &Rule, map: &Map<String, Value>, machine: &Machine) -> Result<(), String> {
    if !rule.required.is_empty() && !map.contains_key(rule.required) {
        return Err(format!("{} is missing", shown(rule.required)));
    }
    for (key, value) in map {
        let is = match rule.keys.iter().find(|(name, _)| name == key) {
            Some((_, is)) => *is,
            None if rule.open && is_feature(key) => Is::Token,
            None => return Err(format!("{} is not on the list", shown(key))),
        };
        if !fits(is, value, machine) && !(rule.open && fits(Is::Switch, value, machine)) {
            return Err(format!("{} can't be {}", shown(key), value_shown(value)));
        }
    }
    Ok(())
}

fn value_shown(value: &Value) -> String {
    value.as_str().map_or_else(|| shown(&value.to_string()), shown)
}

/// The name of a CPU feature.
fn is_feature(key: &str) -> bool {
    key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn fits(is: Is, value: &Value, machine: &Machine) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        _ => return false,
    };
    let text = text.as_str();
    match is {
        // A line break or a zero byte in a text would mean something else to those who read QEMU's output.
        Is::Text => text.len() <= 1024 && !text.contains(char::is_control),
        Is::Token => {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-+:/".contains(c);
            (1..=128).contains(&text.len())
                && text.chars().all(known)
                && !text.starts_with(['/', '.'])
                && !text.contains("..")
        }
        Is::Number => {
            text.parse::<u32>().is_ok()
                || matches!(text.strip_prefix("0x"), Some(hex) if u32::from_str_radix(hex, 16).is_ok())
        }
        Is::Size => {
            let digits = text.trim_end_matches(['K', 'M', 'G']);
            text.len() - digits.len() <= 1 && digits.parse::<u32>().is_ok()
        }
        Is::Switch => matches!(text, "on" | "off"),
        Is::Of(words) => words.contains(&text),
        Is::Accelerator => text == machine.accelerator,
        Is::Memory => text == format!("{}M", machine.memory_mib),
        Is::Cpus => text == machine.cpus.to_string(),
        Is::SerialLog => template::text(&machine.serial_log).is_ok_and(|path| path == text),
        Is::Overlay => machine.disks.iter().any(|disk| disks::overlay_node(&disk.name) == text),
        Is::MachineType => {
            let version = text.strip_prefix("pc-q35-").or_else(|| text.strip_prefix("pc-i440fx-"));
            matches!(text, "q35" | "pc")
                || version.is_some_and(|version| {
                    version.len() <= 8 && version.chars().all(|c| c.is_ascii_digit() || c == '.')
                })
        }
    }
}
