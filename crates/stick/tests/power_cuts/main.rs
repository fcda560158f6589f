//! The power fails while a merge, an undo or a recovery runs, on real file systems. Afterwards all bases are at the old
//! or all at the new generation. Needs root, `/dev/fuse` and loop devices.
//!
//! Where the file system itself loses a file, that is told apart and counted: exFAT has no journal, and ntfs-3g does
//! not write to the one that NTFS has. `POCKETVM_SOAK=N` tries N times as many cuts.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod scene;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pocketvm_disk::Outcome;
use pocketvm_stick::{Fate, FileSystem, Random};
use scene::{Blame, Lost, Scene, Side, Survival};

/// One test at a time: what one of them starts would, for a moment, have files of another's stick open.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn soak() -> u32 {
    std::env::var("POCKETVM_SOAK").map_or(1, |factor| factor.parse().expect("POCKETVM_SOAK is a number"))
}

/// Where the power fails, and how.
#[derive(Debug, Clone, Copy)]
struct Plan {
    file_system: FileSystem,
    /// The bases' files have room behind their end that was written when the drive was made: a merge allocates nothing.
    slack: bool,
    fate: Fate,
    /// So many bytes are lost although they were flushed.
    lie: u64,
    /// How many merges, and how many undos, are cut.
    merges: u32,
    undos: u32,
}

/// What became of the cuts.
#[derive(Debug, Default)]
struct Tally {
    survived: Vec<Survival>,
    lost: Vec<Lost>,
}

impl Tally {
    fn count(&self, which: impl Fn(&Survival) -> bool) -> usize {
        self.survived.iter().filter(|survival| which(survival)).count()
    }

    fn blamed(&self, blame: Blame) -> usize {
        self.lost.iter().filter(|lost| lost.blame == blame).count()
    }

    fn add(&mut self, mut other: Tally) {
        self.survived.append(&mut other.survived);
        self.lost.append(&mut other.lost);
    }

    /// The tests have seen all that they are about.
    fn assert_covers(&self) {
        for (what, count) in [
            ("ended at the old generations", self.count(|it| it.side == Side::Old)),
            ("ended at the new generations", self.count(|it| it.side == Side::New)),
            ("was in a flip", self.count(|it| it.outcome == Outcome::Finished)),
            ("was followed by another one in the recovery", self.count(|it| it.recovered_twice)),
        ] {
            assert!(count > 0, "no cut {what}: {self}");
        }
    }

    fn assert_nothing_lost(&self) {
        assert!(self.lost.is_empty(), "{self}");
    }

    fn assert_lost_by_the_file_system_only(&self) {
        assert_eq!(self.blamed(Blame::Engine), 0, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cuts: {} old, {} new ({} finished, {} undone, {} fell back; {} cut in the recovery as well), {} lost \
             by the file system, {} by the engine",
            self.survived.len() + self.lost.len(),
            self.count(|it| it.side == Side::Old),
            self.count(|it| it.side == Side::New),
            self.count(|it| it.outcome == Outcome::Finished),
            self.count(|it| it.outcome == Outcome::Undone),
            self.count(|it| it.outcome == Outcome::FellBack),
            self.count(|it| it.recovered_twice),
            self.blamed(Blame::FileSystem),
            self.blamed(Blame::Engine)
        )?;
        self.lost.iter().try_for_each(|lost| write!(f, "\n{lost}"))
    }
}

impl Plan {
    fn new(file_system: FileSystem, slack: bool, fate: Fate, (merges, undos): (u32, u32)) -> Plan {
        Plan { file_system, slack, fate, lie: 0, merges, undos }
    }

    /// Does it.
    fn run(self) -> Tally {
        let start = Instant::now();
        let mut tally = Tally::default();
        let mut random = Random(77);
        let mut scene = Scene::new(self.file_system, self.slack, self.lie, 1);
        let mut cut = |scene: &mut Scene| match scene.cut(&mut random, self.fate) {
            Ok(survival) => tally.survived.push(survival),
            Err(lost) => tally.lost.push(lost),
        };
        (0..self.merges * soak()).for_each(|_| cut(&mut scene));
        scene.done();
        (0..self.undos * soak()).for_each(|_| cut(&mut scene));
        println!("{self:?}, {:.1} s: {tally}", start.elapsed().as_secs_f64());
        tally
    }
}

#[test]
fn on_ext4_every_power_cut_leaves_all_bases_at_one_side() {
    let _alone = alone();
    let mut all = Tally::default();
    for fate in [Fate::Whole, Fate::Torn, Fate::Garbage] {
        all.add(Plan::new(FileSystem::Ext4, false, fate, (8, 4)).run());
    }
    all.assert_nothing_lost();
    all.assert_covers();
}

#[test]
fn on_exfat_every_power_cut_leaves_bases_that_do_not_grow_at_one_side() {
    let _alone = alone();
    let mut all = Tally::default();
    for fate in [Fate::Whole, Fate::Torn] {
        all.add(Plan::new(FileSystem::ExFat, true, fate, (9, 4)).run());
    }
    all.assert_nothing_lost();
    all.assert_covers();
}

/// The first growth of a file that lay in one piece is the danger: its directory entry says that its clusters are
/// listed in the allocation table, and if the entry arrives before the table does, the file is cut off behind its first
/// cluster.
#[test]
fn on_exfat_what_is_lost_when_bases_grow_was_cut_off_by_the_file_system() {
    let _alone = alone();
    let tally = Plan::new(FileSystem::ExFat, false, Fate::Whole, (8, 2)).run();
    tally.assert_lost_by_the_file_system_only();
    for lost in &tally.lost {
        assert!(lost.repair.contains("broken cluster chain"), "{lost}");
    }
}

/// Every write to a file writes its directory entry, in place: a page of it that becomes garbage takes the file along.
#[test]
fn on_exfat_garbage_takes_files_but_never_leaves_bases_at_different_sides() {
    let _alone = alone();
    let tally = Plan::new(FileSystem::ExFat, true, Fate::Garbage, (6, 3)).run();
    tally.assert_lost_by_the_file_system_only();
}

#[test]
fn on_ntfs_every_power_cut_leaves_all_bases_at_one_side() {
    let _alone = alone();
    let mut all = Tally::default();
    for slack in [false, true] {
        all.add(Plan::new(FileSystem::Ntfs, slack, Fate::Whole, (7, 4)).run());
    }
    all.assert_nothing_lost();
    all.assert_covers();
}

/// NTFS notices a record or an index that is torn, but ntfs-3g has nothing to restore it from.
#[test]
fn on_ntfs_torn_pages_take_files_but_never_leave_bases_at_different_sides() {
    let _alone = alone();
    let mut all = Tally::default();
    for fate in [Fate::Torn, Fate::Garbage] {
        all.add(Plan::new(FileSystem::Ntfs, true, fate, (4, 2)).run());
    }
    all.assert_lost_by_the_file_system_only();
}

#[test]
#[ignore = "an experiment: says how often what was flushed is lost, for devices whose flush means nothing"]
fn a_device_that_lies() {
    let _alone = alone();
    let mut all = Tally::default();
    for slack in [false, true] {
        for lie in [64 << 10, 4 << 20] {
            all.add(Plan { lie, ..Plan::new(FileSystem::Ext4, slack, Fate::Whole, (20, 5)) }.run());
        }
    }
    all.assert_nothing_lost();
}
