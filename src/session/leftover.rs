//! What an earlier session left behind, here or on another PC, and what may be done about it.

use jiff::Timestamp;
use pocketvm_disk::CommitFile;
use serde::Serialize;
use uuid::Uuid;

use super::adapt;
use super::base::Base;
use super::event::{Answer, Question, Subject};
use super::folder::Folder;
use crate::drive::{Drive, Phase, SessionRecord, names};
use crate::host::{facts, scratch};
use crate::hypervisor::{self, Ending};
use crate::{Error, Kind, Result};

/// What was left behind: at most one session of each kind; settle one, and look again.
pub struct Leftover {
    /// A session whose folder is on this PC.
    pub here: Option<Here>,
    /// A session that the drive tells of, with changes that lie elsewhere.
    pub away: Option<Away>,
}

/// A session whose changes are at stake and can't be reached from here.
pub struct Away {
    /// As the drive recorded it.
    pub record: SessionRecord,
    /// Its folder, if it is on this PC all the same: the session of a drive that this one was copied from.
    pub session: Option<scratch::Session>,
    place: Place,
}

/// Where the changes of a session are that is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this PC, but not in the scratch folder that was looked into.
    Lost,
    /// On another PC.
    OtherPc,
    /// They belong to the drive that this one was copied from.
    Original,
}

/// What is known of a session that was left behind on this PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// What can become of it.
    pub fate: Fate,
    /// When it began.
    pub started: Timestamp,
    /// Bytes on this PC that are to be kept and not on the drive, per disk.
    pub unsaved: Vec<(String, u64)>,
    /// The guest had shut down by itself.
    pub clean_shutdown: bool,
    /// Its machine still runs, without a launcher.
    pub running: bool,
}

impl LeftBehind {
    /// Bytes on this PC that are to be kept and not on the drive.
    pub fn total(&self) -> u64 {
        self.unsaved.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What can become of a session that was left behind on this PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fate")]
pub enum Fate {
    /// Its changes can be saved to the drive.
    Mergeable,
    /// No change could be lost by cleaning up.
    Settled,
    /// The drive has gone on without it.
    Moved {
        /// Name of the disk that changed.
        disk: String,
    },
    /// A disk can't be read now.
    Unreadable {
        /// Why, and what would help.
        why: String,
    },
}

/// What is known of a session whose changes can't be reached from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Where they are.
    pub place: Place,
    /// Name of the PC that it ran on.
    pub host_name: String,
    /// When it began.
    pub started: Timestamp,
    /// Bytes that were not saved when the PC last told the drive; 0 if it never did.
    pub unsaved: u64,
}

/// A left-over session whose folder is on this PC, locked for us.
pub struct Here {
    /// Its folder.
    pub folder: Folder,
    /// As the PC recorded it.
    pub record: SessionRecord,
    /// How it stands to the drive.
    pub standing: Standing,
    /// Its machine still runs, without a launcher.
    pub running: bool,
}

/// How a left-over session stands to the bases that are on the drive now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The bases are as when the session began: its changes can be merged.
    Mergeable,
    /// Its changes are on the drive already; only the folder is left.
    Landed,
    /// Its end was decided and its folder is being wiped; what is left of it is not to be used.
    Wiping,
    /// A base has gone on: the changes can't be merged any more.
    Moved {
        /// Name of that disk.
        disk: String,
    },
    /// A base can't be read now: nothing can be said about merging.
    Unreadable {
        /// Why, and what would help.
        why: String,
    },
}

/// Looks for what was left behind in `scratch`, the folder of all sessions on this PC.
///
/// # Errors
/// The drive's record or a session's folder can't be read, or another launcher is at work in it.
pub fn find(drive: &Drive, identity: Uuid, scratch: &scratch::Root) -> Result<Leftover> {
    let mut found = Leftover { here: None, away: None };
    let sessions = scratch.sessions()?;
    if let Some(record) = drive.read_session()? {
        found.here = known(drive, identity, &sessions, &record)?;
        if found.here.is_none() && is_at_stake(drive, &record) {
            let place = match () {
                () if record.drive != identity => Place::Original,
                () if record.host_id == facts::host_id() => Place::Lost,
                () => Place::OtherPc,
            };
            let session = sessions.iter().find(|session| session.id() == record.id).cloned();
            found.away = Some(Away { record, session, place });
        }
    }
    if found.here.is_none() {
        found.here = forgotten(drive, identity, sessions)?;
    }
    Ok(found)
}

/// The session that the drive tells of, if its folder is here.
fn known(
    drive: &Drive,
    identity: Uuid,
    sessions: &[scratch::Session],
    record: &SessionRecord,
) -> Result<Option<Here>> {
    let Some(session) = sessions.iter().find(|session| session.id() == record.id && record.drive == identity)
    else {
        return Ok(None);
    };
    let folder = Folder::lock(session.clone())?;
    // The folder's record is replaced as a whole; should it be damaged all the same, or should the launcher have died
    // before it was written, the drive's says enough.
    let own = folder.read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the folder's record can't be read");
        None
    });
    let mut own = own.unwrap_or_else(|| record.clone());
    if record.phase == Phase::Wiping {
        own.phase = Phase::Wiping;
    }
    here(drive, folder, own).map(Some)
}

/// A session of this drive that the drive does not tell of any more: it was given up, or the drive went on without it.
fn forgotten(drive: &Drive, identity: Uuid, sessions: Vec<scratch::Session>) -> Result<Option<Here>> {
    for session in sessions {
        // A record that can't be read may be another drive's; it stands in nobody's way here.
        let own = session.read_record::<SessionRecord>().ok().flatten();
        if let Some(own) = own.filter(|own| own.drive == identity) {
            return here(drive, Folder::lock(session)?, own).map(Some);
        }
    }
    Ok(None)
}

fn here(drive: &Drive, folder: Folder, mut record: SessionRecord) -> Result<Here> {
    // Nothing ran, so nothing can be lost, whatever was recorded beforehand.
    if record.phase == Phase::Running && !hypervisor::was_started(folder.path())? {
        record.phase = Phase::Preparing;
    }
    let mut elsewhere = None;
    if matches!(record.phase, Phase::Running | Phase::Stopped) {
        // A hypervisor that can't be asked leaves it at what is known: not clean.
        match hypervisor::ending(folder.path()) {
            // A guest may have shut down after its launcher died.
            Ok(Some(Ending::PoweredOff)) if record.phase == Phase::Running => {
                record.clean_shutdown = !adapt::may_sleep(drive, &folder);
            }
            Ok(Some(Ending::WrittenElsewhere { detail })) => elsewhere = Some(detail),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "how the guest ended can't be found out"),
        }
    }
    let standing = match standing(drive, &record) {
        Standing::Landed => Standing::Landed,
        _ if record.phase == Phase::Wiping => Standing::Wiping,
        standing => match elsewhere {
            Some(why) => Standing::Unreadable { why },
            None => standing,
        },
    };
    let running = hypervisor::runs(folder.path())?;
    Ok(Here { folder, record, standing, running })
}

/// Whether a session that is not on this PC can hold changes that the drive lacks.
pub fn is_at_stake(drive: &Drive, record: &SessionRecord) -> bool {
    match record.phase {
        Phase::Preparing | Phase::Wiping => false,
        Phase::Running | Phase::Stopped | Phase::Merging => {
            record.disks.iter().any(|disk| disk.keep) && standing(drive, record) != Standing::Landed
        }
    }
}

fn standing(drive: &Drive, record: &SessionRecord) -> Standing {
    match standing_to_bases(drive, record) {
        Standing::Mergeable | Standing::Moved { .. } if is_in_history(drive, record) => Standing::Landed,
        standing => standing,
    }
}

/// Whether the changes were saved once, whatever became of the disks since: they were undone, so that the base is again
/// what the session began with, or a later session was saved on top.
fn is_in_history(drive: &Drive, record: &SessionRecord) -> bool {
    let steps = drive.state_path(names::COMMIT).ok().and_then(|path| CommitFile::peek_history(&path).ok());
    let mut kept = record.disks.iter().filter(|disk| disk.keep).peekable();
    kept.peek().is_some()
        && steps.unwrap_or_default().iter().any(|step| {
            let made: Vec<String> =
                step.disks.iter().filter_map(|disk| disk.to).map(|id| id.to_string()).collect();
            kept.clone().all(|disk| made.contains(&disk.next))
        })
}

fn standing_to_bases(drive: &Drive, record: &SessionRecord) -> Standing {
    let mut landed = 0;
    let mut kept = 0;
    for disk in record.disks.iter().filter(|disk| disk.keep) {
        kept += 1;
        let Some(described) = drive.manifest().disk(&disk.name) else {
            let why =
                format!("the manifest has no disk {} any more; put it back into pocketvm.yaml", disk.name);
            return Standing::Unreadable { why };
        };
        let now = match Base::generation(drive, described) {
            Ok(generation) => generation.map(|id| id.to_string()),
            Err(error) => return Standing::Unreadable { why: error.to_string() },
        };
        match now {
            Some(now) if now == disk.next => landed += 1,
            Some(now) if now == disk.generation && landed == 0 => {}
            _ => return Standing::Moved { disk: disk.name.clone() },
        }
    }
    match landed {
        0 => Standing::Mergeable,
        landed if landed == kept => Standing::Landed,
        // The engine lets all disks of a session change together, so a part means that somebody copied files.
        _ => Standing::Moved { disk: kept_names(record) },
    }
}

/// Names of the disks that are to be kept.
fn kept_names(record: &SessionRecord) -> String {
    let kept = record.disks.iter().filter(|disk| disk.keep);
    kept.map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Here {
    /// Bytes on this PC that are to be kept and not on the drive, per disk.
    fn unsaved_disks(&self) -> Vec<(String, u64)> {
        let kept = self.record.disks.iter().filter(|disk| disk.keep);
        kept.map(|disk| (disk.name.clone(), self.folder.unsaved(&disk.name))).collect()
    }

    /// What is known of it.
    pub fn describe(&self) -> LeftBehind {
        let fate = match &self.standing {
            _ if self.is_settled() => Fate::Settled,
            Standing::Moved { disk } => Fate::Moved { disk: disk.clone() },
            Standing::Unreadable { why } => Fate::Unreadable { why: why.clone() },
            Standing::Mergeable | Standing::Landed | Standing::Wiping => Fate::Mergeable,
        };
        LeftBehind {
            fate,
            started: self.record.started,
            unsaved: self.unsaved_disks(),
            clean_shutdown: self.record.clean_shutdown,
            running: self.running,
        }
    }

    /// What it is, in a sentence or two.
    pub fn explanation(&self) -> String {
        let when = since(&self.record);
        let size = indicatif::HumanBytes(self.unsaved_disks().iter().map(|(_, bytes)| bytes).sum());
        if self.running {
            return format!(
                "The machine of the session of {when} still runs on this PC although its launcher is gone; {size} of changes \
                 are not on the drive"
            );
        }
        match &self.standing {
            Standing::Unreadable { why } => {
                format!(
                    "A session of {when} left {size} of changes on this PC that can't be merged now: {why}"
                )
            }
            Standing::Wiping => {
                format!("The session of {when} has ended; only its temporary files on this PC are left")
            }
            Standing::Landed => format!(
                "The session of {when} is saved on the drive; only its temporary files on this PC are left"
            ),
            Standing::Moved { disk } => format!(
                "A session of {when} left {size} of changes on this PC that can't be merged any more: the drive's disk \
                 {disk} has changed since"
            ),
            Standing::Mergeable if self.record.phase == Phase::Preparing => {
                format!("A session of {when} ended before the machine started; it left only temporary files")
            }
            Standing::Mergeable => {
                let how = if self.record.clean_shutdown {
                    "The machine had shut down cleanly"
                } else {
                    "The machine had not shut down cleanly, as after a power cut"
                };
                format!(
                    "A session of {when} left {size} of changes on this PC that are not on the drive. {how}"
                )
            }
        }
    }

    /// Whether there is nothing to decide: no change could be lost by cleaning up.
    pub fn is_settled(&self) -> bool {
        match self.standing {
            _ if self.running => false,
            Standing::Landed | Standing::Wiping => true,
            Standing::Mergeable => {
                self.record.phase == Phase::Preparing || !self.record.disks.iter().any(|disk| disk.keep)
            }
            Standing::Moved { .. } | Standing::Unreadable { .. } => false,
        }
    }

    /// The question about it.
    pub fn question(&self) -> Question {
        let answers = match self.standing {
            Standing::Moved { .. } | Standing::Unreadable { .. } => vec![Answer::Later, Answer::Discard],
            Standing::Mergeable | Standing::Landed | Standing::Wiping => {
                vec![Answer::Merge, Answer::Later, Answer::Discard]
            }
        };
        Question { subject: Subject::Leftover(self.describe()), text: self.explanation(), answers }
    }

    /// The error when nobody decides.
    pub fn undecided(&self) -> Error {
        let error =
            Error::new(Kind::Leftover, self.explanation()).safe("the drive and the changes are intact");
        match self.standing {
            _ if self.running => error.hint("shut it down and save its changes with: pocketvm recover --merge"),
            Standing::Unreadable { .. } => error.hint(
                "mend that and try again; or keep the changes as files with: pocketvm recover --save-as DIR",
            ),
            Standing::Moved { .. } => error.hint(
                "keep the changes as files with: pocketvm recover --save-as DIR, or throw them away with: pocketvm discard",
            ),
            _ => error.hint("save them with: pocketvm recover --merge, or throw them away with: pocketvm discard"),
        }
    }
}

impl Away {
    /// What is known of it.
    pub fn describe(&self) -> Elsewhere {
        Elsewhere {
            place: self.place,
            host_name: self.record.host_name.clone(),
            started: self.record.started,
            unsaved: self.record.disks.iter().filter(|disk| disk.keep).map(|disk| disk.unsaved).sum(),
        }
    }

    /// What is known of it, what is safe, and what to do.
    pub fn error(&self) -> Error {
        let Away { record, place, .. } = self;
        let (host, when) = (&record.host_name, since(record));
        let (what, hint) = match place {
            Place::OtherPc => (
                format!("the PC {host} holds changes since {when} that are not on this drive"),
                format!("plug the drive into {host} and save them there"),
            ),
            Place::Lost => (
                format!(
                    "a session of {when} on this PC was not saved, and its folder is not where it should be"
                ),
                "point to that folder with --scratch".to_owned(),
            ),
            Place::Original => (
                format!("this drive is a copy of one whose session of {when} on {host} was not saved"),
                "save it with the original drive; if that is lost, copy it with: pocketvm recover --save-as DIR".to_owned(),
            ),
        };
        // The folder of all sessions is what --scratch wants. The text is the drive's: shown, never followed.
        let folder = record.scratch.rsplit_once(['/', '\\']).map_or("", |(folder, _)| folder);
        Error::new(Kind::Leftover, format!("{what}: {folder}"))
            .safe("the drive is intact, as of the session before")
            .hint(format!("{hint}; to go on without those changes for good: pocketvm run --abandon-session"))
    }

    /// The error when changes here are to be merged although these are not saved yet: one would shut the other out.
    pub fn shuts_out(&self) -> Error {
        let host = &self.record.host_name;
        Error::new(
            Kind::Leftover,
            format!("the drive was used on {host} since, and that session is not saved yet"),
        )
        .safe("both sessions' changes are intact, each on its PC")
        .hint(format!(
            "save that one first on {host}; or keep this one as files with: pocketvm recover --save-as DIR"
        ))
    }
}

/// When a session began, for people.
fn since(record: &SessionRecord) -> String {
    record.started.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use pocketvm_disk::{CreateOptions, GenerationId, MergeDisk, create, merge, stamp, undo};

    use super::*;
    use crate::drive::DiskRecord;

    const FILE: &str = "disks/user/base.qcow2";

    /// A drive with one disk, and a session that was made from its state.
    struct Bench {
        folder: tempfile::TempDir,
        drive: Drive,
        record: SessionRecord,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("drive");
            fs_err::create_dir_all(root.join("disks/user")).unwrap();
            let manifest = format!(
                "schema: 1\nmachine: {{name: Work}}\ndisks: [{{name: user, file: {FILE}, keep: true}}]\n"
            );
            fs_err::write(root.join(names::MANIFEST), manifest).unwrap();
            create(&root.join(FILE), &CreateOptions::new(1 << 20)).unwrap();
            let drive = Drive::open(&root).unwrap();
            drive.prepare_state().unwrap();
            let now = Timestamp::now();
            let mut record = SessionRecord {
                id: Uuid::new_v4(),
                drive: Uuid::new_v4(),
                host_id: "pc".into(),
                host_name: "pc".into(),
                started: now,
                updated: now,
                phase: Phase::Merging,
                scratch: String::new(),
                disks: vec![],
                clean_shutdown: true,
            };
            let bench = Bench { folder, drive, record: record.clone() };
            let generation = stamp(&bench.commit(), &[FILE]).unwrap()[0].to_string();
            let next = GenerationId::random().to_string();
            record.disks = vec![DiskRecord {
                name: "user".into(),
                keep: true,
                generation,
                next,
                unsaved: 0,
                chip: false,
            }];
            Bench { record, ..bench }
        }

        fn commit(&self) -> CommitFile {
            let path = self.drive.state_path(names::COMMIT).unwrap();
            CommitFile::open(&path, self.drive.root()).unwrap().keeping(2)
        }

        fn merge(&self, expected: &str, next: &str) {
            let overlay = self.folder.path().join(next);
            let options = CreateOptions { content: &[(0, next.as_bytes())], ..CreateOptions::new(1 << 20) };
            create(&overlay, &options).unwrap();
            let (expected, next) = (expected.parse().unwrap(), next.parse().unwrap());
            let disk = MergeDisk { name: "user".into(), base: FILE.into(), overlay, expected, next };
            merge(&self.commit(), &[disk], &()).unwrap();
        }

        fn standing(&self) -> Standing {
            standing(&self.drive, &self.record)
        }
    }

    #[test]
    fn changes_that_were_saved_and_then_undone_do_not_wait_to_be_saved_again() {
        let bench = Bench::new();
        let disk = &bench.record.disks[0];
        assert_eq!(bench.standing(), Standing::Mergeable);
        bench.merge(&disk.generation, &disk.next);
        assert_eq!(bench.standing(), Standing::Landed);
        undo(&bench.commit()).unwrap();
        assert_eq!(bench.standing(), Standing::Landed);
        assert!(!is_at_stake(&bench.drive, &bench.record));
        // Another session is saved instead: what was undone is gone from the history, and nobody knows any more.
        bench.merge(&disk.generation, &GenerationId::random().to_string());
        assert_eq!(bench.standing(), Standing::Moved { disk: "user".into() });
    }

    #[test]
    fn changes_that_were_saved_stay_saved_when_a_later_session_is() {
        let bench = Bench::new();
        let disk = &bench.record.disks[0];
        bench.merge(&disk.generation, &disk.next);
        bench.merge(&disk.next, &GenerationId::random().to_string());
        assert_eq!(bench.standing(), Standing::Landed);
    }
}
