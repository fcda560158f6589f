//! What is installed on a machine's system disk, as a whole: partitions, volumes, systems.

use std::io;
use std::rc::Rc;

use serde::Serialize;

use crate::disk::OwnedPart;
use crate::linux::{Files, Limits, Linux, Scope};
use crate::partition::{Firmware, Partition, Table};
use crate::volume::{Content, recognise};
use crate::windows::Windows;
use crate::{Disk, Error, Part, Result, linux, windows};

/// More roots, and more of what could be a `/boot`, are not looked into.
const MOST_ROOTS: usize = 4;

/// A disk from outside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guest {
    /// Its partition table.
    pub table: Table,
    /// What can start from it.
    pub firmware: Firmware,
    /// What is in the partitions, in their order.
    pub volumes: Vec<Volume>,
    /// What is installed, the one that starts first.
    pub systems: Vec<System>,
    /// What could not be looked into.
    pub unread: Vec<Unread>,
}

/// A partition and what is in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Volume {
    /// Where it is.
    pub partition: Partition,
    /// What it holds.
    #[serde(flatten)]
    pub content: Content,
}

/// An installed system.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "system")]
pub enum System {
    /// A Windows.
    Windows {
        /// The number of its partition.
        partition: u32,
        /// What it is.
        #[serde(flatten)]
        windows: Box<Windows>,
    },
    /// A Linux.
    Linux {
        /// The number of its root's partition; none if that is not read (encrypted, or another kind of file system).
        root: Option<u32>,
        /// The number of the partition that is its `/boot`, if that is one of its own.
        boot: Option<u32>,
        /// What it is.
        #[serde(flatten)]
        linux: Box<Linux>,
    },
}

/// A partition that could not be looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Its number.
    pub partition: u32,
    /// Why, in a clause.
    pub why: String,
}

impl Guest {
    /// Looks at a disk.
    ///
    /// # Errors
    /// The disk can't be read, or its partition table makes no sense. A volume that makes no sense is told in
    /// `unread`.
    pub fn inspect(disk: &Rc<dyn Disk>, scope: Scope) -> Result<Guest> {
        let table = Table::read(&**disk)?;
        let volumes = volumes(disk, &table)?;
        let mut guest =
            Guest { firmware: table.firmware(), table, volumes, systems: Vec::new(), unread: Vec::new() };
        guest.look(disk, scope)?;
        Ok(guest)
    }

    fn look(&mut self, disk: &Rc<dyn Disk>, scope: Scope) -> Result<()> {
        let mut roots = Vec::new();
        let mut boots = Vec::new();
        for volume in self.volumes.clone() {
            let number = volume.partition.number;
            match volume.content {
                Content::Ntfs { .. } | Content::BitLocker => {
                    let part = Part::new(&**disk, volume.partition.start, volume.partition.size);
                    if let Some(windows) = self.unless_damaged(number, windows::inspect(&part))?.flatten() {
                        self.systems.push(System::Windows { partition: number, windows: Box::new(windows) });
                    }
                }
                Content::Ext { .. } => {
                    let files = Files::open(Some(part(disk, &volume.partition)), None);
                    let list = match self.unless_damaged(number, files)?.flatten() {
                        Some(files) if files.is_root()? => &mut roots,
                        Some(_) => &mut boots,
                        None => continue,
                    };
                    if list.len() == MOST_ROOTS {
                        self.unread(number, "there are too many of them");
                    } else {
                        list.push(volume);
                    }
                }
                Content::Luks { .. } => self.unread(number, "it is encrypted (LUKS)"),
                Content::Lvm { .. } => self.unread(number, "it is managed by LVM"),
                Content::Btrfs { .. } => self.unread(number, "its file system is btrfs"),
                Content::Xfs { .. } => self.unread(number, "its file system is XFS"),
                _ => {}
            }
        }
        for root in &roots {
            let boot = boots.iter().find(|boot| mounts_as_boot(disk, root, boot));
            self.look_at_linux(disk, Some(root), boot, scope)?;
        }
        if roots.is_empty() {
            // The root is somewhere that is not read; what starts it may not be.
            for boot in &boots {
                self.look_at_linux(disk, None, Some(boot), scope)?;
            }
        }
        let active = |number| {
            self.volumes.iter().any(|volume| volume.partition.number == number && volume.partition.active)
        };
        let mut systems = std::mem::take(&mut self.systems);
        systems.sort_by_key(|system| match system {
            System::Windows { windows, .. } => windows.control_sets.is_empty(),
            System::Linux { root, boot, .. } => !(root.is_some_and(active) || boot.is_some_and(active)),
        });
        self.systems = systems;
        Ok(())
    }

    fn look_at_linux(
        &mut self,
        disk: &Rc<dyn Disk>,
        root: Option<&Volume>,
        boot: Option<&Volume>,
        scope: Scope,
    ) -> Result<()> {
        let number = |volume: Option<&Volume>| volume.map(|volume| volume.partition.number);
        let found = open(disk, root.map(|root| &root.partition), boot.map(|boot| &boot.partition)).and_then(
            |files| files.map_or(Ok(None), |files| linux::inspect_within(&files, scope, &Limits::default())),
        );
        let told = number(root).or(number(boot)).unwrap_or(0);
        if let Some(linux) = self.unless_damaged(told, found)?.flatten() {
            let (root, boot) = (number(root), number(boot));
            self.systems.push(System::Linux { root, boot, linux: Box::new(linux) });
        }
        Ok(())
    }

    fn unread(&mut self, partition: u32, why: &str) {
        self.unread.push(Unread { partition, why: why.to_owned() });
    }

    /// None where a volume makes no sense; that is told.
    fn unless_damaged<T>(&mut self, partition: u32, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Disk(error)) if !is_content(&error) => Err(Error::Disk(error)),
            Err(error) => {
                self.unread.push(Unread { partition, why: error.to_string() });
                Ok(None)
            }
        }
    }

    /// The system that starts from the disk; none if there is none, or if it can't be told which of several that is.
    #[must_use]
    pub fn starting(&self) -> Option<&System> {
        // What is encrypted may be a volume of data.
        let known = |system: &&System| match system {
            System::Windows { windows, .. } => !windows.control_sets.is_empty(),
            System::Linux { .. } => true,
        };
        let some: Vec<&System> = self.systems.iter().filter(known).collect();
        let some = if some.is_empty() { self.systems.iter().collect() } else { some };
        if let [only] = some[..] {
            return Some(only);
        }
        let active = |number: u32| self.partition(number).is_some_and(|partition| partition.active);
        let mut active = some.into_iter().filter(|system| match system {
            System::Windows { partition, .. } => active(*partition),
            System::Linux { root, boot, .. } => root.is_some_and(active) || boot.is_some_and(active),
        });
        active.next().filter(|_| active.next().is_none())
    }

    /// The files of a Linux on `disk`, which [`Guest::inspect`] found there.
    ///
    /// # Errors
    /// The disk can't be read, or is another one.
    pub fn files(&self, disk: &Rc<dyn Disk>, root: Option<u32>, boot: Option<u32>) -> Result<Option<Files>> {
        let find = |number: Option<u32>| number.and_then(|number| self.partition(number));
        open(disk, find(root), find(boot))
    }

    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.volumes.iter().map(|volume| &volume.partition).find(|partition| partition.number == number)
    }
}

/// What is in the partitions of `table`.
///
/// # Errors
/// The disk can't be read.
pub fn volumes(disk: &Rc<dyn Disk>, table: &Table) -> Result<Vec<Volume>> {
    let look = |partition: &Partition| {
        let content = recognise(&Part::new(&**disk, partition.start, partition.size))?;
        Ok(Volume { partition: partition.clone(), content })
    };
    table.partitions.iter().map(look).collect()
}

fn part(disk: &Rc<dyn Disk>, partition: &Partition) -> Rc<dyn Disk> {
    Rc::new(OwnedPart::new(Rc::clone(disk), partition.start, partition.size))
}

fn open(disk: &Rc<dyn Disk>, root: Option<&Partition>, boot: Option<&Partition>) -> Result<Option<Files>> {
    Files::open(root.map(|root| part(disk, root)), boot.map(|boot| part(disk, boot)))
}

/// Whether the Linux on `root` mounts `boot` as its `/boot`, by its `fstab`.
fn mounts_as_boot(disk: &Rc<dyn Disk>, root: &Volume, boot: &Volume) -> bool {
    let Ok(Some(files)) = open(disk, Some(&root.partition), None) else { return false };
    let Ok(fstab) = linux::fstab(&files) else { return false };
    let (uuid, label) = (boot.content.uuid(), boot.content.label());
    fstab.mounts.iter().filter(|mount| mount.point == "/boot").any(|mount| {
        let spec = &mount.spec;
        uuid.as_ref().is_some_and(|uuid| spec.to_ascii_lowercase().ends_with(&uuid.to_ascii_lowercase()))
            || label.is_some_and(|label| *spec == format!("LABEL={label}"))
            || (mount.names_hardware() && spec.ends_with(&boot.partition.number.to_string()))
    })
}

/// An error that the content of a disk makes, not its device.
fn is_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
    )
}
