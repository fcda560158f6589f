//! The folder that bases are named in, so that a drive works wherever it is mounted.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::storage::{Access, FileStorage, Storage};

/// The longest relative path, in bytes: enough for any drive, little enough for a record.
const MAX_PATH: usize = 1023;

/// A path below a root: components joined by `/`, none of them `.`, `..`, a drive letter or empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BasePath(String);

impl BasePath {
    /// Checks the text of a path.
    ///
    /// # Errors
    /// [`Error::BadPath`] for anything that could lead out of the root on any operating system.
    pub fn new(text: &str) -> Result<Self> {
        let plain =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
        if text.len() > MAX_PATH || !text.split('/').all(plain) {
            return Err(Error::BadPath(text.chars().take(MAX_PATH).collect()));
        }
        Ok(BasePath(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path that `name` leads to from the folder of this one, as the name of a backing file is meant. `..` is
    /// followed in the text, as long as it stays inside the root.
    ///
    /// # Errors
    /// [`Error::BadPath`] for anything absolute, with a protocol or a drive letter, or that leaves the root.
    pub fn sibling(&self, name: &str) -> Result<Self> {
        let bad = || Error::BadPath(name.chars().take(MAX_PATH).collect());
        let mut parts: Vec<&str> = self.0.split('/').collect();
        parts.pop();
        if name.starts_with('/') {
            return Err(bad());
        }
        for part in name.split('/') {
            match part {
                "." => {}
                ".." => {
                    parts.pop().ok_or_else(bad)?;
                }
                part => parts.push(part),
            }
        }
        BasePath::new(&parts.join("/")).map_err(|_| bad())
    }
}

impl TryFrom<String> for BasePath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        BasePath::new(&text)
    }
}

impl From<BasePath> for String {
    fn from(path: BasePath) -> String {
        path.0
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Opens bases by their relative path.
pub trait Root {
    /// What an open base is.
    type File: Storage;
    /// Opens the base.
    ///
    /// # Errors
    /// It can't be opened, lies outside of the root, or is locked.
    fn open(&self, path: &BasePath, access: Access) -> Result<Self::File>;
    /// Makes a new, empty file.
    ///
    /// # Errors
    /// It exists, its folder does not, or there is no room.
    fn create(&self, path: &BasePath) -> Result<Self::File>;
    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// It can't be removed, or lies outside of the root.
    fn remove(&self, path: &BasePath) -> Result<()>;
}

/// A folder as root.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`.
    pub fn new(path: &Path) -> Self {
        Folder(path.to_path_buf())
    }
}

impl Folder {
    /// Where `path` leads to. A link on a found stick could name any file of this PC.
    fn real(&self, path: &BasePath) -> Result<PathBuf> {
        let mut full = self.0.clone();
        full.extend(path.as_str().split('/'));
        self.inside(fs_err::canonicalize(&full)?, path)
    }

    /// As [`Folder::real`], for a file that need not exist; should it be a link, it is the link that is meant.
    fn real_parent(&self, path: &BasePath) -> Result<PathBuf> {
        let mut parts: Vec<&str> = path.as_str().split('/').collect();
        let name = parts.pop().unwrap_or_default();
        let mut folder = self.0.clone();
        folder.extend(parts);
        Ok(self.inside(fs_err::canonicalize(&folder)?, path)?.join(name))
    }

    fn inside(&self, real: PathBuf, path: &BasePath) -> Result<PathBuf> {
        if real.starts_with(fs_err::canonicalize(&self.0)?) {
            Ok(real)
        } else {
            Err(Error::BadPath(path.as_str().to_owned()))
        }
    }
}

impl Root for Folder {
    type File = FileStorage;

    fn open(&self, path: &BasePath, access: Access) -> Result<FileStorage> {
        FileStorage::open(&self.real(path)?, access)
    }

    fn create(&self, path: &BasePath) -> Result<FileStorage> {
        let real = self.real_parent(path)?;
        let file = FileStorage::create(&real)?;
        // The name has to outlive a power cut as well as the content.
        #[cfg(unix)]
        if let Some(folder) = real.parent() {
            fs_err::File::open(folder)?.sync_all()?;
        }
        Ok(file)
    }

    fn remove(&self, path: &BasePath) -> Result<()> {
        match fs_err::remove_file(self.real_parent(path)?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_the_root_is_refused() {
        for text in ["", "/a", "a//b", "../a", "a/..", "./a", "C:a", "a\\b", "a\0", "a/", &"x".repeat(2000)] {
            assert!(BasePath::new(text).is_err(), "{text:?}");
        }
        for text in ["a", "a/b c/ü.qcow2", "..a/b.."] {
            assert!(BasePath::new(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_backing_file_is_followed_inside_the_root_only() {
        let base = BasePath::new("disks/user/base.qcow2").unwrap();
        for (name, path) in [
            ("golden.qcow2", "disks/user/golden.qcow2"),
            ("./a/b", "disks/user/a/b"),
            ("../golden/base.qcow2", "disks/golden/base.qcow2"),
            ("../../x", "x"),
        ] {
            assert_eq!(base.sibling(name).unwrap().as_str(), path);
        }
        for name in
            ["/etc/passwd", "../../../x", "nbd:host:1", "json:{}", "C:\\x", "..\\x", "", "a//b", "../.."]
        {
            assert!(base.sibling(name).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_out_of_the_root_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("base")).unwrap();
        let opened = Folder::new(&root).open(&BasePath::new("base").unwrap(), Access::Read);
        assert!(matches!(opened, Err(Error::BadPath(_))));
    }
}
