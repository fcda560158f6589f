//! A hypervisor that the drive carries along runs from a verified copy in the session's folder, so that it survives the
//! drive being pulled, and so that nothing of the drive is in use when it may be unplugged.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::drive::names;
use crate::host::whole;
use crate::hypervisor::{self, Candidate, Hypervisor};
use crate::{Error, Kind, Result};

/// The most bytes a carried hypervisor may have; a whole QEMU with its firmware has a tenth of it.
const MAX_BYTES: u64 = 2 << 30;

/// The most files and folders it may have.
const MAX_ENTRIES: usize = 20_000;

/// The door to use in the session's folder: `door` itself, or one to a copy there if its program lies on the drive.
///
/// # Errors
/// The program can't be copied.
pub fn detach(door: Box<dyn Hypervisor>, folder: &Path) -> Result<Box<dyn Hypervisor>> {
    if door.candidate().found_in != "drive" {
        return Ok(door);
    }
    let program = copy(&door.candidate().program, &folder.join(names::RUNTIME))?;
    hypervisor::open(Candidate { program, ..door.candidate().clone() })
}

/// Copies the folder of a carried program to `target` and returns the program's place there.
///
/// # Errors
/// It is too large, holds something other than files and folders, or the copy differs.
fn copy(program: &Path, target: &Path) -> Result<PathBuf> {
    let refused = |what: String| {
        Error::new(Kind::Hypervisor, what).hint("copy a plain QEMU folder to the drive's runtime folder")
    };
    let (Some(folder), Some(name)) = (program.parent(), program.file_name()) else {
        return Err(refused(format!("the hypervisor on the drive has no folder: {}", program.display())));
    };
    let mut left = MAX_BYTES;
    let mut entries = 0;
    let mut folders = vec![(folder.to_owned(), target.to_owned())];
    while let Some((from, to)) = folders.pop() {
        fs_err::create_dir_all(&to)?;
        for entry in fs_err::read_dir(&from)? {
            let entry = entry?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(refused(format!(
                    "the hypervisor on the drive has too many files: {}",
                    folder.display()
                )));
            }
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push((from, to));
            } else if kind.is_file() {
                left = left.checked_sub(copy_verified(&from, &to, left)?).ok_or_else(|| {
                    refused(format!("the hypervisor on the drive is too large: {}", folder.display()))
                })?;
            } else {
                return Err(refused(format!(
                    "the hypervisor on the drive holds a link or device: {}",
                    from.display()
                )));
            }
        }
    }
    let program = target.join(name);
    whole::make_executable(&program)?;
    Ok(program)
}

/// Copies one file of at most `most` bytes and compares what is there afterwards; returns its size.
fn copy_verified(from: &Path, to: &Path, most: u64) -> Result<u64> {
    // Asked first: a sparse file can be larger than anybody wants to read.
    if fs_err::metadata(from)?.len() > most {
        return Ok(most.saturating_add(1));
    }
    let mut source = fs_err::File::open(from)?.take(most.saturating_add(1));
    let size = std::io::copy(&mut source, &mut fs_err::File::create_new(to)?)?;
    if whole::hash(from)? != whole::hash(to)? {
        return Err(Error::new(
            Kind::Hypervisor,
            format!("the copy of a file on the drive differs: {}", from.display()),
        )
        .hint("try again; if it happens again, the drive is failing"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_every_file_and_can_be_started() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("qemu"), folder.path().join("copy"));
        fs_err::create_dir_all(from.join("share")).unwrap();
        // Any program serves, and one that runs on this system is at hand: this one.
        let name = crate::host::programs::file_name("qemu-system-x86_64");
        fs_err::copy(std::env::current_exe().unwrap(), from.join(&name)).unwrap();
        fs_err::write(from.join("share/bios.bin"), [7; 100_000]).unwrap();
        let program = copy(&from.join(name), &to).unwrap();
        assert_eq!(fs_err::read(to.join("share/bios.bin")).unwrap(), [7; 100_000]);
        let said = std::process::Command::new(program).arg("--list").output().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).contains("the_copy_has_every_file_and_can_be_started"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("qemu");
        fs_err::create_dir_all(&from).unwrap();
        fs_err::write(from.join("qemu-system-x86_64"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("x")).unwrap();
        let error = copy(&from.join("qemu-system-x86_64"), &folder.path().join("copy")).unwrap_err();
        assert!(error.what.contains("holds a link or device"), "{error}");
    }
}
