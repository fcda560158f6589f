//! Everything between the plan and the launch: records, the session's folder, overlays, the paging disk, the
//! configuration. Each step can be taken back; a failure leaves drive and PC as they were.

use std::path::Path;

use jiff::Timestamp;
use pocketvm_disk::{GenerationId, Progress};
use pocketvm_guest::apply::Changed;
use uuid::Uuid;

use super::Options;
use super::adapt::{self, Adapted};
use super::base::Base;
use super::chips;
use super::claim::{Claim, disk_error};
use super::devices;
use super::disks::Disks;
use super::folder::Folder;
use super::job::Job;
use super::plan::Plan;
use crate::drive::manifest::{Format, ScreenSize};
use crate::drive::{DiskRecord, Phase, SessionRecord};
use crate::drive::{Drive, names};
use crate::host::{self, scratch};
use crate::hypervisor::{self, Capabilities, Machine, MachineDisk};
use crate::{Error, Kind, Result};

/// A session that is ready to be launched.
pub struct Prepared {
    /// Its folder.
    pub folder: Folder,
    /// As recorded on the drive and in the folder.
    pub record: SessionRecord,
    /// The machine for the hypervisor.
    pub machine: Machine,
    /// How the guest was fitted to it; none if nothing is known of the guest.
    pub adapted: Option<adapt::Report>,
    /// Takes everything back unless completed.
    pub job: Job,
}

/// What a session is prepared for.
pub struct Wanted<'a> {
    /// As planned.
    pub plan: &'a Plan,
    /// Of the hypervisor that is to run it.
    pub capabilities: Capabilities,
    /// As wished.
    pub options: &'a Options,
}

impl Wanted<'_> {
    /// How the guest on `drive` fits the hypervisor.
    ///
    /// # Errors
    /// It does not; a disk can't be read.
    pub fn adapt(&self, drive: &Drive) -> Result<Adapted> {
        let name = self.plan.hypervisor.as_ref().map_or("", |choice| choice.hypervisor.as_str());
        adapt::adapt(drive, name, &self.capabilities.hardware)
    }
}

/// Prepares a session as it is `wanted`. Where the hypervisor can't read the bases on the drive, `progress` hears how far they
/// are copied, and may stop it.
///
/// # Errors
/// A step failed or was stopped; the ones before it have been taken back.
pub fn prepare(
    claim: &Claim,
    wanted: &Wanted<'_>,
    scratch: &scratch::Root,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let Wanted { plan, options, .. } = *wanted;
    let manifest = claim.drive.manifest();
    let adapted = wanted.adapt(&claim.drive)?;
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
                chip: false,
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
    let disks = Disks { folder: folder.path(), session: id, capabilities: wanted.capabilities };
    for (index, disk) in super::system_disks(manifest).enumerate() {
        // Only the system disk is changed.
        let changed = if index == 0 { &adapted.changed } else { &Changed::default() };
        disks.make_overlay(claim, disk, changed, progress)?;
        if !changed.bytes.is_empty() {
            let overlay = names::overlay(disk.name.as_str(), wanted.capabilities.overlay.extension());
            adapt::verify(&claim.drive, disk, &folder.path().join(overlay), changed)?;
        }
    }
    if let Some(boot) = &adapted.changed.boot {
        let size = boot.kernel.len() as u64 + boot.initramfs.len() as u64;
        if size > (plan.memory_mib << 20) / 2 {
            let what = format!("the guest's kernel and initramfs have {size} bytes, too many for its memory");
            return Err(Error::new(Kind::Refused, what)
                .hint("give it more memory, with --memory or in pocketvm.yaml"));
        }
        for (name, content) in [(names::BOOT_KERNEL, &boot.kernel), (names::BOOT_INITRAMFS, &boot.initramfs)]
        {
            host::file::overwrite_atomically(&folder.path().join(name), content)?;
        }
    }
    if let Some(size) = plan.paging {
        disks.make_paging(size, adapted.windows.then(|| manifest.machine_uuid(claim.identity)))?;
    }
    let machine = machine(claim.identity, &claim.drive, wanted, &adapted, folder.path())?;
    let fetched = chips::fetch(&claim.drive, folder.path(), &machine.chips)?;
    for disk in &mut record.disks {
        disk.chip = fetched.contains(&disk.name);
    }
    record.phase = Phase::Running;
    record.updated = Timestamp::now();
    folder.write(&record)?;
    // From here on the guest may write: the drive must know first, or another PC could start the old state unasked.
    claim.record(&record)?;
    Ok(Prepared { folder, record, machine, adapted: adapted.report, job })
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

/// The machine as the hypervisor is told, with its overlays in `folder`. Nothing is created.
///
/// # Errors
/// A base can't be read or is not supported, or a path leaves the drive.
pub fn machine(
    identity: Uuid,
    drive: &Drive,
    wanted: &Wanted<'_>,
    adapted: &Adapted,
    folder: &Path,
) -> Result<Machine> {
    let Wanted { plan, options, capabilities } = wanted;
    let manifest = drive.manifest();
    let format = capabilities.overlay;
    let controller = |name: &str| if name == hypervisor::ANY { adapted.controller } else { name }.to_owned();
    let mut disks = vec![];
    for disk in super::system_disks(manifest) {
        let name = disk.name.as_str();
        let base = Base::open(drive, disk)?;
        disks.push(MachineDisk {
            name: name.to_owned(),
            overlay: folder.join(names::overlay(name, format.extension())),
            size: base.virtual_size,
            base: Some(if capabilities.reads_drive {
                base.for_hypervisor()
            } else {
                hypervisor::Base {
                    path: folder.join(names::copied_base(name, format.extension())),
                    format: format.extension().into(),
                    below: vec![],
                }
            }),
            controller: controller(disk.controller.as_str()),
        });
    }
    if let Some(size) = plan.paging {
        disks.push(MachineDisk {
            name: names::PAGING_DISK.into(),
            overlay: folder.join(names::overlay(names::PAGING_DISK, format.extension())),
            size,
            base: None,
            controller: controller(super::paging_controller(manifest)),
        });
    }
    let hypervisor = plan.hypervisor.as_ref();
    let variables = hypervisor.and_then(|choice| manifest.hypervisors.get(&choice.hypervisor));
    Ok(Machine {
        name: manifest.machine.name.as_str().to_owned(),
        uuid: manifest.machine_uuid(identity),
        mac: manifest.machine_mac(identity).to_string(),
        memory_mib: plan.memory_mib,
        cpus: plan.cpus,
        accelerator: hypervisor.map(|choice| choice.accelerator.clone()).unwrap_or_default(),
        firmware: manifest.machine.firmware.as_str().into(),
        headless: options.headless,
        disks,
        chips: chips::files(manifest, capabilities.devices, folder),
        card: adapted.card,
        card_name: adapted.card_name.clone(),
        graphics: adapted.graphics,
        local_time: adapted.local_time,
        boot: adapted.changed.boot.as_ref().map(|boot| hypervisor::Boot {
            kernel: folder.join(names::BOOT_KERNEL),
            initramfs: folder.join(names::BOOT_INITRAMFS),
            command_line: boot.command_line.clone(),
        }),
        scratch: folder.to_owned(),
        serial_log: folder.join(names::SERIAL_LOG),
        devices: devices::wished(manifest, options).with(capabilities.devices, |wished, has| wished && has),
        display: manifest.devices.display.as_ref().map(ScreenSize::size),
        share: options.find_share(drive.root())?.filter(|_| capabilities.devices.share),
        variables: variables.map(|known| known.variables.as_map().clone()).unwrap_or_default(),
    })
}

/// The template of the hypervisor called `name`: the one that the manifest names, or the drive's, or the built-in one.
///
/// # Errors
/// It is missing, too large or not text.
pub fn template(drive: &Drive, name: &str) -> Result<String> {
    let title = hypervisor::title(name);
    let built_in = hypervisor::template(name)
        .ok_or_else(|| Error::new(Kind::Hypervisor, format!("there is no template for {title}")))?;
    let path = match drive.manifest().hypervisors.get(name).and_then(|known| known.template.as_ref()) {
        Some(named) => drive.resolve(named)?,
        None => match drive.template(built_in.name)? {
            Some(path) => path,
            None => return Ok(built_in.text.to_owned()),
        },
    };
    host::whole::read_text(&path, hypervisor::MAX_TEMPLATE).map_err(|error| {
        Error::new(Kind::Drive, format!("the template for {title} can't be read"))
            .hint("copy the template of this PocketVM version to the drive")
            .because(error)
    })
}
