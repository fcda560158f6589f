//! Files where the standard library leaves a difference between systems.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A path as text that is the same for all ways to write it on this system.
#[must_use]
pub fn comparable(path: &Path) -> String {
    let path: PathBuf = path.components().collect();
    let text = path.to_string_lossy().into_owned();
    if cfg!(windows) { text.to_lowercase() } else { text }
}

/// Replaces a file on the PC as a whole: readers see the old content or the new one, also after a power cut.
/// Not for the drive: a rename on FAT and exFAT is not power-safe.
///
/// # Errors
/// The folder can't be written; the old file is untouched.
pub fn overwrite_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    persist(file, path)?;
    flush_folder(folder)
}

#[cfg(unix)]
fn persist(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Virus scanners open a new file for a moment, and nobody tells when they are done: a few tries, then give up.
#[cfg(windows)]
fn persist(mut file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    let mut pause = std::time::Duration::from_millis(10);
    loop {
        match file.persist(path) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.error.kind() == io::ErrorKind::PermissionDenied && pause.as_millis() < 1000 =>
            {
                file = error.file;
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(error) => return Err(error.error),
        }
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder can't be opened, or the device fails.
#[cfg(unix)]
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    match fs_err::File::open(folder)?.sync_all() {
        // Some FUSE drivers have no such call; nothing more can be done there.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

/// Makes the names in a folder durable. Windows offers no such call; its file systems flush names with the file.
///
/// # Errors
/// None on this system.
#[cfg(windows)]
pub fn flush_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The absolute path without links, in a form that other programs understand.
///
/// # Errors
/// The path does not exist.
#[cfg(unix)]
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    fs_err::canonicalize(path)
}

/// The absolute path without links, in a form that other programs understand: `C:\x`, not `\\?\C:\x`, which
/// many of them refuse.
///
/// Long paths too, or a file deep in a folder would not start with the folder's path; the standard library opens both.
///
/// # Errors
/// The path does not exist.
#[cfg(windows)]
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    let path = fs_err::canonicalize(path)?;
    Ok(super::windows::plain(&path).unwrap_or(path))
}

/// Bytes that a file takes on its disk: for a sparse file fewer than its length.
///
/// # Errors
/// The file does not exist.
#[cfg(unix)]
pub fn allocated(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    // In units of 512 bytes whatever the file system's block size (stat(3type)).
    Ok(fs_err::metadata(path)?.blocks().saturating_mul(512))
}

/// Bytes that a file takes on its disk: for a sparse file fewer than its length.
///
/// # Errors
/// The file does not exist.
#[cfg(windows)]
pub fn allocated(path: &Path) -> io::Result<u64> {
    super::windows::allocated(path)
}

/// The number by which the file system knows a file, where there is such.
///
/// # Errors
/// The file does not exist.
#[cfg(unix)]
pub fn number(path: &Path) -> io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt;
    Ok(Some(fs_err::metadata(path)?.ino()))
}

/// The number by which the file system knows a file, where there is such.
///
/// # Errors
/// The file does not exist.
#[cfg(windows)]
pub fn number(path: &Path) -> io::Result<Option<u64>> {
    super::windows::file_number(path)
}

/// When a file was made, in nanoseconds since 1970, where the file system knows.
///
/// # Errors
/// The file does not exist.
pub fn made(path: &Path) -> io::Result<Option<u128>> {
    let made = fs_err::metadata(path)?.created().ok();
    Ok(made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok()).map(|age| age.as_nanos()))
}

/// Whether another program uses a disk image at this moment, be it for reading: QEMU locks bytes of each image that it
/// has open, that below an overlay included (`block/file-posix.c`). On a file system without locks nobody can tell.
///
/// # Errors
/// The file can't be opened for writing.
#[cfg(target_os = "linux")]
pub fn is_image_in_use(path: &Path) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    let file = fs_err::OpenOptions::new().read(true).write(true).open(path)?;
    // The closing gives the lock back.
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::INVAL | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether another program uses a disk image at this moment. On Windows whoever does keeps the image from being opened,
/// which the engine finds; elsewhere QEMU's locks can't be seen.
///
/// # Errors
/// None on this system.
#[cfg(not(target_os = "linux"))]
pub fn is_image_in_use(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session.json");
        overwrite_atomically(&path, b"first, longer").unwrap();
        overwrite_atomically(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "x").unwrap();
        assert!(overwrite_atomically(&path, b"new").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(path.join("inside").exists());
    }

    #[test]
    fn what_was_written_takes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        assert!(allocated(&path).unwrap() >= 1 << 20);
        assert!(allocated(&folder.path().join("nothing")).is_err());
    }

    // On Windows only a file that was marked as sparse has holes.
    #[cfg(unix)]
    #[test]
    fn a_hole_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(allocated(&path).unwrap() < 1 << 20);
    }

    #[test]
    fn a_path_without_links_is_one_that_other_programs_understand() {
        let folder = tempfile::Builder::new().prefix("Müllers drive ").tempdir().unwrap();
        let root = canonical(folder.path()).unwrap();
        assert!(root.is_absolute() && !root.display().to_string().starts_with(r"\\?\"), "{}", root.display());
        let inside = folder.path().join("x");
        std::fs::create_dir(&inside).unwrap();
        assert_eq!(canonical(&inside).unwrap(), root.join("x"));
        assert!(canonical(&folder.path().join("nothing")).is_err());
    }

    #[test]
    fn a_copy_has_another_number_than_its_original() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("1"), folder.path().join("2"));
        std::fs::write(&one, "x").unwrap();
        std::fs::copy(&one, &other).unwrap();
        assert_eq!(number(&one).unwrap(), number(&one).unwrap());
        assert_ne!(number(&one).unwrap(), number(&other).unwrap());
    }

    #[test]
    fn a_file_that_is_changed_was_made_when_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let before = made(&path).unwrap();
        std::fs::write(&path, "changed").unwrap();
        assert_eq!(made(&path).unwrap(), before);
    }
}
