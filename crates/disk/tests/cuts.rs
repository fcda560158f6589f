//! The model of power cuts, which the crash tests rest on, can itself fail: it is tried on devices and programs that are
//! known to be wrong.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::Random;
use common::crash::{Effort, Scene, every_cut_is_old_or_new, for_each_cut, open, recovered};
use common::cuts::{Files, Pending};
use common::scene::{Disks, TWO};
use pocketvm_disk::storage::Storage;
use pocketvm_disk::storage::memory::{Event, MemoryDevice};

fn write(file: &str, offset: u64, byte: u8, sectors: usize) -> Event {
    Event::Write { file: file.to_owned(), offset, data: vec![byte; sectors * 512] }
}

fn flush(file: &str) -> Event {
    Event::Flush { file: file.to_owned() }
}

/// Two files of four sectors of ones.
fn before() -> Files {
    ["a", "b"].map(|name| (name.to_owned(), vec![1; 2048])).into()
}

/// The first byte of each sector of file `a`, 0 standing for garbage.
fn sectors(files: &Files, known: &[u8]) -> Vec<u8> {
    let first = |sector: &[u8]| match sector[0] {
        byte if known.contains(&byte) && sector.iter().all(|&other| other == byte) => byte,
        _ => 0,
    };
    files["a"].chunks(512).map(first).collect()
}

#[test]
fn what_is_flushed_is_there_and_every_combination_of_the_rest_occurs() {
    let events =
        [write("a", 0, 2, 2), flush("a"), write("b", 0, 9, 1), write("a", 512, 3, 1), write("a", 512, 4, 2)];
    let pending = Pending::after(&before(), &events);
    // One sector of `b`; in `a` one that is written twice, and one that is written once.
    assert_eq!(pending.combinations(), 3 * 4 * 3);
    let mut random = Random(1);
    let found: BTreeSet<Vec<u8>> = (0..pending.combinations())
        .map(|number| sectors(&pending.combination(number, &mut random), &[1, 2, 3, 4]))
        .collect();
    let mut expected = BTreeSet::new();
    for second in [0, 2, 3, 4] {
        for third in [0, 1, 4] {
            expected.insert(vec![2, second, third, 1]);
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn writes_of_one_interval_arrive_in_any_order() {
    let events = [write("a", 0, 2, 1), write("a", 512, 3, 1), write("a", 0, 4, 1)];
    let pending = Pending::after(&before(), &events);
    let mut random = Random(2);
    let found: BTreeSet<Vec<u8>> =
        (0..500).map(|_| sectors(&pending.reordered(&mut random), &[1, 2, 3, 4])[..2].to_vec()).collect();
    for order in [[1, 1], [2, 1], [1, 3], [4, 1], [2, 3], [4, 3], [0, 1], [1, 0]] {
        assert!(found.contains(&order[..]), "{order:?} is missing in {found:?}");
    }
}

#[test]
fn a_file_has_any_length_that_it_had_since_its_flush() {
    let cut = Event::SetLen { file: "a".to_owned(), len: 512 };
    for (events, expected) in [
        (vec![write("a", 2048, 2, 1)], vec![2048, 2560]),
        (vec![cut.clone()], vec![512, 2048]),
        (vec![cut.clone(), flush("a")], vec![512]),
        (vec![cut, flush("a"), write("a", 1024, 2, 1)], vec![512, 1536]),
    ] {
        let mut random = Random(3);
        let pending = Pending::after(&before(), &events);
        let found: BTreeSet<usize> = (0..200)
            .flat_map(|_| [pending.scattered(&mut random), pending.reordered(&mut random)])
            .map(|files| files["a"].len())
            .collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{events:?}");
    }
}

#[test]
fn an_outlier_is_one_sector_unlike_all_others() {
    let events = [write("a", 0, 2, 4)];
    let pending = Pending::after(&before(), &events);
    let mut random = Random(4);
    let found: BTreeSet<Vec<u8>> = (0..pending.outliers())
        .map(|number| sectors(&pending.outlier(number, &mut random), &[1, 2]))
        .collect();
    let mut expected = BTreeSet::new();
    for at in 0..4 {
        for (all, one) in [(1, 0), (1, 2), (2, 0), (2, 1)] {
            let mut sectors = vec![all; 4];
            sectors[at] = one;
            expected.insert(sectors);
        }
    }
    assert_eq!(found, expected);
}

#[test]
#[should_panic(expected = "I4, neither old nor new")]
fn a_program_that_writes_in_place_is_caught() {
    let disks = Disks::stamped(TWO, 1);
    // Behind all tables of the base: the clusters that its first commands filled.
    let end = disks.device.files()["system"].len() as u64 - 8192;
    every_cut_is_old_or_new(&disks, 12, |_| {
        let base = disks.device.file("system");
        base.write_at(end, &[1; 4096]).unwrap();
        base.write_at(end + 4096, &[2; 4096]).unwrap();
        base.flush().unwrap();
    });
}

#[test]
fn a_flush_that_a_merge_leaves_out_is_caught() {
    let mut disks = Disks::stamped(TWO, 5);
    disks.change();
    let before = disks.device.files();
    disks.device.record();
    disks.merge(&open(&disks.device));
    let (log, after) = (disks.device.log(), disks.device.files());
    let sides = [&before, &after].map(|files| disks.state(&MemoryDevice::new(files.clone())));
    let violations = |log: &[Event]| {
        let mut count = 0;
        let effort = Effort { random: 24, exhaustive: 729 };
        for_each_cut(&before, log, effort, &mut Random(6), |torn, _, _| {
            let sound = catch_unwind(AssertUnwindSafe(|| {
                let (files, ..) = recovered(torn);
                sides.contains(&disks.state(&MemoryDevice::new(files)))
            }));
            count += u32::from(!sound.unwrap_or(false));
        });
        count
    };
    assert_eq!(violations(&log), 0);
    let flushes: Vec<usize> = (0..log.len()).filter(|&at| matches!(log[at], Event::Flush { .. })).collect();
    // Those of the two bases and of the record, before the first header changes. The later ones only keep the next merge
    // from beginning too early.
    for &at in &flushes[..3] {
        let mut fewer = log.clone();
        fewer.remove(at);
        assert!(violations(&fewer) > 0, "{:?} at {at} could be left out", log[at]);
    }
}
