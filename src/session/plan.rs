//! What a run would do on this PC, and whether it may: numbers in, a [`Plan`] out. Nothing is started or written.

use std::path::PathBuf;

use serde::Serialize;

use crate::drive::manifest::Format;

/// Mebibyte.
const MIB: u64 = 1 << 20;

/// Guest memory is given in steps of this many MiB.
const MEMORY_STEP: u64 = 128;

/// Room on the drive that a merge needs besides the changed data, for its structures: 1/64 and a little.
const STRUCTURES: u64 = 16 * MIB;

/// Everything that a run would use, keep and need.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the machine.
    pub machine: String,
    /// The drive's folder.
    pub drive: PathBuf,
    /// The hypervisor, its version and the accelerator; none if this PC has no usable one.
    pub hypervisor: Option<Choice>,
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// What may be chosen instead.
    pub limits: Limits,
    /// Where the session's folder would be.
    pub scratch: PathBuf,
    /// Room in scratch.
    pub scratch_room: Room,
    /// Room on the drive for the changes.
    pub drive_room: Room,
    /// The machine's disks in boot order.
    pub disks: Vec<PlannedDisk>,
    /// Size of the paging disk in bytes; it grows as used.
    pub paging: Option<u64>,
    /// Bytes of the disks that are copied to this PC for the time of the session, because the hypervisor can't read them on
    /// the drive; none if it can.
    pub copied: Option<u64>,
    /// What the manifest wishes for and the hypervisor does not have: `sound`, `clipboard`, …
    pub lacks: Vec<&'static str>,
    /// Overlays are written to this PC without encryption.
    pub plain_scratch: bool,
    /// Nobody has accepted that yet.
    pub needs_consent: bool,
    /// Why it may not run; empty if it may.
    pub refusals: Vec<Refusal>,
}

/// What the machine may be given on this PC: both limits are safe to choose. Without a refusal of that sort, the lower
/// ones are not above the upper ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Least guest memory in MiB.
    pub memory_min_mib: u64,
    /// Most guest memory in MiB.
    pub memory_max_mib: u64,
    /// Fewest virtual CPUs.
    pub cpus_min: u32,
    /// Most virtual CPUs.
    pub cpus_max: u32,
}

/// What it would run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// For instance `qemu`.
    pub hypervisor: String,
    /// For instance `7.2.22`.
    pub version: Option<String>,
    /// For instance `kvm`.
    pub accelerator: String,
    /// The keys that give mouse and keyboard back to this PC, for instance `Ctrl+Alt+G`; none if it shows no window.
    pub release_keys: Option<String>,
}

/// Room somewhere, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Free now.
    pub available: u64,
    /// Wanted for one session.
    pub needed: u64,
}

/// A disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedDisk {
    /// Its name.
    pub name: String,
    /// Size as the guest sees it, in bytes.
    pub size: u64,
    /// Size of the base's file, in bytes.
    pub file_size: u64,
    /// What that file is.
    pub format: Format,
    /// Its changes are kept.
    pub keep: bool,
}

/// A reason not to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// What is missing, with its number.
    pub what: String,
    /// The one thing to do about it.
    pub hint: String,
}

/// Why a run is refused. Memory and room are in MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum Reason {
    /// This PC can spare too little memory.
    Memory {
        /// What the machine needs.
        needed: u64,
        /// What this PC can spare.
        spare: u64,
    },
    /// This PC has too few CPUs.
    Cpus {
        /// What the machine needs.
        needed: u32,
        /// What this PC has.
        available: u32,
    },
    /// More memory or CPUs were asked for than can be had, or than the machine takes.
    Asked,
    /// Too little room for the session on this PC.
    ScratchRoom {
        /// What is missing.
        missing: u64,
    },
    /// Too little room for the changes on the drive.
    DriveRoom {
        /// What is missing.
        missing: u64,
    },
    /// The hypervisor of this PC can't show a window.
    NoWindow,
    /// No hypervisor is usable.
    NoHypervisor,
    /// An earlier session, or another launcher, stands in the way.
    Unsettled,
}

impl Refusal {
    /// A refusal and its remedy.
    pub fn new(reason: Reason, what: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { reason, what: what.into(), hint: hint.into() }
    }
}

/// Memory for the guest, in MiB: `min(available - reserve, total / 2)` with `reserve = max(1 GiB, total / 8)`, rounded
/// down to 128 MiB and clamped to the manifest. `available`, `total`, `min` and `max` are in bytes; `wished` (a flag)
/// takes the place of the proposal but not of the limits.
///
/// # Errors
/// Less than `min` can be had: the refusal says how much is missing.
pub fn memory(available: u64, total: u64, min: u64, max: u64, wished: Option<u64>) -> Result<u64, Refusal> {
    let spare = spare(available, total);
    let limit = spare.min(total / 2);
    if let Some(wished) = wished {
        if wished > spare {
            return Err(Refusal::new(
                Reason::Asked,
                format!(
                    "this PC can spare {} MiB of memory, {} MiB were asked for",
                    spare / MIB,
                    wished / MIB
                ),
                "ask for less memory, or close programs on this PC",
            ));
        }
        if wished < min || wished > max {
            return Err(Refusal::new(
                Reason::Asked,
                format!(
                    "the machine takes {} to {} MiB of memory, {} were asked for",
                    min / MIB,
                    max / MIB,
                    wished / MIB
                ),
                "choose a size within these limits",
            ));
        }
        return Ok(wished / MIB);
    }
    let rounded = limit / MIB / MEMORY_STEP * MEMORY_STEP * MIB;
    // A minimum that is no multiple of the step is met exactly, when it can be.
    let proposal = if rounded < min && limit >= min { min } else { rounded };
    if proposal < min {
        return Err(Refusal::new(
            Reason::Memory { needed: min / MIB, spare: limit / MIB },
            format!(
                "the machine needs {} MiB of memory, this PC can spare {} MiB: {} MiB are missing",
                min / MIB,
                limit / MIB,
                (min - limit).div_ceil(MIB)
            ),
            "close programs on this PC, or use a PC with more memory",
        ));
    }
    Ok(proposal.min(max) / MIB)
}

/// Memory that this PC can do without, in bytes.
fn spare(available: u64, total: u64) -> u64 {
    available.saturating_sub((1024 * MIB).max(total / 8))
}

/// The most memory that may be asked for, in MiB: what [`memory`] takes as a wish, in its steps. The least is what it refuses
/// to go below.
pub fn memory_limits(available: u64, total: u64, min: u64, max: u64) -> (u64, u64) {
    let most = spare(available, total).min(max) / MIB / MEMORY_STEP * MEMORY_STEP;
    (min / MIB, most.max(min / MIB))
}

/// CPUs for the guest: physical cores minus one, at least one, clamped to the manifest; `wished` may go up to the
/// logical ones.
///
/// # Errors
/// More CPUs are required, or wished, than this PC has.
pub fn cpus(physical: u32, logical: u32, min: u32, max: u32, wished: Option<u32>) -> Result<u32, Refusal> {
    let logical = logical.max(physical).max(1);
    if let Some(wished) = wished {
        if wished < 1 || wished > logical {
            return Err(Refusal::new(
                Reason::Asked,
                format!("this PC has {logical} CPUs, {wished} were asked for"),
                "choose a number within these limits",
            ));
        }
        return Ok(wished);
    }
    if min > logical {
        return Err(Refusal::new(
            Reason::Cpus { needed: min, available: logical },
            format!("the machine needs {min} CPUs, this PC has {logical}: {} are missing", min - logical),
            "use a PC with more CPUs",
        ));
    }
    Ok(physical.saturating_sub(1).max(1).clamp(min, max.max(min)))
}

/// Room wanted in scratch: what the manifest says, but never more than all overlays and the paging disk could grow to; and
/// the disks that are copied.
pub fn scratch_needed(wanted: u64, disks: &[PlannedDisk], paging: Option<u64>, copied: Option<u64>) -> u64 {
    let all: u64 = disks.iter().map(|disk| disk.size).chain(paging).fold(0, u64::saturating_add);
    let copied = copied.map_or(0, |copied| copied.saturating_add(copied / 64).saturating_add(STRUCTURES));
    wanted.min(all.saturating_add(all / 64).saturating_add(STRUCTURES)).saturating_add(copied)
}

/// Room wanted on the drive: for the changes of one session on the kept disks, at most an eighth of what they hold.
pub fn drive_needed(wanted: u64, disks: &[PlannedDisk]) -> u64 {
    let kept = || disks.iter().filter(|disk| disk.keep);
    let size = kept().map(|disk| disk.size).fold(0, u64::saturating_add);
    if size == 0 {
        return 0;
    }
    // All of it may go to the disk that takes most.
    let most = kept().map(|disk| saving(disk.format, 1)).max().unwrap_or(1);
    wanted.min(size / 8).saturating_mul(most).saturating_add(STRUCTURES)
}

/// Room on the drive that saving `changed` bytes takes: a raw base keeps what it was and what it will be in a journal.
pub fn saving(format: Format, changed: u64) -> u64 {
    match format {
        Format::Qcow2 => changed,
        Format::Raw => changed.saturating_mul(2),
    }
}

/// A place that needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The folder of sessions on this PC.
    Scratch,
    /// The drive.
    Drive,
}

/// Refuses when a place has less room than needed.
pub fn room_refusal(place: Place, room: Room) -> Option<Refusal> {
    let missing = room.needed.checked_sub(room.available).filter(|missing| *missing > 0)?;
    let mib = missing.div_ceil(MIB);
    let (reason, name, hint) = match place {
        Place::Scratch => (
            Reason::ScratchRoom { missing: mib },
            "scratch",
            "free some room on this PC, or point elsewhere with --scratch",
        ),
        Place::Drive => (Reason::DriveRoom { missing: mib }, "the drive", "free some room on the drive"),
    };
    Some(Refusal::new(
        reason,
        format!(
            "{name} has {} MiB free, {} MiB are needed: {} MiB are missing",
            room.available / MIB,
            room.needed.div_ceil(MIB),
            mib
        ),
        hint,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_leaves_the_host_its_reserve_and_half_of_the_total() {
        assert_eq!(memory(15 * GIB, 16 * GIB, GIB, 64 * GIB, None).unwrap(), 8192);
        assert_eq!(memory(4 * GIB, 16 * GIB, GIB, 64 * GIB, None).unwrap(), 2048);
        assert_eq!(memory(15 * GIB, 16 * GIB, GIB, 4 * GIB, None).unwrap(), 4096);
        assert_eq!(memory(5 * GIB + 77 * MIB, 8 * GIB, GIB, 64 * GIB, None).unwrap(), 4096);
        assert_eq!(memory(3 * GIB + 77 * MIB, 8 * GIB, GIB, 64 * GIB, None).unwrap(), 2048);
    }

    #[test]
    fn a_small_minimum_is_met_even_between_two_steps() {
        assert_eq!(memory(GIB + 70 * MIB, 4 * GIB, 64 * MIB, GIB, None).unwrap(), 64);
    }

    #[test]
    fn too_little_memory_is_refused_with_the_missing_number() {
        let refusal = memory(2 * GIB, 8 * GIB, 2 * GIB, 4 * GIB, None).unwrap_err();
        assert_eq!(
            refusal.what,
            "the machine needs 2048 MiB of memory, this PC can spare 1024 MiB: 1024 MiB are missing"
        );
        assert!(memory(2 * GIB, 8 * GIB, GIB, 4 * GIB, Some(3 * GIB)).is_err());
        assert!(memory(20 * GIB, 32 * GIB, GIB, 4 * GIB, Some(5 * GIB)).is_err());
    }

    #[test]
    fn whatever_lies_within_the_limits_is_taken_when_it_is_asked_for() {
        let (available, total, min, max) = (5 * GIB + 77 * MIB, 8 * GIB, GIB, 64 * GIB);
        let (least, most) = memory_limits(available, total, min, max);
        assert_eq!((least, most), (1024, 4096));
        for mib in [least, most] {
            assert_eq!(memory(available, total, min, max, Some(mib * MIB)).unwrap(), mib);
        }
        assert!(memory(available, total, min, max, Some((most + MEMORY_STEP) * MIB)).is_err());
        assert_eq!(memory_limits(GIB, total, min, max), (1024, 1024), "never upside down");
    }

    #[test]
    fn one_core_is_left_to_the_host_if_there_is_more_than_one() {
        assert_eq!(cpus(8, 16, 1, 64, None).unwrap(), 7);
        assert_eq!(cpus(1, 1, 1, 64, None).unwrap(), 1);
        assert_eq!(cpus(8, 16, 1, 4, None).unwrap(), 4);
        assert_eq!(cpus(2, 4, 2, 4, None).unwrap(), 2);
        assert!(cpus(2, 2, 3, 4, None).is_err());
        assert!(cpus(2, 2, 1, 4, Some(3)).is_err());
    }

    #[test]
    fn missing_room_is_named_in_mebibytes() {
        let refusal = room_refusal(Place::Scratch, Room { available: 100 * MIB, needed: 4 * GIB }).unwrap();
        assert_eq!(refusal.reason, Reason::ScratchRoom { missing: 3996 });
        assert_eq!(refusal.what, "scratch has 100 MiB free, 4096 MiB are needed: 3996 MiB are missing");
        assert_eq!(room_refusal(Place::Scratch, Room { available: 4 * GIB, needed: 4 * GIB }), None);
    }

    #[test]
    fn discarded_disks_need_no_room_on_the_drive() {
        let format = Format::Qcow2;
        let disk = |keep| PlannedDisk { name: "user".into(), size: 8 * GIB, file_size: GIB, format, keep };
        assert_eq!(drive_needed(4 * GIB, &[disk(false)]), 0);
        assert_eq!(drive_needed(4 * GIB, &[disk(true)]), GIB + 16 * MIB);
        assert_eq!(scratch_needed(4 * GIB, &[disk(true)], None, None), 4 * GIB);
    }

    #[test]
    fn a_raw_disk_that_is_kept_needs_the_room_of_its_journal() {
        let disk =
            |format, keep| PlannedDisk { name: "d".into(), size: 8 * GIB, file_size: GIB, format, keep };
        let (qcow2, raw) = (Format::Qcow2, Format::Raw);
        assert_eq!(drive_needed(GIB, &[disk(qcow2, true), disk(raw, true)]), 2 * GIB + 16 * MIB);
        assert_eq!(drive_needed(GIB, &[disk(qcow2, true), disk(raw, false)]), GIB + 16 * MIB);
    }
}
