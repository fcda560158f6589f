//! Which of the hardware that a hypervisor offers a guest can start with, and the least that has to be changed in it for that.

use serde::Serialize;

use crate::guest::{Guest, System, Volume};
use crate::linux::{self, Kernel, Linux, Mount, Support};
use crate::windows::{self, Windows};
use crate::{Edit, Hardware};

/// What a hypervisor offers, the best first. Where there is nothing to choose from, the list is empty.
#[derive(Debug, Clone, Copy)]
pub struct Offers<'a> {
    /// For the disks.
    pub controllers: &'a [Hardware],
    /// For the network.
    pub cards: &'a [Hardware],
    /// For the screen.
    pub displays: &'a [Hardware],
    /// The machine's disks are on different controllers, so that which disk a name means can't be told.
    pub mixed: bool,
}

/// How a guest fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// Which controller, by its place among the offers.
    pub controller: usize,
    /// Which network card; none if nothing is known of the guest, or none was offered.
    pub card: Option<usize>,
    /// Which display, likewise.
    pub display: Option<usize>,
    /// What its configuration calls its network card; none if it does not care.
    pub card_name: Option<String>,
    /// Its hardware clock is to show local time.
    pub local_time: bool,
    /// What has to be changed; mostly nothing.
    pub changes: Vec<Change>,
    /// What can't be helped from here; sentences without a full stop.
    pub notes: Vec<String>,
}

/// A change in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    /// Values of the registry of a Windows.
    Registry {
        /// The drivers that start with it then.
        drivers: Vec<&'static str>,
        /// The bytes.
        edits: Vec<Edit>,
    },
    /// Drivers for the initramfs of a Linux, from its own tree.
    Initramfs {
        /// The kernel's version.
        kernel: String,
        /// The drivers that it has then.
        modules: Vec<&'static str>,
    },
    /// Disks in `/etc/fstab` that are named by their controller are named by their UUID.
    Fstab {
        /// What is there then.
        #[serde(skip)]
        text: Vec<u8>,
    },
    /// The root on the kernel's command line is named by its UUID.
    Root {
        /// As it was: `/dev/vda1`.
        from: String,
        /// As it is then: `UUID=…`.
        to: String,
    },
}

impl Change {
    /// What it is, for people: a sentence without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Change::Registry { drivers, edits } => {
                let bytes: u64 = edits.iter().map(Edit::changed).sum();
                format!("Windows starts the driver {} ({bytes} bytes of the registry)", drivers.join(", "))
            }
            Change::Initramfs { kernel, modules } => {
                format!("Linux {kernel} starts with the driver {} as well", modules.join(", "))
            }
            Change::Fstab { .. } => "Disks in /etc/fstab are named by their UUID".to_owned(),
            Change::Root { from, to } => format!("The root is named {to}, not {from}"),
        }
    }
}

/// Why a guest can't start with anything that is offered. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// A sentence without a full stop.
    pub what: String,
    /// The one next thing to do.
    pub hint: String,
}

impl Refusal {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { what: what.into(), hint: hint.into() }
    }
}

/// Fits `guest` to what is offered. `others` are the volumes of the machine's further disks, in their order. Of controllers the
/// first wins that the guest starts with as it is, then the first for which it can be changed.
///
/// # Errors
/// The guest can't start with any of the controllers; the reason is that of the first one.
///
/// # Panics
/// No controller is offered.
pub fn fit(guest: &Guest, others: &[Vec<Volume>], offers: &Offers<'_>) -> Result<Fit, Refusal> {
    assert!(!offers.controllers.is_empty(), "a machine has a controller");
    let mut fit = Fit {
        // What every system of the last fifteen years knows.
        controller: offers.controllers.iter().position(|one| *one == Hardware::Ahci).unwrap_or(0),
        card: None,
        display: None,
        card_name: None,
        local_time: false,
        changes: Vec::new(),
        notes: Vec::new(),
    };
    if guest.starting().is_none() && !guest.systems.is_empty() {
        fit.notes.push(
            "Several systems are installed, and which one starts can't be told: nothing is changed"
                .to_owned(),
        );
        return Ok(fit);
    }
    match guest.starting() {
        None => {
            let unread = guest.unread.first();
            fit.notes.extend(unread.map(|unread| {
                format!(
                    "What the guest needs is not known: of partition {}, {}",
                    unread.partition, unread.why
                )
            }));
            Ok(fit)
        }
        Some(System::Windows { windows, .. }) => {
            fit_windows(&mut fit, windows, offers)?;
            Ok(fit)
        }
        Some(System::Linux { root, linux, .. }) => {
            let mixed = offers.mixed;
            fit_linux(&mut fit, &LinuxGuest { guest, others, linux, root: *root, mixed }, offers)?;
            Ok(fit)
        }
    }
}

/// The first for which nothing is to be changed, else the first that works.
fn choose<T>(
    offered: &[Hardware],
    changes: impl Fn(Hardware) -> Result<Vec<T>, Refusal>,
) -> Result<(usize, Vec<T>), Refusal> {
    let mut possible = None;
    let mut refused = None;
    for (index, hardware) in offered.iter().enumerate() {
        match changes(*hardware) {
            Ok(none) if none.is_empty() => return Ok((index, none)),
            Ok(some) => possible = possible.or(Some((index, some))),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    match (possible, refused) {
        (Some(possible), _) => Ok(possible),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(Refusal::new("nothing is offered", "use another hypervisor")),
    }
}

fn fit_windows(fit: &mut Fit, windows: &Windows, offers: &Offers<'_>) -> Result<(), Refusal> {
    fit.local_time = windows.clock == windows::Clock::Local;
    // What is encrypted is not known, but the machine may start all the same.
    if windows.control_sets.is_empty() {
        let reason = windows.state.first().map(ToString::to_string);
        fit.notes.push(reason.unwrap_or_else(|| "What this Windows needs is not known".to_owned()));
        return Ok(());
    }
    let seven = windows.build.is_some_and(|build| build < 9200);
    let drivers = |hardware: Hardware| {
        let drivers = hardware.drivers();
        if seven { drivers.windows7 } else { drivers.windows }
    };
    let (controller, changes) = choose(offers.controllers, |hardware| {
        let needed = drivers(hardware).ok_or_else(|| no_driver(hardware, "Windows"))?;
        let edits = windows::plan(windows, needed)
            .map_err(|refusal| Refusal::new(refusal.to_string(), refusal.hint()))?;
        let change = Change::Registry { drivers: needed.to_vec(), edits };
        Ok(if matches!(&change, Change::Registry { edits, .. } if edits.is_empty()) {
            vec![]
        } else {
            vec![change]
        })
    })?;
    fit.controller = controller;
    fit.changes = changes;
    let current = windows.control_sets.iter().find(|set| set.current).or(windows.control_sets.first());
    let installed = |name: &str| {
        current.and_then(|set| set.driver(name)).is_some_and(|driver| driver.service && driver.file)
    };
    let usable = |hardware: &Hardware| {
        drivers(*hardware).is_some_and(|needed| needed.iter().all(|name| installed(name)))
    };
    fit.card = offers.cards.iter().position(usable);
    if fit.card.is_none() && !offers.cards.is_empty() {
        fit.notes.push("No driver for a network card of this hypervisor is set up in this Windows; it may find one of its own".to_owned());
    }
    fit.display = offers.displays.iter().position(|hardware| drivers(*hardware).is_some());
    if windows.state.contains(&windows::Unclean::Hibernated) {
        fit.notes.push(HIBERNATED_WINDOWS.to_owned());
    }
    Ok(())
}

/// What a hibernated Windows means, and how it never is again.
pub const HIBERNATED_WINDOWS: &str = "Windows is hibernated, or was shut down with fast startup: on another PC it starts without what was \
    open. Switch both off once, in Windows as an administrator, with: powercfg /h off";

/// The same for Linux.
pub const HIBERNATED_LINUX: &str = "Linux is hibernated: on another PC it does not wake. Switch that off once, in Linux as an administrator, \
    with: systemctl mask hibernate.target hybrid-sleep.target suspend-then-hibernate.target";

fn no_driver(hardware: Hardware, system: &str) -> Refusal {
    let name = serde_json::to_value(hardware).ok().and_then(|name| name.as_str().map(str::to_owned));
    Refusal::new(
        format!("{system} has no driver for {}", name.unwrap_or_default()),
        "choose another controller in pocketvm.yaml, or use another hypervisor",
    )
}

struct LinuxGuest<'a> {
    guest: &'a Guest,
    others: &'a [Vec<Volume>],
    linux: &'a Linux,
    root: Option<u32>,
    mixed: bool,
}

/// Whether all that decides about its start was read: what is not seen is not lacking.
fn is_seen(kernel: &Kernel, root: Option<u32>) -> bool {
    let whole =
        |initramfs: &linux::Initramfs| initramfs.contents.damage.is_none() && !initramfs.contents.squashfs;
    kernel.initramfs.as_ref().is_some_and(whole) && (kernel.folder.is_some() || root.is_none())
}

fn fit_linux(fit: &mut Fit, guest: &LinuxGuest<'_>, offers: &Offers<'_>) -> Result<(), Refusal> {
    let linux = guest.linux;
    if guest
        .guest
        .volumes
        .iter()
        .any(|volume| matches!(volume.content, crate::volume::Content::Swap { suspended: true, .. }))
    {
        fit.notes.push(HIBERNATED_LINUX.to_owned());
    }
    let Some(kernel) = linux.default_kernel() else {
        fit.notes.push("What this Linux needs is not known: no kernel was found".to_owned());
        return Ok(());
    };
    if !is_seen(kernel, guest.root) {
        fit.notes.push("What this Linux needs is not known: its initramfs is not read to its end".to_owned());
        return Ok(());
    }
    if guest.root.is_none() {
        // What it mounts is not known either, so the usual controller comes first.
        let free = |at: &usize| matches!(guest.changes(kernel, offers.controllers[*at]), Ok(none) if none.is_empty());
        match Some(fit.controller).filter(free).or_else(|| (0..offers.controllers.len()).find(free)) {
            Some(controller) => fit.controller = controller,
            None => fit.notes.push("What this Linux needs is not known: its root is not read".to_owned()),
        }
        return Ok(());
    }
    (fit.controller, fit.changes) = choose(offers.controllers, |hardware| guest.changes(kernel, hardware))?;
    // What is on the root is there in time for these.
    let usable = |hardware: &Hardware| {
        let drivers = hardware.drivers().linux;
        drivers
            .is_some_and(|needed| needed.iter().all(|name| linux::support(kernel, name) != Support::Missing))
    };
    fit.card = offers.cards.iter().position(usable);
    if fit.card.is_none() && !offers.cards.is_empty() && guest.root.is_some() {
        fit.notes.push("Linux has no driver for any network card that this hypervisor has".to_owned());
    }
    fit.display = offers.displays.iter().position(usable);
    // A name with a pattern fits any card.
    let names = linux.network.iter().filter_map(|card| card.name.as_deref());
    fit.card_name = names.into_iter().find(|name| linux::names::is_of_a_place(name)).map(str::to_owned);
    Ok(())
}

impl LinuxGuest<'_> {
    /// What has to be changed so that it starts with its disks behind `hardware`.
    fn changes(&self, kernel: &Kernel, hardware: Hardware) -> Result<Vec<Change>, Refusal> {
        let needed = hardware.drivers().linux.ok_or_else(|| no_driver(hardware, "Linux"))?;
        let mut changes = Vec::new();
        let mut lacking = Vec::new();
        for module in needed {
            match linux::support(kernel, module) {
                Support::BuiltIn | Support::InInitramfs => {}
                Support::InTree => lacking.push(*module),
                Support::Missing => {
                    return Err(Refusal::new(
                        format!(
                            "Linux {} has no driver {module}, neither in its initramfs nor on its root",
                            kernel.version
                        ),
                        "choose another controller in pocketvm.yaml, or install a kernel with this driver where the machine still starts",
                    ));
                }
            }
        }
        if !lacking.is_empty() {
            changes.push(Change::Initramfs { kernel: kernel.version.clone(), modules: lacking });
        }
        if let Some(prefix) = hardware.disk_prefix() {
            let roots = self.linux.boot.iter().flat_map(|entry| entry.parameters("root"));
            let mut roots = roots.collect::<Vec<_>>().into_iter();
            let mounts = &self.linux.fstab.mounts;
            // Which disk a name means can be told if all of them are named after one controller.
            let names = mounts.iter().map(|mount| mount.spec.as_str()).chain(roots.clone());
            let mut families: Vec<&str> = names.filter_map(family).collect();
            families.dedup();
            let can_be_told = !self.mixed && families.iter().all(|one| *one == families[0]);
            let of_another = |device: &str| family(device).is_some_and(|family| family != prefix);
            let uuid_of = |device: &str| {
                if can_be_told && of_another(device) { self.uuid_of(device) } else { None }
            };
            // The usual controller is where it is tried all the same.
            if hardware != Hardware::Ahci {
                let needed = |mount: &&Mount| {
                    !mount.options.split(',').any(|option| matches!(option, "noauto" | "nofail"))
                };
                let lost = |mount: &&Mount| {
                    let device = mount.spec.as_str();
                    mount.names_hardware()
                        && (family(device).is_none() || (of_another(device) && uuid_of(device).is_none()))
                };
                if let Some(mount) = mounts.iter().filter(needed).find(lost) {
                    return Err(Refusal::new(
                        format!("/etc/fstab of this Linux names {} after its controller", mount.spec),
                        "name it by its UUID in the guest, where the machine still starts",
                    ));
                }
            }
            changes.extend(self.linux.fstab.rewrite(&uuid_of).map(|text| Change::Fstab { text }));
            if let Some(from) = roots.find(|root| of_another(root)) {
                let uuid = uuid_of(from).ok_or_else(|| {
                    Refusal::new(
                        format!("the root of this Linux is named {from}, and which disk that is can't be told"),
                        "name it by its UUID in the guest (/etc/default/grub), where the machine still starts",
                    )
                })?;
                changes.push(Change::Root { from: from.to_owned(), to: format!("UUID={uuid}") });
            }
        }
        if changes.iter().any(|change| !matches!(change, Change::Root { .. })) {
            self.may_change()?;
        }
        Ok(changes)
    }

    fn may_change(&self) -> Result<(), Refusal> {
        let state = self.linux.state;
        if state.errors || !state.clean || state.journal {
            return Err(Refusal::new(
                "this Linux was not shut down cleanly, so nothing is changed in it for other hardware",
                "start it where it was used last and shut it down there",
            ));
        }
        Ok(())
    }

    /// The UUID of a disk's partition (`/dev/vda1`, `/dev/nvme0n1p1`), whatever controller it is named after.
    fn uuid_of(&self, device: &str) -> Option<String> {
        let (disk, partition) = place_of(device.strip_prefix("/dev/")?)?;
        let volumes = match disk {
            0 => &self.guest.volumes,
            disk => self.others.get(disk - 1)?,
        };
        volumes.iter().find(|volume| volume.partition.number == partition)?.content.uuid()
    }
}

/// After what kind of controller a disk's name is, as in [`Hardware::disk_prefix`]; none if it is not such a name.
fn family(device: &str) -> Option<&'static str> {
    let name = device.strip_prefix("/dev/")?;
    place_of(name)?;
    ["nvme", "xvd", "sd", "hd", "vd"].into_iter().find(|prefix| name.starts_with(prefix))
}

/// Whether `root=` of a boot loader's entry means this partition.
pub(crate) fn is_root(guest: &Guest, number: u32, named: &str) -> bool {
    let Some(volume) = guest.volumes.iter().find(|volume| volume.partition.number == number) else {
        return false;
    };
    let same =
        |value: Option<String>, named: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(named));
    match named.split_once('=') {
        Some(("UUID", uuid)) => same(volume.content.uuid(), uuid),
        Some(("PARTUUID", uuid)) => same(guest.table.part_uuid(&volume.partition), uuid),
        Some(("LABEL", label)) => volume.content.label() == Some(label),
        Some(_) => false,
        None => named.strip_prefix("/dev/").and_then(place_of) == Some((0, number)),
    }
}

/// Which disk, from 0, and which partition of it, 0 for the whole: of `sda1`, `vdb`, `nvme0n1p2`.
fn place_of(name: &str) -> Option<(usize, u32)> {
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    if let Some(rest) = name.strip_prefix("nvme") {
        let (disk, space) = rest.split_once('n')?;
        let (space, partition) = space.split_once('p').unwrap_or((space, ""));
        return (space == "1").then_some((disk.parse().ok()?, number(partition)?));
    }
    let rest = ["sd", "hd", "vd", "xvd"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let letter = rest.chars().next().filter(char::is_ascii_lowercase)?;
    Some((letter as usize - 'a' as usize, number(&rest[1..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_names_a_disk_and_a_partition() {
        for (name, place) in [
            ("sda1", (0, 1)),
            ("vdb", (1, 0)),
            ("nvme0n1p2", (0, 2)),
            ("nvme1n1", (1, 0)),
            ("xvda12", (0, 12)),
        ] {
            assert_eq!(place_of(name), Some(place), "{name}");
        }
        for name in ["sda1x", "mapper/root", "nvme0", "sd", "md0", "sdA1"] {
            assert_eq!(place_of(name), None, "{name}");
        }
    }
}
