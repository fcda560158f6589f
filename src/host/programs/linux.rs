//! Where programs are on Linux.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

use super::*;

pub const ACCELERATORS: &[&str] = &["kvm", "tcg"];

pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
    let places: &[&str] = match hypervisor {
        "qemu" => &[
            "/usr/bin/qemu-system-x86_64",
            "/usr/local/bin/qemu-system-x86_64",
            "/usr/libexec/qemu-kvm", // Red Hat's only one
            "/usr/bin/qemu-kvm",
            "/run/current-system/sw/bin/qemu-system-x86_64", // NixOS
            "/snap/bin/qemu.qemu-system-x86-64",
        ],
        "virtualbox" => &[
            "/usr/bin/VBoxManage",
            "/usr/local/bin/VBoxManage",
            "/opt/VirtualBox/VBoxManage",
            "/run/current-system/sw/bin/VBoxManage",
        ],
        "vmware" => &["/usr/bin/vmrun", "/usr/local/bin/vmrun"],
        _ => &[],
    };
    places.iter().map(PathBuf::from).collect()
}

pub fn registered(_: &str) -> Vec<PathBuf> {
    Vec::new()
}

pub fn product(hypervisor: &str, _: &Path) -> Product {
    if hypervisor != "vmware" {
        return Product::default();
    }
    let text = crate::host::whole::read_text(Path::new("/etc/vmware/config"), 64 * 1024);
    vmware(&text.unwrap_or_default())
}

/// What VMware's installer wrote. Workstation brings its Player along, which has a version of its own.
pub fn vmware(text: &str) -> Product {
    let is_player = in_lines(text, "product.name").is_some_and(|name| name.contains("Player"));
    let own = if is_player { "player.product.version" } else { "workstation.product.version" };
    Product {
        name: in_lines(text, "product.name"),
        version: in_lines(text, "product.version").or_else(|| in_lines(text, own)),
    }
}

pub fn device(accelerator: &str) -> Device {
    match accelerator {
        "kvm" => open_device(
            Path::new("/dev/kvm"),
            (
                "this PC offers no hardware virtualisation: /dev/kvm is missing",
                "switch on VT-x or AMD-V (SVM) in the PC's firmware settings",
            ),
            (
                "you have no permission to use /dev/kvm",
                "add yourself to the group kvm (sudo usermod -aG kvm \"$USER\") and log in again",
            ),
        ),
        // Its device is opened by a helper with more rights: that it is there is all one can see.
        "virtualbox" => loaded(
            "/dev/vboxdrv",
            "VirtualBox's kernel module is not loaded: /dev/vboxdrv is missing",
            "load it (sudo modprobe vboxdrv); after an update of the kernel, install virtualbox-dkms again or run \
             sudo /sbin/vboxconfig",
        ),
        "vmware" => loaded(
            "/dev/vmmon",
            "VMware's kernel module is not loaded: /dev/vmmon is missing",
            "load it: sudo vmware-modconfig --console --install-all",
        ),
        _ => Device::Unknown,
    }
}

fn loaded(device: &str, reason: &str, fix: &str) -> Device {
    if !Path::new(device).exists() {
        return Device::Missing { reason: reason.into(), fix: fix.into() };
    }
    held_by_kvm(Path::new("/sys/module")).unwrap_or(Device::Ready(String::new()))
}

/// Whether KVM has the processor's virtualisation, which it does not share: while a machine of its runs; and from Linux 6.12
/// on, unless told otherwise, from the moment in which it is loaded. `modules` is where the kernel tells of its modules.
pub(super) fn held_by_kvm(modules: &Path) -> Option<Device> {
    let says = |file: &str| fs_err::read_to_string(modules.join(file)).unwrap_or_default();
    let of_processor = ["kvm_intel", "kvm_amd"].into_iter().find(|module| modules.join(module).exists())?;
    let reason = "KVM holds the processor's virtualisation".to_owned();
    if says(&format!("{of_processor}/refcnt")).trim().parse::<u64>().is_ok_and(|users| users > 0) {
        return Some(Device::Denied { reason, fix: "shut down the virtual machine that uses KVM".into() });
    }
    let at_load = says("kvm/parameters/enable_virt_at_load");
    (at_load.trim() == "Y").then(|| Device::Denied {
        reason,
        fix: format!(
            "unload it (sudo modprobe -r {of_processor}), or let KVM share it: kvm.enable_virt_at_load=0"
        ),
    })
}

/// The value of `key` in a text of `key = "value"` lines.
fn in_lines(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))?;
    Some(line.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
}

/// Opens `path` for reading and writing and says what came of it.
fn open_device(path: &Path, missing: (&str, &str), denied: (&str, &str)) -> Device {
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

#[cfg(test)]
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
    fn what_an_installer_wrote_is_read_without_starting_anything() {
        let config = ".encoding = \"UTF-8\"\nproduct.name = \"VMware Workstation\"\nproduct.version = \"17.5.2\"\n\
                      player.product.version = \"17.5.2\"\n";
        let told = Product { name: Some("VMware Workstation".into()), version: Some("17.5.2".into()) };
        assert_eq!(vmware(config), told);
        let old = "player.product.version = \"7.1.4\"\nproduct.name = \"VMware Player\"\n";
        assert_eq!(vmware(old).version.as_deref(), Some("7.1.4"));
        assert_eq!(vmware(""), Product::default());
    }

    #[test]
    fn kvm_holds_the_processor_while_it_runs_something_or_since_it_was_loaded() {
        let modules = tempfile::tempdir().unwrap();
        let say = |file: &str, text: &str| {
            let path = modules.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let held = || held_by_kvm(modules.path());
        assert_eq!(held(), None, "it is not loaded");
        say("kvm_amd/refcnt", "0\n");
        assert_eq!(held(), None);
        say("kvm/parameters/enable_virt_at_load", "N\n");
        assert_eq!(held(), None);
        say("kvm/parameters/enable_virt_at_load", "Y\n");
        assert!(matches!(held(), Some(Device::Denied { fix, .. }) if fix.contains("modprobe -r kvm_amd")));
        say("kvm_amd/refcnt", "2\n");
        assert!(matches!(held(), Some(Device::Denied { fix, .. }) if fix.contains("shut down")));
    }

    #[test]
    fn what_there_is_no_door_for_has_no_well_known_places() {
        assert!(well_known("parallels").is_empty());
        assert!(well_known("qemu").iter().all(|program| program.is_absolute()));
    }
}
