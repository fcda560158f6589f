//! Sizes as people write them: `512 MiB`, `4 GiB`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Mistake;

/// A number of bytes. Text form: a whole number and a binary unit, `512 MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

/// Units and their powers of two, smallest first.
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

impl Size {
    /// A size of `count` MiB; saturates.
    #[must_use]
    pub const fn mib(count: u64) -> Size {
        Size(count.saturating_mul(1 << 20))
    }

    /// A size of `count` GiB; saturates.
    #[must_use]
    pub const fn gib(count: u64) -> Size {
        Size(count.saturating_mul(1 << 30))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads `512 MiB`.
    ///
    /// # Errors
    /// The sentence and hint to show: no unit, a decimal unit, a fraction, or more than 2^64 bytes.
    pub(super) fn parse(text: &str) -> Result<Size, Mistake> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start_matches(' ');
        if number.is_empty() {
            return Err(Mistake::new(format!("`{text}` is not a size"), "write it like `512 MiB`"));
        }
        if unit.is_empty() {
            let hint = format!("write `{number} MiB` or `{number} GiB`");
            return Err(Mistake::new(format!("the size `{text}` has no unit"), hint));
        }
        if unit.starts_with(['.', ',']) {
            let hint = "write it in the next smaller unit, `1536 MiB` for one and a half GiB";
            return Err(Mistake::new(format!("the size `{text}` is not a whole number"), hint));
        }
        let Some((_, power)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let meant = UNITS.iter().find(|(name, _)| unit.to_ascii_uppercase().starts_with(&name[..1]));
            let hint = match meant {
                Some((name, _)) => format!("sizes use binary units; write `{number} {name}`"),
                None => "the units are KiB, MiB, GiB and TiB".to_owned(),
            };
            return Err(Mistake::new(format!("unknown unit in the size `{text}`"), hint));
        };
        let too_large = || Mistake::new(format!("the size `{text}` is too large"), "write a smaller number");
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number.checked_mul(1 << power).map(Size).ok_or_else(too_large)
    }
}

/// As on the command line: the error is what is wrong, and how to write it.
impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        Size::parse(text).map_err(|mistake| mistake.to_string().replace('\n', "; "))
    }
}

/// The largest unit that shows the size exactly, so that the text reads back as the same size.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().rev().find(|(_, power)| self.0 != 0 && self.0.trailing_zeros() >= *power);
        let (unit, power) = exact.unwrap_or(&UNITS[0]);
        write!(f, "{} {unit}", self.0 >> power)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Size::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ *(KiB|MiB|GiB|TiB)$",
            "description": "A whole number and a binary unit: `512 MiB`, `4 GiB`.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_are_written() {
        for (text, bytes) in [("1 KiB", 1024), ("512 MiB", 512 << 20), ("4 GiB", 4 << 30), ("2 TiB", 2 << 40)]
        {
            let size = Size::parse(text).unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string(), text);
        }
        assert_eq!(Size::parse("4GiB").unwrap(), Size::gib(4));
        assert_eq!(Size::parse("1536 MiB").unwrap().to_string(), "1536 MiB");
        assert_eq!(Size::parse("0 MiB").unwrap().to_string(), "0 KiB");
    }

    #[test]
    fn a_decimal_unit_is_answered_with_the_binary_one() {
        assert_eq!(
            Size::parse("512 MB").unwrap_err().hint.unwrap(),
            "sizes use binary units; write `512 MiB`"
        );
        assert_eq!(Size::parse("4G").unwrap_err().hint.unwrap(), "sizes use binary units; write `4 GiB`");
    }

    #[test]
    fn on_the_command_line_a_wrong_size_is_answered_in_one_line() {
        assert_eq!("2 GiB".parse(), Ok(Size::gib(2)));
        let answer = "2 GB".parse::<Size>().unwrap_err();
        assert_eq!(answer, "unknown unit in the size `2 GB`; sizes use binary units; write `2 GiB`");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "MiB",
            "-1 MiB",
            "1.5 GiB",
            "12",
            "1 ÄiB",
            "18446744073709551616 KiB",
            "18446744073709551615 TiB",
        ] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
