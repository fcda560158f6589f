//! The record of a session on the drive: what any PC must know about changes that are not merged yet.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::manifest::MAX_DISKS;
use super::{Drive, state};
use crate::Result;

/// Version of the record's form.
const VERSION: u32 = 1;

/// A session that is under way, or was left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session.
    pub id: Uuid,
    /// The drive it started from; another one means that this record was copied along with the drive.
    pub drive: Uuid,
    /// The PC it runs on, see [`Facts::id`](crate::host::facts::Facts).
    pub host_id: String,
    /// The PC's name, for people.
    pub host_name: String,
    /// When it began.
    pub started: Timestamp,
    /// When this record was written.
    pub updated: Timestamp,
    /// How far it got.
    pub phase: Phase,
    /// Its scratch folder on that PC. Hostile: see [`Session::open`](crate::host::scratch::Session).
    pub scratch: String,
    /// Its disks, in the manifest's order.
    pub disks: Vec<DiskRecord>,
    /// The guest powered itself off.
    pub clean_shutdown: bool,
}

/// One disk of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// Its name in the manifest.
    pub name: String,
    /// The changes are to be merged.
    pub keep: bool,
    /// The generation of the base that the overlay was made from.
    pub generation: String,
    /// The generation that the merge makes.
    pub next: String,
    /// Bytes that the overlay held when the record was written.
    pub unsaved: u64,
    /// It is the memory of a chip that the machine had: there is a file of it in the session's folder.
    #[serde(default)]
    pub chip: bool,
}

/// How far a session got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Scratch is being made; there are no changes yet.
    Preparing,
    /// The guest runs, or ran when the launcher died.
    Running,
    /// The guest ended; nothing is merged yet.
    Stopped,
    /// The merge began.
    Merging,
    /// What was to be kept is merged; scratch is being removed.
    Wiping,
}

/// What remains of a session that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSession {
    /// The session.
    pub id: Uuid,
    /// The PC it ran on.
    pub host_name: String,
    /// When it ended.
    pub ended: Timestamp,
    /// Bytes that it merged into the drive's disks.
    pub saved: u64,
}

/// The content of `state/session`.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    session: Option<SessionRecord>,
    last: Option<LastSession>,
}

impl Drive {
    /// The session that is under way or was left behind; none if the drive is clean.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be read, or the record makes no sense.
    pub fn read_session(&self) -> Result<Option<SessionRecord>> {
        Ok(self.read_content()?.and_then(|content| content.session))
    }

    /// The last session that ended well, where it is remembered.
    ///
    /// # Errors
    /// As [`Drive::read_session`].
    pub fn read_last_session(&self) -> Result<Option<LastSession>> {
        Ok(self.read_content()?.and_then(|content| content.last))
    }

    /// Records a session; durable when this returns.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be written; the record before is still there.
    pub fn write_session(&self, session: &SessionRecord) -> Result<()> {
        let last = self.read_last_session().unwrap_or_default();
        self.write_record(
            &state::SESSION,
            &Content { version: VERSION, session: Some(session.clone()), last },
        )
    }

    /// Records that the drive is clean; durable when this returns. Without `last`, the summary before stays.
    ///
    /// # Errors
    /// As [`Drive::write_session`].
    pub fn write_clean(&self, last: Option<&LastSession>) -> Result<()> {
        let last = match last {
            Some(last) => Some(last.clone()),
            None => self.read_last_session().unwrap_or_default(),
        };
        self.write_record(&state::SESSION, &Content { version: VERSION, session: None, last })
    }

    fn read_content(&self) -> Result<Option<Content>> {
        let Some(content) = self.read_record::<Content>(&state::SESSION)? else { return Ok(None) };
        match content.mistake() {
            None => Ok(Some(content)),
            Some(why) => Err(state::damaged(&state::SESSION, &why, &self.state_path(state::SESSION.name)?)),
        }
    }
}

impl Content {
    /// What a record that this program wrote can't have. It may come from a found stick.
    fn mistake(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("it has version {}", self.version));
        }
        let is_name =
            |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
        let is_path = |text: &str| !text.is_empty() && text.len() <= 4096 && !text.contains('\0');
        if let Some(last) = &self.last
            && !is_name(&last.host_name)
        {
            return Some("the name of the last PC is not a name".to_owned());
        }
        let session = self.session.as_ref()?;
        if !is_name(&session.host_name) || !is_name(&session.host_id) {
            return Some("the name of the PC is not a name".to_owned());
        }
        if !is_path(&session.scratch) {
            return Some("the scratch folder is not a path".to_owned());
        }
        if session.disks.len() > MAX_DISKS {
            return Some("it has too many disks".to_owned());
        }
        let is_generation =
            |text: &str| text.len() <= 64 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        for (index, disk) in session.disks.iter().enumerate() {
            if super::manifest::DiskName::parse(&disk.name).is_err() {
                return Some(format!("disk {index} has no valid name"));
            }
            if session.disks[..index].iter().any(|other| other.name == disk.name) {
                return Some(format!("the disk `{}` is there twice", disk.name));
            }
            if !is_generation(&disk.generation) || !is_generation(&disk.next) {
                return Some(format!("the disk `{}` has no valid generation", disk.name));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::drive::tests::new_drive;

    fn record() -> SessionRecord {
        SessionRecord {
            id: Uuid::from_u128(7),
            drive: Uuid::from_u128(8),
            host_id: "0123abcd".to_owned(),
            host_name: "office".to_owned(),
            started: "2026-11-22T10:00:00Z".parse().unwrap(),
            updated: "2026-11-22T10:05:00Z".parse().unwrap(),
            phase: Phase::Running,
            scratch: "/home/me/.cache/pocketvm/7".to_owned(),
            disks: vec![DiskRecord {
                name: "user".to_owned(),
                keep: true,
                generation: "0a".repeat(16),
                next: "0b".repeat(16),
                unsaved: 1 << 40,
                chip: false,
            }],
            clean_shutdown: false,
        }
    }

    #[test]
    fn a_drive_that_was_never_used_is_clean() {
        let (_folder, drive) = new_drive();
        assert_eq!(drive.read_session().unwrap(), None);
        assert_eq!(drive.read_last_session().unwrap(), None);
    }

    #[test]
    fn a_session_is_read_back_until_it_ended() {
        let (_folder, drive) = new_drive();
        drive.write_session(&record()).unwrap();
        assert_eq!(drive.read_session().unwrap(), Some(record()));
        let last = LastSession {
            id: record().id,
            host_name: "office".to_owned(),
            ended: "2026-11-22T11:00:00Z".parse().unwrap(),
            saved: 5,
        };
        drive.write_clean(Some(&last)).unwrap();
        assert_eq!(drive.read_session().unwrap(), None);
        assert_eq!(drive.read_last_session().unwrap(), Some(last.clone()));
        drive.write_session(&record()).unwrap();
        assert_eq!(
            drive.read_last_session().unwrap(),
            Some(last),
            "a new session keeps the summary of the last"
        );
    }

    #[test]
    fn a_record_that_makes_no_sense_is_an_error_and_never_a_clean_drive() {
        type Change = fn(&mut SessionRecord);
        let changes: [Change; 7] = [
            |r| r.host_name = String::new(),
            |r| r.host_name = "a\u{1b}[2J".to_owned(),
            |r| r.scratch = "x".repeat(5000),
            |r| r.disks = vec![r.disks[0].clone(); 2],
            |r| r.disks[0].name = "../x".to_owned(),
            |r| r.disks[0].generation = "not hex".to_owned(),
            |r| r.disks[0].next = "0".repeat(65),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let (_folder, drive) = new_drive();
            let mut bad = record();
            change(&mut bad);
            drive.write_session(&bad).unwrap();
            assert_eq!(drive.read_session().unwrap_err().kind, Kind::Drive, "change {index}");
        }
    }

    #[test]
    fn a_record_of_a_newer_program_is_not_guessed_at() {
        let (_folder, drive) = new_drive();
        drive.write_record(&state::SESSION, &Content { version: 2, session: None, last: None }).unwrap();
        assert!(drive.read_session().unwrap_err().what.contains("version 2"));
    }
}
