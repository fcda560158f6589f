//! Who a drive is: an id that stays with it whatever its letter, mount point or PC, and does not survive copying.
//!
//! An image copied to fifty sticks makes fifty drives, and each must get an id of its own: machines with one UUID
//! and one Ethernet address in one network disturb each other, and a session left on one must not be taken for one
//! of another. So the id lies on the drive together with the marks of the volume it was made on. Marks are
//! compared kind by kind, and only kinds that both sides know: another system or port may know others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Drive, state};
use crate::Result;
use crate::host::file;
use crate::host::volume::Volume;

/// Version of the record's form.
const VERSION: u32 = 1;

/// Most marks that are remembered: a few for each system that the drive has met.
const MAX_MARKS: usize = 32;

/// Who a drive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The drive's id.
    pub id: Uuid,
    /// Where the id comes from.
    pub origin: Origin,
}

/// Where an id comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The drive had it already.
    Known,
    /// The drive is used for the first time.
    Created,
    /// The drive is a copy of another one and got an id of its own.
    Cloned {
        /// The id of the drive it was copied from, or had before its files were moved.
        was: Uuid,
    },
}

/// The content of `state/identity`.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    id: Uuid,
    made: Timestamp,
    marks: Marks,
}

type Marks = BTreeMap<String, String>;

impl Identity {
    /// The identity of a drive, made or made anew where needed. Writes only when something changed.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be read or written.
    pub fn ensure(drive: &Drive) -> Result<Identity> {
        drive.prepare_state()?;
        let found = marks_of(drive)?;
        let known = drive.read_record::<Content>(&state::IDENTITY)?;
        let (identity, marks) = decide(known.as_ref(), found);
        let is_new = identity.origin != Origin::Known;
        if is_new || known.as_ref().is_some_and(|known| known.marks != marks) {
            let made = known.filter(|_| !is_new).map_or_else(Timestamp::now, |known| known.made);
            drive.write_record(
                &state::IDENTITY,
                &Content { version: VERSION, id: identity.id, made, marks },
            )?;
        }
        Ok(identity)
    }

    /// The id as the drive has it, without changing anything; none if it is not prepared or is a copy.
    ///
    /// # Errors
    /// [`Kind::Drive`](crate::Kind::Drive): the drive can't be read.
    pub fn peek(drive: &Drive) -> Result<Option<Uuid>> {
        let Some(known) = drive.read_record::<Content>(&state::IDENTITY)? else { return Ok(None) };
        let (identity, _) = decide(Some(&known), marks_of(drive)?);
        Ok((identity.origin == Origin::Known).then_some(identity.id))
    }
}

/// Who the drive is, and the marks to remember.
fn decide(known: Option<&Content>, found: Marks) -> (Identity, Marks) {
    let Some(known) = known else {
        return (Identity { id: Uuid::new_v4(), origin: Origin::Created }, found);
    };
    let is_same = |(kind, value): (&String, &String)| found.get(kind).is_none_or(|other| other == value);
    if known.version != VERSION || !known.marks.iter().all(is_same) {
        return (Identity { id: Uuid::new_v4(), origin: Origin::Cloned { was: known.id } }, found);
    }
    let mut marks = known.marks.clone();
    // What this system knows besides is learned, so that the next comparison has more to go by.
    for (kind, value) in found {
        if marks.len() < MAX_MARKS {
            marks.entry(kind).or_insert(value);
        }
    }
    (Identity { id: known.id, origin: Origin::Known }, marks)
}

/// What tells this drive from its copies, on this system.
fn marks_of(drive: &Drive) -> Result<Marks> {
    let volume = Volume::of(drive.root())?;
    let mut marks: Marks = volume.marks.iter().cloned().collect();
    if volume.file_system.has_stable_file_numbers() {
        let path = drive.state_path(state::IDENTITY.name)?;
        // Each system has its own idea of these on a foreign file system.
        let kind = |what: &str| format!("{}-{what}-{}", std::env::consts::OS, volume.file_system.name());
        if let Some(number) = file::number(&path)? {
            marks.insert(kind("file-number"), number.to_string());
        }
        // Copied to a new file system of the same layout, a file can get the same number again.
        if let Some(made) = file::made(&path)? {
            marks.insert(kind("file-made"), made.to_string());
        }
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::tests::new_drive;

    fn marks(of: &[(&str, &str)]) -> Marks {
        of.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect()
    }

    fn content(of: &[(&str, &str)]) -> Content {
        Content { version: VERSION, id: Uuid::from_u128(1), made: Timestamp::UNIX_EPOCH, marks: marks(of) }
    }

    #[test]
    fn a_drive_keeps_the_id_it_got_at_its_first_use() {
        let (_folder, drive) = new_drive();
        assert_eq!(Identity::peek(&drive).unwrap(), None);
        let first = Identity::ensure(&drive).unwrap();
        assert_eq!(first.origin, Origin::Created);
        let second = Identity::ensure(&drive).unwrap();
        assert_eq!(second, Identity { id: first.id, origin: Origin::Known });
        assert_eq!(Identity::peek(&drive).unwrap(), Some(first.id));
    }

    #[test]
    fn another_mount_point_or_system_changes_nothing() {
        // No kind in common, or the common ones equal.
        let known = content(&[("file-system-id", "AB12-34CD"), ("linux-device-serial", "1")]);
        for found in [
            &[][..],
            &[("macos-volume-id", "x")],
            &[("file-system-id", "AB12-34CD"), ("windows-serial", "y")],
        ] {
            let (identity, learned) = decide(Some(&known), marks(found));
            assert_eq!(identity, Identity { id: known.id, origin: Origin::Known });
            assert_eq!(learned["linux-device-serial"], "1");
            assert!(found.iter().all(|(kind, value)| learned[*kind] == *value), "new kinds are learned");
        }
    }

    #[test]
    fn the_same_file_system_on_another_stick_is_a_clone() {
        let known = content(&[("file-system-id", "AB12-34CD"), ("linux-device-serial", "1")]);
        let found = marks(&[("file-system-id", "AB12-34CD"), ("linux-device-serial", "2")]);
        let (identity, learned) = decide(Some(&known), found.clone());
        assert_eq!(identity.origin, Origin::Cloned { was: known.id });
        assert_ne!(identity.id, known.id);
        assert_eq!(learned, found, "nothing of the other volume is remembered");
    }

    #[test]
    fn a_copied_folder_is_another_drive_where_the_file_system_numbers_its_files() {
        let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        let original = Identity::ensure(&crate::drive::tests::drive_in(&one)).unwrap();
        std::fs::create_dir_all(other.join("state")).unwrap();
        for name in ["pocketvm.yaml", "state/identity", "state/session"] {
            std::fs::copy(one.join(name), other.join(name)).unwrap();
        }
        let copy = Drive::open(&other).unwrap();
        let identity = Identity::ensure(&copy).unwrap();
        if Volume::of(&other).unwrap().file_system.has_stable_file_numbers() {
            assert_eq!(identity.origin, Origin::Cloned { was: original.id });
            assert_ne!(identity.id, original.id);
            assert_eq!(Identity::ensure(&copy).unwrap(), Identity { id: identity.id, origin: Origin::Known });
        } else {
            assert_eq!(identity.id, original.id, "on the same volume nothing tells the two apart");
        }
        // A drive that is only moved stays itself.
        let moved = place.path().join("moved");
        std::fs::rename(&one, &moved).unwrap();
        let again = Identity::ensure(&Drive::open(&moved).unwrap()).unwrap();
        assert_eq!(again, Identity { id: original.id, origin: Origin::Known });
    }

    #[test]
    fn a_hostile_record_does_not_grow_without_end() {
        let many: Vec<(String, String)> = (0..MAX_MARKS).map(|i| (format!("k{i}"), String::new())).collect();
        let mut known = content(&[]);
        known.marks = many.into_iter().collect();
        let (_, learned) = decide(Some(&known), marks(&[("new", "x")]));
        assert_eq!(learned.len(), MAX_MARKS);
    }
}
