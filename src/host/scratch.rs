//! Scratch: the private folders on this PC's internal disk that hold overlays and paging disk while a session runs.
//!
//! A scratch root holds one folder per session, named by its id. Everything in it belongs to this user alone.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::volume::{Attachment, Volume};
use super::{env, file, private};
use crate::drive::names;
use crate::{Error, Kind, Result};

/// Largest `session.json` in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// The folder of all scratch of this user on this PC. It need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
    volume: Volume,
}

impl Root {
    /// Chooses the scratch root for sessions of the drive at `drive`, without making anything.
    ///
    /// `wish` is the folder the user named on the command line; after it comes [`env::SCRATCH`]. Else the user's
    /// cache folder is taken or, where that is not fit, the PC's folder for large temporary files.
    ///
    /// # Errors
    /// [`Kind::Refused`]: no folder is fit; each is named with the reason.
    pub fn choose(drive: &Path, wish: Option<&Path>) -> Result<Root> {
        let wish = wish.map(Path::to_owned).or_else(|| env::path(env::SCRATCH));
        let candidates = match wish {
            Some(wish) => vec![wish],
            None => private::scratch_candidates(),
        };
        let mut reasons = Vec::new();
        for path in candidates {
            match Root::judge(&path, drive) {
                Ok(root) => return Ok(root),
                Err(reason) => reasons.push(format!("{reason}: {}", path.display())),
            }
        }
        let reasons = if reasons.is_empty() { "there is none".to_owned() } else { reasons.join("; ") };
        Err(Error::new(Kind::Refused, format!("no folder on this PC is fit for scratch, {reasons}"))
            .safe("nothing was changed")
            .hint(format!("name a folder on an internal disk with the variable {}", env::SCRATCH)))
    }

    /// Whether `path` is fit, or the reason why not.
    fn judge(path: &Path, drive: &Path) -> Result<Root, String> {
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        let existing = path.ancestors().find(|path| path.exists()).ok_or("no such disk")?;
        let real = file::canonical(existing).map_err(|error| error.to_string())?;
        if real.starts_with(drive) {
            return Err("it lies on the drive".to_owned());
        }
        let volume = Volume::of(&real).map_err(|error| error.to_string())?;
        let reason = match volume.attachment {
            Attachment::Removable => "it lies on a removable disk",
            Attachment::Network => "it lies on a network share",
            Attachment::Memory => "it lies in memory",
            _ if volume.read_only => "nothing can be written there",
            _ if volume.file_system.max_file().is_some() => "its file system has no files above 4 GiB",
            Attachment::Internal | Attachment::Unknown => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                let path = if rest.as_os_str().is_empty() { real } else { real.join(rest) };
                return Ok(Root { path, volume });
            }
        };
        Err(reason.to_owned())
    }

    /// Where it is: absolute; without links as far as it exists.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The volume it lies on, as it was when the root was chosen.
    #[must_use]
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Makes the folder, for this user alone, and checks that it is so.
    ///
    /// # Errors
    /// [`Kind::Refused`]: it can't be made, or belongs to somebody else.
    pub fn prepare(&self) -> Result<()> {
        let refuse = |error: io::Error| {
            Error::new(Kind::Refused, "cannot make the scratch folder")
                .safe("nothing was changed")
                .hint(format!("name another folder with the variable {}", env::SCRATCH))
                .because(error)
        };
        if let Some(parent) = self.path.parent() {
            fs_err::create_dir_all(parent).map_err(refuse)?;
        }
        private::prepare_folder(&self.path).map_err(refuse)
    }

    /// Removes the folder if nothing is left in it, so that this PC is as before. One that the user named stays.
    pub fn remove_if_empty(&self) {
        if private::scratch_candidates().contains(&self.path) {
            // Something in it (another session) is the usual reason to fail, and a good one.
            drop(fs_err::remove_dir(&self.path));
        }
    }

    /// Makes the folder of a new session.
    ///
    /// # Errors
    /// [`Kind::Refused`]: as [`Root::prepare`], or the session has a folder already.
    pub fn create(&self, id: Uuid) -> Result<Session> {
        self.prepare()?;
        let path = self.path.join(id.to_string());
        private::create_folder(&path).map_err(|error| {
            Error::new(Kind::Refused, "cannot make the session's scratch folder").because(error)
        })?;
        Ok(Session { id, path })
    }

    /// The sessions whose folders are here, left behind or running.
    ///
    /// # Errors
    /// The root exists and can't be read.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let entries = match fs_err::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut sessions = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Some(session) = Session::open(&path) {
                sessions.push(session);
            }
        }
        sessions.sort_by_key(|session| session.id);
        Ok(sessions)
    }
}

/// The scratch folder of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    id: Uuid,
    path: PathBuf,
}

impl Session {
    /// The session's folder at `path`, if it is one: named by an id, a folder and no link, and this user's own.
    ///
    /// A path from a drive's record is hostile. Whoever follows one compares [`Session::id`] with the record, so
    /// that no folder but a session's can be read or wiped.
    #[must_use]
    pub fn open(path: &Path) -> Option<Session> {
        let id = Uuid::try_parse(path.file_name()?.to_str()?).ok()?;
        let is_ours = path.is_absolute() && private::is_own_folder(path).unwrap_or(false);
        (is_ours && path.ends_with(id.to_string())).then(|| Session { id, path: path.to_owned() })
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Its folder: absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the overlay of `disk` is, in whatever format; or would be, if there is none.
    #[must_use]
    pub fn overlay(&self, disk: &str) -> PathBuf {
        let places =
            names::OVERLAY_EXTENSIONS.map(|extension| self.path.join(names::overlay(disk, extension)));
        let [first, ..] = &places;
        places.iter().find(|place| place.exists()).unwrap_or(first).clone()
    }

    /// Bytes that a file of the session takes on the disk; 0 if it is not there.
    #[must_use]
    pub fn allocated(&self, file_name: &str) -> u64 {
        file::allocated(&self.path.join(file_name)).unwrap_or(0)
    }

    /// Reads `session.json`; none if there is none.
    ///
    /// # Errors
    /// [`Kind::Unexpected`]: it can't be read or makes no sense.
    pub fn read_record<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let path = self.path.join(names::SCRATCH_SESSION);
        match fs_err::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_RECORD => {
                return Err(Error::new(
                    Kind::Unexpected,
                    format!("not a session's record: {}", path.display()),
                ));
            }
            Ok(_) => {}
        }
        let bytes = fs_err::read(&path)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::new(
                Kind::Unexpected,
                format!("the session's record makes no sense, {error}: {}", path.display()),
            )
            .safe("the overlays in the same folder are not affected")
        })
    }

    /// Writes `session.json`, as a whole.
    ///
    /// # Errors
    /// [`Kind::Unexpected`]: it can't be written; the old one is still there.
    pub fn write_record<T: Serialize>(&self, record: &T) -> Result<()> {
        let path = self.path.join(names::SCRATCH_SESSION);
        let text = serde_json::to_vec_pretty(record).map_err(|error| {
            Error::new(Kind::Unexpected, "cannot write the session's record").because(error)
        })?;
        Ok(file::overwrite_atomically(&path, &text)?)
    }

    /// Removes the folder and all that is in it. `session.json` goes last, so that a wipe that was interrupted is
    /// found again. Goes on after a failure; can be called again.
    ///
    /// # Errors
    /// [`Kind::Unexpected`]: something could not be removed; the text names it.
    pub fn wipe(&self) -> Result<()> {
        let mut left = Vec::new();
        match fs_err::read_dir(&self.path) {
            Ok(entries) => {
                let record = self.path.join(names::SCRATCH_SESSION);
                for entry in entries.filter_map(io::Result::ok).filter(|entry| entry.path() != record) {
                    remove(&entry.path(), &mut left);
                }
                if left.is_empty() {
                    remove(&self.path, &mut left);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => left.push(error.to_string()),
        }
        match left.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(Error::new(
                Kind::Unexpected,
                format!(
                    "{} of the session's files could not be removed from this PC, first {first}",
                    left.len()
                ),
            )
            .hint(format!("remove this folder yourself: {}", self.path.display()))),
        }
    }
}

/// Removes `path` with all that is in it and follows no link; what fails is added to `left`.
fn remove(path: &Path, left: &mut Vec<String>) {
    let result = match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let before = left.len();
            match fs_err::read_dir(path) {
                Ok(entries) => {
                    entries.filter_map(io::Result::ok).for_each(|entry| remove(&entry.path(), left))
                }
                Err(error) => left.push(error.to_string()),
            }
            // A folder that still has something in it is not one more failure.
            if left.len() > before { Ok(()) } else { fs_err::remove_dir(path) }
        }
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => left.push(error.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scratch root on the disk of the working folder; `/tmp` may be in memory.
    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let root = Root::judge(&folder.path().join("scratch root"), Path::new("/nowhere")).unwrap();
        (folder, root)
    }

    #[test]
    fn choosing_makes_nothing_and_creating_makes_a_private_folder() {
        let (_folder, root) = root();
        assert!(!root.path().exists());
        assert_eq!(root.sessions().unwrap(), []);
        let session = root.create(Uuid::from_u128(5)).unwrap();
        assert!(session.path().is_dir());
        assert_eq!(root.sessions().unwrap(), std::slice::from_ref(&session));
        assert_eq!(Session::open(session.path()), Some(session));
        assert!(root.create(Uuid::from_u128(5)).is_err(), "the same session twice");
    }

    #[test]
    fn scratch_is_never_on_the_drive() {
        let (folder, _) = root();
        let drive = file::canonical(folder.path()).unwrap();
        assert_eq!(Root::judge(&drive.join("scratch"), &drive), Err("it lies on the drive".to_owned()));
        let error = Root::choose(&drive, Some(&drive.join("a/b"))).unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
        assert!(
            error.what.starts_with("no folder on this PC is fit for scratch, it lies on the drive: "),
            "{error}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn scratch_is_never_in_memory() {
        let judged = Root::judge(Path::new("/dev/shm/x"), Path::new("/nowhere"));
        assert_eq!(judged, Err("it lies in memory".to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_onto_the_drive_is_still_on_the_drive() {
        let (folder, _) = root();
        let drive = folder.path().canonicalize().unwrap().join("drive");
        std::fs::create_dir(&drive).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&drive, &link).unwrap();
        assert_eq!(Root::judge(&link.join("scratch"), &drive), Err("it lies on the drive".to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_look_into_scratch() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (folder, root) = root();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::create_dir(root.path()).unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let session = root.create(Uuid::from_u128(5)).unwrap();
        assert_eq!((mode(root.path()), mode(session.path())), (0o700, 0o700));
        let link = Root { path: folder.path().join("link"), ..root };
        symlink(folder.path(), &link.path).unwrap();
        assert!(link.prepare().is_err(), "a link in the place of the scratch root");
    }

    #[test]
    fn only_a_session_folder_can_be_opened() {
        let (folder, root) = root();
        assert_eq!(Session::open(folder.path()), None);
        assert_eq!(Session::open(&root.path().join(Uuid::from_u128(1).to_string())), None);
        assert_eq!(Session::open(Path::new("/")), None);
        // Another spelling of an id is not the name that was made.
        let braced = folder.path().join("{00000000-0000-0000-0000-000000000005}");
        std::fs::create_dir(&braced).unwrap();
        assert_eq!(Session::open(&braced), None);
    }

    #[test]
    fn the_record_of_a_session_is_read_back() {
        let (_folder, root) = root();
        let session = root.create(Uuid::from_u128(5)).unwrap();
        assert_eq!(session.read_record::<Vec<u32>>().unwrap(), None);
        session.write_record(&vec![1, 2]).unwrap();
        assert_eq!(session.read_record::<Vec<u32>>().unwrap(), Some(vec![1, 2]));
        std::fs::write(session.path().join(names::SCRATCH_SESSION), "{").unwrap();
        assert!(session.read_record::<Vec<u32>>().is_err());
    }

    #[test]
    fn a_wipe_leaves_nothing_and_can_be_repeated() {
        let (folder, root) = root();
        let session = root.create(Uuid::from_u128(5)).unwrap();
        session.write_record(&1).unwrap();
        std::fs::write(session.overlay("user"), "x").unwrap();
        std::fs::create_dir_all(session.path().join("a/b")).unwrap();
        std::fs::write(session.path().join("a/b/c"), "x").unwrap();
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, session.path().join("link")).unwrap();
        session.wipe().unwrap();
        assert!(!session.path().exists());
        assert!(outside.exists());
        session.wipe().unwrap();
        assert_eq!(root.sessions().unwrap(), []);
    }
}
