//! What is refused, and what other programs do to a base: each refusal before the first write.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use common::{Drive, Holder, Impatient, assert_clean, assert_same, io, qemu, text};
use pocketvm_disk::{
    BaseState, CommitFile, CreateOptions, Error, GenerationId, Refusal, check, create, history, inspect,
    merge, recover, redo, stamp, undo,
};

fn image(drive: &Drive, options: &str) -> std::path::PathBuf {
    let base = drive.base("b.qcow2");
    let _ = std::fs::remove_file(&base);
    let mut args = vec!["create", "-q", "-f", "qcow2"];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([text(&base), "16M"]);
    qemu("qemu-img", &args);
    base
}

fn stamped(drive: &Drive) -> (std::path::PathBuf, GenerationId) {
    let base = image(drive, "");
    io(&base, &["write -q -P 1 0 4M".to_owned()]);
    let generation = drive.stamp("b.qcow2");
    (base, generation)
}

/// Changes bytes of a file.
fn poke(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// The base is refused with `why` by `inspect`, by `check` and by `stamp`, and stays as it is.
fn assert_refused(drive: &Drive, why: &Refusal) {
    let base = drive.base("b.qcow2");
    let before = std::fs::read(&base).unwrap();
    let results = [
        inspect(&base).map(|_| ()),
        check(&base).map(|_| ()),
        stamp(&drive.commit(), &["bases/b.qcow2"]).map(|_| ()),
    ];
    for result in results {
        match result {
            Err(Error::Refused { why: found, .. }) => assert_eq!(found, *why),
            other => panic!("{why}: {other:?}"),
        }
    }
    assert!(why.hint().is_some(), "{why} has no hint");
    assert_eq!(std::fs::read(&base).unwrap(), before);
}

#[test]
fn each_unsupported_feature_is_refused_with_its_own_sentence() {
    let drive = Drive::new();
    let base = image(&drive, "");
    poke(&base, 0, b"NOPE");
    assert_refused(&drive, &Refusal::NotQcow2);

    let base = image(&drive, "");
    poke(&base, 4, &1u32.to_be_bytes());
    assert_refused(&drive, &Refusal::Version(1));

    let base = image(&drive, "");
    qemu("qemu-img", &["snapshot", "-c", "one", text(&base)]);
    assert_refused(&drive, &Refusal::Snapshots(1));

    let base = image(&drive, "");
    qemu("qemu-img", &["bitmap", "--add", text(&base), "dirty"]);
    assert_refused(&drive, &Refusal::Bitmaps);

    let data = drive.base("data");
    image(&drive, &format!("data_file={}", text(&data)));
    assert_refused(&drive, &Refusal::ExternalData);

    let base = image(&drive, "");
    poke(&base, 79, &[1]);
    assert_refused(&drive, &Refusal::Dirty);
    poke(&base, 79, &[2]);
    assert_refused(&drive, &Refusal::Corrupt);
    poke(&base, 72, &[0x40]);
    assert_refused(&drive, &Refusal::UnknownFeatures(1 << 62));

    let base = image(&drive, "");
    poke(&base, 32, &2u32.to_be_bytes());
    assert_refused(&drive, &Refusal::Encrypted);

    let base = image(&drive, "compression_type=zstd");
    poke(&base, 104, &[9]);
    assert_refused(&drive, &Refusal::Compression(9));

    let base = image(&drive, "");
    std::fs::OpenOptions::new().write(true).open(&base).unwrap().set_len(192 * 1024).unwrap();
    assert_refused(&drive, &Refusal::Truncated);

    let base = image(&drive, "");
    poke(&base, 100, &128u32.to_be_bytes());
    assert_refused(&drive, &Refusal::UnknownFields);
}

#[test]
fn a_base_with_wrong_refcounts_is_not_stamped() {
    let drive = Drive::new();
    let base = image(&drive, "");
    io(&base, &["write -q -P 1 0 1M".to_owned()]);
    // The first refcount block is the third cluster; cluster 5 is data.
    poke(&base, 0x20000 + 5 * 2, &[0, 0]);
    let report = check(&base).unwrap();
    assert_eq!((report.error_count, report.leaks), (1, 0), "{report:?}");
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(result, Err(Error::Refused { why: Refusal::Inconsistent(1), .. })), "{result:?}");
}

#[test]
fn damaged_header_fields_are_refused_without_large_allocations() {
    let drive = Drive::new();
    for at in [20, 24, 36, 40, 48, 56, 96, 100] {
        let base = image(&drive, "");
        poke(&base, at, &[0xff; 4]);
        assert!(inspect(&base).is_err(), "field at {at}");
    }
}

#[test]
fn a_foreign_write_is_noticed_even_when_it_touches_no_table() {
    let drive = Drive::new();
    let (base, generation) = stamped(&drive);
    let overlay = drive.overlay("o.qcow2", &base, "");
    qemu("qemu-img", &["check", text(&base)]);
    qemu("qemu-io", &["-r", "-c", "read -q 0 64k", text(&base)]);
    assert_eq!(inspect(&base).unwrap().state, BaseState::At { generation });
    io(&base, &["write -q -P 2 0 64k".to_owned()]);
    assert_eq!(inspect(&base).unwrap().state, BaseState::Foreign { last: generation });
    let disk = drive.disk("b.qcow2", &overlay, generation);
    let result = merge(&drive.commit(), std::slice::from_ref(&disk), &());
    assert!(matches!(result, Err(Error::ForeignWriter { last, .. }) if last == generation), "{result:?}");
    let next = drive.stamp("b.qcow2");
    assert_ne!(next, generation);
    assert_eq!(drive.stamp("b.qcow2"), next);
    assert_clean(&base);
}

#[test]
fn an_overlay_of_another_generation_is_refused() {
    let drive = Drive::new();
    let (base, generation) = stamped(&drive);
    let (first, second) = (drive.overlay("1", &base, ""), drive.overlay("2", &base, ""));
    io(&first, &["write -q -P 8 0 1M".to_owned()]);
    io(&second, &["write -q -P 9 0 1M".to_owned()]);
    drive.merge(&[drive.disk("b.qcow2", &first, generation)]);
    let result = merge(&drive.commit(), &[drive.disk("b.qcow2", &second, generation)], &());
    assert!(matches!(result, Err(Error::WrongGeneration { .. })), "{result:?}");
    qemu("qemu-io", &["-r", "-c", "read -P 8 0 1M", text(&base)]);
}

#[test]
fn a_smaller_overlay_is_refused() {
    let drive = Drive::new();
    let (base, generation) = stamped(&drive);
    let overlay = drive.path("small");
    create(&overlay, &CreateOptions { backing: Some((base, "qcow2")), ..CreateOptions::new(8 << 20) })
        .unwrap();
    let result = merge(&drive.commit(), &[drive.disk("b.qcow2", &overlay, generation)], &());
    assert!(matches!(result, Err(Error::Shrinks { .. })), "{result:?}");
}

#[test]
fn a_qemu_writer_keeps_a_merge_out_and_a_reader_does_not() {
    let drive = Drive::new();
    let (base, generation) = stamped(&drive);
    let overlay = drive.overlay("o", &base, "");
    io(&overlay, &["write -q -P 8 0 1M".to_owned()]);
    let disk = drive.disk("b.qcow2", &overlay, generation);
    let writer = Holder::open(&overlay, false);
    let result = merge(&drive.commit(), std::slice::from_ref(&disk), &());
    assert!(matches!(&result, Err(Error::InUse { image }) if image == text(&overlay)), "{result:?}");
    drop(writer);
    let reader = Holder::open(&base, true);
    merge(&drive.commit(), &[disk], &()).unwrap();
    drop(reader);
    let writer = Holder::open(&base, false);
    let result = stamp(&drive.commit(), &["bases/b.qcow2"]);
    assert!(matches!(&result, Err(Error::InUse { image }) if image == text(&base)), "{result:?}");
    drop(writer);
}

#[test]
fn a_qemu_writer_is_kept_out_while_we_hold_the_base() {
    use pocketvm_disk::storage::{Access, FileStorage};
    let drive = Drive::new();
    let base = image(&drive, "");
    let held = FileStorage::open(&base, Access::Write).unwrap();
    let output =
        Command::new("qemu-io").args(["-c", "write 0 512", text(&base)]).output().expect("needs qemu-io");
    assert!(String::from_utf8_lossy(&output.stderr).contains("lock"), "{output:?}");
    assert!(matches!(FileStorage::open(&base, Access::Write), Err(Error::Busy { .. })));
    drop(held);
    io(&base, &["write -q 0 512".to_owned()]);
}

#[test]
fn only_one_program_holds_a_commit_record() {
    let drive = Drive::new();
    let held = drive.commit();
    let second = CommitFile::open(&drive.path("drive/commit"), &drive.path("drive"));
    assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
    drop(held);
    drive.commit();
}

#[test]
fn a_base_outside_of_the_root_is_refused() {
    let drive = Drive::new();
    for path in ["../b.qcow2", "/b.qcow2", "bases/../../b", "C:/b", ""] {
        assert!(matches!(stamp(&drive.commit(), &[path]), Err(Error::BadPath(_))), "{path}");
    }
}

#[test]
fn a_cancelled_merge_leaves_the_old_generation_and_can_be_repeated() {
    let drive = Drive::new();
    let (base, generation) = stamped(&drive);
    let before = drive.path("before");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(&base), text(&before)]);
    let overlay = drive.overlay("o", &base, "cluster_size=4k");
    io(&overlay, &["write -q -P 8 1M 8M".to_owned()]);
    let disk = drive.disk("b.qcow2", &overlay, generation);
    for calls in [1, 2, 20, 100] {
        let result = merge(&drive.commit(), std::slice::from_ref(&disk), &Impatient(calls.into()));
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert_clean(&base);
        assert_same(&base, &before);
    }
    let merged = drive.merge(std::slice::from_ref(&disk));
    assert_eq!(merged.disks[0].amounts.changed, 8 << 20);
    assert_clean(&base);
}

#[test]
fn undo_and_redo_change_all_disks_of_a_merge_together() {
    let drive = Drive::new();
    let (base, first) = stamped(&drive);
    let other = drive.base("user.qcow2");
    std::fs::copy(&base, &other).unwrap();
    // A copy carries the name of the original's generation; that is the drive's concern, not the engine's.
    let overlays = [drive.overlay("o1", &base, ""), drive.overlay("o2", &other, "")];
    for overlay in &overlays {
        io(overlay, &["write -q -P 8 0 1M".to_owned()]);
    }
    let disks = [drive.disk("b.qcow2", &overlays[0], first), drive.disk("user.qcow2", &overlays[1], first)];
    merge(&drive.commit().noting("PC A"), &disks, &()).unwrap();
    let held = drive.commit();
    let step = &CommitFile::peek_history(&drive.path("drive/commit")).unwrap()[0];
    assert_eq!(
        history(&held).unwrap(),
        std::slice::from_ref(step),
        "reading does not need the record for itself"
    );
    drop(held);
    assert_eq!((step.note.as_str(), step.time > 1_700_000_000, step.disks.len()), ("PC A", true, 2));
    let all = |pattern: u32| {
        for image in [&base, &other] {
            let read = format!("read -P {pattern} 0 1M");
            assert!(!qemu("qemu-io", &["-r", "-c", &read, text(image)]).contains("fail"), "{pattern}");
            assert_clean(image);
        }
    };
    all(8);
    assert!(matches!(redo(&drive.commit()), Err(Error::NoHistory(_))));
    let undone = undo(&drive.commit()).unwrap();
    assert_eq!((undone.len(), undone[0].to), (2, Some(first)));
    all(1);
    assert_eq!(
        history(&drive.commit()).unwrap().iter().map(|step| step.applied).collect::<Vec<_>>(),
        [false]
    );
    assert!(matches!(undo(&drive.commit()), Err(Error::NoHistory(_))));
    redo(&drive.commit()).unwrap();
    all(8);
    recover(&drive.commit()).unwrap();
    all(8);
}

#[test]
fn undo_stays_good_while_the_next_merge_is_cancelled() {
    let drive = Drive::new();
    let (base, first) = stamped(&drive);
    let before = drive.path("before");
    qemu("qemu-img", &["convert", "-O", "qcow2", text(&base), text(&before)]);
    let overlay = drive.overlay("o1", &base, "");
    io(&overlay, &["write -q -P 8 0 4M".to_owned()]);
    let disk = drive.disk("b.qcow2", &overlay, first);
    drive.merge(std::slice::from_ref(&disk));
    let overlay = drive.overlay("o2", &base, "cluster_size=4k");
    io(&overlay, &["write -q -P 9 0 12M".to_owned()]);
    let result =
        merge(&drive.commit(), &[drive.disk("b.qcow2", &overlay, disk.next)], &Impatient(150.into()));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    undo(&drive.commit()).unwrap();
    assert_clean(&base);
    assert_same(&base, &before);
}

// Links and pipes take part.
#[cfg(unix)]
#[test]
fn a_base_that_was_spoiled_after_a_merge_keeps_nobody_from_the_others() {
    /// What was done to the base, and how much of the history outlasts it.
    type Case = (&'static str, usize, fn(&Path));
    let cases: [Case; 6] = [
        ("unreadable for now", 1, |base| {
            std::fs::remove_file(base).unwrap();
            std::os::unix::fs::symlink(base, base).unwrap();
        }),
        ("left dirty by another program, which cleared the fence", 0, |base| {
            poke(base, 79, &[1]);
            poke(base, 88, &[0; 8]);
        }),
        ("no image any more", 0, |base| std::fs::write(base, vec![0x5a; 1 << 20]).unwrap()),
        ("cut to nothing", 0, |base| std::fs::write(base, "").unwrap()),
        ("gone", 0, |base| std::fs::remove_file(base).unwrap()),
        ("a pipe", 0, |base| {
            std::fs::remove_file(base).unwrap();
            assert!(Command::new("mkfifo").arg(base).status().unwrap().success());
        }),
    ];
    for (what, kept, spoil) in cases {
        let drive = Drive::new();
        let (base, first) = stamped(&drive);
        let other = drive.base("user.qcow2");
        std::fs::copy(&base, &other).unwrap();
        let overlays = [drive.overlay("o1", &base, ""), drive.overlay("o2", &other, "")];
        for overlay in &overlays {
            io(overlay, &["write -q -P 8 0 1M".to_owned()]);
        }
        let disks =
            [drive.disk("b.qcow2", &overlays[0], first), drive.disk("user.qcow2", &overlays[1], first)];
        drive.merge(&disks);
        spoil(&base);
        let recovery = recover(&drive.commit()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let names: Vec<&str> = recovery.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!((recovery.outcome, names), (pocketvm_disk::Outcome::Clean, vec!["user.qcow2"]), "{what}");
        assert_eq!(history(&drive.commit()).unwrap().len(), kept, "{what}");
        recover(&drive.commit()).unwrap();

        let overlay = drive.overlay("o3", &other, "");
        drive.merge(&[drive.disk("user.qcow2", &overlay, disks[1].next)]);
        let overlay = drive.path("o1");
        let again = drive.disk("b.qcow2", &overlay, disks[0].next);
        assert!(merge(&drive.commit(), &[again], &()).is_err(), "{what}: whoever needs it is told");
    }
}
