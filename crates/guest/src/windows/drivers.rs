//! The drivers that decide whether a Windows starts on other hardware, and what its registry says of each.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::hive::{Hive, Key, Value};
use super::ntfs::{File, Piece, Volume};
use crate::{Disk, Error, Result};

/// What a driver drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The controller that Windows starts from: the driver must be set to start with the system.
    Storage,
    /// A network card: Windows finds it while it runs, nothing is to be set.
    Network,
}

/// The drivers that are looked at: the name of the service and what it drives.
pub const OF_INTEREST: &[(&str, Role)] = &[
    ("intelide", Role::Storage),
    ("atapi", Role::Storage),
    ("pciide", Role::Storage),
    ("msahci", Role::Storage),
    ("storahci", Role::Storage),
    ("stornvme", Role::Storage),
    ("LSI_SAS", Role::Storage),
    ("LSI_SAS2", Role::Storage),
    ("LSI_SAS2i", Role::Storage),
    ("LSI_SAS3i", Role::Storage),
    ("vmbus", Role::Storage),
    ("storvsc", Role::Storage),
    ("storflt", Role::Storage),
    ("viostor", Role::Storage),
    ("vioscsi", Role::Storage),
    ("pvscsi", Role::Storage),
    ("BusLogic", Role::Storage),
    ("netkvm", Role::Network),
    ("E1G60", Role::Network),
    ("e1i65x64", Role::Network),
    ("vmxnet3ndis6", Role::Network),
];

/// More device ids than this are not listed of one driver.
const MOST_IDS: usize = 256;

/// A set of settings that Windows can start with, `ControlSetNNN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ControlSet {
    /// The NNN.
    pub number: u32,
    /// Windows starts with it next (`Select\Default`).
    pub current: bool,
    /// Each of [`OF_INTEREST`], in that order.
    pub drivers: Vec<Driver>,
}

impl ControlSet {
    /// What it says of a driver, letters in any case; `None` if that is not [`OF_INTEREST`].
    #[must_use]
    pub fn driver(&self, name: &str) -> Option<&Driver> {
        self.drivers.iter().find(|driver| driver.name.eq_ignore_ascii_case(name))
    }
}

/// A driver in a control set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// The name of its service.
    pub name: &'static str,
    /// What it drives.
    pub role: Role,
    /// There is a key `Services\NAME`.
    pub service: bool,
    /// Its file is on this volume, and is not empty.
    pub file: bool,
    /// When it starts: 0 with the boot loader, 3 on demand, 4 never.
    pub start: Setting,
    /// What outweighs that, since Windows 8, if it is there: the value "0" of the key `StartOverride`.
    pub start_override: Setting,
    /// The hardware that Windows starts it for before it has looked for hardware itself, from `CriticalDeviceDatabase`. Windows 8
    /// and later have this in a database of another form, which is not read: none there.
    pub device_ids: Vec<String>,
}

/// A value of the registry that is expected to be a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// There is none.
    Absent,
    /// It is something else.
    Other {
        /// The type of a registry value; 4 is REG_DWORD.
        kind: u32,
        /// Bytes of data.
        size: u32,
    },
    /// A REG_DWORD.
    Number(Number),
}

/// A REG_DWORD, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// What it is.
    pub value: u32,
    /// Where its four bytes are on the disk, in order: in one piece, unless the hive's file is split right there.
    pub(super) places: Vec<Piece>,
}

impl Number {
    /// Where its four bytes are on the disk (not in the partition): offsets and lengths, in bytes.
    #[must_use]
    pub fn places(&self) -> &[Piece] {
        &self.places
    }
}

impl Setting {
    /// The number, if it is one.
    #[must_use]
    pub fn value(&self) -> Option<u32> {
        match self {
            Setting::Number(number) => Some(number.value),
            Setting::Absent | Setting::Other { .. } => None,
        }
    }
}

/// The number; null if there is none; else its type and size.
impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Setting::Absent => to.serialize_none(),
            Setting::Number(number) => to.serialize_u32(number.value),
            Setting::Other { kind, size } => to.collect_str(&format_args!("type {kind}, {size} bytes")),
        }
    }
}

/// The SYSTEM hive on its volume, which begins at `start` of the disk.
pub(super) struct System<'v, 'd, D: ?Sized> {
    pub volume: &'v Volume<'d, D>,
    pub hive: &'v Hive<File<'d, D>>,
    /// In bytes.
    pub start: u64,
}

impl<D: Disk + ?Sized> System<'_, '_, D> {
    /// What the control set under `key` says of each driver.
    pub fn drivers(&self, key: &Key) -> Result<Vec<Driver>> {
        let services = match self.hive.find(key, "Services")? {
            Some(services) => self.hive.children(&services)?,
            None => Vec::new(),
        };
        let mut ids = self.critical_devices(key)?;
        let mut drivers = Vec::with_capacity(OF_INTEREST.len());
        for &(name, role) in OF_INTEREST {
            let service = services.iter().find(|service| service.name.eq_ignore_ascii_case(name));
            let (mut start, mut start_override, mut image) = (Setting::Absent, Setting::Absent, None);
            if let Some(service) = service {
                start = self.setting(service, "Start")?;
                if let Some(key) = self.hive.find(service, "StartOverride")? {
                    start_override = self.setting(&key, "0")?;
                }
                image = self.hive.text(service, "ImagePath")?;
            }
            let file = self.has_file(&driver_path(image.as_deref(), name))?;
            let device_ids = ids.remove(&name.to_ascii_lowercase()).unwrap_or_default();
            drivers.push(Driver {
                name,
                role,
                service: service.is_some(),
                file,
                start,
                start_override,
                device_ids,
            });
        }
        Ok(drivers)
    }

    /// Which of [`OF_INTEREST`] have services in the control set under `key`, and which other of `names` too.
    pub fn has_services(&self, key: &Key, names: &[&'static str]) -> Result<Vec<&'static str>> {
        let Some(services) = self.hive.find(key, "Services")? else { return Ok(Vec::new()) };
        let services = self.hive.children(&services)?;
        let has = |name: &&str| services.iter().any(|service| service.name.eq_ignore_ascii_case(name));
        Ok(names.iter().copied().filter(has).collect())
    }

    fn setting(&self, key: &Key, name: &str) -> Result<Setting> {
        let Some(value) = self.hive.value(key, name)? else { return Ok(Setting::Absent) };
        self.number(&value)
    }

    fn number(&self, value: &Value) -> Result<Setting> {
        let Some((number, at)) = value.number() else {
            return Ok(Setting::Other { kind: value.kind, size: value.size });
        };
        // In a hole of the file, or where nothing was written yet, there is no place: and so no value either.
        let places = self.hive.file().places(at, 4);
        let mut places =
            places.ok_or_else(|| Error::Damaged("a registry value that is nowhere on the disk".into()))?;
        for place in &mut places {
            place.offset += self.start;
        }
        Ok(Setting::Number(Number { value: number, places }))
    }

    /// The device ids of `CriticalDeviceDatabase`, by the name of the service in small letters.
    fn critical_devices(&self, key: &Key) -> Result<HashMap<String, Vec<String>>> {
        let mut ids: HashMap<String, Vec<String>> = HashMap::new();
        let Some(database) = self.hive.find(key, r"Control\CriticalDeviceDatabase")? else { return Ok(ids) };
        for device in self.hive.children(&database)? {
            let Some(service) = self.hive.text(&device, "Service")? else { continue };
            let service = service.to_ascii_lowercase();
            if !OF_INTEREST.iter().any(|(name, _)| name.eq_ignore_ascii_case(&service)) {
                continue;
            }
            let listed = ids.entry(service).or_default();
            if listed.len() < MOST_IDS {
                listed.push(device.name);
            }
        }
        Ok(ids)
    }

    fn has_file(&self, path: &str) -> Result<bool> {
        let Some(found) = self.volume.find(path)? else { return Ok(false) };
        if found.is_directory() {
            return Ok(false);
        }
        Ok(self.volume.content(&found)?.is_some_and(|file| file.size() > 0))
    }
}

/// Where the file of a driver is on the volume that Windows is on. A path to another drive is taken for one on this volume, where it
/// leads nowhere unless the file is there.
fn driver_path(image: Option<&str>, name: &str) -> String {
    let Some(image) = image.map(|image| image.trim().trim_matches('"')).filter(|image| !image.is_empty())
    else {
        return format!("Windows/System32/drivers/{name}.sys");
    };
    let path = strip(image, r"\??\").unwrap_or(image);
    for root in [r"\SystemRoot\", r"%SystemRoot%\", r"%windir%\"] {
        if let Some(rest) = strip(path, root) {
            return format!("Windows/{rest}");
        }
    }
    let drive = path.as_bytes();
    match drive {
        [letter, b':', b'\\', ..] if letter.is_ascii_alphabetic() => path[3..].to_owned(),
        [b'\\', ..] => path.to_owned(),
        _ => format!("Windows/{path}"),
    }
}

/// `text` without `prefix`, letters in any case.
fn strip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_name_a_drivers_file_lead_to_the_same() {
        for image in [
            r"\SystemRoot\System32\drivers\storahci.sys",
            r"%systemroot%\System32\drivers\storahci.sys",
            r"System32\drivers\storahci.sys",
            r"\??\C:\Windows\System32\drivers\storahci.sys",
            r"C:\Windows\System32\drivers\storahci.sys",
        ] {
            let path = driver_path(Some(image), "x").replace('\\', "/");
            assert_eq!(path, "Windows/System32/drivers/storahci.sys", "{image}");
        }
        assert_eq!(driver_path(None, "atapi"), "Windows/System32/drivers/atapi.sys");
        assert_eq!(driver_path(Some("  "), "atapi"), "Windows/System32/drivers/atapi.sys");
    }

    #[test]
    fn a_path_with_foreign_letters_is_no_panic() {
        driver_path(Some("ä:\\x"), "x");
        driver_path(Some("\\??\\ü"), "x");
    }
}
