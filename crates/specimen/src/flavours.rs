//! Windows 7 and Windows 10 as their registries and files show them; nothing of Microsoft's is in them.

use crate::hives::{Registry, binary, texts};
use crate::image::{Image, Layout};

/// A set of files and two hives.
#[derive(Clone)]
pub struct Flavour {
    pub system: Registry,
    software: Registry,
    files: Vec<String>,
}

const CURRENT_VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

impl Flavour {
    /// Windows 7, installed on PIIX IDE: what does not start has `Start` 3. Two control sets.
    pub fn windows_7() -> Flavour {
        let mut system = common("AMD64");
        for set in ["ControlSet001", "ControlSet002"] {
            for (driver, start) in [
                ("intelide", 0),
                ("atapi", 0),
                ("pciide", 3),
                ("msahci", 3),
                ("LSI_SAS", 0),
                ("LSI_SAS2", 3),
                ("vmbus", 0),
                ("storvsc", 3),
                ("storflt", 0),
                ("E1G60", 3),
            ] {
                system = system
                    .set(&format!(r"{set}\Services\{driver}"), &[&format!("\"Start\"=dword:{start:08x}")]);
            }
            system = system.set(&format!(r"{set}\Services\pvscsi"), &[]);
            for (device, service) in
                [("pci#cc_0106", "msahci"), ("pci#ven_1000&dev_0054", "LSI_SAS"), ("pci#cc_0101", "pciide")]
            {
                let key = format!(r"{set}\Control\CriticalDeviceDatabase\{device}");
                system = system.set(&key, &[&format!("\"Service\"=\"{service}\"")]);
            }
        }
        let files = drivers(&[
            "intelide", "atapi", "pciide", "msahci", "lsi_sas", "LSI_SAS2", "vmbus", "storvsc", "vmstorfl",
            "E1G60",
        ]);
        // Its file has another name than the service.
        for set in ["ControlSet001", "ControlSet002"] {
            let values = ["\"Start\"=dword:00000000", r#""ImagePath"="system32\\DRIVERS\\vmstorfl.sys""#];
            system = system.set(&format!(r"{set}\Services\storflt"), &values);
        }
        let software = Registry::default().set(
            CURRENT_VERSION,
            &["\"ProductName\"=\"Windows 7 Professional\"", "\"CurrentBuildNumber\"=\"7601\""],
        );
        Flavour { system, software, files }
    }

    /// Windows 10, installed on AHCI: what does not start has `StartOverride` "0" 3. Several hundred services, as a real one.
    pub fn windows_10() -> Flavour {
        Flavour::windows_10_with(600)
    }

    /// With so many other services.
    pub fn windows_10_with(services: u32) -> Flavour {
        let mut system = common("AMD64");
        for number in 0..services {
            let key = format!(r"ControlSet001\Services\Service{number:03}");
            system = system.set(
                &key,
                &[
                    "\"Start\"=dword:00000003",
                    r#""ImagePath"="\\SystemRoot\\System32\\svchost.exe -k netsvcs""#,
                ],
            );
        }
        for set in ["ControlSet001", "ControlSet002"] {
            for driver in [
                "intelide",
                "atapi",
                "pciide",
                "storahci",
                "stornvme",
                "LSI_SAS",
                "LSI_SAS2i",
                "vmbus",
                "storvsc",
                "storflt",
            ] {
                let values = ["\"Start\"=dword:00000000".to_owned(), image_path(driver)];
                system = system.set(&format!(r"{set}\Services\{driver}"), &[&values[0], &values[1]]);
                if driver != "storahci" {
                    system = system
                        .set(&format!(r"{set}\Services\{driver}\StartOverride"), &["\"0\"=dword:00000003"]);
                }
            }
            system = system.set(&format!(r"{set}\Services\pvscsi"), &[&image_path("pvscsi")]);
        }
        for service in ["VBoxGuest", "VMTools", "QEMU-GA", "viostor", "netkvm"] {
            system = system.set(&format!(r"ControlSet001\Services\{service}"), &["\"Start\"=dword:00000001"]);
        }
        system = system
            .set(r"ControlSet001\Control\Power", &["\"HibernateEnabled\"=dword:00000001"])
            .set(r"ControlSet001\Control\Session Manager\Power", &["\"HiberbootEnabled\"=dword:00000001"]);
        let files = drivers(&[
            "intelide",
            "atapi",
            "pciide",
            "storahci",
            "stornvme",
            "lsi_sas",
            "LSI_SAS2i",
            "vmbus",
            "storvsc",
            "storflt",
            "viostor",
        ]);
        let software = Registry::default().set(
            CURRENT_VERSION,
            &["\"ProductName\"=\"Windows 10 Pro\"", "\"CurrentBuildNumber\"=\"19045\""],
        );
        Flavour { system, software, files }
    }

    /// With other settings in SYSTEM.
    pub fn system(mut self, change: impl FnOnce(Registry) -> Registry) -> Flavour {
        self.system = change(self.system);
        self
    }

    /// Without a file of a driver.
    pub fn without_file(mut self, driver: &str) -> Flavour {
        let before = self.files.len();
        self.files.retain(|file| *file != format!("Windows/System32/drivers/{driver}.sys"));
        assert!(self.files.len() < before);
        self
    }

    /// Its disk.
    pub fn image(&self, layout: Layout) -> Image {
        self.image_with(&self.system.hive(), &[], layout)
    }

    /// Its disk with this SYSTEM hive, and with other files too.
    pub fn image_with(&self, system: &[u8], others: &[(&str, &[u8])], layout: Layout) -> Image {
        let software = self.software.hive();
        let mut files: Vec<(&str, &[u8])> =
            self.files.iter().map(|file| (file.as_str(), b"driver".as_slice())).collect();
        files.push(("Windows/System32/config/SYSTEM", system));
        files.push(("Windows/System32/config/SOFTWARE", &software));
        files.extend(others);
        Image::new(&files, layout)
    }
}

fn image_path(driver: &str) -> String {
    format!(r#""ImagePath"="System32\\drivers\\{driver}.sys""#)
}

fn drivers(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("Windows/System32/drivers/{name}.sys")).collect()
}

/// What both have.
fn common(processor: &str) -> Registry {
    let mbr = binary(r"\\DosDevices\\D:", &[0x78, 0x56, 0x34, 0x12, 0, 0, 0x10, 0, 0, 0, 0, 0]);
    let gpt = binary(r"\\DosDevices\\C:", b"DMIO:ID:0123456789abcdef");
    Registry::default()
        .set(
            "Select",
            &["\"Current\"=dword:00000001", "\"Default\"=dword:00000001", "\"LastKnownGood\"=dword:00000002"],
        )
        .set("MountedDevices", &[&mbr, &gpt])
        .set(
            r"ControlSet001\Control\Session Manager\Environment",
            &[&format!("\"PROCESSOR_ARCHITECTURE\"=\"{processor}\"")],
        )
        .set(
            r"ControlSet001\Control\Session Manager\Memory Management",
            &[&texts("PagingFiles", r"P:\pagefile.sys 1024 4096")],
        )
        .set(r"ControlSet001\Control\TimeZoneInformation", &["\"Bias\"=dword:ffffffc4"])
}
