//! Cuts the power at every event of an operation, in many ways each, and during the recovery as well: all disks together
//! are at the old state or at the new one.
//!
//! [`every_cut_is_old_or_new`] needs a [`Scene`]; [`super::scene::Disks`] is one of qcow2 bases made by QEMU.

use pocketvm_disk::record::TwoSlot;
use pocketvm_disk::storage::memory::{Event, MemoryDevice, MemoryStorage};
use pocketvm_disk::{CommitFile, Error, Outcome, Recovery, recover, redo, undo};

use super::cuts::{Files, Pending, arrived};
use super::{Random, soak};

pub type Commit = CommitFile<MemoryDevice, MemoryStorage>;

/// Opens the commit record of a device.
pub fn open(device: &MemoryDevice) -> Commit {
    CommitFile::new(TwoSlot::open_on(device.file("commit")).unwrap(), device.clone())
}

/// A drive on which something is interrupted.
pub trait Scene {
    /// The drive: a commit record named `commit`, and bases.
    fn device(&self) -> &MemoryDevice;

    /// What state each disk is in: everything by which the old state and the new one differ.
    fn state(&self, device: &MemoryDevice) -> Vec<State>;

    /// Panics if a disk is not sound in itself; `when` says where the power was cut.
    fn assert_sound(&self, device: &MemoryDevice, when: &str);

    /// Panics unless QEMU finds each disk sound and reads the same from it in both.
    fn assert_qemu_agrees(&self, files: &Files, expected: &Files);
}

/// The state of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// A digest of what a guest reads.
    pub content: blake3::Hash,
    /// The generation, or what else the base says of itself.
    pub name: String,
}

/// How many ways to cut the power are tried.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Random ones at every event.
    pub random: u64,
    /// Where at most this many combinations of old, new and garbage sectors exist at the end of a flush interval: all.
    pub exhaustive: u64,
}

impl From<u64> for Effort {
    /// So many random ones, and all where six sectors wait for a flush.
    fn from(random: u64) -> Self {
        Effort { random, exhaustive: 729 }
    }
}

/// What was tried, for tests that must know that enough was.
#[derive(Debug, Default)]
pub struct Tried {
    /// All cuts.
    pub cuts: u64,
    /// Flush intervals of which every combination was tried.
    pub exhausted: u64,
    /// The cuts after which the old state was found, and those with the new one.
    pub sides: [u64; 2],
}

/// Recovers, and says what was found and what the device did.
pub fn recovered(files: Files) -> (Files, Recovery, Vec<Event>) {
    let device = MemoryDevice::new(files);
    device.record();
    let recovery = recover(&open(&device)).unwrap();
    (device.files(), recovery, device.log())
}

/// Calls `each` with everything that a device may hold if the power is cut after any of the events, or with a choice
/// where that is too much, and with words for where it was cut.
///
/// `POCKETVM_SOAK=100` tries a hundred times as many.
pub fn for_each_cut(
    before: &Files,
    log: &[Event],
    effort: Effort,
    random: &mut Random,
    mut each: impl FnMut(Files, &str, &mut Random),
) -> Tried {
    let factor = u64::from(soak());
    let (variants, limit) = (effort.random * factor, effort.exhaustive * factor);
    let mut tried = Tried::default();
    for end in 0..=log.len() {
        let mut cut = |files: Files, how: &str, random: &mut Random| {
            tried.cuts += 1;
            each(files, &format!("cut after {end} of {} events, {how}", log.len()), random);
        };
        cut(arrived(before, &log[..end]), "all arrived", random);
        let pending = Pending::after(before, &log[..end]);
        if pending.is_empty() {
            continue;
        }
        // What waits at the end of the interval contains what waits at its other events.
        if matches!(log.get(end), None | Some(Event::Flush { .. })) {
            let (combinations, outliers) = (pending.combinations(), pending.outliers());
            if combinations <= limit {
                for number in 0..combinations {
                    cut(pending.combination(number, random), &format!("combination {number}"), random);
                }
                tried.exhausted += 1;
            } else if outliers <= limit {
                for number in 0..outliers {
                    cut(pending.outlier(number, random), &format!("outlier {number}"), random);
                }
            }
        }
        for number in 0..variants {
            if number % 2 == 0 {
                cut(pending.scattered(random), &format!("scattered {number}"), random);
            } else {
                cut(pending.reordered(random), &format!("reordered {number}"), random);
            }
        }
    }
    tried
}

/// Cuts the power at every event of `operation`, and checks what is left: I4, I5, I8 and I10.
///
/// The operation is tried again after some of the cuts that it did not survive, so it must do the same again.
pub fn every_cut_is_old_or_new(
    scene: &impl Scene,
    effort: impl Into<Effort>,
    operation: impl Fn(&Commit),
) -> Tried {
    let before = scene.device().files();
    scene.device().record();
    operation(&open(scene.device()));
    let log = scene.device().log();
    let after = scene.device().files();
    let sides = [Side::of(scene, before.clone()), Side::of(scene, after)];
    let equal = sides[0].state == sides[1].state;

    let mut found = [0, 0];
    let mut tried = for_each_cut(&before, &log, effort.into(), &mut Random(4711), |torn, when, random| {
        let (files, recovery, steps) = recovered(torn.clone());
        let device = MemoryDevice::new(files.clone());
        let side = which_side(scene, &device, &sides, when);
        found[side] += 1;
        let outcome = recovery.outcome;
        assert_ne!(outcome, Outcome::FellBack, "{when}: an honest device");
        assert_eq!(
            recovery.disks.iter().any(|disk| disk.repaired),
            steps.iter().any(|step| matches!(step, Event::Write { file, .. } if file != "commit")),
            "{when}: what recovery says that it did"
        );

        // I5: the recovery is repeated, and cut itself.
        let (again, second, _) = recovered(files.clone());
        assert_eq!((second.outcome, again == files), (Outcome::Clean, true), "{when}: I5, not idempotent");
        if !steps.is_empty() {
            let end = random.below(steps.len() as u64 + 1) as usize;
            let pending = Pending::after(&torn, &steps[..end]).in_whole_sectors();
            let torn =
                if random.below(2) == 0 { pending.scattered(random) } else { pending.reordered(random) };
            let (again, ..) = recovered(torn);
            let other = which_side(
                scene,
                &MemoryDevice::new(again),
                &sides,
                &format!("{when}, then in the recovery"),
            );
            assert!(equal || other == side, "{when}: I5, another end after a cut in the recovery");
        }

        if random.below(12) == 0 {
            sides[side].assert_neighbours(scene, &device, when);
        }
        if random.below(12) == 0 && side == 0 && !equal {
            operation(&open(&device));
            let content = |state: &[State]| state.iter().map(|disk| disk.content).collect::<Vec<_>>();
            assert_eq!(content(&scene.state(&device)), content(&sides[1].state), "{when}: tried again");
            scene.assert_sound(&device, &format!("{when}, tried again"));
        }
        if random.below(150) == 0 {
            scene.assert_qemu_agrees(&files, &sides[side].files);
        }
    });
    assert!(equal || (found[0] > 0 && found[1] > 0), "one side was never seen: {found:?}");
    let (files, ..) = recovered(arrived(&before, &log));
    assert_eq!(scene.state(&MemoryDevice::new(files)), sides[1].state, "a finished operation was lost");
    tried.sides = found;
    tried
}

/// The old state or the new one.
struct Side {
    files: Files,
    state: Vec<State>,
    /// What undoing and redoing lead to from there.
    neighbours: [Option<Vec<State>>; 2],
}

/// Undo or redo.
type Travel = fn(&Commit) -> Result<(), Error>;

const TRAVELS: [Travel; 2] = [|commit| undo(commit).map(|_| ()), |commit| redo(commit).map(|_| ())];

impl Side {
    fn of(scene: &impl Scene, files: Files) -> Self {
        let state = scene.state(&MemoryDevice::new(files.clone()));
        let neighbours = TRAVELS.map(|travel| {
            let device = MemoryDevice::new(files.clone());
            travel(&open(&device)).ok().map(|()| scene.state(&device))
        });
        Side { files, state, neighbours }
    }

    /// I10: what could be undone or redone still can.
    fn assert_neighbours(&self, scene: &impl Scene, device: &MemoryDevice, when: &str) {
        for (travel, expected) in TRAVELS.iter().zip(&self.neighbours) {
            let device = MemoryDevice::new(device.files());
            let result = travel(&open(&device));
            match (expected, result) {
                (Some(expected), Ok(())) => assert_eq!(scene.state(&device), *expected, "{when}: I10"),
                (None, Err(Error::NoHistory(_))) => {}
                (expected, result) => panic!("{when}: I10, {result:?} instead of {expected:?}"),
            }
        }
    }
}

/// The side that a device is at: 0 for the old one, 1 for the new one.
fn which_side(scene: &impl Scene, device: &MemoryDevice, sides: &[Side; 2], when: &str) -> usize {
    let state = scene.state(device);
    let side = sides.iter().position(|side| side.state == state);
    let side = side.unwrap_or_else(|| panic!("{when}: I4, neither old nor new, {state:?}"));
    scene.assert_sound(device, when);
    side
}
