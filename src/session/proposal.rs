//! Gathers the facts of drive and host, and makes the [`Plan`] from them.

use pocketvm_disk::CopyFormat;

use super::Options;
use super::base::Base;
use super::claim::disk_error;
use super::devices;
use super::plan::{self, Choice, Limits, Place, Plan, PlannedDisk, Reason, Refusal, Room};
use crate::drive::Drive;
use crate::drive::manifest::{Format, Plain};
use crate::host::{self, scratch};
use crate::hypervisor::{self, Hypervisor};
use crate::{Error, Kind, Result};

/// A usable hypervisor and the accelerator to use in it.
pub type Door = (Box<dyn Hypervisor>, String);

/// Refuses a run with a window on a hypervisor that has none.
fn window_refusal(door: &dyn Hypervisor, options: &Options) -> Option<Refusal> {
    let missing = !options.headless && !door.capabilities().window;
    missing.then(|| {
        Refusal::new(
            Reason::NoWindow,
            format!("this {} can't open a window", hypervisor::title(&door.candidate().hypervisor)),
            "install its window support (on Debian and Ubuntu: apt install qemu-system-gui, or virtualbox-qt), or add --headless",
        )
    })
}

/// The plan for `drive` on this PC. Reads only.
///
/// # Errors
/// A disk can't be read or is not supported, or a flag names no disk.
pub fn propose(
    drive: &Drive,
    scratch: &scratch::Root,
    door: Option<&Door>,
    options: &Options,
) -> Result<Plan> {
    let manifest = drive.manifest();
    for name in options.keep.iter().chain(&options.discard) {
        if manifest.disk(name).is_none() {
            return Err(Error::new(Kind::Usage, format!("the machine has no disk of this name: {name}"))
                .hint("see its disks with: pocketvm plan"));
        }
        if options.keep.contains(name) && options.discard.contains(name) {
            return Err(Error::new(Kind::Usage, format!("a disk can't be both kept and discarded: {name}"))
                .hint("name it once"));
        }
    }
    options.find_share(drive.root())?;
    let mut disks = vec![];
    for disk in &manifest.disks {
        let base = Base::open(drive, disk)?;
        let name = disk.name.as_str().to_owned();
        let keep = (disk.keep || options.keep.contains(&name)) && !options.discard.contains(&name);
        disks.push(PlannedDisk {
            name,
            size: base.virtual_size,
            file_size: base.file_size,
            format: base.format,
            keep,
        });
    }
    let paging = manifest.paging.map(|paging| paging.size.bytes());
    let wanted = manifest.scratch.room.bytes();
    let mut refusals = vec![];
    refusals.extend(door.and_then(|(door, _)| window_refusal(door.as_ref(), options)));

    let capabilities = door.map(|(door, _)| door.capabilities());
    let copied = match capabilities.and_then(|capabilities| super::disks::copies(&capabilities)) {
        Some(format) => Some(copy_size(drive, format)?),
        None => None,
    };
    let scratch_room = Room {
        available: scratch.volume().free,
        needed: plan::scratch_needed(wanted, &disks, paging, copied),
    };
    refusals.extend(plan::room_refusal(Place::Scratch, scratch_room));
    let drive_room = drive_room(drive, &disks, wanted)?;
    refusals.extend(plan::room_refusal(Place::Drive, drive_room));

    let facts = host::facts::Facts::gather()?;
    let (available, total) = (facts.memory_available, facts.memory_total);
    let (min, max) = (manifest.memory.min.bytes(), manifest.memory.max.bytes());
    let memory_mib = plan::memory(available, total, min, max, options.memory);
    let (memory_min_mib, memory_max_mib) = plan::memory_limits(available, total, min, max);
    let cpus_min = manifest.cpus.min.max(1);
    let cpus_max = manifest.cpus.max.min(facts.processors.max(facts.cores)).max(cpus_min);
    let cpus = plan::cpus(facts.cores, facts.processors, manifest.cpus.min, manifest.cpus.max, options.cpus);
    Ok(Plan {
        machine: manifest.machine.name.as_str().to_owned(),
        drive: drive.root().to_owned(),
        hypervisor: door.map(|(door, accelerator)| Choice {
            hypervisor: door.candidate().hypervisor.clone(),
            version: door.candidate().version.clone(),
            accelerator: accelerator.clone(),
            release_keys: door.capabilities().release_keys.filter(|_| !options.headless).map(str::to_owned),
        }),
        memory_mib: or_refuse(memory_mib, &mut refusals),
        cpus: or_refuse(cpus, &mut refusals),
        limits: Limits { memory_min_mib, memory_max_mib, cpus_min, cpus_max },
        scratch: scratch.path().to_owned(),
        scratch_room,
        drive_room,
        disks,
        paging,
        copied,
        lacks: capabilities.map_or_else(Vec::new, |capabilities| {
            devices::lacks(devices::wished(manifest, options), capabilities.devices, options.headless)
        }),
        plain_scratch: true,
        needs_consent: manifest.scratch.plain != Plain::Accepted && !options.accept_plain_scratch,
        refusals,
    })
}

/// Bytes that copies of all bases hold at most.
fn copy_size(drive: &Drive, copy: CopyFormat) -> Result<u64> {
    let sizes = super::system_disks(drive.manifest()).map(|disk| {
        let format = super::disks::base_format(disk.format);
        pocketvm_disk::copy_size(drive.root(), disk.file.as_str(), format, copy).map_err(disk_error)
    });
    sizes.sum()
}

/// Room for changes on the drive. A file system that limits a file's size limits it further.
fn drive_room(drive: &Drive, disks: &[PlannedDisk], wanted: u64) -> Result<Room> {
    let free = host::volume::free(drive.root())?;
    let limit = host::volume::Volume::of(drive.root()).ok().and_then(|volume| volume.file_system.max_file());
    let kept = disks.iter().filter(|disk| disk.keep);
    let growth = limit.map_or(u64::MAX, |limit| {
        let grows = kept.map(|disk| match disk.format {
            Format::Qcow2 => limit.saturating_sub(disk.file_size),
            // What grows is the journal beside it, a file of its own.
            Format::Raw => limit,
        });
        grows.min().unwrap_or(u64::MAX)
    });
    Ok(Room { available: free.min(growth), needed: plan::drive_needed(wanted, disks) })
}

fn or_refuse<T: Default>(value: Result<T, Refusal>, refusals: &mut Vec<Refusal>) -> T {
    value.unwrap_or_else(|refusal| {
        refusals.push(refusal);
        T::default()
    })
}
