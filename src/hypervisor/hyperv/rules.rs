//! The list of commands and parameters that can do no harm to the PC.
//!
//! The rule for additions: nothing that names a file, a program, a device, a pipe or another machine, that changes Hyper-V
//! itself, or that starts anything. Paths are compared with the machine's own. Not on the list, for instance: `Set-VMComPort`,
//! `Set-VMDvdDrive`, `Set-VMFloppyDiskDrive`, `Add-VMFibreChannelHba`, `Add-VMAssignableDevice`, `Set-VMHost`, `*-VMSwitch`,
//! `Copy-VMFile`, `Invoke-*`, `Start-*`, and the parameters `-ComputerName`, `-CimSession` and `-Credential` of all of them.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// No value.
    Switch,
    /// A whole number.
    Number,
    /// `$true` or `$false`.
    Bool,
    /// `$false`.
    No,
    /// Only this number.
    Exactly(u64),
    /// One of these texts.
    Of(&'static [&'static str]),
    /// `$vm`.
    Machine,
    /// `$lan`.
    Network,
    /// The machine's name in Hyper-V.
    Title,
    /// The notes by which it is found again.
    Notes,
    /// The session's folder.
    Folder,
    /// The memory that was planned.
    Memory,
    /// The CPUs that were planned.
    Cpus,
    /// The machine's Ethernet address.
    Mac,
    /// The image of one of the machine's disks.
    Image,
}

/// A command, its parameters, and those of them that it must have.
pub type Rule = (&'static str, &'static [(&'static str, Is)], &'static [&'static str]);

/// Every command that a template may have.
pub const RULES: &[Rule] = &[
    (
        "New-VM",
        &[
            ("Name", Is::Title),
            ("Generation", Is::Exactly(1)),
            ("MemoryStartupBytes", Is::Memory),
            ("NoVHD", Is::Switch),
            ("Path", Is::Folder),
            ("BootDevice", Is::Of(&["IDE"])),
        ],
        &["Name", "Generation", "MemoryStartupBytes", "NoVHD", "Path"],
    ),
    (
        "Set-VM",
        &[
            ("VM", Is::Machine),
            ("Notes", Is::Notes),
            ("CheckpointType", Is::Of(&["Disabled"])),
            ("AutomaticCheckpointsEnabled", Is::No),
            ("AutomaticStartAction", Is::Of(&["Nothing"])),
            ("AutomaticStopAction", Is::Of(&["ShutDown", "TurnOff"])),
            ("AutomaticCriticalErrorAction", Is::Of(&["Pause", "None"])),
            ("AutomaticCriticalErrorActionTimeout", Is::Number),
            ("SnapshotFileLocation", Is::Folder),
            ("SmartPagingFilePath", Is::Folder),
            ("LockOnDisconnect", Is::Of(&["On", "Off"])),
            ("LowMemoryMappedIoSpace", Is::Number),
        ],
        &[
            "VM",
            "Notes",
            "CheckpointType",
            "AutomaticCheckpointsEnabled",
            "AutomaticStartAction",
            "AutomaticStopAction",
            "SnapshotFileLocation",
            "SmartPagingFilePath",
        ],
    ),
    (
        "Set-VMMemory",
        &[("VM", Is::Machine), ("DynamicMemoryEnabled", Is::No), ("StartupBytes", Is::Memory)],
        &["VM", "DynamicMemoryEnabled"],
    ),
    (
        "Set-VMProcessor",
        &[
            ("VM", Is::Machine),
            ("Count", Is::Cpus),
            ("CompatibilityForMigrationEnabled", Is::Bool),
            ("CompatibilityForOlderOperatingSystemsEnabled", Is::Bool),
            ("ExposeVirtualizationExtensions", Is::Bool),
            ("HwThreadCountPerCore", Is::Number),
            ("RelativeWeight", Is::Number),
            ("Maximum", Is::Number),
        ],
        &["VM", "Count"],
    ),
    (
        "Remove-VMDvdDrive",
        &[
            ("VMName", Is::Title),
            ("ControllerNumber", Is::Exactly(1)),
            ("ControllerLocation", Is::Exactly(0)),
        ],
        &["VMName", "ControllerNumber", "ControllerLocation"],
    ),
    ("Remove-VMNetworkAdapter", &[("VM", Is::Machine)], &["VM"]),
    (
        "Add-VMNetworkAdapter",
        &[
            ("VM", Is::Machine),
            ("SwitchName", Is::Network),
            ("StaticMacAddress", Is::Mac),
            ("IsLegacy", Is::Bool),
        ],
        &["VM", "SwitchName", "StaticMacAddress"],
    ),
    (
        "Add-VMHardDiskDrive",
        &[
            ("VM", Is::Machine),
            ("ControllerType", Is::Of(&["IDE"])),
            ("ControllerNumber", Is::Number),
            ("ControllerLocation", Is::Number),
            ("Path", Is::Image),
        ],
        &["VM", "ControllerType", "ControllerNumber", "ControllerLocation", "Path"],
    ),
    (
        "Set-VMVideo",
        &[
            ("VM", Is::Machine),
            ("ResolutionType", Is::Of(&["Single", "Maximum", "Default"])),
            ("HorizontalResolution", Is::Number),
            ("VerticalResolution", Is::Number),
        ],
        &["VM", "ResolutionType", "HorizontalResolution", "VerticalResolution"],
    ),
];

/// Commands that a template must have, exactly once.
pub const ONCE: &[&str] =
    &["New-VM", "Set-VM", "Set-VMMemory", "Set-VMProcessor", "Remove-VMDvdDrive", "Remove-VMNetworkAdapter"];
