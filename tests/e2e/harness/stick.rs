//! Removable file systems: an image file on a loop device that can be pulled and plugged in again.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, kill_process};

use super::bench::{Bench, must};
use super::processes;

/// A stick, attached or not.
pub struct Stick {
    image: PathBuf,
    attached: Option<Attached>,
}

struct Attached {
    device: String,
    mount: PathBuf,
}

impl Stick {
    /// A new exFAT stick of `mib` MiB, not yet attached.
    pub fn exfat(bench: &Bench, mib: u64) -> Stick {
        let image = bench.path().join("stick.img");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        must(Command::new("mkfs.exfat").args(["-L", "STICK"]).arg(&image));
        Stick { image, attached: None }
    }

    /// Plugs it in: it gets a device, and the system mounts it at `mount`.
    pub fn attach(&mut self, mount: &Path) {
        assert!(self.attached.is_none(), "the stick is attached already");
        std::fs::create_dir_all(mount).unwrap();
        // A new device each time, as with a real stick: while somebody has a file of the pulled one open, the kernel
        // would find the dead file system again on the old one.
        let output = must(Command::new("losetup").args(["--find", "--show"]).arg(&self.image));
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // The kernel may hold pages of what was on a device of this name before.
        must(Command::new("blockdev").args(["--flushbufs", &device]));
        must(Command::new("mount.exfat-fuse").arg(&device).arg(mount));
        self.attached = Some(Attached { device, mount: mount.to_owned() });
    }

    /// Pulls it without a word, whatever is open on it: the file system's process dies, every further access
    /// to an open file fails, and the mount point is empty.
    pub fn pull(&mut self) {
        let Attached { device, mount } = self.take();
        for daemon in processes::of(&mount, "mount.exfat") {
            kill_process(daemon, Signal::KILL).unwrap();
        }
        processes::wait_until_gone(&mount, "mount.exfat");
        must(Command::new("umount").arg("--lazy").arg(&mount));
        // What reached the device is on the stick; the loop device goes when its last user does.
        must(Command::new("blockdev").args(["--flushbufs", &device]));
        must(Command::new("losetup").args(["--detach", &device]));
    }

    /// Ejects it as a person should; fails if anything on it is still in use.
    pub fn eject(&mut self) {
        let Attached { device, mount } = self.take();
        must(Command::new("umount").arg(&mount));
        processes::wait_until_gone(&mount, "mount.exfat");
        must(Command::new("losetup").args(["--detach", &device]));
    }

    fn take(&mut self) -> Attached {
        self.attached.take().unwrap_or_else(|| panic!("the stick is not attached"))
    }
}

/// Mounts a new ext4 of `mib` MiB at `mount`: an internal disk that fills up.
pub fn small_disk(bench: &Bench, mib: u64, mount: &Path) {
    let image = bench.path().join("small-disk.img");
    std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
    must(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image));
    std::fs::create_dir_all(mount).unwrap();
    must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(mount));
}
