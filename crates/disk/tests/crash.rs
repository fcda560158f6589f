//! The power is cut at every write: after recovery, all disks together are at the old or at the new generation.
//!
//! The tests name the invariants of `docs/merge.md` (I1 to I10).
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Random, io, qemu, text};
use pocketvm_disk::merge::{OpenDisk, merge_images};
use pocketvm_disk::qcow2::check::check_image;
use pocketvm_disk::qcow2::header::Header;
use pocketvm_disk::qcow2::image::{Image, Role, TableCache};
use pocketvm_disk::qcow2::refcount::{Refcounts, get};
use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::root::BasePath;
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::{Event, MemoryDevice, MemoryStorage, write_into};
use pocketvm_disk::{
    BaseState, CommitFile, Error, GenerationId, Merged, Outcome, recover, redo, stamp, undo,
};

type Files = BTreeMap<String, Vec<u8>>;
type Commit = CommitFile<MemoryDevice, MemoryStorage>;

const BASES: [&str; 2] = ["system", "user"];
const SIZE: u64 = 5 << 20;

fn open(device: &MemoryDevice) -> Commit {
    CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone())
}

/// Two bases on a device, and overlays for them.
struct Scene {
    device: MemoryDevice,
    overlays: MemoryDevice,
    random: Random,
}

impl Scene {
    /// Bases made by QEMU with other cluster sizes each, not stamped yet.
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        let mut files = Files::new();
        for (base, options) in BASES.iter().zip(["cluster_size=4k", "cluster_size=16k,refcount_bits=1"]) {
            let path = dir.path().join(base);
            qemu("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), &SIZE.to_string()]);
            io(&path, &random.commands(12, SIZE));
            files.insert((*base).to_owned(), std::fs::read(&path).unwrap());
        }
        let device = MemoryDevice::new(files);
        TwoSlot::create_on(device.file("commit"), 65536).unwrap();
        Scene { device, overlays: MemoryDevice::default(), random }
    }

    fn stamped(seed: u64) -> Self {
        let scene = Scene::new(seed);
        stamp(&open(&scene.device), &BASES).unwrap();
        scene
    }

    /// A new session's overlays: made by QEMU, without a backing file, as the engine never looks at it.
    fn change(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new();
        for base in BASES {
            let (lower, path) = (dir.path().join("lower"), dir.path().join(base));
            std::fs::write(&lower, &self.device.files()[base]).unwrap();
            let arguments =
                ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", text(&lower), "-o", "cluster_size=4k"];
            qemu("qemu-img", &[&arguments[..], &[text(&path)]].concat());
            io(&path, &self.random.commands(12, SIZE));
            files.insert(base.to_owned(), std::fs::read(&path).unwrap());
        }
        self.overlays = MemoryDevice::new(files);
    }

    fn merge(&self, commit: &Commit) {
        self.try_merge(commit).unwrap();
    }

    fn try_merge(&self, commit: &Commit) -> Result<Merged, Error> {
        let files = self.device.files();
        let disks = BASES.map(|base| OpenDisk {
            name: base.to_owned(),
            base: BasePath::new(base).unwrap(),
            overlay: Image::open(self.overlays.file(base), Role::Overlay).unwrap(),
            expected: generation(&files, base),
            next: GenerationId::random(),
        });
        merge_images(commit, disks.into(), &())
    }
}

fn image(files: &Files, base: &str) -> Image<MemoryStorage> {
    Image::open(MemoryDevice::new(files.clone()).file(base), Role::Base).unwrap()
}

fn generation(files: &Files, base: &str) -> GenerationId {
    match image(files, base).state() {
        BaseState::At { generation } => generation,
        other => panic!("{base}: {other}"),
    }
}

/// A digest of what a guest would read from each base.
fn contents(files: &Files) -> Vec<blake3::Hash> {
    BASES
        .iter()
        .map(|base| {
            let image = image(files, base);
            let mut bytes = vec![0; image.header().size as usize];
            image.read(&mut TableCache::default(), 0, &mut bytes).unwrap();
            blake3::hash(&bytes)
        })
        .collect()
}

/// What the device holds if the power is cut after `events`: everything up to each file's last flush, and of each
/// later sector the old bytes, the new ones, or garbage. Without `random`, all of the later writes arrived.
fn cut(before: &Files, events: &[Event], mut random: Option<&mut Random>) -> Files {
    let mut files = before.clone();
    let last_flush = |name: &str| {
        events.iter().rposition(|event| matches!(event, Event::Flush { file } if file == name)).unwrap_or(0)
    };
    let flushes: BTreeMap<String, usize> =
        before.keys().map(|name| (name.clone(), last_flush(name))).collect();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Flush { .. } => {}
            Event::SetLen { file, len } => files.get_mut(file).unwrap().resize(*len as usize, 0),
            Event::Write { file, offset, data } => {
                let bytes = files.get_mut(file).unwrap();
                match &mut random {
                    Some(random) if at >= flushes[file] => tear(bytes, *offset, data, random),
                    _ => write_into(bytes, *offset, data),
                }
            }
        }
    }
    files
}

fn tear(file: &mut Vec<u8>, offset: u64, data: &[u8], random: &mut Random) {
    // Some cuts lose most of a write, some little of it, some are clean.
    let (lost, torn) = [(8, 0), (1, 0), (15, 1), (4, 4), (0, 1)][random.below(5) as usize];
    for (index, sector) in data.chunks(512).enumerate() {
        let at = offset + index as u64 * 512;
        match random.below(16) {
            dice if dice < lost => {}
            dice if dice < lost + torn => {
                let garbage: Vec<u8> = sector.iter().map(|_| random.next() as u8).collect();
                write_into(file, at, &garbage);
            }
            _ => write_into(file, at, sector),
        }
    }
}

/// Recovers, and says what the outcome was and what the device did.
fn recovered(files: Files) -> (Files, Outcome, Vec<Event>) {
    let device = MemoryDevice::new(files);
    device.record();
    let recovery = recover(&open(&device)).unwrap();
    (device.files(), recovery.outcome, device.log())
}

/// Cuts the power at every event of `operation`, in several ways each, and during the recovery as well.
///
/// `POCKETVM_SOAK=100` tries a hundred times as many.
fn every_cut_is_old_or_new(scene: &Scene, variants: u64, operation: impl FnOnce(&Commit)) {
    let variants = variants * u64::from(common::soak());
    let before = scene.device.files();
    let old = contents(&before);
    scene.device.record();
    operation(&open(&scene.device));
    let log = scene.device.log();
    let after = scene.device.files();
    let new = contents(&after);
    let mut random = Random(4711);
    let mut seen = [0, 0];
    for end in 0..=log.len() {
        for variant in 0..=variants {
            let torn = cut(&before, &log[..end], (variant > 0).then_some(&mut random));
            let (files, outcome, steps) = recovered(torn.clone());
            let found = contents(&files);
            assert!(
                found == old || found == new,
                "cut {end}.{variant}: I4, neither old nor new ({outcome:?})"
            );
            assert_ne!(outcome, Outcome::FellBack, "cut {end}.{variant}: an honest device");
            assert!(end < log.len() || found == new, "cut {end}.{variant}: a finished operation was lost");
            seen[usize::from(found == new)] += 1;
            for base in BASES {
                let report = check_image(&image(&files, base)).unwrap();
                assert_eq!((report.error_count, report.leaks), (0, 0), "cut {end}.{variant}: I8, {report:?}");
            }
            let (again, second, _) = recovered(files.clone());
            assert_eq!(
                (second, again == files),
                (Outcome::Clean, true),
                "cut {end}.{variant}: I5, not idempotent"
            );

            // I5: the recovery itself is cut.
            if !steps.is_empty() {
                let end = random.below(steps.len() as u64 + 1) as usize;
                let torn = cut(&torn, &steps[..end], Some(&mut random));
                let (files, outcome, _) = recovered(torn);
                let found = contents(&files);
                assert!(found == old || found == new, "cut {end}.{variant} in recovery: {outcome:?}");
            }
            if random.below(150) == 0 {
                assert_qemu_agrees(&files, if found == new { &after } else { &before });
            }
        }
    }
    assert!(old == new || (seen[0] > 0 && seen[1] > 0), "one side was never seen: {seen:?}");
}

/// `qemu-img check` and `compare` accept what is left.
fn assert_qemu_agrees(files: &Files, expected: &Files) {
    let dir = tempfile::tempdir().unwrap();
    for base in BASES {
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        std::fs::write(&left, &files[base]).unwrap();
        std::fs::write(&right, &expected[base]).unwrap();
        common::assert_clean(&left);
        common::assert_same(&left, &right);
    }
}

#[test]
fn i4_a_merge_of_two_disks_cut_anywhere_is_old_or_new() {
    let mut scene = Scene::stamped(1);
    scene.change();
    every_cut_is_old_or_new(&scene, 12, |commit| scene.merge(commit));
}

#[test]
fn i4_a_second_merge_that_reuses_freed_room_is_old_or_new() {
    let mut scene = Scene::stamped(2);
    scene.device.set_room(u64::MAX);
    for _ in 0..3 {
        scene.change();
        scene.merge(&open(&scene.device));
    }
    scene.change();
    every_cut_is_old_or_new(&scene, 8, |commit| scene.merge(commit));
}

#[test]
fn i4_stamping_cut_anywhere_keeps_the_content() {
    let scene = Scene::new(3);
    every_cut_is_old_or_new(&scene, 12, |commit| {
        stamp(commit, &BASES).unwrap();
    });
}

#[test]
fn i4_undo_and_redo_cut_anywhere_are_old_or_new() {
    let mut scene = Scene::stamped(4);
    scene.change();
    scene.merge(&open(&scene.device));
    every_cut_is_old_or_new(&scene, 12, |commit| {
        undo(commit).unwrap();
    });
    every_cut_is_old_or_new(&scene, 12, |commit| {
        redo(commit).unwrap();
    });
}

/// The clusters that the base's current generation uses: by its refcounts, and by its hash manifest.
fn used(files: &Files, base: &str) -> (u64, Vec<bool>) {
    let image = image(files, base);
    let header: &Header = image.header();
    let refcounts = Refcounts::open(image.storage(), header).unwrap();
    let mut used = Vec::new();
    let last = (0..refcounts.blocks()).rfind(|&index| refcounts.word(index).unwrap() != 0);
    for index in 0..last.map_or(0, |last| last + 1) {
        let block = refcounts.block(index).unwrap();
        used.extend((0..header.refcounts_per_block()).map(|at| get(&block, at, header.refcount_order) != 0));
    }
    let root = image.extensions().hashes;
    for entry in 0..root.map_or(0, |root| u64::from(root.chunks)) {
        let table = root.unwrap().offset;
        let mut offset = [0; 8];
        image.storage().read_at(table + entry * 16, &mut offset).unwrap();
        for at in [table + entry * 16, u64::from_be_bytes(offset)] {
            let cluster = (at / header.cluster_size()) as usize;
            used.resize(used.len().max(cluster + 1), false);
            used[cluster] = true;
        }
    }
    (header.cluster_size(), used)
}

#[test]
fn i1_a_merge_writes_to_no_cluster_of_the_current_or_the_kept_generation() {
    let mut scene = Scene::stamped(5);
    let mut generations = vec![scene.device.files()];
    for session in 0..8 {
        scene.device.set_room(if session % 2 == 0 { 0 } else { u64::MAX });
        scene.change();
        scene.device.record();
        scene.merge(&open(&scene.device));
        let kept: Vec<_> = generations.iter().rev().take(2).collect();
        let used = BASES.map(|base| (base, kept.iter().map(|files| used(files, base)).collect::<Vec<_>>()));
        for event in scene.device.log() {
            let Event::Write { file, offset, data } = event else { continue };
            let Some((_, used)) = used.iter().find(|(base, _)| *base == file) else { continue };
            if (offset, data.len()) == (0, 512) {
                continue;
            }
            for (size, used) in used {
                for cluster in offset / size..(offset + data.len() as u64).div_ceil(*size) {
                    assert!(
                        !used.get(cluster as usize).copied().unwrap_or(false),
                        "{file}: cluster {cluster}"
                    );
                }
            }
        }
        generations.push(scene.device.files());
    }
}

#[test]
fn i2_i3_nothing_is_named_before_it_is_durable() {
    let mut scene = Scene::stamped(6);
    scene.change();
    scene.device.record();
    scene.merge(&open(&scene.device));
    let order: Vec<String> = scene
        .device
        .log()
        .into_iter()
        .filter_map(|event| match event {
            Event::Write { file, .. } if file == "commit" => Some("record".to_owned()),
            Event::Write { file, offset: 0, .. } => Some(format!("header {file}")),
            Event::Write { .. } => None,
            Event::Flush { file } => Some(format!("flush {file}")),
            Event::SetLen { .. } => None,
        })
        .collect();
    let expected = [
        "record",
        "flush commit",
        "flush system",
        "flush user",
        "record",
        "flush commit",
        "header system",
        "header user",
        "flush system",
        "flush user",
        "record",
        "flush commit",
    ];
    assert_eq!(order, expected);
}

/// A merged scene: the files before and after.
fn merged(seed: u64) -> (Scene, Files, Files) {
    let mut scene = Scene::stamped(seed);
    scene.change();
    let before = scene.device.files();
    scene.merge(&open(&scene.device));
    let after = scene.device.files();
    (scene, before, after)
}

#[test]
fn i9_tables_that_a_device_lost_after_its_flush_lead_back_to_the_old_generation() {
    let (_, before, after) = merged(7);
    let header = image(&after, "user").header().clone();
    for lost in [header.l1_offset, header.refcount_table_offset] {
        let mut files = after.clone();
        let bytes = files.get_mut("user").unwrap();
        write_into(bytes, lost, &[0; 512]);
        let (files, outcome, _) = recovered(files);
        assert_eq!(outcome, Outcome::FellBack);
        assert_eq!(contents(&files), contents(&before));
        assert_eq!(recovered(files).1, Outcome::Clean);
    }
}

#[test]
fn i9_a_header_that_a_device_lost_after_its_flush_is_written_again() {
    let (_, before, after) = merged(8);
    for garbage in [false, true] {
        let mut files = after.clone();
        let block = if garbage { vec![0xa5; 512] } else { before["system"][..512].to_vec() };
        write_into(files.get_mut("system").unwrap(), 0, &block);
        let (files, outcome, _) = recovered(files);
        assert_eq!(outcome, Outcome::Finished);
        assert_eq!(contents(&files), contents(&after));
    }
}

#[test]
fn i4_a_device_that_fails_at_any_write_leaves_old_or_new_and_no_garbage() {
    let mut scene = Scene::stamped(13);
    scene.change();
    let before = scene.device.files();
    let old = contents(&before);
    scene.merge(&open(&scene.device));
    let new = contents(&scene.device.files());
    let mut interrupted = 0;
    for budget in 0.. {
        let device = MemoryDevice::new(before.clone());
        device.fail_after(budget);
        scene.device = MemoryDevice::new(before.clone());
        let result = scene.try_merge(&open(&device));
        let files = device.files();
        match result {
            Ok(_) => break,
            Err(Error::Interrupted(_)) => interrupted += 1,
            Err(_) => {
                assert_eq!(contents(&files), old, "write {budget}");
                for base in BASES {
                    assert_eq!(files[base].len(), before[base].len(), "write {budget}: garbage stays");
                }
            }
        }
        let (files, outcome, _) = recovered(files);
        let found = contents(&files);
        assert!(found == old || found == new, "write {budget}: {outcome:?}");
    }
    // The record, its flush, two headers, two flushes, the record, its flush.
    assert_eq!(interrupted, 8);
}

/// Where the first header block is rewritten: the record of that is durable, and nothing has changed yet.
fn first_header(log: &[Event]) -> usize {
    let is_header = |event: &Event| matches!(event, Event::Write { file, offset: 0, .. } if file != "commit");
    log.iter().position(is_header).unwrap()
}

#[test]
fn i7_a_foreign_header_is_never_written_over_and_the_other_disk_follows() {
    // The power is cut after the record, before the headers; then QEMU writes to one base.
    let mut scene = Scene::stamped(9);
    scene.change();
    let before = scene.device.files();
    scene.device.record();
    scene.merge(&open(&scene.device));
    let log = scene.device.log();
    let pending = cut(&before, &log[..first_header(&log)], None);
    // And the other way round: after the headers, before the record says that it is done.
    let last =
        log.iter().rposition(|event| matches!(event, Event::Write { file, .. } if file == "commit")).unwrap();
    let flipped = cut(&before, &log[..last], None);
    for (files, follows, outcome) in
        [(pending, &before, Outcome::Undone), (flipped, &scene.device.files(), Outcome::Finished)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system");
        std::fs::write(&path, &files["system"]).unwrap();
        io(&path, &["write -q -P 77 0 64k".to_owned()]);
        let mut files = files;
        files.insert("system".to_owned(), std::fs::read(&path).unwrap());
        let foreign = contents(&files)[0];
        let (files, found, _) = recovered(files);
        assert_eq!(found, outcome);
        assert_eq!(contents(&files)[0], foreign);
        assert_eq!(contents(&files)[1], contents(follows)[1]);
        assert!(matches!(image(&files, "system").state(), BaseState::Foreign { .. }));
        let device = MemoryDevice::new(files);
        assert!(undo(&open(&device)).is_err(), "history survived a foreign writer");
        assert_eq!(recover(&open(&device)).unwrap().outcome, Outcome::Clean);
        stamp(&open(&device), &BASES).unwrap();
    }
}

#[test]
fn i6_a_flip_under_way_keeps_every_other_step_out() {
    let mut scene = Scene::stamped(10);
    scene.change();
    let before = scene.device.files();
    scene.device.record();
    scene.merge(&open(&scene.device));
    let log = scene.device.log();
    let device = MemoryDevice::new(cut(&before, &log[..first_header(&log)], None));
    assert!(matches!(stamp(&open(&device), &BASES), Err(pocketvm_disk::Error::Unrecovered(_))));
    assert!(matches!(
        undo(&open(&device)),
        Err(pocketvm_disk::Error::NoHistory(_) | pocketvm_disk::Error::Unrecovered(_))
    ));
    assert_eq!(recover(&open(&device)).unwrap().outcome, Outcome::Finished);
}

#[test]
fn i7_a_base_restored_from_an_older_copy_is_left_alone() {
    let mut scene = Scene::stamped(11);
    let oldest = scene.device.files();
    for _ in 0..2 {
        scene.change();
        scene.merge(&open(&scene.device));
    }
    let mut files = scene.device.files();
    files.insert("system".to_owned(), oldest["system"].clone());
    let (after, outcome, _) = recovered(files.clone());
    assert_eq!(outcome, Outcome::Clean);
    assert!(BASES.iter().all(|base| after[*base] == files[*base]), "a base was written to");
    assert!(undo(&open(&MemoryDevice::new(after))).is_err(), "history survived");
}

#[test]
fn i7_a_base_that_was_taken_away_keeps_no_other_out() {
    let (_, _, after) = merged(12);
    let mut files = after;
    files.remove("system");
    let device = MemoryDevice::new(files);
    let recovery = recover(&open(&device)).unwrap();
    assert_eq!(recovery.outcome, Outcome::Clean);
    assert_eq!(recovery.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["user"]);
    assert!(undo(&open(&device)).is_err());
}
