//! A stick as a PC has it: a device with a file system that is mounted, pulled, repaired and mounted again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use fuser::BackgroundSession;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::device::Control;
use crate::filesystem::{FileSystem, program, run};
use crate::leftovers::{self, MOUNT};
use crate::serve::{DISK, serve};

/// How long the process that serves a file system may take to end after it was unmounted.
const END: Duration = Duration::from_secs(60);

/// A stick of its own. Dropping it unmounts it and deletes everything.
#[derive(Debug)]
pub struct Stick {
    control: Control,
    file_system: FileSystem,
    /// `None` only while it is dropped.
    session: Option<BackgroundSession>,
    /// The loop device, while it is plugged in.
    device: Option<String>,
    mounted: bool,
    folder: tempfile::TempDir,
}

impl Stick {
    /// A new stick of `mib` MiB, formatted, neither mounted nor plugged in.
    ///
    /// # Errors
    /// Says what this machine lacks: root, a device, or a program and its package; or what failed.
    pub fn new(file_system: FileSystem, mib: u64) -> io::Result<Stick> {
        file_system.ensure_usable()?;
        leftovers::sweep();
        let folder = tempfile::Builder::new().prefix(&leftovers::prefix()).tempdir_in(leftovers::PLACE)?;
        let (disk, device, mount) =
            (folder.path().join("disk.img"), folder.path().join("device"), folder.path().join(MOUNT));
        fs_err::create_dir(&device)?;
        fs_err::create_dir(&mount)?;
        let file = File::options().read(true).write(true).create_new(true).open(&disk)?;
        file.set_len(mib << 20)?;
        let control = Control::new(file);
        let session = serve(control.clone(), mib << 20, &device)?;
        let mut stick =
            Stick { control, file_system, session: Some(session), device: None, mounted: false, folder };
        let loop_device = stick.attach()?;
        file_system.format(&loop_device)?;
        stick.detach()?;
        Ok(stick)
    }

    /// Its model, counters and power.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What it is formatted with.
    pub fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(MOUNT)
    }

    /// Plugs it in and mounts it.
    ///
    /// # Errors
    /// It can't be mounted.
    pub fn mount(&mut self) -> io::Result<PathBuf> {
        let device = self.attach()?;
        self.file_system.mount(&device, &self.path())?;
        self.mounted = true;
        Ok(self.path())
    }

    /// Unmounts it and takes it out, as a person should.
    ///
    /// # Errors
    /// A file on it is open; or not everything could be written.
    pub fn eject(&mut self) -> io::Result<()> {
        let servers = self.servers()?;
        run(program("umount").arg(self.path()))?;
        self.mounted = false;
        wait_for_end(&servers)?;
        self.detach()
    }

    /// Takes it out after a power cut, mounted or not; no file on it may be open any more.
    ///
    /// # Errors
    /// It can't be taken out, because a file on it is open.
    pub fn take_out(&mut self) -> io::Result<()> {
        if self.mounted {
            let servers = self.servers()?;
            // It says that it could not write: that is what a power cut means.
            if run(program("umount").arg(self.path())).is_err() {
                run(program("umount").arg("--lazy").arg(self.path()))?;
            }
            self.mounted = false;
            wait_for_end(&servers)?;
        }
        self.detach()
    }

    /// Gives it power again, repairs its file system as a PC would, and mounts it. Returns what the repair program
    /// said.
    ///
    /// # Errors
    /// The file system can't be repaired or mounted.
    pub fn plug_in(&mut self) -> io::Result<String> {
        self.control.plug_in();
        let device = self.attach()?;
        if self.file_system.repairs_itself() && self.mount().is_ok() {
            return Ok(String::new());
        }
        let said = self.file_system.repair(&device)?;
        self.mount()?;
        Ok(said)
    }

    /// Lets the file system's own checker look at it, ejected; an error is what it found.
    ///
    /// # Errors
    /// The file system is damaged.
    pub fn check(&mut self) -> io::Result<()> {
        let device = self.attach()?;
        let found = self.file_system.check(&device);
        self.detach()?;
        found
    }

    /// Goes back to what [`Control::remember`] remembered. It must be out.
    ///
    /// # Errors
    /// It is plugged in.
    pub fn go_back(&self) -> io::Result<()> {
        if self.device.is_some() {
            return Err(io::Error::other("a stick can go back only while it is not plugged in"));
        }
        self.control.go_back();
        Ok(())
    }

    /// The loop device; a new one if it is not plugged in. Not one that was used before a cut: the kernel would find
    /// pages of it in memory.
    fn attach(&mut self) -> io::Result<String> {
        if let Some(device) = &self.device {
            return Ok(device.clone());
        }
        let disk = self.folder.path().join("device").join(DISK);
        let options = ["--find", "--show", "--direct-io=on", "--sector-size", "512"];
        let output = run(program("losetup").args(options).arg(disk))?;
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        self.device = Some(device.clone());
        Ok(device)
    }

    fn detach(&mut self) -> io::Result<()> {
        match self.device.take() {
            Some(device) => run(program("losetup").args(["--detach", &device])).map(drop),
            None => Ok(()),
        }
    }

    /// The processes that serve the mounted file system, held so that their end can be waited for.
    fn servers(&self) -> io::Result<Vec<OwnedFd>> {
        let (Some(name), Some(device)) = (self.file_system.server(), &self.device) else {
            return Ok(Vec::new());
        };
        let mut servers = Vec::new();
        for entry in fs_err::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that is gone meanwhile is none of them.
            let line = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let is_server = words.next().is_some_and(|word| word.ends_with(name.as_bytes()));
            if is_server && words.any(|word| word == device.as_bytes()) {
                servers.extend(Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
            }
        }
        Ok(servers)
    }
}

/// Waits until the processes have ended: only then they have let go of the device.
fn wait_for_end(servers: &[OwnedFd]) -> io::Result<()> {
    let limit = Timespec { tv_sec: END.as_secs() as i64, tv_nsec: 0 };
    for server in servers {
        if poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&limit))? == 0 {
            return Err(io::Error::other("the process that served the file system does not end"));
        }
    }
    Ok(())
}

impl Drop for Stick {
    fn drop(&mut self) {
        // Nothing that fails here may hide why it is dropped.
        let _ = self.take_out();
        leftovers::detach(self.folder.path());
        if let Some(session) = self.session.take() {
            let _ = session.join();
        }
    }
}
