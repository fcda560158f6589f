//! What a machine's chips remember: UEFI's variables, and what a TPM keeps. On the drive each is a small disk of the manifest,
//! so that it is saved, undone and thrown away like the others. No hypervisor gets it as a disk: before the start it is read
//! into a file of the session, and after the end what changed there goes into an overlay.

use std::path::Path;

use pocketvm_disk::CreateOptions;

use super::claim::{Claim, disk_error};
use super::disks::base_format;
use super::event::{Event, Notice, View};
use super::folder::Folder;
use crate::drive::manifest::{Controller, Disk, Manifest};
use crate::drive::{Drive, SessionRecord, names};
use crate::guest::tpm;
use crate::hypervisor::{self, Chips, Devices, DiskFormat, Unusable};
use crate::{Error, Kind, Result, host};

/// The largest of these disks, in bytes.
const MOST: u64 = 4 << 20;

/// The smallest disk for a TPM, in bytes: its state grows with use.
const LEAST_TPM: usize = 256 << 10;

/// What is compared, and what an overlay stores, in bytes.
const PIECE: usize = 4096;

/// The files of the chips that a machine of `manifest` has in a hypervisor that `has` some, in the session's `folder`.
pub fn files(manifest: &Manifest, has: Devices<bool>, folder: &Path) -> Chips {
    let has = |disk: &Disk| if disk.controller == Controller::Tpm { has.tpm } else { has.variables };
    files_of(manifest, folder, has)
}

/// The files of the chips of a machine that `has` their disks.
fn files_of(manifest: &Manifest, folder: &Path, has: impl Fn(&Disk) -> bool) -> Chips {
    let file = |controller: Controller| {
        let disk = chips(manifest).find(|disk| disk.controller == controller).filter(|disk| has(disk));
        disk.map(|disk| folder.join(names::chip(disk.name.as_str())))
    };
    Chips { variables: file(Controller::Flash), tpm: file(Controller::Tpm) }
}

/// The disks that are the memory of a chip.
fn chips(manifest: &Manifest) -> impl Iterator<Item = &Disk> {
    manifest.disks.iter().filter(|disk| disk.controller.is_chip())
}

/// Makes the files of the chips that are `wanted` in the session's `folder` from what is on the drive, and returns the names of
/// their disks. The others are looked at as well: they have to be saved, too.
///
/// # Errors
/// A disk can't be read, is too large or too small, or holds something else; no room.
pub fn fetch(drive: &Drive, folder: &Path, wanted: &Chips) -> Result<Vec<String>> {
    let mut fetched = vec![];
    for disk in chips(drive.manifest()) {
        let stored = read(drive, disk)?;
        let content = match disk.controller {
            Controller::Tpm if stored.len() < LEAST_TPM => {
                let why = format!("it has {} bytes, and a TPM needs {LEAST_TPM}", stored.len());
                return Err(unreadable(disk, why));
            }
            Controller::Tpm => tpm::unwrap(&stored).map_err(|why| unreadable(disk, why))?,
            _ => &stored,
        };
        let name = disk.name.as_str();
        let file = folder.join(names::chip(name));
        if [&wanted.variables, &wanted.tpm].into_iter().flatten().any(|wanted| *wanted == file) {
            host::file::overwrite_atomically(&file, content)?;
            fetched.push(name.to_owned());
        }
    }
    Ok(fetched)
}

/// Brings the files of the chips that the machine of `record` had up to date, after it has ended, and tells which of them can't
/// be used.
///
/// # Errors
/// The session's `folder` can't be read or written, or the machine runs.
pub fn collect(manifest: &Manifest, record: &SessionRecord, folder: &Path) -> Result<Vec<Unusable>> {
    let chips = files_of(manifest, folder, |disk| had(record, disk.name.as_str()));
    if chips == Chips::default() {
        return Ok(vec![]);
    }
    hypervisor::collect(folder, &chips)
}

/// Whether the disk called `name` is the memory of a chip that the machine had.
fn had(record: &SessionRecord, name: &str) -> bool {
    record.disks.iter().any(|disk| disk.name == name && disk.chip)
}

/// Makes the overlays of the kept chips in `folder` after the machine has ended: what each remembers now over what is on the
/// drive. What can't be used is told, and stays as it is on the drive.
///
/// # Errors
/// A disk can't be read; a file is missing; no room; the machine runs.
pub fn gather(claim: &Claim, folder: &Folder, record: &SessionRecord, view: &dyn View) -> Result<()> {
    let manifest = claim.drive.manifest();
    let unusable = collect(manifest, record, folder.path())?;
    for disk in chips(manifest) {
        let name = disk.name.as_str();
        if !record.disks.iter().any(|recorded| recorded.name == name && recorded.keep) {
            continue;
        }
        if !had(record, name) && folder.overlay(name).try_exists()? {
            // It was a disk when the session began.
            continue;
        }
        let before = read(&claim.drive, disk)?;
        let after =
            match unusable.iter().find(|unusable| unusable.file == folder.path().join(names::chip(name))) {
                _ if !had(record, name) => Ok(None),
                Some(unusable) => Err(unusable.why.clone()),
                None => now(disk, folder, before.len())?.map(Some),
            };
        let after = after.unwrap_or_else(|why| {
            view.show(&Event::notice(Notice::Chip, format!("{}; it stays as it was", sentence(name, &why))));
            None
        });
        make_overlay(folder, disk, &before, after.as_deref())?;
    }
    Ok(())
}

/// Says that what a chip was left with can't be used.
pub fn sentence(name: &str, why: &str) -> String {
    format!("what the machine wrote to {name} can't be used ({why})")
}

/// What the disk of a chip is to hold now. The inner error says why its file can't be used.
fn now(disk: &Disk, folder: &Folder, size: usize) -> Result<std::result::Result<Vec<u8>, String>> {
    let content = host::whole::read_bytes(&folder.path().join(names::chip(disk.name.as_str())), MOST)?;
    Ok(match disk.controller {
        Controller::Tpm => tpm::wrap(&content, size),
        _ if content.len() == size => Ok(content),
        _ => Err(format!("it has {} bytes, not {size}", content.len())),
    })
}

/// Makes the overlay of the disk that holds `before`: with the pieces of `after` that differ, or empty. An overlay that is
/// there already is replaced.
fn make_overlay(folder: &Folder, disk: &Disk, before: &[u8], after: Option<&[u8]>) -> Result<()> {
    let changed: Vec<(u64, &[u8])> = after
        .into_iter()
        .flat_map(|after| after.chunks(PIECE).zip(before.chunks(PIECE)).enumerate())
        .filter(|(_, (now, before))| now != before)
        .map(|(at, (now, _))| ((at * PIECE) as u64, now))
        .collect();
    let options = CreateOptions {
        virtual_size: before.len() as u64,
        // What is in a cluster besides a piece that differs has to be there, too.
        cluster_size: PIECE as u64,
        backing: None,
        content: &changed,
    };
    let overlay = folder.path().join(names::overlay(disk.name.as_str(), DiskFormat::Qcow2.extension()));
    let new = overlay.with_extension("new");
    if new.exists() {
        fs_err::remove_file(&new)?;
    }
    pocketvm_disk::create(&new, &options).map_err(disk_error)?;
    Ok(fs_err::rename(&new, &overlay)?)
}

fn read(drive: &Drive, disk: &Disk) -> Result<Vec<u8>> {
    // Refuses layers that leave the drive.
    super::base::Base::open(drive, disk)?;
    let format = base_format(disk.format);
    let bytes =
        pocketvm_disk::read_base(drive.root(), disk.file.as_str(), format, MOST).map_err(disk_error)?;
    if bytes.is_empty() || bytes.len() % 512 != 0 {
        return Err(unreadable(disk, format!("it can't have {} bytes", bytes.len())));
    }
    Ok(bytes)
}

fn unreadable(disk: &Disk, why: String) -> Error {
    let what = format!("the disk {} can't be used: {why}", disk.name.as_str());
    Error::new(Kind::Disk, what)
        .hint("go back to an earlier state with: pocketvm undo, or make it anew as pocketvm.yaml describes")
}
