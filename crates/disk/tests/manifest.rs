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
