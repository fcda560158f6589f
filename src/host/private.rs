//! Folders that only this user can open, and where they may be.

use std::io;
use std::path::{Path, PathBuf};

use crate::drive::names;

/// Where scratch may be, best first.
///
/// The cache folder is never backed up or synchronised to other PCs; the home folder's own disk has room.
#[cfg(unix)]
pub(super) fn scratch_candidates() -> Vec<PathBuf> {
    let cache = directories::BaseDirs::new().map(|dirs| dirs.cache_dir().join(names::SCRATCH_ROOT));
    let user = rustix::process::geteuid().as_raw();
    let large = PathBuf::from(format!("/var/tmp/{}-{user}", names::SCRATCH_ROOT));
    cache.into_iter().chain([large]).collect()
}

/// Where scratch may be: `%LOCALAPPDATA%`, which does not roam to a server.
#[cfg(windows)]
pub(super) fn scratch_candidates() -> Vec<PathBuf> {
    let cache = directories::BaseDirs::new().map(|dirs| dirs.data_local_dir().join(names::SCRATCH_ROOT));
    cache.into_iter().collect()
}

/// Makes a folder for this user alone.
///
/// # Errors
/// It exists, or can't be made.
#[cfg(unix)]
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let result = std::fs::DirBuilder::new().mode(0o700).create(path);
    result.map_err(|error| io::Error::new(error.kind(), format!("{error}: {}", path.display())))
}

/// Makes a folder. In the user's profile it is the user's alone by what it inherits.
///
/// # Errors
/// It exists, or can't be made.
#[cfg(windows)]
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs_err::create_dir(path)
}

/// Makes a folder for this user alone, or makes sure that it is one.
///
/// # Errors
/// As [`create_folder`] and [`ensure_private`], except that it may exist.
pub(super) fn prepare_folder(path: &Path) -> io::Result<()> {
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => ensure_private(path),
        result => result,
    }
}

/// Makes sure that an existing folder is this user's own and closed to others.
///
/// # Errors
/// It is a link or not a folder, or belongs to somebody else: `/var/tmp` is open to everybody, and somebody may
/// have been there first.
#[cfg(unix)]
pub(super) fn ensure_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !is_own_folder(path)? {
        return Err(io::Error::other(format!("it is not a folder of this user: {}", path.display())));
    }
    if fs_err::symlink_metadata(path)?.permissions().mode() & 0o7777 != 0o700 {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    // A file system without modes takes the call and keeps the old ones.
    if fs_err::symlink_metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("it can't be closed to other users: {}", path.display())));
    }
    Ok(())
}

/// Makes sure that an existing folder is one.
///
/// # Errors
/// It is a link or not a folder.
#[cfg(windows)]
pub(super) fn ensure_private(path: &Path) -> io::Result<()> {
    if is_own_folder(path)? {
        return Ok(());
    }
    Err(io::Error::other(format!("it is not a folder: {}", path.display())))
}

/// Whether `path` is a folder, no link, and belongs to this user.
///
/// # Errors
/// It does not exist.
#[cfg(unix)]
pub(super) fn is_own_folder(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs_err::symlink_metadata(path)?;
    Ok(metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw())
}

/// Whether `path` is a folder and no link.
///
/// # Errors
/// It does not exist.
#[cfg(windows)]
pub(super) fn is_own_folder(path: &Path) -> io::Result<bool> {
    Ok(fs_err::symlink_metadata(path)?.is_dir())
}

/// Makes a file executable by this user alone.
///
/// # Errors
/// It does not exist, or belongs to somebody else.
#[cfg(unix)]
pub(super) fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Makes a file executable: here all files are.
///
/// # Errors
/// None on this system.
#[cfg(windows)]
pub(super) fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}
