//! The file systems of sticks: made, mounted and repaired by the programs that a Linux PC has for them.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

/// What a stick is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, by the kernel's driver.
    Ext4,
    /// exFAT, by exfat-fuse.
    ExFat,
    /// NTFS, by ntfs-3g.
    Ntfs,
}

/// Programs, and the package that has each.
const COMMON: [(&str, &str); 3] = [("losetup", "mount"), ("mount", "mount"), ("umount", "mount")];
const EXT4: [(&str, &str); 2] = [("mkfs.ext4", "e2fsprogs"), ("e2fsck", "e2fsprogs")];
const EXFAT: [(&str, &str); 3] =
    [("mkfs.exfat", "exfatprogs"), ("fsck.exfat", "exfatprogs"), ("mount.exfat-fuse", "exfat-fuse")];
const NTFS: [(&str, &str); 3] = [("mkntfs", "ntfs-3g"), ("ntfsfix", "ntfs-3g"), ("ntfs-3g", "ntfs-3g")];

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::ExFat => "exFAT",
            FileSystem::Ntfs => "NTFS",
        })
    }
}

impl FileSystem {
    /// All of them.
    pub const ALL: [FileSystem; 3] = [FileSystem::Ext4, FileSystem::ExFat, FileSystem::Ntfs];

    /// Whether this machine can run it.
    ///
    /// # Errors
    /// Says what is missing: root, a device, or a program and its package.
    pub(crate) fn ensure_usable(self) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("a simulated stick is mounted, which needs root"));
        }
        for device in ["/dev/fuse", "/dev/loop-control"] {
            if !Path::new(device).exists() {
                return Err(io::Error::other(format!("this machine can't mount a stick: no {device}")));
            }
        }
        let own: &[(&str, &str)] = match self {
            FileSystem::Ext4 => &EXT4,
            FileSystem::ExFat => &EXFAT,
            FileSystem::Ntfs => &NTFS,
        };
        for (program, package) in COMMON.iter().chain(own) {
            if !is_installed(program) {
                return Err(io::Error::other(format!("install the package {package}: no {program}")));
            }
        }
        Ok(())
    }

    /// Formats `device`.
    pub(crate) fn format(self, device: &str) -> io::Result<()> {
        match self {
            FileSystem::Ext4 => {
                // Everything at once: what is left for later would be written while something is measured.
                let at_once = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                run(program("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", at_once, device]))
            }
            // The cluster size of sticks up to 32 GB.
            FileSystem::ExFat => run(program("mkfs.exfat").args(["-L", "STICK", "-c", "32K", device])),
            // It takes a loop device for a disk with partitions.
            FileSystem::Ntfs => run(program("mkntfs").args(["-F", "-Q", "-q", "-L", "STICK", device])),
        }
        .map(drop)
    }

    /// Mounts `device` at `mount`.
    pub(crate) fn mount(self, device: &str, mount: &Path) -> io::Result<()> {
        match self {
            FileSystem::Ext4 => {
                let options = "nosuid,nodev,errors=remount-ro";
                run(program("mount").args(["-t", "ext4", "-o", options, device]).arg(mount))
            }
            FileSystem::ExFat => run(program("mount.exfat-fuse").arg(device).arg(mount)),
            FileSystem::Ntfs => run(program("ntfs-3g").arg(device).arg(mount)),
        }
        .map(drop)
    }

    /// The name of the process that a mounted device is served by, if the kernel does not do it.
    pub(crate) fn server(self) -> Option<&'static str> {
        match self {
            FileSystem::Ext4 => None,
            FileSystem::ExFat => Some("mount.exfat-fuse"),
            FileSystem::Ntfs => Some("ntfs-3g"),
        }
    }

    /// Whether its journal is replayed when it is mounted, so that it needs no repair as long as it can be.
    pub(crate) fn repairs_itself(self) -> bool {
        self == FileSystem::Ext4
    }

    /// Does what a PC does with a stick that was pulled, and returns what the repair program says.
    pub(crate) fn repair(self, device: &str) -> io::Result<String> {
        let (name, option, good): (_, _, &[i32]) = match self {
            FileSystem::Ext4 => ("e2fsck", "-fy", &[0, 1]),
            FileSystem::ExFat => ("fsck.exfat", "-y", &[0, 1]),
            FileSystem::Ntfs => ("ntfsfix", "-d", &[0]),
        };
        let mut command = program(name);
        let output = start(command.args([option, device]))?;
        if !output.status.code().is_some_and(|code| good.contains(&code)) {
            return Err(failed(&command, &output));
        }
        Ok(said(&output))
    }

    /// Lets the file system's own checker look at an unmounted `device` without changing it; an error says what it
    /// found. NTFS has none on Linux that looks at more than `ntfsfix -n` does.
    pub(crate) fn check(self, device: &str) -> io::Result<()> {
        match self {
            FileSystem::Ext4 => run(program("e2fsck").args(["-f", "-n", device])),
            FileSystem::ExFat => run(program("fsck.exfat").args(["-n", device])),
            FileSystem::Ntfs => run(program("ntfsfix").args(["-n", device])),
        }
        .map(drop)
    }
}

/// A command in the language of this file's reader, found also where only root's programs are.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> io::Result<Output> {
    let output = start(command)?;
    if output.status.success() { Ok(output) } else { Err(failed(command, &output)) }
}

fn start(command: &mut Command) -> io::Result<Output> {
    command.output().map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))
}

fn failed(command: &Command, output: &Output) -> io::Error {
    io::Error::other(format!("{command:?}: {}\n{}", output.status, said(output)))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
