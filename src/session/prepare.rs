//! Everything between the plan and the launch: records, the session's folder, overlays, the paging disk, the
//! configuration. Each step can be taken back; a failure leaves drive and PC as they were.

use std::path::Path;

use jiff::Timestamp;
use pocketvm_disk::{CreateOptions, GenerationId};
use uuid::Uuid;

use super::Options;
use super::base::Base;
use super::claim::{Claim, disk_error};
use super::folder::{CLUSTER, Folder, overlay_cluster};
use super::job::Job;
use super::plan::Plan;
use crate::drive::manifest::{Format, Manifest, Qemu};
use crate::drive::{DiskRecord, Phase, SessionRecord};
use crate::drive::{Drive, names};
use crate::guest::swap;
use crate::host::{self, scratch};
use crate::hypervisor::{self, Machine, MachineDisk};
use crate::{Error, Kind, Result};

/// A session that is ready to be launched.
pub struct Prepared {
    /// Its folder.
    pub folder: Folder,
    /// As recorded on the drive and in the folder.
    pub record: SessionRecord,
    /// The machine for the hypervisor.
    pub machine: Machine,
    /// Takes everything back unless completed.
    pub job: Job,
}

/// Prepares a session as `plan` says.
///
/// # Errors
/// A step failed; the ones before it have been taken back.
pub fn prepare(claim: &Claim, plan: &Plan, scratch: &scratch::Root, options: &Options) -> Result<Prepared> {
    let manifest = claim.drive.manifest();
    let generations = generations(claim)?;
    let id = Uuid::new_v4();
    let now = Timestamp::now();
    let mut record = SessionRecord {
        id,
        drive: claim.identity,
        host_id: host::facts::host_id(),
        host_name: host::facts::host_name(),
        started: now,
        updated: now,
        phase: Phase::Preparing,
        scratch: plan.scratch.join(id.to_string()).display().to_string(),
        disks: plan
            .disks
            .iter()
            .zip(&generations)
            .map(|(disk, generation)| DiskRecord {
                name: disk.name.clone(),
                keep: disk.keep,
                generation: generation.to_string(),
                next: GenerationId::random().to_string(),
                unsaved: 0,
            })
            .collect(),
        clean_shutdown: false,
    };

    let mut job = Job::new();
    let drive = claim.drive.clone();
    // What is recorded now is at most a session that the user gives up; it is back should this one not come about.
    let before = claim.drive.read_session()?;
    let restore = move || match &before {
        Some(before) => drive.write_session(before),
        None => drive.write_clean(None),
    };
    job.step(
        "record the session on the drive",
        || if options.abandon_session { claim.drive.write_session(&record) } else { claim.record(&record) },
        restore.clone(),
    )?;
    let path = scratch.path().join(id.to_string());
    let undone = SessionRecord { phase: Phase::Wiping, ..record.clone() };
    let folder = job.step(
        "make the session's folder",
        || Folder::create(scratch, id),
        move || {
            let Some(session) = scratch::Session::open(&path) else { return Ok(()) };
            // A drive that is gone keeps telling of this session. Then the folder stays, and says that nothing is at stake.
            if let Err(error) = restore() {
                session.write_record(&undone)?;
                return Err(error);
            }
            session.wipe()
        },
    )?;
    folder.write(&record)?;
    for disk in &manifest.disks {
        let base = claim.base(disk)?;
        let options = CreateOptions {
            virtual_size: base.virtual_size,
            cluster_size: overlay_cluster(base.cluster_size),
            backing: Some((base.path, base.format.as_str())),
            content: &[],
        };
        pocketvm_disk::create(&folder.overlay(disk.name.as_str()), &options).map_err(disk_error)?;
    }
    if let Some(size) = plan.paging {
        create_paging(&folder.path().join(names::PAGING), size)?;
    }
    let machine = machine(claim.identity, &claim.drive, plan, folder.path(), options.headless)?;
    record.phase = Phase::Running;
    record.updated = Timestamp::now();
    folder.write(&record)?;
    // From here on the guest may write: the drive must know first, or another PC could start the old state unasked.
    claim.record(&record)?;
    Ok(Prepared { folder, record, machine, job })
}

/// The generation of every base; fresh ones and ones that another program wrote to get a new one.
fn generations(claim: &Claim) -> Result<Vec<GenerationId>> {
    let disks = &claim.drive.manifest().disks;
    let (mut unknown, mut raw) = (vec![], vec![]);
    for disk in disks {
        let generation = claim.generation(disk)?;
        match disk.format {
            Format::Qcow2 if generation.is_none() => unknown.push(disk.file.as_str()),
            Format::Qcow2 => {}
            // Whether it is as it was left is for the engine to find out.
            Format::Raw => raw.push(disk.file.as_str()),
        }
    }
    if !unknown.is_empty() {
        pocketvm_disk::stamp(&claim.commit, &unknown).map_err(disk_error)?;
    }
    if !raw.is_empty() {
        pocketvm_disk::stamp_raw(&claim.commit, &raw).map_err(disk_error)?;
    }
    disks
        .iter()
        .map(|disk| {
            claim.generation(disk)?.ok_or_else(|| {
                Error::new(Kind::Disk, format!("the disk did not take a generation: {}", disk.file.as_str()))
                    .hint("check the drive with: pocketvm check")
            })
        })
        .collect()
}

fn create_paging(path: &Path, size: u64) -> Result<()> {
    let header = swap::header(size, Uuid::new_v4()).ok_or_else(|| {
        Error::new(Kind::Drive, format!("the paging disk can't have this size: {size} bytes"))
    })?;
    let options = CreateOptions {
        virtual_size: size,
        cluster_size: CLUSTER,
        backing: None,
        content: &[(0, header.as_slice())],
    };
    pocketvm_disk::create(path, &options).map_err(disk_error)
}

/// The machine as the hypervisor is told, with its overlays in `folder`. Nothing is created.
///
/// # Errors
/// A base can't be read or is not supported, or a path leaves the drive.
pub fn machine(identity: Uuid, drive: &Drive, plan: &Plan, folder: &Path, headless: bool) -> Result<Machine> {
    let manifest = drive.manifest();
    let mut disks = vec![];
    for disk in &manifest.disks {
        disks.push(MachineDisk {
            name: disk.name.as_str().to_owned(),
            overlay: folder.join(names::overlay(disk.name.as_str())),
            base: Some(Base::open(drive, disk)?.for_hypervisor()),
            controller: disk.controller.as_str().into(),
        });
    }
    if plan.paging.is_some() {
        disks.push(MachineDisk {
            name: "paging".into(),
            overlay: folder.join(names::PAGING),
            base: None,
            controller: manifest.disks.first().map_or("ahci", |disk| disk.controller.as_str()).into(),
        });
    }
    Ok(Machine {
        name: manifest.machine.name.as_str().to_owned(),
        uuid: manifest.machine_uuid(identity),
        mac: manifest.machine_mac(identity).to_string(),
        memory_mib: plan.memory_mib,
        cpus: plan.cpus,
        accelerator: plan.hypervisor.as_ref().map(|choice| choice.accelerator.clone()).unwrap_or_default(),
        firmware: manifest.machine.firmware.as_str().into(),
        headless,
        disks,
        scratch: folder.to_owned(),
        serial_log: folder.join(names::SERIAL_LOG),
        variables: variables(manifest),
    })
}

fn variables(manifest: &Manifest) -> std::collections::BTreeMap<String, String> {
    manifest.hypervisors.qemu.variables.as_map().clone()
}

/// The template of a hypervisor: the drive's, or the built-in one if the manifest names none and the drive has none.
///
/// # Errors
/// It is missing, too large or not text.
pub fn template(drive: &Drive) -> Result<String> {
    let named = &drive.manifest().hypervisors.qemu.template;
    if *named == Qemu::default().template && !drive.root().join(named.as_str()).exists() {
        return Ok(hypervisor::qemu::TEMPLATE.to_owned());
    }
    let path = drive.resolve(named)?;
    host::whole::read_text(&path, hypervisor::MAX_TEMPLATE).map_err(|error| {
        Error::new(Kind::Drive, "the hypervisor's template can't be read")
            .hint("copy the template of this PocketVM version to the drive")
            .because(error)
    })
}
