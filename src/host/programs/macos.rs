//! Where programs are on macOS.

use super::*;

pub const ACCELERATORS: &[&str] = &["hvf", "tcg"];

pub fn well_known(hypervisor: &str) -> Vec<PathBuf> {
    let places: &[&str] = match hypervisor {
        "qemu" => &[
            "/opt/homebrew/bin/qemu-system-x86_64",
            "/usr/local/bin/qemu-system-x86_64",
            "/opt/local/bin/qemu-system-x86_64",
        ],
        "virtualbox" => {
            &["/Applications/VirtualBox.app/Contents/MacOS/VBoxManage", "/usr/local/bin/VBoxManage"]
        }
        "vmware" => &[
            "/Applications/VMware Fusion.app/Contents/Public/vmrun",
            "/Applications/VMware Fusion.app/Contents/Library/vmrun",
        ],
        _ => &[],
    };
    places.iter().map(PathBuf::from).collect()
}

pub fn registered(_: &str) -> Vec<PathBuf> {
    Vec::new()
}

/// The application that `program` is a part of says what it is.
pub fn product(_: &str, program: &Path) -> Product {
    let is_application = |folder: &&Path| folder.extension().is_some_and(|end| end == "app");
    let Some(application) = program.ancestors().find(is_application) else { return Product::default() };
    let list = application.join("Contents/Info.plist");
    let text = crate::host::whole::read_text(&list, 256 * 1024).unwrap_or_default();
    Product {
        name: in_properties(&text, "CFBundleName"),
        version: in_properties(&text, "CFBundleShortVersionString"),
    }
}

pub fn device(_: &str) -> Device {
    Device::Unknown
}
