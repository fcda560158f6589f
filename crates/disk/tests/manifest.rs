//! The hash manifest: same content is skipped, and nothing stale is ever believed.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Drive, assert_clean, io, qemu, text};
use pocketvm_disk::{Amounts, GenerationId, undo};

/// A drive with one stamped base of 64 MiB in clusters of 16 KiB.
struct Session {
    drive: Drive,
    base: PathBuf,
    generation: GenerationId,
    count: u32,
}

impl Session {
    fn new() -> Self {
        let drive = Drive::new();
        let base = drive.base("b.qcow2");
        qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k", text(&base), "64M"]);
        let generation = drive.stamp("b.qcow2");
        Session { drive, base, generation, count: 0 }
    }

    /// Begins to merge as [`Session::merge`], and stops.
    fn cancel(&mut self, pattern: u32) {
        self.count += 1;
        let overlay = self.drive.overlay(&self.count.to_string(), &self.base, "");
        io(&overlay, &[format!("write -q -P {pattern} 0 4M")]);
        let disk = self.drive.disk("b.qcow2", &overlay, self.generation);
        let result = pocketvm_disk::merge(&self.drive.commit(), &[disk], &Stop);
        assert!(matches!(result, Err(pocketvm_disk::Error::Cancelled)), "{result:?}");
    }

    /// Writes `pattern` to the first 4 MiB in a session, and merges it.
    fn merge(&mut self, pattern: u32) -> Amounts {
        self.count += 1;
        let overlay = self.drive.overlay(&self.count.to_string(), &self.base, "");
        io(&overlay, &[format!("write -q -P {pattern} 0 4M")]);
        let disk = self.drive.disk("b.qcow2", &overlay, self.generation);
        let merged = self.drive.merge(std::slice::from_ref(&disk));
        self.generation = disk.next;
        assert_clean(&self.base);
        assert_holds(&self.base, pattern);
        merged.disks[0].amounts
    }
}

struct Stop;

impl pocketvm_disk::Progress for Stop {
    fn advance(&self, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        true
    }
}

fn assert_holds(base: &Path, pattern: u32) {
    let report = qemu("qemu-io", &["-r", "-c", &format!("read -P {pattern} 0 4M"), text(base)]);
    assert!(!report.contains("fail"), "{report}");
}

#[test]
fn content_that_the_base_holds_already_is_not_written_again() {
    let mut session = Session::new();
    assert_eq!(session.merge(1).skipped, 0);
    let again = session.merge(1);
    assert_eq!((again.skipped, again.written), (4 << 20, 0));
    assert_eq!(session.merge(2).skipped, 0);
    assert_eq!(session.merge(2).skipped, 4 << 20);
    assert_eq!(session.merge(1).skipped, 0);
}

#[test]
fn a_foreign_write_in_place_voids_the_manifest() {
    let mut session = Session::new();
    session.merge(1);
    // The same clusters, the same tables: only the fence tells.
    io(&session.base, &["write -q -P 9 0 4M".to_owned()]);
    session.generation = session.drive.stamp("b.qcow2");
    assert_eq!(session.merge(1).skipped, 0);
}

#[test]
fn a_foreign_write_into_the_room_of_the_manifest_does_no_harm() {
    let mut session = Session::new();
    session.merge(1);
    // To QEMU the manifest's clusters are free: it uses them for data.
    io(&session.base, &["write -q -P 9 16M 32M".to_owned()]);
    session.generation = session.drive.stamp("b.qcow2");
    assert_eq!(session.merge(1).skipped, 0);
    assert_eq!(session.merge(1).skipped, 4 << 20);
}

#[test]
fn the_manifest_outlives_the_commit_record() {
    let mut session = Session::new();
    session.merge(1);
    let record = session.drive.path("drive/commit");
    std::fs::remove_file(&record).unwrap();
    pocketvm_disk::CommitFile::create(&record).unwrap();
    // Without history, only the base itself says which clusters the manifest has.
    let overlay = session.drive.overlay("other", &session.base, "");
    io(&overlay, &["write -q -P 5 16M 16M".to_owned()]);
    let disk = session.drive.disk("b.qcow2", &overlay, session.generation);
    session.drive.merge(std::slice::from_ref(&disk));
    session.generation = disk.next;
    assert_eq!(session.merge(1).skipped, 4 << 20);
}

#[test]
fn undo_goes_back_to_the_manifest_of_its_generation() {
    let mut session = Session::new();
    session.merge(1);
    let first = session.generation;
    session.merge(2);
    undo(&session.drive.commit()).unwrap();
    session.generation = first;
    assert_holds(&session.base, 1);
    assert_eq!(session.merge(1).skipped, 4 << 20);
    assert_eq!(session.merge(2).skipped, 0);
}

#[test]
fn zeroes_forget_what_was_there() {
    let mut session = Session::new();
    session.merge(1);
    assert_eq!(session.merge(0).freed, 4 << 20);
    assert_eq!(session.merge(1).skipped, 0);
}

/// Writes into the data of the base's first guest cluster as a program does that knows nothing of qcow2.
fn scribble(base: &Path) {
    use std::io::{Seek, SeekFrom, Write};
    let map = qemu("qemu-img", &["map", "--output=json", text(base)]);
    let offset =
        map.split("\"offset\": ").nth(1).unwrap().split([',', '}']).next().unwrap().trim().parse().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(base).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[9; 4096]).unwrap();
}

#[test]
fn a_program_that_ignores_the_format_is_noticed_by_the_time_of_the_file() {
    let mut session = Session::new();
    session.merge(1);
    assert_eq!(session.merge(1).skipped, 4 << 20);
    scribble(&session.base);
    // The fence stands, no table has changed, the length is the same.
    assert_eq!(pocketvm_disk::inspect(&session.base).unwrap().state.generation(), Some(session.generation));
    let result = undo(&session.drive.commit());
    assert!(matches!(result, Err(pocketvm_disk::Error::ForeignWriter { .. })), "{result:?}");
    assert!(pocketvm_disk::history(&session.drive.commit()).unwrap().is_empty());
    // Whoever asks again finds no history either.
    assert!(matches!(undo(&session.drive.commit()), Err(pocketvm_disk::Error::NoHistory(_))));
    // And the next merge believes nothing, though the refusal has been recorded.
    assert_eq!(session.merge(1).skipped, 0);
    assert_eq!(session.merge(1).skipped, 4 << 20);
}

#[test]
fn after_a_program_that_ignores_the_format_no_hash_is_believed() {
    let mut session = Session::new();
    session.merge(1);
    scribble(&session.base);
    // A merge that is cut off does not make the next one trusting.
    session.cancel(1);
    session.cancel(2);
    // `merge` compares the content: a cluster skipped on a stale hash would show.
    assert_eq!(session.merge(1).skipped, 0);
    assert_eq!(session.merge(1).skipped, 4 << 20);
}

#[test]
fn a_copy_that_keeps_times_keeps_what_is_known() {
    let mut session = Session::new();
    session.merge(1);
    let copy = session.drive.path("copy");
    let copied =
        |args: &[&str]| assert!(std::process::Command::new("cp").args(args).status().unwrap().success());
    copied(&["-a", text(&session.base), text(&copy)]);
    std::fs::remove_file(&session.base).unwrap();
    copied(&["-a", text(&copy), text(&session.base)]);
    assert_eq!(session.merge(1).skipped, 4 << 20);
    undo(&session.drive.commit()).unwrap();
}
