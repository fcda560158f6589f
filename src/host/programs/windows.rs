//! Where programs are on Windows.

use super::*;

pub const ACCELERATORS: &[&str] = &["whpx", "tcg"];

const PROGRAM: &str = "qemu-system-x86_64.exe";

pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
    let below: &[&str] = match hypervisor {
        "qemu" => &[r"qemu\qemu-system-x86_64.exe"],
        "virtualbox" => &[r"Oracle\VirtualBox\VBoxManage.exe"],
        "vmware" => &[
            r"VMware\VMware Workstation\vmrun.exe",
            r"VMware\VMware Player\vmrun.exe",
            r"VMware\VMware VIX\vmrun.exe",
        ],
        "hyperv" => return system32(r"WindowsPowerShell\v1.0\powershell.exe").into_iter().collect(),
        _ => &[],
    };
    let folders = ["ProgramFiles", "ProgramW6432", "ProgramFiles(x86)"].iter().filter_map(std::env::var_os);
    let mut places: Vec<PathBuf> =
        folders.flat_map(|folder| below.iter().map(move |rest| Path::new(&folder).join(rest))).collect();
    if hypervisor == "qemu" {
        places.push(PathBuf::from(r"C:\msys64\ucrt64\bin").join(PROGRAM));
    }
    places
}

/// What installers wrote: a key below the software of this PC or this user, the value with the folder, and the program
/// in it.
const INSTALLED: &[(&str, &str, &str, &str)] = &[
    ("qemu", r"SOFTWARE\QEMU", "Install_Dir", PROGRAM),
    ("qemu", r"SOFTWARE\QEMU64", "Install_Dir", PROGRAM),
    ("virtualbox", r"SOFTWARE\Oracle\VirtualBox", "InstallDir", "VBoxManage.exe"),
    ("vmware", r"SOFTWARE\WOW6432Node\VMware, Inc.\VMware Workstation", "InstallPath", "vmrun.exe"),
    ("vmware", r"SOFTWARE\VMware, Inc.\VMware Workstation", "InstallPath", "vmrun.exe"),
    ("vmware", r"SOFTWARE\WOW6432Node\VMware, Inc.\VMware Player", "InstallPath", "vmrun.exe"),
    ("vmware", r"SOFTWARE\VMware, Inc.\VMware Player", "InstallPath", "vmrun.exe"),
];

pub fn registered(hypervisor: &str) -> Vec<PathBuf> {
    use windows_registry::{CURRENT_USER, LOCAL_MACHINE};
    let known = INSTALLED.iter().filter(|(name, ..)| *name == hypervisor);
    let found = known.flat_map(|(_, key, value, program)| {
        [LOCAL_MACHINE, CURRENT_USER].map(|root| {
            let folder = root.open(key).ok()?.get_string(value).ok()?;
            Some(PathBuf::from(folder).join(program))
        })
    });
    found.flatten().collect()
}

/// What installers wrote beside the folder of `program`; for a part of Windows, which Windows it is.
pub fn product(hypervisor: &str, program: &Path) -> Product {
    use windows_registry::LOCAL_MACHINE;
    if hypervisor == "hyperv" {
        let system = LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion").ok();
        let build = system.and_then(|key| key.get_string("CurrentBuild").ok());
        return Product { name: None, version: build.map(|build| format!("10.0.{build}")) };
    }
    let known = INSTALLED.iter().filter(|(name, ..)| *name == hypervisor);
    let found = known.filter_map(|(_, path, folder, file)| {
        let key = LOCAL_MACHINE.open(path).ok()?;
        let place = PathBuf::from(key.get_string(folder).ok()?).join(file);
        let is_it = place.canonicalize().ok()? == program.canonicalize().ok()?;
        let name = path.rsplit('\\').next().map(str::to_owned);
        is_it.then(|| Product { name, version: key.get_string("ProductVersion").ok() })
    });
    found.into_iter().next().unwrap_or_default()
}

fn system32(rest: &str) -> Option<PathBuf> {
    std::env::var_os("SystemRoot").map(|root| Path::new(&root).join("System32").join(rest))
}

pub fn device(accelerator: &str) -> Device {
    match accelerator {
        "whpx" if system32("WinHvPlatform.dll").is_some_and(|library| !library.is_file()) => {
            Device::Missing {
                reason: "Windows Hypervisor Platform is switched off".into(),
                fix: "turn on the Windows feature “Windows Hypervisor Platform” and restart the PC".into(),
            }
        }
        "virtualbox" => service(
            &["VBoxSup", "VBoxDrv"],
            "VirtualBox's kernel driver is not installed",
            "repair VirtualBox with its installer",
        ),
        "vmware" => {
            service(&["vmx86"], "VMware's kernel driver is not installed", "repair VMware with its installer")
        }
        "hyperv" => service(
            &["vmms"],
            "Hyper-V is switched off, or this edition of Windows does not have it",
            "turn on the Windows feature “Hyper-V” and restart the PC; Windows Home has none",
        ),
        _ => Device::Unknown,
    }
}

/// A driver or service that Windows knows. Reading that needs no rights.
fn service(names: &[&str], reason: &str, fix: &str) -> Device {
    let services = r"SYSTEM\CurrentControlSet\Services";
    let is_there = |name: &&str| windows_registry::LOCAL_MACHINE.open(format!(r"{services}\{name}")).is_ok();
    if names.iter().any(|name| is_there(&name)) {
        return Device::Ready(String::new());
    }
    Device::Missing { reason: reason.into(), fix: fix.into() }
}
