//! Where this platform keeps hypervisors, and what stands in the way of its accelerators.

use std::path::{Path, PathBuf};

/// The file name of `program` on this platform.
pub fn file_name(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
}

/// `program` in the folders of `PATH`. Relative entries are left out: they would find what lies in the current
/// folder, which may be a stick.
pub fn on_path(program: &str) -> Vec<PathBuf> {
    let Some(path) = std::env::var_os("PATH") else { return Vec::new() };
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let Ok(folders) = std::env::join_paths(folders) else { return Vec::new() };
    which::which_in_global(program, Some(folders)).map(Iterator::collect).unwrap_or_default()
}

/// Existing programs of `hypervisor` (`qemu`) in the places where its installers put it.
pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
    if hypervisor != "qemu" {
        return Vec::new();
    }
    let mut programs = platform::qemu();
    programs.retain(|program| program.is_file());
    programs
}

/// Existing programs of `hypervisor` that the Windows registry names; none elsewhere.
pub fn registered(hypervisor: &str) -> Vec<PathBuf> {
    if hypervisor != "qemu" {
        return Vec::new();
    }
    let mut programs = platform::registered_qemu();
    programs.retain(|program| program.is_absolute() && program.is_file());
    programs
}

/// What the operating system says about an accelerator, before it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It can be opened; the text changes when its permissions do.
    Ready(String),
    /// It is not there.
    Missing {
        /// One clause, for people.
        reason: String,
        /// The one thing to do about it.
        fix: String,
    },
    /// It is there, for others.
    Denied {
        /// One clause, for people.
        reason: String,
        /// The one thing to do about it.
        fix: String,
    },
    /// Nothing can be said without trying.
    Unknown,
}

/// What stands in the way of `accelerator` (QEMU's name for it).
pub fn accelerator_device(accelerator: &str) -> Device {
    platform::device(accelerator)
}

/// Accelerators worth trying here, best first. `tcg` is emulation and always last.
pub fn accelerators() -> &'static [&'static str] {
    platform::ACCELERATORS
}

/// Opens `path` for reading and writing and says what came of it.
#[cfg(target_os = "linux")]
fn open_device(path: &Path, missing: (&str, &str), denied: (&str, &str)) -> Device {
    use std::io::ErrorKind;
    use std::os::unix::fs::MetadataExt as _;
    match fs_err::OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => match file.metadata() {
            Ok(facts) => Device::Ready(format!("{:o} {} {}", facts.mode(), facts.uid(), facts.gid())),
            Err(_) => Device::Unknown,
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Device::Denied { reason: denied.0.into(), fix: denied.1.into() }
        }
        Err(_) => Device::Missing { reason: missing.0.into(), fix: missing.1.into() },
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use super::*;

    pub const ACCELERATORS: &[&str] = &["kvm", "tcg"];

    pub fn qemu() -> Vec<PathBuf> {
        [
            "/usr/bin/qemu-system-x86_64",
            "/usr/local/bin/qemu-system-x86_64",
            "/usr/libexec/qemu-kvm", // Red Hat's only one
            "/usr/bin/qemu-kvm",
            "/run/current-system/sw/bin/qemu-system-x86_64", // NixOS
            "/snap/bin/qemu.qemu-system-x86-64",
        ]
        .map(PathBuf::from)
        .into()
    }

    pub fn registered_qemu() -> Vec<PathBuf> {
        Vec::new()
    }

    pub fn device(accelerator: &str) -> Device {
        if accelerator != "kvm" {
            return Device::Unknown;
        }
        open_device(
            Path::new("/dev/kvm"),
            (
                "this PC offers no hardware virtualisation: /dev/kvm is missing",
                "switch on VT-x or AMD-V (SVM) in the PC's firmware settings",
            ),
            (
                "you have no permission to use /dev/kvm",
                "add yourself to the group kvm (sudo usermod -aG kvm \"$USER\") and log in again",
            ),
        )
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use super::*;

    pub const ACCELERATORS: &[&str] = &["hvf", "tcg"];

    pub fn qemu() -> Vec<PathBuf> {
        ["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"]
            .map(|folder| Path::new(folder).join("qemu-system-x86_64"))
            .into()
    }

    pub fn registered_qemu() -> Vec<PathBuf> {
        Vec::new()
    }

    pub fn device(_: &str) -> Device {
        Device::Unknown
    }
}

#[cfg(windows)]
mod platform {
    use super::*;

    pub const ACCELERATORS: &[&str] = &["whpx", "tcg"];

    const PROGRAM: &str = "qemu-system-x86_64.exe";

    pub fn qemu() -> Vec<PathBuf> {
        ["ProgramFiles", "ProgramW6432", "ProgramFiles(x86)"]
            .iter()
            .filter_map(std::env::var_os)
            .map(|folder| Path::new(&folder).join("qemu").join(PROGRAM))
            .chain([PathBuf::from(r"C:\msys64\ucrt64\bin").join(PROGRAM)])
            .collect()
    }

    /// The installer writes its folder to `Install_Dir`.
    pub fn registered_qemu() -> Vec<PathBuf> {
        use windows_registry::{CURRENT_USER, LOCAL_MACHINE};
        [LOCAL_MACHINE, CURRENT_USER]
            .iter()
            .flat_map(|root| [r"SOFTWARE\QEMU", r"SOFTWARE\QEMU64"].map(|key| root.open(key)))
            .filter_map(Result::ok)
            .filter_map(|key| key.get_string("Install_Dir").ok())
            .map(|folder| PathBuf::from(folder).join(PROGRAM))
            .collect()
    }

    pub fn device(accelerator: &str) -> Device {
        let library = std::env::var_os("SystemRoot")
            .map(|root| Path::new(&root).join("System32").join("WinHvPlatform.dll"));
        match library {
            Some(library) if accelerator == "whpx" && !library.is_file() => Device::Missing {
                reason: "Windows Hypervisor Platform is switched off".into(),
                fix: "turn on the Windows feature “Windows Hypervisor Platform” and restart the PC".into(),
            },
            _ => Device::Unknown,
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod platform {
    use super::*;

    pub const ACCELERATORS: &[&str] = &["tcg"];

    pub fn qemu() -> Vec<PathBuf> {
        vec![PathBuf::from("/usr/local/bin/qemu-system-x86_64")]
    }

    pub fn registered_qemu() -> Vec<PathBuf> {
        Vec::new()
    }

    pub fn device(_: &str) -> Device {
        Device::Unknown
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_missing_comes_with_its_fix() {
        let device = open_device(Path::new("/dev/no-such-device"), ("missing", "get it"), ("denied", "ask"));
        assert_eq!(device, Device::Missing { reason: "missing".into(), fix: "get it".into() });
    }

    #[test]
    fn an_open_device_is_told_by_its_permissions() {
        let device = open_device(Path::new("/dev/null"), ("missing", ""), ("denied", ""));
        assert_eq!(device, Device::Ready("20666 0 0".into()));
    }

    #[test]
    fn only_qemu_has_well_known_places_here() {
        assert!(well_known("parallels").is_empty());
        assert!(well_known("qemu").iter().all(|program| program.is_absolute()));
    }
}
