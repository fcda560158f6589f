//! Where this platform keeps hypervisors, and what stands in the way of its accelerators.

use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
#[path = "programs/linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "programs/macos.rs"]
mod platform;
#[cfg(windows)]
#[path = "programs/windows.rs"]
mod platform;

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

/// Existing programs of `hypervisor` (`qemu`, …) in the places where its installers put it.
pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
    let mut programs = platform::well_known(hypervisor);
    programs.retain(|program| program.is_file());
    programs
}

/// Existing programs of `hypervisor` that the Windows registry names; none elsewhere.
pub fn registered(hypervisor: &str) -> Vec<PathBuf> {
    let mut programs = platform::registered(hypervisor);
    programs.retain(|program| program.is_absolute() && program.is_file());
    programs
}

/// What an installer wrote down about a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// Its name, for instance `VMware Player`.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// What the installer of `hypervisor` wrote down about `program`, as far as it did: nothing is started to find out.
pub fn product(hypervisor: &str, program: &Path) -> Product {
    platform::product(hypervisor, program)
}

/// The text that follows `key` in a property list. One in the binary form has none.
#[cfg(any(target_os = "macos", all(test, target_os = "linux")))]
fn in_properties(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
    let (value, _) = rest.trim_start().strip_prefix("<string>")?.split_once("</string>")?;
    Some(value.to_owned())
}

/// The code of a UEFI for 64-bit PCs that QEMU can start, of the larger of the two builds that there are (4 MiB, with 528 KiB
/// for its variables): beside QEMU at `qemu`, or where distributions keep it. Without Secure Boot.
pub fn uefi_code(qemu: &Path) -> Option<PathBuf> {
    let real = qemu.canonicalize().ok();
    let folder = real.as_deref().and_then(Path::parent);
    // Windows keeps it below QEMU's folder, Homebrew beside `bin`.
    let beside = folder.into_iter().flat_map(|folder| {
        ["share", "../share/qemu"].map(|share| folder.join(share).join("edk2-x86_64-code.fd"))
    });
    let known = [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
    ];
    let mut places = beside.chain(known.map(PathBuf::from));
    places.find(|place| place.is_file())
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

/// What stands in the way of `accelerator`: QEMU's name for it, or the name of the hypervisor that brings it along.
pub fn accelerator_device(accelerator: &str) -> Device {
    platform::device(accelerator)
}

/// Accelerators worth trying here, best first. `tcg` is emulation and always last.
pub fn accelerators() -> &'static [&'static str] {
    platform::ACCELERATORS
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod platform {
    use super::*;

    pub const ACCELERATORS: &[&str] = &["tcg"];

    pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
        match hypervisor {
            "qemu" => vec![PathBuf::from("/usr/local/bin/qemu-system-x86_64")],
            _ => Vec::new(),
        }
    }

    pub fn registered(_: &str) -> Vec<PathBuf> {
        Vec::new()
    }

    pub fn product(_: &str, _: &Path) -> Product {
        Product::default()
    }

    pub fn device(_: &str) -> Device {
        Device::Unknown
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_property_list_is_found_by_its_key() {
        let list = "<dict>\n<key>CFBundleShortVersionString</key>\n\t<string>13.5.2</string>\n</dict>";
        assert_eq!(in_properties(list, "CFBundleShortVersionString").as_deref(), Some("13.5.2"));
        assert_eq!(in_properties(list, "CFBundleName"), None);
    }
}
