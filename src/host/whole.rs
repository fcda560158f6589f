//! Whole files and whole volumes: bounded reading, copying that writes over nothing, what is durable, what is there.

use std::fs::Metadata;
use std::io::{self, Read};
use std::path::Path;

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// It can't be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, most)?).map_err(|_| invalid("not UTF-8 text", path))
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// It can't be read, or is larger.
pub fn read_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(invalid(&format!("larger than {most} bytes"), path));
    }
    Ok(bytes)
}

fn invalid(what: &str, path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {}", path.display()))
}

/// The digest of a file's content.
///
/// # Errors
/// It can't be read.
pub fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs_err::File::open(path)?)?;
    Ok(hasher.finalize())
}

/// Copies a file to a place where nothing is yet, durably. A copy that fails is removed.
///
/// # Errors
/// Something is there, or there is no room.
pub fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs_err::File::open(from)?;
    let mut target = fs_err::File::create_new(to)?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    copied.inspect_err(|_| drop(fs_err::remove_file(to)))
}

/// Lets this user start a program, and nobody else change it.
///
/// # Errors
/// The file's mode can't be changed.
pub fn make_executable(path: &Path) -> io::Result<()> {
    super::private::make_executable(path)
}

/// Everything written to the volume of `folder` so far is on its device.
///
/// # Errors
/// The device failed, or is gone.
#[cfg(all(unix, not(target_os = "macos")))]
pub fn flush_volume(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs_err::File::open(folder)?)?)
}

/// Everything written to the volumes of this PC so far is on their devices, or on the way there: macOS has no call for
/// one volume. What must be durable was flushed file by file before.
///
/// # Errors
/// The folder is gone.
#[cfg(target_os = "macos")]
pub fn flush_volume(folder: &Path) -> io::Result<()> {
    fs_err::metadata(folder)?;
    rustix::fs::sync();
    Ok(())
}

/// The folder is still there. Flushing a whole volume needs an administrator on Windows; what must be durable was flushed
/// file by file before.
///
/// # Errors
/// The folder is gone.
#[cfg(windows)]
pub fn flush_volume(folder: &Path) -> io::Result<()> {
    fs_err::metadata(folder).map(drop)
}

/// Whether `file` can still be read, and the device it lies on is still attached. May block on a dying device.
pub fn is_there(file: &Path) -> bool {
    // Opening asks a FUSE driver that may have died; the read alone could come from the cache.
    let read = fs_err::File::open(file).and_then(|mut file| {
        file.read_exact(&mut [0])?;
        file.metadata()
    });
    read.is_ok_and(|metadata| device_is_there(&metadata))
}

/// A pulled device leaves the kernel's list of devices at once, while its cached files can be read for long.
#[cfg(target_os = "linux")]
fn device_is_there(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    // Major number 0 is for file systems without a device of their own.
    major == 0 || Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists()
}

/// Other systems unmount a pulled device, so its files can't be opened.
#[cfg(not(target_os = "linux"))]
fn device_is_there(_metadata: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "0123").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "0123");
        assert!(read_text(&path, 3).unwrap_err().to_string().contains("larger than 3 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, 4).unwrap_err().to_string().contains("not UTF-8"));
    }

    #[test]
    fn a_copy_writes_over_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "new").unwrap();
        copy_new(&from, &to).unwrap();
        std::fs::write(&from, "newer").unwrap();
        assert_eq!(copy_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "new");
    }

    #[test]
    fn a_file_is_there_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(is_there(&path));
        flush_volume(folder.path()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!is_there(&path));
    }
}
