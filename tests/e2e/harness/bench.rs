//! The folder of one test, and what every test needs of the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::processes;

/// Programs that the tests start, and the package that has each.
const PROGRAMS: [(&str, &str); 8] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mkfs.exfat", "exfatprogs"),
    ("mount.exfat-fuse", "exfat-fuse"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
];

/// One test's folder. Dropping it ends every process that has the folder in its command line, unmounts what is
/// mounted in it and deletes it.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A new folder on the internal disk, after a check that the machine can run these tests.
    pub fn new() -> Bench {
        assert!(
            rustix::process::geteuid().is_root(),
            "the end-to-end tests mount file systems and need root: run `make test` as root"
        );
        for (program, package) in PROGRAMS {
            assert!(find(program).is_some(), "{program} is missing (package {package}): run `make setup`");
        }
        for device in ["/dev/fuse", "/dev/loop-control"] {
            assert!(
                Path::new(device).exists(),
                "{device} is missing: this machine can't mount what the tests need"
            );
        }
        // Not in /tmp, which may be in memory and would not be taken as an internal disk.
        let folder = tempfile::Builder::new().prefix("pocketvm-e2e-").tempdir_in("/var/tmp").unwrap();
        Bench { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new, empty folder called `name`.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        processes::kill_all_of(self.path());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev() {
            let point = mount.split(' ').nth(1).unwrap_or_default().replace("\\040", " ");
            if Path::new(&point).starts_with(self.path()) {
                let _ = Command::new("umount").arg("-l").arg(&point).status();
            }
        }
        // Loop devices whose image lies in this folder; losetup prints "NAME BACK-FILE".
        if let Ok(list) = Command::new("losetup").args(["-n", "-O", "NAME,BACK-FILE"]).output() {
            for line in String::from_utf8_lossy(&list.stdout).lines() {
                let Some((device, file)) = line.trim().split_once(' ') else { continue };
                if Path::new(file.trim()).starts_with(self.path()) {
                    let _ = Command::new("losetup").args(["-d", device]).status();
                }
            }
        }
    }
}

/// Runs a program that must succeed.
pub fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Where `program` is: on PATH, or where Debian keeps what only root uses.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
