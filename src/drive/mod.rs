//! What is on the drive: manifest, names, identity, lock, the record of a session.
//!
//! A drive is a folder with a manifest. Everything in it is hostile input until it is checked.

mod find;
mod identity;
mod lock;
pub mod manifest;
pub mod names;
mod session;
mod settings;
mod state;
mod verdicts;

use std::io;
use std::path::{Path, PathBuf};

pub use find::{attached, choose};
pub use identity::{Identity, Origin};
pub use lock::{DriveLock, Holder};
pub use manifest::Manifest;
pub use session::{DiskRecord, LastSession, Phase, SessionRecord};
pub use settings::{Look, Settings};

use crate::drive::manifest::RelativePath;
use crate::host::{self, file};
use crate::{Error, Kind, Result};

/// Largest picture of a machine in bytes.
pub const MAX_PICTURE: u64 = 1 << 20;

/// A drive whose manifest was read. Nothing of it is held open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    root: PathBuf,
    manifest: Manifest,
}

impl Drive {
    /// Reads the manifest of the drive at `root`, without changing or locking anything.
    ///
    /// # Errors
    /// [`Kind::Drive`]: there is no drive, or its manifest is wrong.
    pub fn open(root: &Path) -> Result<Drive> {
        let root = file::canonical(root).map_err(|error| {
            Error::new(Kind::Drive, "cannot open the drive").hint("check that it is attached").because(error)
        })?;
        let manifest = Manifest::read(&root.join(names::MANIFEST))?;
        Ok(Drive { root, manifest })
    }

    /// The drive's folder: absolute, without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the owner decided.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a file of the manifest is now: absolute, without links, inside the drive, and a regular file.
    ///
    /// # Errors
    /// [`Kind::Drive`]: it does not exist, is no regular file, or a symbolic link leads out of the drive.
    pub fn resolve(&self, path: &RelativePath) -> Result<PathBuf> {
        self.find(&path.below(&self.root), path.as_str(), "the manifest")
    }

    /// The machine's picture as it is in its file, if it has one; to be decoded with care.
    ///
    /// # Errors
    /// [`Kind::Drive`]: as [`Drive::resolve`], or it is larger than [`MAX_PICTURE`] or can't be read.
    pub fn picture(&self) -> Result<Option<Vec<u8>>> {
        let Some(named) = &self.manifest.machine.picture else { return Ok(None) };
        let path = self.resolve(named)?;
        let failed = |error: io::Error| {
            Error::new(Kind::Drive, "the machine's picture can't be shown")
                .hint("use a PNG image of at most 1 MiB")
                .because(error)
        };
        host::whole::read_bytes(&path, MAX_PICTURE).map_err(failed).map(Some)
    }

    /// The template called `name` in the folder of templates; none if there is none.
    ///
    /// # Errors
    /// As [`Drive::resolve`].
    pub fn template(&self, name: &str) -> Result<Option<PathBuf>> {
        let place = self.root.join(names::TEMPLATES).join(name);
        if !place.exists() {
            return Ok(None);
        }
        self.find(&place, &format!("{}/{name}", names::TEMPLATES), "a hypervisor").map(Some)
    }

    /// As [`Drive::resolve`], for a layer below a base: `path` is one that the engine has checked, relative to the drive.
    ///
    /// # Errors
    /// As [`Drive::resolve`].
    pub fn resolve_layer(&self, path: &str) -> Result<PathBuf> {
        let mut named = self.root.clone();
        named.extend(path.split('/'));
        self.find(&named, path, "a base")
    }

    /// Where `named` really is; messages call it `path`, named by `who`.
    fn find(&self, named: &Path, path: &str, who: &str) -> Result<PathBuf> {
        let real = file::canonical(named).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::new(Kind::Drive, format!("a file that {who} names is not on the drive: {path}"))
                    .hint(format!("correct the path in {who}, or copy the file to the drive"))
            }
            _ => Error::new(Kind::Drive, "cannot open a file on the drive").because(error),
        })?;
        if !real.starts_with(&self.root) {
            let what = format!("a link on the drive leads out of it: {path}");
            return Err(Error::new(Kind::Drive, what).hint("replace the link by the file it points to"));
        }
        if !fs_err::metadata(&real)?.is_file() {
            return Err(Error::new(Kind::Drive, format!("{who} names something that is not a file: {path}")));
        }
        Ok(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drive with one disk in `folder`.
    pub(super) fn drive_in(folder: &Path) -> Drive {
        let text = "schema: 1\nmachine: {name: Work}\ndisks: [{name: user, file: disks/user/base.qcow2, keep: true}]\n";
        std::fs::write(folder.join(names::MANIFEST), text).unwrap();
        Drive::open(folder).unwrap()
    }

    /// A drive in a folder of its own, which goes with the first value.
    pub(super) fn new_drive() -> (tempfile::TempDir, Drive) {
        let folder = tempfile::Builder::new().prefix("Müllers drive ").tempdir().unwrap();
        let drive = drive_in(folder.path());
        (folder, drive)
    }

    fn base(drive: &Drive) -> Result<PathBuf> {
        drive.resolve(&drive.manifest().disks[0].file)
    }

    #[test]
    fn a_folder_without_a_manifest_is_not_a_drive() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Drive::open(folder.path()).unwrap_err().kind, Kind::Drive);
        assert_eq!(Drive::open(&folder.path().join("nothing")).unwrap_err().kind, Kind::Drive);
    }

    #[test]
    fn a_file_of_the_manifest_is_found_below_the_drive() {
        let (_folder, drive) = new_drive();
        assert!(base(&drive).unwrap_err().what.contains("is not on the drive"));
        std::fs::create_dir_all(drive.root().join("disks/user/base.qcow2")).unwrap();
        assert!(base(&drive).unwrap_err().what.contains("not a file"));
        std::fs::remove_dir(drive.root().join("disks/user/base.qcow2")).unwrap();
        std::fs::write(drive.root().join("disks/user/base.qcow2"), "x").unwrap();
        assert_eq!(base(&drive).unwrap(), drive.root().join("disks/user/base.qcow2"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_inside_the_drive_is_followed_and_one_out_of_it_refused() {
        use std::os::unix::fs::symlink;
        let (_folder, drive) = new_drive();
        std::fs::create_dir_all(drive.root().join("disks/user")).unwrap();
        let link = drive.root().join("disks/user/base.qcow2");
        std::fs::write(drive.root().join("disks/real"), "x").unwrap();
        symlink("../real", &link).unwrap();
        assert_eq!(base(&drive).unwrap(), drive.root().join("disks/real"));
        std::fs::remove_file(&link).unwrap();
        symlink("/etc/passwd", &link).unwrap();
        assert!(base(&drive).unwrap_err().what.contains("leads out of it"));
        std::fs::remove_file(&link).unwrap();
        // A folder whose name merely begins like the drive's is not inside it.
        let sibling = PathBuf::from(format!("{}-2", drive.root().display()));
        std::fs::write(&sibling, "x").unwrap();
        symlink(&sibling, &link).unwrap();
        assert!(base(&drive).unwrap_err().what.contains("leads out of it"));
        std::fs::remove_file(&sibling).unwrap();
    }
}
