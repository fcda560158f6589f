//! Watches the drive while a guest runs: says when it is gone, and when the very same drive is back.
//!
//! It has its own thread, because touching a dying USB device can block for many seconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use super::base::Base;
use super::supervision::Input;
use crate::drive::manifest::Disk;
use crate::drive::{self, Drive, Identity, names};
use crate::host;

/// How often the drive is looked at. No platform tells reliably that a *folder's* volume is dead (a FUSE daemon that
/// was killed stays in the mount table), so the question has to be asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What makes a drive the very same: its identity, and the generations of its bases when the session began.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The drive's identity.
    pub identity: Uuid,
    /// The session that it must tell of; another one means that it was used elsewhere meanwhile.
    pub session: Uuid,
    /// Its folder below its volume; empty if it is the volume's root.
    pub folder: PathBuf,
    /// Per disk with a base: the disk as the manifest had it, and the base's generation.
    pub generations: Vec<(Disk, String)>,
}

impl Sought {
    /// Whether the drive at `root` is the sought one and unchanged; else one clause that says why not.
    ///
    /// # Errors
    /// The clause.
    pub fn found_at(&self, root: &Path) -> Result<(), String> {
        let drive = Drive::open(root).map_err(|error| error.to_string())?;
        match Identity::peek(&drive) {
            Ok(Some(identity)) if identity == self.identity => {}
            Ok(_) => return Err("it is another drive".into()),
            Err(error) => return Err(error.to_string()),
        }
        match drive.read_session() {
            Ok(Some(record)) if record.id == self.session => {}
            Ok(_) => return Err("it was used on another PC meanwhile".into()),
            Err(error) => return Err(error.to_string()),
        }
        for (disk, generation) in &self.generations {
            let now = Base::generation(&drive, disk).map_err(|error| error.to_string())?;
            if now.map(|id| id.to_string()).as_ref() != Some(generation) {
                return Err("its disks were changed meanwhile".into());
            }
        }
        Ok(())
    }
}

/// A running watch; dropping it ends the thread.
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    room: Arc<AtomicU64>,
}

/// Stands for "unknown" in [`Watch::room`].
const NO_DRIVE: u64 = u64::MAX;

impl Watch {
    /// Starts to watch the drive at `root`; what is seen goes to `inputs`.
    pub fn start(root: PathBuf, sought: Sought, inputs: Sender<Input>) -> Watch {
        let (stop, stopped) = mpsc::channel::<()>();
        let room = Arc::new(AtomicU64::new(NO_DRIVE));
        let seen_room = room.clone();
        let thread = std::thread::spawn(move || {
            let mut place = Some(root);
            let mut told = String::new();
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let said = match &place {
                    Some(root) if host::whole::is_there(&root.join(names::MANIFEST)) => {
                        seen_room.store(host::volume::free(root).unwrap_or(NO_DRIVE), Ordering::Relaxed);
                        continue;
                    }
                    Some(_) => {
                        seen_room.store(NO_DRIVE, Ordering::Relaxed);
                        place = None;
                        told.clear();
                        Some(Input::DriveGone)
                    }
                    None => match look_for(&sought) {
                        Ok(Some(root)) => {
                            place = Some(root.clone());
                            Some(Input::DriveBack(root))
                        }
                        Ok(None) => None,
                        Err(why) if why == told => None,
                        Err(why) => {
                            told.clone_from(&why);
                            Some(Input::DriveChanged(why))
                        }
                    },
                };
                if let Some(input) = said
                    && inputs.send(input).is_err()
                {
                    return;
                }
            }
        });
        Watch { stop: Some(stop), thread: Some(thread), room }
    }

    /// Free bytes on the drive when it was last looked at; none while it is gone.
    pub fn drive_room(&self) -> Option<u64> {
        Some(self.room.load(Ordering::Relaxed)).filter(|room| *room != NO_DRIVE)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.take();
        // A thread that hangs on a dead device is left alone: it holds nothing, and ends with the process.
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// The sought drive among what is attached; an error tells of one that is nearly it.
fn look_for(sought: &Sought) -> Result<Option<PathBuf>, String> {
    let mut nearly = None;
    for root in places(sought) {
        let identity = Drive::open(&root).and_then(|drive| Identity::peek(&drive));
        if !matches!(identity, Ok(Some(identity)) if identity == sought.identity) {
            continue;
        }
        match sought.found_at(&root) {
            Ok(()) => return Ok(Some(root)),
            Err(why) => {
                nearly = Some(format!(
                    "The drive at {} can't be used: {why}. The guest stays paused",
                    root.display()
                ))
            }
        }
    }
    nearly.map_or(Ok(None), Err)
}

/// Where the drive may be now: any attached drive, and the same folder below any volume.
fn places(sought: &Sought) -> Vec<PathBuf> {
    let mut places = drive::attached();
    if sought.folder != Path::new("") {
        places.extend(host::volume::mount_points().into_iter().map(|point| point.join(&sought.folder)));
    }
    places
}
