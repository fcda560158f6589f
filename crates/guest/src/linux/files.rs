//! The files of an installed Linux: its root and, if it has one, its `/boot`, as one tree.
//!
//! Links are followed here and not by the library, which would read as much as an inode says that a link's text is long.

use std::io::{self, Read};
use std::rc::Rc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType};

use super::superblock::{self, State};
use crate::{Disk, Error, Result};

/// Links that are followed for one path; the kernel's number.
const LINKS_AT_MOST: usize = 40;
/// Bytes of a path; the kernel's PATH_MAX.
const PATH_AT_MOST: usize = 4096;
/// Bytes of a folder. One of 100,000 names has about 4 MiB.
const FOLDER_AT_MOST: u64 = 32 << 20;
/// Names of a folder that are listed.
const NAMES_AT_MOST: usize = 20_000;

/// A partition for the library.
struct Reader(Rc<dyn Disk>);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_at(start_byte, dst)?)
    }
}

/// One file system.
struct Volume {
    ext4: Ext4,
    state: State,
}

impl Volume {
    /// `None` if that is no ext2, ext3 or ext4.
    fn open(disk: &Rc<dyn Disk>) -> Result<Option<Self>> {
        let Some(state) = superblock::state(disk)? else { return Ok(None) };
        let ext4 = Ext4::load(Box::new(Reader(disk.clone()))).map_err(error)?;
        Ok(Some(Volume { ext4, state }))
    }
}

/// The files of an installed Linux, only read.
pub struct Files {
    root: Option<Volume>,
    boot: Option<Volume>,
}

/// An open file.
pub(crate) struct Opened {
    file: ext4_view::File,
}

impl Opened {
    pub(crate) fn size(&self) -> u64 {
        self.file.metadata().len()
    }
}

impl Read for Opened {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_bytes(buf).map_err(|found| match error(found) {
            Error::Disk(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        })
    }
}

impl Files {
    /// Opens the root's partition and that of `/boot`. A root that is no ext2, ext3 or ext4 is left out, and so is such a `/boot`;
    /// `None` if none is left.
    ///
    /// # Errors
    /// A disk fails, or a file system is damaged or has a feature that is not read.
    pub fn open(root: Option<Rc<dyn Disk>>, boot: Option<Rc<dyn Disk>>) -> Result<Option<Self>> {
        let open = |disk: Option<Rc<dyn Disk>>| disk.map_or(Ok(None), |disk| Volume::open(&disk));
        let (root, boot) = (open(root)?, open(boot)?);
        Ok((root.is_some() || boot.is_some()).then_some(Files { root, boot }))
    }

    /// How the root was left, and `/boot` if that is on its own.
    #[must_use]
    pub fn state(&self) -> State {
        let both = [&self.root, &self.boot];
        let mut state = State { clean: true, journal: false, errors: false };
        for volume in both.into_iter().flatten() {
            state.clean &= volume.state.clean;
            state.journal |= volume.state.journal;
            state.errors |= volume.state.errors;
        }
        state
    }

    /// Whether what was opened as the root is one, not what should be mounted somewhere in one.
    ///
    /// # Errors
    /// The disk fails, or the file system is damaged.
    pub fn is_root(&self) -> Result<bool> {
        for path in ["/etc/os-release", "/usr/lib/os-release", "/etc/fstab"] {
            if self.exists(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The root can be read, not only `/boot`.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// `/boot` is a file system of its own.
    #[must_use]
    pub fn has_boot(&self) -> bool {
        self.boot.is_some()
    }

    /// The file system that has `path`, which is resolved, and the path there.
    fn volume<'p>(&self, path: &'p str) -> Option<(&Ext4, &'p str)> {
        if let Some(boot) = &self.boot
            && let Some(below) = path.strip_prefix("/boot")
            && (below.is_empty() || below.starts_with('/'))
        {
            return Some((&boot.ext4, if below.is_empty() { "/" } else { below }));
        }
        Some((&self.root.as_ref()?.ext4, path))
    }

    /// What is at `path`, which is resolved but for its last part; `None` if there is nothing.
    fn look(&self, path: &str) -> Result<Option<(FileType, u64)>> {
        let Some((ext4, path)) = self.volume(path) else { return Ok(None) };
        match ext4.symlink_metadata(path) {
            Ok(found) => Ok(Some((found.file_type(), found.len()))),
            Err(found) if absent(&found) => Ok(None),
            Err(found) => Err(error(found)),
        }
    }

    /// `path`, which is absolute, with all links followed, and what is there; `None` if nothing is.
    pub(crate) fn resolve(&self, path: &str) -> Result<Option<(String, FileType)>> {
        let mut left: Vec<String> = parts(path);
        let mut done = String::new();
        let (mut links, mut kind) = (0, FileType::Directory);
        while let Some(part) = left.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or(0));
                    kind = FileType::Directory;
                    continue;
                }
                _ => {}
            }
            if kind != FileType::Directory {
                return Ok(None);
            }
            let next = format!("{done}/{part}");
            if next.len() > PATH_AT_MOST {
                return Ok(None);
            }
            // The library looks through the folder for the name.
            let folder = if done.is_empty() { "/" } else { &done };
            if self.look(folder)?.is_some_and(|(_, size)| size > FOLDER_AT_MOST) {
                return Err(Error::TooLarge(format!("a folder of the guest ({folder})")));
            }
            let Some((found, size)) = self.look(&next)? else { return Ok(None) };
            kind = found;
            if kind != FileType::Symlink {
                done = next;
                continue;
            }
            links += 1;
            if links > LINKS_AT_MOST || size > PATH_AT_MOST as u64 {
                return Ok(None);
            }
            let Some((ext4, inside)) = self.volume(&next) else { return Ok(None) };
            let target = ext4.read_link(inside).map_err(error)?;
            let Ok(target) = std::str::from_utf8(target.as_ref()) else { return Ok(None) };
            if target.starts_with('/') {
                done.clear();
            }
            kind = FileType::Directory;
            left.extend(parts(target));
            if left.iter().map(String::len).sum::<usize>() > 4 * PATH_AT_MOST {
                return Ok(None);
            }
        }
        Ok(Some((if done.is_empty() { "/".to_owned() } else { done }, kind)))
    }

    /// Whether something is at `path`, all links followed.
    pub(crate) fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.resolve(path)?.is_some())
    }

    /// Opens the file at `path`; `None` if there is none.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Opened>> {
        let Some((path, FileType::Regular)) = self.resolve(path)? else { return Ok(None) };
        let Some((ext4, path)) = self.volume(&path) else { return Ok(None) };
        Ok(Some(Opened { file: ext4.open(path).map_err(error)? }))
    }

    /// The content of the file at `path`, an absolute path in the guest; `None` if there is no such file.
    ///
    /// # Errors
    /// It has more than `at_most` bytes, the disk fails, or the file system is damaged there.
    pub fn read(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        if file.size() > at_most {
            return Err(Error::TooLarge(format!("a file of the guest ({path})")));
        }
        let mut content = Vec::new();
        file.take(at_most).read_to_end(&mut content).map_err(read_error)?;
        Ok(Some(content))
    }

    /// The content of a text; empty if there is no such file, if it is larger than `at_most` or can't be read.
    pub(crate) fn text(&self, path: &str, at_most: u64) -> Result<String> {
        match self.read(path, at_most) {
            Ok(content) => Ok(String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()),
            Err(Error::TooLarge(_)) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// The names in the folder at `path`, sorted; none if there is no such folder.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>> {
        let Some((path, FileType::Directory)) = self.resolve(path)? else { return Ok(Vec::new()) };
        if self.look(&path)?.is_some_and(|(_, size)| size > FOLDER_AT_MOST) {
            return Err(Error::TooLarge(format!("a folder of the guest ({path})")));
        }
        let Some((ext4, inside)) = self.volume(&path) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in ext4.read_dir(inside).map_err(error)?.take(NAMES_AT_MOST) {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            if let Ok(name) = std::str::from_utf8(name.as_ref())
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// The parts of a path, the first last.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).rev().map(str::to_owned).collect()
}

/// There is no such file, and a path that can't be one is none.
fn absent(error: &Ext4Error) -> bool {
    use Ext4Error::{
        IsADirectory, IsASpecialFile, MalformedPath, NotADirectory, NotFound, PathTooLong, TooManySymlinks,
    };
    matches!(
        error,
        NotFound
            | NotADirectory
            | IsADirectory
            | IsASpecialFile
            | MalformedPath
            | PathTooLong
            | TooManySymlinks
    )
}

fn error(error: Ext4Error) -> Error {
    match error {
        Ext4Error::Io(error) => match error.downcast::<io::Error>() {
            // The file system names a place that is not on the disk.
            Ok(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Error::Damaged("the file system goes on behind the disk's end".into())
            }
            Ok(error) => Error::Disk(*error),
            Err(error) => Error::Disk(io::Error::other(error)),
        },
        Ext4Error::Incompatible(error) => {
            Error::Unsupported(format!("the guest's ext4 is not read: {error}"))
        }
        Ext4Error::Encrypted => Error::Unsupported("a folder of the guest's ext4 is encrypted".into()),
        error => Error::Damaged(format!("the guest's file system: {error}")),
    }
}

/// What [`Opened::read`] made of an error, back again.
pub(crate) fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::Damaged(error.to_string()),
        io::ErrorKind::FileTooLarge => Error::TooLarge(error.to_string()),
        _ => Error::Disk(error),
    }
}
