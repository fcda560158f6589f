//! The launcher runs from a copy of itself in scratch: a program that runs from a pulled stick dies without a word,
//! and Windows does not eject a stick whose program runs.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::volume::{Attachment, Volume};
use super::{env, private, scratch, whole};
use crate::drive::names;
use crate::{Error, Kind, Result};

/// A copy without a lock file is one whose launcher has not started yet; after this time it never will.
const IN_THE_MAKING: Duration = Duration::from_secs(600);

/// The executable that the user started, also in a copy.
///
/// # Errors
/// The system does not tell.
pub fn origin() -> Result<PathBuf> {
    match env::path(env::ORIGIN) {
        Some(origin) if own_folder().is_some() => Ok(origin),
        _ => own_executable(),
    }
}

/// Whether this launcher must go on from a copy: it lies on the drive, or on something else that can vanish, and
/// is not a copy already.
///
/// # Errors
/// The system does not tell where the executable lies.
pub fn is_needed(drive: &Path) -> Result<bool> {
    if own_folder().is_some() {
        return Ok(false);
    }
    let executable = own_executable()?;
    let attachment = Volume::of(&executable)?.attachment;
    Ok(executable.starts_with(drive) || matches!(attachment, Attachment::Removable | Attachment::Network))
}

/// Copies this launcher below the scratch root, which must be prepared, and goes on there with the same arguments.
///
/// Does not return on Unix unless it fails; on Windows it returns the exit code of the copy, whose folder is gone.
///
/// # Errors
/// [`Kind::Unexpected`]: the copy can't be made or started. Nothing else was changed.
pub fn relaunch(scratch: &scratch::Root) -> Result<u8> {
    let executable = own_executable()?;
    let copy = copy_to(&executable, scratch.path())?;
    let mut command = Command::new(&copy);
    command.args(std::env::args_os().skip(1)).env(env::ORIGIN, &executable);
    let code = run(command).map_err(|error| {
        // The failure is what matters; a folder left here is removed at the next start.
        let _ = copy.parent().map(fs_err::remove_dir_all);
        Error::new(Kind::Unexpected, format!("cannot start the launcher's copy: {}", copy.display()))
            .safe("nothing was changed on the drive")
            .hint(format!("name a folder that may hold programs with the variable {}", env::SCRATCH))
            .because(error)
    })?;
    scratch.remove_if_empty();
    Ok(exit_code(code))
}

/// A code that no program of ours has is a failure.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(Kind::Unexpected.exit_code())
}

/// Starts this program again with the same arguments and one variable more, in the working `folder` for which the arguments
/// were meant. A copy in scratch stays, and the new process holds it.
///
/// Does not return on Unix unless it fails; on Windows it returns the exit code of the new process.
///
/// # Errors
/// [`Kind::Unexpected`]: it can't be started.
pub fn again(copy: Option<OwnCopy>, folder: &Path, variable: &str, value: &str) -> Result<u8> {
    let executable = std::env::current_exe()?;
    let mut command = Command::new(&executable);
    command.args(std::env::args_os().skip(1)).env(variable, value).current_dir(folder);
    let held = copy.map(OwnCopy::let_go);
    run_again(command).map(exit_code).map_err(|error| {
        // Nobody else removes it.
        drop(held.map(OwnCopy::hold_folder));
        Error::new(Kind::Unexpected, format!("cannot start the launcher again: {}", executable.display()))
            .safe("nothing was changed")
            .because(error)
    })
}

#[cfg(unix)]
fn run_again(command: Command) -> io::Result<i32> {
    run(command)
}

#[cfg(windows)]
fn run_again(mut command: Command) -> io::Result<i32> {
    Ok(command.status()?.code().unwrap_or(1))
}

/// This process becomes the copy: same terminal, same process id.
#[cfg(unix)]
fn run(mut command: Command) -> io::Result<i32> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Windows has no such call; this process waits, clears up and passes the exit code on.
#[cfg(windows)]
fn run(mut command: Command) -> io::Result<i32> {
    // Ctrl-C goes to every program of the console. The copy answers it; this process is only not to end before.
    // Should the system refuse, the session is no worse for it.
    let _unheard = super::signals::listen();
    let code = command.status()?.code().unwrap_or(1);
    // A running program can't remove itself, and the copy was one until now. What stays is removed at the next start.
    let _ = Path::new(command.get_program()).parent().map(fs_err::remove_dir_all);
    Ok(code)
}

/// Makes and verifies the copy.
fn copy_to(executable: &Path, scratch_root: &Path) -> Result<PathBuf> {
    let failed = |error: io::Error| {
        Error::new(Kind::Unexpected, "cannot copy the launcher to scratch")
            .safe("nothing was changed on the drive")
            .because(error)
    };
    let folder = scratch_root.join(format!("{}{}", names::LAUNCHER_PREFIX, Uuid::new_v4()));
    private::create_folder(&folder).map_err(failed)?;
    let copy = folder.join(executable.file_name().unwrap_or("pocketvm".as_ref()));
    let copied = || -> io::Result<bool> {
        whole::copy_new(executable, &copy)?;
        private::make_executable(&copy)?;
        Ok(whole::hash(executable)? == whole::hash(&copy)?)
    };
    match copied() {
        Ok(true) => Ok(copy),
        result => {
            // The failure is what matters; a folder left here is removed at the next start.
            let _ = fs_err::remove_dir_all(&folder);
            let differs = || io::Error::other("the copy differs from the original");
            Err(failed(result.err().unwrap_or_else(differs)))
        }
    }
}

/// A copy's hold on its own folder, which is removed when this is dropped.
#[derive(Debug)]
pub struct OwnCopy {
    folder: PathBuf,
    lock: Option<File>,
}

impl OwnCopy {
    /// If this process runs from a copy: takes hold of its folder. To be called first thing.
    ///
    /// # Errors
    /// The folder can't be locked.
    pub fn hold() -> Result<Option<OwnCopy>> {
        let Some(folder) = own_folder() else { return Ok(None) };
        OwnCopy::hold_folder(folder).map(Some)
    }

    /// The folder stays for another process of ours that holds it next.
    fn let_go(mut self) -> PathBuf {
        drop(self.lock.take());
        std::mem::take(&mut self.folder)
    }

    fn hold_folder(folder: PathBuf) -> Result<OwnCopy> {
        let path = folder.join(names::LAUNCHER_LOCK);
        let (file, _) = fs_err::File::create(path)?.into_parts();
        file.try_lock().map_err(|error| {
            Error::new(Kind::Unexpected, format!("cannot lock the launcher's copy: {}", folder.display()))
                .because(io::Error::from(error))
        })?;
        Ok(OwnCopy { folder, lock: Some(file) })
    }
}

impl Drop for OwnCopy {
    fn drop(&mut self) {
        // Windows removes neither an open file nor a running program: what stays is removed at the next start.
        drop(self.lock.take());
        if !self.folder.as_os_str().is_empty() {
            let _ = fs_err::remove_dir_all(&self.folder);
        }
    }
}

/// Removes the copies of launchers that live no more. What can't be removed now is left for the next time.
pub fn remove_left_over(scratch_root: &Path) {
    let entries = fs_err::read_dir(scratch_root).into_iter().flatten().filter_map(io::Result::ok);
    for folder in entries.map(|entry| entry.path()).filter(|path| is_copy_folder(path)) {
        if !is_alive(&folder) {
            // See above: there is a next time.
            let _ = fs_err::remove_dir_all(&folder);
        }
    }
}

fn is_alive(folder: &Path) -> bool {
    match File::open(folder.join(names::LAUNCHER_LOCK)) {
        Ok(lock) => matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => {
            let made = fs_err::metadata(folder).and_then(|metadata| metadata.modified());
            let age = made.map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
            age.is_ok_and(|age| age < IN_THE_MAKING)
        }
    }
}

/// The working folder moves to `folder`, so that it does not keep the drive from being unmounted. To be called when
/// all paths of the command line are absolute.
///
/// # Errors
/// `folder` does not exist.
pub fn leave_to(folder: &Path) -> Result<()> {
    std::env::set_current_dir(folder).map_err(|error| {
        Error::new(Kind::Unexpected, format!("cannot change to the folder {}", folder.display()))
            .because(error)
    })
}

fn own_executable() -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(|error| {
        Error::new(Kind::Unexpected, "cannot find the launcher's own file").because(error)
    })?;
    Ok(super::file::canonical(&path)?)
}

/// The folder of this process's copy, if it runs from one.
fn own_folder() -> Option<PathBuf> {
    env::value(env::ORIGIN)?;
    let folder = own_executable().ok()?.parent()?.to_owned();
    is_copy_folder(&folder).then_some(folder)
}

/// Whether `path` is named like a copy's folder and belongs to this user.
fn is_copy_folder(path: &Path) -> bool {
    let id = path.file_name().and_then(|name| name.to_str()?.strip_prefix(names::LAUNCHER_PREFIX));
    id.is_some_and(|id| Uuid::try_parse(id).is_ok()) && private::is_own_folder(path).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let copy = copy_to(&std::env::current_exe().unwrap(), root.path()).unwrap();
        (root, copy)
    }

    #[test]
    fn a_copy_is_equal_and_can_be_run() {
        let (_root, copy) = copy();
        assert_eq!(whole::hash(&copy).unwrap(), whole::hash(&std::env::current_exe().unwrap()).unwrap());
        let output = Command::new(&copy).arg("--list").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("a_copy_is_equal_and_can_be_run"));
    }

    #[test]
    fn a_copy_removes_its_folder_at_the_end() {
        let (root, copy) = copy();
        drop(OwnCopy::hold_folder(copy.parent().unwrap().to_owned()).unwrap());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_copy_of_a_living_launcher_stays_and_that_of_a_dead_one_goes() {
        let (root, copy) = copy();
        let folder = copy.parent().unwrap();
        remove_left_over(root.path());
        assert!(copy.exists(), "one that is about to start");
        let mut living = OwnCopy::hold_folder(folder.to_owned()).unwrap();
        remove_left_over(root.path());
        assert!(copy.exists(), "one that runs");
        drop(living.lock.take());
        remove_left_over(root.path());
        assert!(!folder.exists(), "one that was killed");
    }

    #[test]
    fn nothing_but_copies_is_removed() {
        let root = tempfile::tempdir().unwrap();
        for name in ["launcher-x", "launcher-", "other", "00000000-0000-0000-0000-000000000005"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join(names::LAUNCHER_LOCK), "").unwrap();
        }
        remove_left_over(root.path());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_launcher_on_the_drive_must_leave_it_and_one_on_an_internal_disk_may_stay() {
        let executable = own_executable().unwrap();
        assert!(is_needed(executable.parent().unwrap()).unwrap());
        assert!(!is_needed(Path::new("/nowhere")).unwrap());
        assert_eq!(origin().unwrap(), executable);
    }
}
