//! The short texts of the manifest, each with its own rules: names, disk names, Ethernet addresses, variables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

use super::Mistake;

/// A text newtype that is checked when it is read and otherwise just a string.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

checked_text! {
    /// What people call a machine: one line of any Unicode text, 1 to 64 characters.
    MachineName,
    json_schema!({"type": "string", "minLength": 1, "maxLength": 64, "description": "One line of any text."})
}

impl MachineName {
    pub(super) fn parse(text: &str) -> Result<MachineName, Mistake> {
        if text.trim().is_empty() {
            return Err(Mistake::new("the machine's name is empty", "give it the name you call it by"));
        }
        if text.chars().count() > 64 {
            return Err(Mistake::new("the machine's name is too long", "names have at most 64 characters"));
        }
        if text.chars().any(char::is_control) {
            let hint = "write it on one line, without control characters";
            return Err(Mistake::new("the machine's name contains a control character", hint));
        }
        Ok(MachineName(text.to_owned()))
    }
}

checked_text! {
    /// Name of a disk: `[a-z0-9-]{1,16}`, not `paging`. Also the name of its overlay and of its device in the guest.
    DiskName,
    json_schema!({
        "type": "string",
        "pattern": "^[a-z0-9-]{1,16}$",
        "not": {"const": "paging"},
        "description": "1 to 16 small letters, digits and hyphens; `paging` is taken.",
    })
}

impl DiskName {
    pub(in crate::drive) fn parse(text: &str) -> Result<DiskName, Mistake> {
        if text == "paging" {
            return Err(Mistake::new(
                "the disk name `paging` is taken",
                "use the key `paging` for the paging disk",
            ));
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 16 || !text.chars().all(fits) {
            let hint = "use 1 to 16 small letters, digits and hyphens, like `user`";
            return Err(Mistake::new(format!("`{}` is not a disk name", shown(text)), hint));
        }
        Ok(DiskName(text.to_owned()))
    }
}

checked_text! {
    /// The size of a screen, `1280x800`: width and height in points, 320 to 7680 by 200 to 4320.
    ScreenSize,
    json_schema!({
        "type": "string",
        "pattern": "^[0-9]{3,4}x[0-9]{3,4}$",
        "description": "Width and height in points, like `1280x800`.",
    })
}

impl ScreenSize {
    pub(super) fn parse(text: &str) -> Result<ScreenSize, Mistake> {
        let fits =
            |(width, height): &(u32, u32)| (320..=7680).contains(width) && (200..=4320).contains(height);
        match ScreenSize::numbers(text).filter(fits) {
            Some(_) => Ok(ScreenSize(text.to_owned())),
            None => Err(Mistake::new(
                format!("`{}` is not the size of a screen", shown(text)),
                "write width and height in points like `1280x800`, at most 7680x4320",
            )),
        }
    }

    fn numbers(text: &str) -> Option<(u32, u32)> {
        let (width, height) = text.split_once('x')?;
        let number = |text: &str| {
            let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        Some((number(width)?, number(height)?))
    }

    /// Width and height in points.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        ScreenSize::numbers(&self.0).unwrap_or_default()
    }
}

checked_text! {
    /// An Ethernet address of one machine, `52:54:00:12:34:56`, in small letters.
    Mac,
    json_schema!({
        "type": "string",
        "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$",
        "description": "Six bytes in hexadecimal, with `:` between.",
    })
}

impl Mac {
    pub(super) fn parse(text: &str) -> Result<Mac, Mistake> {
        let hint = "write six bytes like `52:54:00:12:34:56`";
        let parts: Vec<&str> = text.split(':').collect();
        let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if parts.len() != 6 || !parts.iter().all(is_byte) {
            return Err(Mistake::new(format!("`{}` is not an Ethernet address", shown(text)), hint));
        }
        // The lowest bit of the first byte marks a group of machines (IEEE 802, section 8.2); no card has such one.
        let first = u8::from_str_radix(parts[0], 16).unwrap_or(1);
        if first & 1 == 1 || text == "00:00:00:00:00:00" {
            let what = format!("`{text}` is not the address of a single machine");
            return Err(Mistake::new(what, "the first byte must be even and the address not all zero"));
        }
        Ok(Mac(text.to_ascii_lowercase()))
    }

    /// The address in QEMU's range `52:54:00` that belongs to the three bytes.
    pub(super) fn in_qemu_range(bytes: [u8; 3]) -> Mac {
        Mac(format!("52:54:00:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2]))
    }
}

/// Reads a UUID in the usual spelling.
pub(super) fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Uuid::try_parse(&text).map(Some).map_err(|_| {
        let hint = "write it like `0f6f3a43-5d5e-4b7c-9f0e-3a1c5b2d7e11`";
        de::Error::custom(Mistake::new(format!("`{}` is not a UUID", shown(&text)), hint))
    })
}

/// A hostile text, short and on one line.
pub(super) fn shown(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().take(60) {
        if c.is_control() { short.extend(c.escape_debug()) } else { short.push(c) }
    }
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// Free variables for a template: at most 64, names `[a-z][a-z0-9_]{0,31}`, values one line of at most 1024 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Names and values.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn check(name: &str, value: &str) -> Result<(), Mistake> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.len() > 32 || !name.chars().all(fits) {
            let hint = "use up to 32 small letters, digits and underscores, a letter first";
            return Err(Mistake::new(format!("`{}` is not a variable name", shown(name)), hint));
        }
        if value.len() > 1024 || value.chars().any(char::is_control) {
            let what =
                format!("the value of the variable `{}` is too long or has more than one line", shown(name));
            return Err(Mistake::new(what, "write one line of at most 1024 bytes"));
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Variables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with texts")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
                let mut variables = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    Variables::check(&name, &value).map_err(de::Error::custom)?;
                    if variables.len() == 64 {
                        let mistake =
                            Mistake::new("there are more than 64 variables", "remove those not used");
                        return Err(de::Error::custom(mistake));
                    }
                    variables.insert(name, value);
                }
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_group_is_not_a_machine() {
        assert!(Mac::parse("01:00:5e:00:00:01").is_err());
        assert!(Mac::parse("ff:ff:ff:ff:ff:ff").is_err());
        assert!(Mac::parse("00:00:00:00:00:00").is_err());
        assert_eq!(Mac::parse("52:54:00:AB:cd:EF").unwrap().as_str(), "52:54:00:ab:cd:ef");
        assert_eq!(Mac::in_qemu_range([1, 2, 255]).as_str(), "52:54:00:01:02:ff");
    }

    #[test]
    fn disk_names_fit_every_hypervisor() {
        assert!(DiskName::parse("user-2").is_ok());
        for text in ["", "paging", "User", "a_b", "a/b", "a.b", "seventeen-letters"] {
            assert!(DiskName::parse(text).is_err(), "{text}");
        }
    }
}
