//! Finds the drive that the user means.

use std::path::{Path, PathBuf};

use super::names;
use crate::host::{file, volume};
use crate::{Error, Kind, Result};

/// How many folders above the executable are looked at: `PocketVM.app/Contents/MacOS/pocketvm` on macOS.
const LEVELS: usize = 4;

/// The drives among the mounted volumes.
#[must_use]
pub fn attached() -> Vec<PathBuf> {
    let mut drives: Vec<PathBuf> = volume::mount_points()
        .into_iter()
        .filter(|point| has_manifest(point))
        .filter_map(|point| file::canonical(&point).ok())
        .collect();
    drives.sort();
    drives.dedup();
    drives
}

/// The drive to use: the one named on the command line, else the one on which `executable` lies, else the only one
/// that is attached. `executable` is the file that the user started, not the launcher's copy in scratch.
///
/// # Errors
/// [`Kind::Drive`]: there is none, or there are several; they are listed.
pub fn choose(named: Option<&Path>, executable: Option<&Path>) -> Result<PathBuf> {
    choose_among(named, executable, attached)
}

fn choose_among(
    named: Option<&Path>,
    executable: Option<&Path>,
    attached: impl FnOnce() -> Vec<PathBuf>,
) -> Result<PathBuf> {
    if let Some(named) = named {
        return from_name(named);
    }
    if let Some(drive) = executable.and_then(around) {
        return Ok(drive);
    }
    let mut drives = attached();
    match drives.len() {
        0 => Err(Error::new(Kind::Drive, "no drive is attached")
            .hint("attach the drive, or name its folder on the command line")),
        1 => Ok(drives.remove(0)),
        _ => {
            let list: Vec<String> = drives.iter().map(|drive| drive.display().to_string()).collect();
            Err(Error::new(Kind::Drive, format!("several drives are attached: {}", list.join(", ")))
                .hint("name the one you mean on the command line"))
        }
    }
}

/// The drive's folder, or the manifest in it.
fn from_name(named: &Path) -> Result<PathBuf> {
    let is_manifest = named.file_name().is_some_and(|name| name == names::MANIFEST) && named.is_file();
    let folder = match named.parent() {
        Some(parent) if is_manifest && parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) if is_manifest => parent,
        _ => named,
    };
    if !has_manifest(folder) {
        let what = format!("there is no manifest, {}, in {}", names::MANIFEST, folder.display());
        return Err(Error::new(Kind::Drive, what).hint("name the folder that holds it"));
    }
    file::canonical(folder).map_err(|error| Error::new(Kind::Drive, "cannot open the drive").because(error))
}

fn around(executable: &Path) -> Option<PathBuf> {
    let executable = file::canonical(executable).ok()?;
    let folder = executable.ancestors().skip(1).take(LEVELS).find(|folder| has_manifest(folder))?;
    Some(folder.to_owned())
}

fn has_manifest(folder: &Path) -> bool {
    folder.join(names::MANIFEST).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(names::MANIFEST), "").unwrap();
        let path = file::canonical(folder.path()).unwrap();
        (folder, path)
    }

    #[test]
    fn the_named_drive_wins_and_may_be_named_by_its_manifest() {
        let (_a, named) = drive();
        let (_b, other) = drive();
        let never = || -> Vec<PathBuf> { panic!("not needed") };
        assert_eq!(choose_among(Some(&named), Some(&other.join("pocketvm")), never).unwrap(), named);
        assert_eq!(choose_among(Some(&named.join(names::MANIFEST)), None, never).unwrap(), named);
    }

    #[test]
    fn a_name_that_is_no_drive_is_an_error_even_if_others_are_attached() {
        let (_a, attached) = drive();
        let empty = tempfile::tempdir().unwrap();
        let error = choose_among(Some(empty.path()), None, || vec![attached]).unwrap_err();
        assert_eq!(error.kind, Kind::Drive);
        assert!(error.what.starts_with("there is no manifest, pocketvm.yaml, in "), "{error}");
    }

    #[test]
    fn the_drive_around_the_executable_comes_before_the_attached() {
        let (_a, own) = drive();
        let (_b, other) = drive();
        std::fs::create_dir_all(own.join("PocketVM.app/Contents/MacOS")).unwrap();
        for executable in ["pocketvm", "PocketVM.app/Contents/MacOS/pocketvm"] {
            let executable = own.join(executable);
            std::fs::write(&executable, "").unwrap();
            assert_eq!(choose_among(None, Some(&executable), || vec![other.clone()]).unwrap(), own);
        }
    }

    #[test]
    fn the_only_attached_drive_is_taken_and_several_are_listed() {
        let (a, b) = (PathBuf::from("/media/a"), PathBuf::from("/media/b"));
        let elsewhere = Path::new("/usr/bin/env");
        assert_eq!(choose_among(None, Some(elsewhere), || vec![a.clone()]).unwrap(), a);
        let error = choose_among(None, None, || vec![a, b]).unwrap_err();
        assert_eq!(error.what, "several drives are attached: /media/a, /media/b");
        assert_eq!(choose_among(None, None, Vec::new).unwrap_err().what, "no drive is attached");
    }
}
