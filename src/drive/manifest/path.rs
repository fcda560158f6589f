//! Paths as the manifest writes them: relative to the drive, and valid on every system the drive may meet.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::Mistake;
use super::text::shown;

/// A `/`-separated path below the drive's root that is valid on Linux, macOS and Windows, on ext4, NTFS and exFAT.
///
/// That it does not leave the drive through a symbolic link can only be told from the disk:
/// [`Drive::resolve`](crate::drive::Drive::resolve) does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RelativePath(String);

/// Longest path in bytes; with the mount point it stays below the 4096 of Linux and is short enough to be shown.
const MAX_PATH: usize = 512;
/// Longest part of a path: what exFAT, NTFS and ext4 can store (255 units).
const MAX_PART: usize = 255;

impl RelativePath {
    /// Checks a path as it stands in the manifest.
    ///
    /// # Errors
    /// The sentence and hint to show.
    pub(super) fn parse(text: &str) -> Result<RelativePath, Mistake> {
        let mistake = |what: &str, hint: &str| Err(Mistake::new(format!("{what}: `{}`", shown(text)), hint));
        if text.is_empty() {
            return mistake(
                "the path is empty",
                "write a path below the drive, like `disks/user/base.qcow2`",
            );
        }
        if text.len() > MAX_PATH {
            return mistake("the path is too long", "paths have at most 512 bytes");
        }
        if text.contains('\\') {
            return mistake("the path contains `\\`", "separate folders with `/`, on every system");
        }
        if text.starts_with('/') || text.chars().nth(1) == Some(':') {
            return mistake(
                "the path is absolute",
                "write it relative to the drive, like `disks/user/base.qcow2`",
            );
        }
        for part in text.split('/') {
            if part.is_empty() || part == "." {
                return mistake("the path has an empty or `.` part", "leave it out");
            }
            if part == ".." {
                return mistake(
                    "the path leaves the drive",
                    "`..` is not allowed; all files lie below the drive",
                );
            }
            if part.len() > MAX_PART {
                return mistake("a name in the path is too long", "names have at most 255 bytes");
            }
            if let Some(c) = part.chars().find(|c| c.is_control() || "<>:\"|?*".contains(*c)) {
                let what = format!("the path contains {c:?}, which not every system allows");
                return mistake(&what, "rename the file");
            }
            if part.ends_with(['.', ' ']) {
                return mistake(
                    "a name in the path ends in a dot or space",
                    "Windows can't open it; rename the file",
                );
            }
            if is_reserved_on_windows(part) {
                return mistake("a name in the path is reserved on Windows", "rename the file");
            }
        }
        Ok(RelativePath(text.to_owned()))
    }

    /// As it stands in the manifest.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `root`, in this system's spelling. Not checked against symbolic links.
    pub(in crate::drive) fn below(&self, root: &Path) -> PathBuf {
        let mut path = root.to_owned();
        path.extend(self.0.split('/'));
        path
    }
}

/// Device names that Windows finds in every folder, with any extension ("Naming Files, Paths, and Namespaces").
fn is_reserved_on_windows(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end_matches(' ').to_uppercase();
    let numbered = |prefix: &str| {
        let rest = stem.strip_prefix(prefix).unwrap_or_default();
        let mut digits = rest.chars();
        digits.next().is_some_and(|c| "123456789¹²³".contains(c)) && digits.next().is_none()
    };
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || numbered("COM")
        || numbered("LPT")
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RelativePath::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for RelativePath {
    fn schema_name() -> Cow<'static, str> {
        "RelativePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_PATH,
            "description": "A path below the drive, with `/` between folders; no `..`, no drive letter.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_any_alphabet_are_fine() {
        for text in
            ["disks/user/base.qcow2", "Müllers Gerät/ディスク 1.qcow2", ".hidden/x", "console/com10", "a..b"]
        {
            assert_eq!(RelativePath::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn nothing_leaves_the_drive() {
        let bad = [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "C:/x",
            "c:x",
            "a\\..\\b",
            "\\\\host\\share",
            "a//b",
            "./a",
            "a/",
        ];
        for text in bad {
            assert!(RelativePath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_some_system_cannot_open_are_refused() {
        let bad = [
            "a\0b",
            "a\nb",
            "nul",
            "disks/CON.qcow2",
            "com1",
            "LPT9.txt",
            "com¹",
            "aux .img",
            "x.",
            "x ",
            "a?b",
            "a:b",
        ];
        for text in bad {
            assert!(RelativePath::parse(text).is_err(), "{text:?}");
        }
        assert!(RelativePath::parse(&"a/".repeat(300)).is_err());
        assert!(RelativePath::parse(&"ä".repeat(128)).is_err());
    }
}
