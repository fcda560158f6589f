//! The life of a base in real files, without any other program: what must work on every system.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::storage::{Access, FileStorage};
use pocketvm_disk::{
    CommitFile, CreateOptions, Error, GenerationId, MergeDisk, check, create, history, merge, recover, redo,
    stamp, undo,
};

const SIZE: u64 = 4 << 20;

/// What a guest reads from the base, while others may have it open.
fn content(base: &Path) -> Vec<u8> {
    let image = Image::open(FileStorage::open(base, Access::Read).unwrap(), Role::Base).unwrap();
    let mut bytes = vec![0; SIZE as usize];
    image.read(&mut TableCache::default(), 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_base_is_merged_into_undone_and_redone_in_a_folder_with_an_odd_name() {
    let folder = tempfile::Builder::new().prefix("Müllers drive, 100 % ").tempdir().unwrap();
    let drive = folder.path().join("drive");
    std::fs::create_dir(&drive).unwrap();
    let (base, overlay) = (drive.join("base.qcow2"), folder.path().join("overlay.qcow2"));
    let old = CreateOptions { content: &[(0, b"old"), (1 << 20, b"kept")], ..CreateOptions::new(SIZE) };
    create(&base, &old).unwrap();
    CommitFile::create(&drive.join("commit")).unwrap();
    let commit = CommitFile::open(&drive.join("commit"), &drive).unwrap();
    let first = stamp(&commit, &["base.qcow2"]).unwrap()[0];
    let before = content(&base);
    // What an overlay holds is merged whatever its backing file's name; one made here can't have content and a name.
    let new = [(0, &b"new"[..]), (3 << 20, &[7; 100_000][..])];
    create(&overlay, &CreateOptions { content: &new, ..CreateOptions::new(SIZE) }).unwrap();

    let disk = MergeDisk {
        name: "user".into(),
        base: "base.qcow2".into(),
        overlay,
        expected: first,
        next: GenerationId::random(),
    };
    // Somebody looks at the base meanwhile, and another launcher wants to merge as well.
    let reader = FileStorage::open(&base, Access::Read).unwrap();
    assert!(matches!(CommitFile::open(&drive.join("commit"), &drive), Err(Error::Busy { .. })));
    merge(&commit, &[disk], &()).unwrap();
    drop(reader);

    let mut expected = before.clone();
    expected[..3].copy_from_slice(b"new");
    expected[3 << 20..][..100_000].fill(7);
    assert!(content(&base) == expected);
    undo(&commit).unwrap();
    assert!(content(&base) == before);
    redo(&commit).unwrap();
    assert!(content(&base) == expected);
    assert_eq!(history(&commit).unwrap().len(), 1);
    drop(commit);
    recover(&CommitFile::open(&drive.join("commit"), &drive).unwrap()).unwrap();
    assert!(content(&base) == expected);
    let report = check(&base).unwrap();
    assert_eq!((report.error_count, report.leaks), (0, 0), "{report:?}");
}
