//! Fits the guest to the hypervisor that is to run it: looks at its disks from outside, chooses hardware that it has drivers for,
//! and plans the least change where there is none. Nothing is written here; what changes goes into the session's overlay.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use pocketvm_disk::View;
use pocketvm_guest::apply::{self, Changed, Way};
use pocketvm_guest::fit::{self, Fit, Offers};
use pocketvm_guest::guest::{Guest, System, Volume, volumes};
use pocketvm_guest::linux::Scope;
use pocketvm_guest::partition::Table;
use pocketvm_guest::patch::SharedDisk;
use pocketvm_guest::volume::{Content, recognise};
use pocketvm_guest::{Disk as _, Hardware, Part, windows};
use serde::Serialize;

use super::base::Base;
use super::claim::disk_error;
use super::disks::base_format;
use super::folder::Folder;
use crate::drive::manifest::{Adapt, Controller, Disk, Firmware, Manifest};
use crate::drive::{Drive, names};
use crate::hypervisor::{self, CardNames, Offer, Offered};
use crate::{Error, Kind, Result};

/// The most bytes of an overlay that are compared with what was planned.
const MOST_CHANGED: u64 = 1 << 30;

/// The controller of a guest of which nothing is known.
const USUAL: &str = "ahci";

/// What a guest is given, and what changes in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adapted {
    /// The controller of the disks that are on `auto`, as in the manifest.
    pub controller: &'static str,
    /// The network card as the door calls it; none if nothing is known.
    pub card: Option<&'static str>,
    /// The name that the guest expects of it.
    pub card_name: Option<String>,
    /// The display as the door calls it; none if nothing is known.
    pub graphics: Option<&'static str>,
    /// It is a Windows.
    pub windows: bool,
    /// The hardware clock shows local time.
    pub local_time: bool,
    /// Of the system disk.
    pub changed: Changed,
    /// For people and programs; none if nobody looked, or nothing is known.
    pub report: Option<Report>,
}

/// What a guest is given, and what changes in it, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The installed system, for instance `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// The hypervisor: `qemu`, ….
    pub hypervisor: String,
    /// The controller, as in the manifest.
    pub controller: &'static str,
    /// The network card, as the hypervisor's template calls it; none if the guest has a driver for none.
    pub card: Option<&'static str>,
    /// The display, likewise; none if there is nothing to choose.
    pub display: Option<&'static str>,
    /// What is changed in the guest, in the session's overlay only; sentences without a full stop.
    pub changes: Vec<String>,
    /// What can't be helped; likewise.
    pub notes: Vec<String>,
}

/// A disk as a guest sees it.
struct Seen(View);

impl pocketvm_guest::Disk for Seen {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.0.size());
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0.read_at(offset, buf).map_err(io::Error::other)
    }
}

/// The disk as the guest sees it, through `overlay` if there is one.
///
/// # Errors
/// Base or overlay can't be read or are not supported.
pub fn seen(drive: &Drive, disk: &Disk, overlay: Option<&Path>) -> Result<SharedDisk> {
    Ok(Arc::new(Seen(view(drive, disk, overlay)?)))
}

fn view(drive: &Drive, disk: &Disk, overlay: Option<&Path>) -> Result<View> {
    // Refuses layers that leave the drive.
    Base::open(drive, disk)?;
    View::open(drive.root(), disk.file.as_str(), base_format(disk.format), overlay).map_err(disk_error)
}

/// What is installed on a machine's disks.
pub struct Looked {
    /// The system disk.
    pub disk: SharedDisk,
    /// What is on it.
    pub guest: Guest,
    /// The volumes of the further disks, in their order.
    pub others: Vec<Vec<Volume>>,
}

/// Looks at the disks of the machine on `drive`, each through its overlay if `overlay` names one. None: there are no disks, or
/// the first has no partition table that makes sense.
///
/// # Errors
/// A disk can't be read.
pub fn look(
    drive: &Drive,
    overlay: &dyn Fn(&Disk) -> Option<PathBuf>,
    scope: Scope,
) -> Result<Option<Looked>> {
    let mut disks = super::system_disks(drive.manifest());
    let Some(system) = disks.next() else { return Ok(None) };
    let disk = seen(drive, system, overlay(system).as_deref())?;
    let shared: Rc<dyn pocketvm_guest::Disk> = Rc::new(Arc::clone(&disk));
    let guest = match Guest::inspect(&shared, scope) {
        Ok(guest) => guest,
        Err(pocketvm_guest::Error::Disk(error)) => return Err(unread(system, &error)),
        Err(error) => {
            tracing::info!(%error, "the system disk is not understood");
            return Ok(None);
        }
    };
    let others = disks.map(|disk| {
        let shared: Rc<dyn pocketvm_guest::Disk> = Rc::new(seen(drive, disk, overlay(disk).as_deref())?);
        match Table::read(&*shared).and_then(|table| volumes(&shared, &table)) {
            Ok(volumes) => Ok(volumes),
            Err(pocketvm_guest::Error::Disk(error)) => Err(unread(disk, &error)),
            Err(_) => Ok(Vec::new()),
        }
    });
    let others = others.collect::<Result<Vec<_>>>()?;
    Ok(Some(Looked { disk, guest, others }))
}

fn unread(disk: &Disk, error: &io::Error) -> Error {
    Error::new(Kind::Disk, format!("the disk {} can't be read: {error}", disk.name.as_str()))
        .safe("nothing was changed")
        .hint("check the drive with: pocketvm check")
}

/// How the guest on `drive` fits what the hypervisor called `name` offers. Reads only.
///
/// # Errors
/// The guest can't start there, or only if something were changed that may not be; a disk can't be read.
pub fn adapt(drive: &Drive, name: &str, offered: &Offered) -> Result<Adapted> {
    let looked =
        if drive.manifest().adapt == Adapt::Off { None } else { look(drive, &|_| None, Scope::Default)? };
    adapt_seen(drive.manifest(), name, offered, looked.as_ref())
}

/// As [`adapt`], of a guest that was looked at.
///
/// # Errors
/// As [`adapt`].
pub fn adapt_seen(
    manifest: &Manifest,
    name: &str,
    offered: &Offered,
    looked: Option<&Looked>,
) -> Result<Adapted> {
    let usual = offered.controller(USUAL).or(offered.controllers.first()).map_or(USUAL, |offer| offer.name);
    let nothing =
        Adapted { controller: fixed(manifest).map_or(usual, |fixed| fixed.as_str()), ..Adapted::default() };
    let looked = looked.filter(|_| manifest.adapt != Adapt::Off);
    let Some(looked) = looked else { return Ok(nothing) };
    let Some(fitted) = fit(manifest, name, offered, looked)? else { return Ok(nothing) };
    let report = fitted.full_report(offered);
    let Fitted { controller, fit, .. } = fitted;
    if manifest.adapt == Adapt::Check && !fit.changes.is_empty() {
        return Err(Error::new(
            Kind::Hypervisor,
            format!(
                "{} can start this guest only if it is changed: {}",
                hypervisor::title(name),
                report.changes.join("; ")
            ),
        )
        .safe("nothing was changed")
        .hint("allow it in pocketvm.yaml with `adapt: \"on\"`, or use another hypervisor"));
    }
    let way = if offered.starts_kernel { Way::Beside } else { Way::InBoot };
    let changed = apply::apply(&looked.disk, &looked.guest, &fit, way).map_err(|error| {
        Error::new(
            Kind::Hypervisor,
            format!("the guest can't be fitted to {}: {error}", hypervisor::title(name)),
        )
        .safe("nothing was changed")
        .hint("start it in the hypervisor where it was used last, or set another controller in pocketvm.yaml")
    })?;
    let windows = matches!(looked.guest.starting(), Some(System::Windows { .. }));
    Ok(Adapted {
        controller,
        card: report.card,
        card_name: fit.card_name.filter(|name| offered.card_names.has(name, controller)),
        graphics: report.display,
        windows,
        local_time: fit.local_time,
        changed,
        report: Some(report),
    })
}

/// A fit, and the words for it.
struct Fitted {
    /// The controller, as in the manifest.
    controller: &'static str,
    /// The fit.
    fit: Fit,
    /// The words, without card and display.
    report: Report,
}

impl Fitted {
    /// The words, with card and display.
    #[must_use]
    fn full_report(&self, offered: &Offered) -> Report {
        let name = |offers: &'static [Offer], at: Option<usize>| {
            at.and_then(|at| offers.get(at)).map(|offer| offer.name)
        };
        Report {
            card: name(offered.cards, self.fit.card),
            display: name(offered.displays, self.fit.display),
            ..self.report.clone()
        }
    }
}

/// How the guest fits what is offered; none if nothing is known of it.
///
/// # Errors
/// It can't start with anything of that.
fn fit(manifest: &Manifest, name: &str, offered: &Offered, looked: &Looked) -> Result<Option<Fitted>> {
    let title = hypervisor::title(name);
    let uefi = manifest.machine.firmware == Firmware::Uefi;
    let wanted = |offer: &&Offer| match fixed(manifest) {
        Some(fixed) => offer.name == fixed.as_str(),
        // UEFI is on boards that have no IDE.
        None => !(uefi && offer.hardware == Hardware::Piix),
    };
    let controllers: Vec<&Offer> = offered.controllers.iter().filter(wanted).collect();
    if controllers.is_empty() {
        return Ok(None);
    }
    let hardware = |offers: &[&Offer]| offers.iter().map(|offer| offer.hardware).collect::<Vec<_>>();
    let all = |offers: &'static [Offer]| offers.iter().map(|offer| offer.hardware).collect::<Vec<_>>();
    let (cards, displays) = (all(offered.cards), all(offered.displays));
    let mut kinds: Vec<Controller> = super::system_disks(manifest).map(|disk| disk.controller).collect();
    kinds.dedup();
    let mixed = kinds.len() > 1;
    let offers = Offers { controllers: &hardware(&controllers), cards: &cards, displays: &displays, mixed };
    if looked.guest.systems.is_empty() {
        return Ok(None);
    }
    let mut fit = fit::fit(&looked.guest, &looked.others, &offers).map_err(|refusal| {
        Error::new(Kind::Hypervisor, format!("this guest can't start in {title}: {}", refusal.what))
            .safe("nothing was changed")
            .hint(refusal.hint)
    })?;
    let controller = controllers.get(fit.controller).map_or(USUAL, |offer| offer.name);
    fit.notes.extend(card_note(&fit, controller, offered.card_names, title));
    fit.notes.extend(firmware_note(&looked.guest, manifest.machine.firmware));
    let report = Report {
        system: looked.guest.starting().map_or_else(|| "several systems".to_owned(), title_of),
        hypervisor: name.to_owned(),
        controller,
        card: None,
        display: None,
        changes: fit.changes.iter().map(|change| plain(&change.sentence())).collect(),
        notes: fit.notes.iter().map(|note| plain(note)).collect(),
    };
    Ok(Some(Fitted { controller, fit, report }))
}

/// The controller that the manifest insists on for the system disk.
fn fixed(manifest: &Manifest) -> Option<Controller> {
    super::system_disks(manifest)
        .next()
        .map(|disk| disk.controller)
        .filter(|fixed| *fixed != Controller::Auto)
}

/// What the installed system calls itself.
#[must_use]
pub fn title_of(system: &System) -> String {
    let title = match system {
        System::Windows { windows, .. } => windows.name.as_deref().unwrap_or("Windows"),
        System::Linux { linux, .. } => linux.release.name.as_deref().unwrap_or("Linux"),
    };
    plain(title)
}

/// A text from the guest's disk for people's eyes: without what moves a terminal's cursor, or turns the direction of writing.
#[must_use]
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(200).collect()
}

fn card_note(fit: &Fit, controller: &str, names: CardNames, title: &str) -> Option<String> {
    let name = fit.card_name.as_ref().filter(|name| !names.has(name, controller))?;
    let other = match names {
        CardNames::Always(only) => format!(" but {only}"),
        _ => String::new(),
    };
    Some(format!(
        "The guest's configuration names its network card {name}; in {title} it is not called so{other}, and the guest may have no network"
    ))
}

fn firmware_note(guest: &Guest, firmware: Firmware) -> Option<String> {
    let (can, other) = match firmware {
        Firmware::Bios => (guest.firmware.bios, guest.firmware.uefi.then_some("uefi")),
        Firmware::Uefi => (guest.firmware.uefi, guest.firmware.bios.then_some("bios")),
    };
    let other = other.filter(|_| !can)?;
    Some(format!(
        "The system disk starts with `firmware: {other}`, and pocketvm.yaml says {}",
        firmware.as_str()
    ))
}

/// Compares the overlay of `disk` with what was planned: exactly these bytes differ.
///
/// # Errors
/// They don't, or the overlay can't be read.
pub fn verify(drive: &Drive, disk: &Disk, overlay: &Path, planned: &Changed) -> Result<()> {
    let differences = view(drive, disk, Some(overlay))?.differences(MOST_CHANGED).map_err(disk_error)?;
    if differences == planned.bytes {
        return Ok(());
    }
    Err(Error::new(Kind::Unexpected, "what was to be changed in the guest did not arrive as planned")
        .safe("the drive is unchanged")
        .hint("set `adapt: \"off\"` in pocketvm.yaml, and report this"))
}

/// The overlay's first content in whole blocks of `block` bytes.
///
/// # Errors
/// The base can't be read.
pub fn content(drive: &Drive, disk: &Disk, changed: &Changed, block: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    if changed.bytes.is_empty() {
        return Ok(Vec::new());
    }
    view(drive, disk, None)?.with(&changed.bytes, block).map_err(disk_error)
}

/// Whether the guest of the session in `folder` went to sleep on the drive at `root`, and how that is avoided.
pub fn asleep(root: &Path, folder: &Folder) -> Option<String> {
    let found = Drive::open(root).and_then(|drive| sleeps(&drive, folder));
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "whether the guest is hibernated is not known");
        None
    });
    found.map(str::to_owned)
}

/// Whether the guest of the session in `folder` sleeps, or that can't be found out.
pub fn may_sleep(drive: &Drive, folder: &Folder) -> bool {
    !matches!(sleeps(drive, folder), Ok(None))
}

fn sleeps(drive: &Drive, folder: &Folder) -> Result<Option<&'static str>> {
    if drive.manifest().adapt == Adapt::Off {
        return Ok(None);
    }
    let overlay = |disk: &Disk| Some(folder.overlay(disk.name.as_str())).filter(|overlay| overlay.exists());
    hibernated(drive, &overlay, Some(&folder.overlay(names::PAGING_DISK)))
}

/// Whether a guest went to sleep on these disks instead of shutting down, and how that is avoided; none if it did not. What slept
/// before the session is none of its doing. `paging` is the paging disk, if there is one: most Linux have no other swap.
///
/// # Errors
/// A disk can't be read.
fn hibernated(
    drive: &Drive,
    overlay: &dyn Fn(&Disk) -> Option<PathBuf>,
    paging: Option<&Path>,
) -> Result<Option<&'static str>> {
    if let Some(paging) = paging.filter(|paging| paging.exists()) {
        // One in another format is not looked at.
        let swap = View::alone(paging).map_err(disk_error).and_then(|view| {
            let view = Seen(view);
            recognise(&view).map_err(|error| Error::new(Kind::Disk, error.to_string()))
        });
        if matches!(swap, Ok(Content::Swap { suspended: true, .. })) {
            return Ok(Some(fit::HIBERNATED_LINUX));
        }
    }
    let now = sleepers(drive, overlay)?;
    if now.is_empty() {
        return Ok(None);
    }
    let before = sleepers(drive, &|_| None)?;
    Ok(now.into_iter().find(|sleeper| !before.contains(sleeper)).map(|sleeper| sleeper.told))
}

/// Somebody who sleeps on a disk.
#[derive(PartialEq, Eq)]
struct Sleeper {
    /// How that is avoided.
    told: &'static str,
    /// What is another one at each sleep.
    mark: Vec<u8>,
}

/// Who sleeps on the disks of the machine.
fn sleepers(drive: &Drive, overlay: &dyn Fn(&Disk) -> Option<PathBuf>) -> Result<Vec<Sleeper>> {
    let mut sleepers = Vec::new();
    for disk in super::system_disks(drive.manifest()) {
        let shared: Rc<dyn pocketvm_guest::Disk> = Rc::new(seen(drive, disk, overlay(disk).as_deref())?);
        // A disk that makes no sense has no sleeper.
        let found = Table::read(&*shared).and_then(|table| volumes(&shared, &table));
        for volume in found.unwrap_or_default() {
            let part = Part::new(&*shared, volume.partition.start, volume.partition.size);
            match volume.content {
                Content::Swap { suspended: true, .. } => {
                    let mut mark = vec![0; 4096];
                    part.read_at(0, &mut mark)?;
                    sleepers.push(Sleeper { told: fit::HIBERNATED_LINUX, mark });
                }
                Content::Ntfs { .. } => {
                    let mark = windows::sleeping(&part).unwrap_or_default();
                    sleepers.extend(mark.map(|mark| Sleeper { told: fit::HIBERNATED_WINDOWS, mark }));
                }
                _ => {}
            }
        }
    }
    Ok(sleepers)
}
