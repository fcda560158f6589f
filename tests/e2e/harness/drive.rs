//! Drives with the test guest on them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::guest;

/// What a test wants of the machine; the rest is what makes it boot fast.
pub struct Options {
    pub keep_system: bool,
    pub keep_user: bool,
    pub controller: &'static str,
    /// What the guest does, see `tests/guest/init`.
    pub command: String,
}

impl Options {
    /// The usual machine: the user disk is kept, the system disk is not.
    pub fn new(command: &str) -> Options {
        Options { keep_system: false, keep_user: true, controller: "ahci", command: command.to_owned() }
    }

    /// Both disks are kept.
    pub fn keeping_both(command: &str) -> Options {
        Options { keep_system: true, ..Options::new(command) }
    }

    fn manifest(&self) -> String {
        let mut text = String::from(
            "schema: 1\nmachine:\n  name: Test guest\nmemory:\n  min: 256 MiB\n  max: 256 MiB\ncpus:\n  min: 1\n  max: 1\ndisks:\n",
        );
        for (name, keep) in [("system", self.keep_system), ("user", self.keep_user)] {
            let _ = writeln!(
                text,
                "  - name: {name}\n    file: disks/{name}/base.qcow2\n    keep: {keep}\n    controller: {}",
                self.controller
            );
        }
        let _ = write!(
            text,
            "paging:\n  size: 128 MiB\nscratch:\n  room: 32 MiB\n  plain: accepted\nhypervisors:\n  qemu:\n    template: templates/qemu.yaml.hbs\n    variables:\n      oem: \"pocketvm:{}\"\n",
            self.command
        );
        text
    }
}

/// A folder that is a drive.
pub struct Drive {
    pub path: PathBuf,
}

impl Drive {
    /// Makes `path` a drive with fresh copies of the guest's disks.
    pub fn create(path: &Path, options: &Options) -> Drive {
        let drive = Drive { path: path.to_owned() };
        for disk in ["system", "user"] {
            let base = drive.base(disk);
            std::fs::create_dir_all(base.parent().unwrap()).unwrap();
            std::fs::copy(guest::images().join(format!("{disk}.qcow2")), base).unwrap();
        }
        let templates = path.join("templates");
        std::fs::create_dir_all(&templates).unwrap();
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/qemu.yaml.hbs");
        std::fs::copy(template, templates.join("qemu.yaml.hbs")).unwrap();
        drive.set(options);
        drive
    }

    /// The same drive, seen at another mount point.
    pub fn at(path: &Path) -> Drive {
        assert!(path.join("pocketvm.yaml").is_file(), "no drive at {}", path.display());
        Drive { path: path.to_owned() }
    }

    /// Writes the manifest anew; for instance another command for the next session.
    pub fn set(&self, options: &Options) {
        std::fs::write(self.path.join("pocketvm.yaml"), options.manifest()).unwrap();
    }

    /// The base of `disk`.
    pub fn base(&self, disk: &str) -> PathBuf {
        self.path.join("disks").join(disk).join("base.qcow2")
    }

    /// Both bases must be in order for QEMU's own tools.
    pub fn assert_sound(&self) {
        for disk in ["system", "user"] {
            super::image_check(&self.base(disk));
        }
    }

    /// Both bases must be sound and hold for the guest what they held when the drive was created.
    pub fn assert_untouched(&self) {
        self.assert_sound();
        for disk in ["system", "user"] {
            super::compare(&self.base(disk), &guest::images().join(format!("{disk}.qcow2")));
        }
    }

    /// Fingerprints of both bases, to tell that not a byte was written.
    pub fn checksums(&self) -> [String; 2] {
        ["system", "user"].map(|disk| super::checksum(&self.base(disk)))
    }
}
