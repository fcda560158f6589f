//! Drives with the test guest on them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{guest, must};

/// What a test wants of the machine; the rest is what makes it boot fast.
pub struct Options {
    pub keep_system: bool,
    pub keep_user: bool,
    pub controller: &'static str,
    /// The user disk is a raw image, and the system disk an empty one over a qcow2 image over a raw one.
    pub raw_and_chain: bool,
    /// How many saves stay undoable; the manifest's default if none.
    pub saves: Option<u32>,
    /// What the guest does, see `tests/guest/init`.
    pub command: String,
}

impl Options {
    /// The usual machine: the user disk is kept, the system disk is not.
    pub fn new(command: &str) -> Options {
        Options {
            keep_system: false,
            keep_user: true,
            controller: "ahci",
            raw_and_chain: false,
            saves: None,
            command: command.to_owned(),
        }
    }

    /// Both disks are kept.
    pub fn keeping_both(command: &str) -> Options {
        Options { keep_system: true, ..Options::new(command) }
    }

    /// Both disks are kept; one is raw, the other a chain.
    pub fn raw_and_chain(command: &str) -> Options {
        Options { raw_and_chain: true, ..Options::keeping_both(command) }
    }

    fn manifest(&self) -> String {
        let mut text = String::from(
            "schema: 1\nmachine:\n  name: Test guest\nmemory:\n  min: 256 MiB\n  max: 256 MiB\ncpus:\n  min: 1\n  max: 1\ndisks:\n",
        );
        for (name, keep) in [("system", self.keep_system), ("user", self.keep_user)] {
            let is_raw = self.raw_and_chain && name == "user";
            let (file, format) = if is_raw { ("img", "\n    format: raw") } else { ("qcow2", "") };
            let _ = writeln!(
                text,
                "  - name: {name}\n    file: disks/{name}/base.{file}\n    keep: {keep}\n    controller: {}{format}",
                self.controller
            );
        }
        let _ = write!(
            text,
            "paging:\n  size: 128 MiB\nscratch:\n  room: 32 MiB\n  plain: accepted\nhypervisors:\n  qemu:\n    template: templates/qemu.yaml.hbs\n    variables:\n      oem: \"pocketvm:{}\"\n",
            self.command
        );
        if let Some(keep) = self.saves {
            let _ = write!(text, "saves:\n  keep: {keep}\n");
        }
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
        for folder in ["system", "user"] {
            std::fs::create_dir_all(path.join("disks").join(folder)).unwrap();
        }
        match options.raw_and_chain {
            true => drive.lay_raw_and_chain(),
            false => {
                for disk in ["system", "user"] {
                    std::fs::copy(guest::images().join(format!("{disk}.qcow2")), drive.base(disk)).unwrap();
                }
            }
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

    fn lay_raw_and_chain(&self) {
        let images = guest::images();
        let copy = |from: &str, to: &str| {
            must(Command::new("cp").arg("--sparse=always").args([images.join(from), self.path.join(to)]));
        };
        std::fs::create_dir_all(self.path.join("disks/golden")).unwrap();
        copy("user.img", "disks/user/base.img");
        copy("system.img", "disks/golden/system.img");
        for (image, below, format) in
            [("golden/middle", "system.img", "raw"), ("system/base", "../golden/middle.qcow2", "qcow2")]
        {
            let image = self.path.join(format!("disks/{image}.qcow2"));
            let options = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=16k"];
            must(Command::new("qemu-img").args(options).args(["-b", below, "-F", format]).arg(image));
        }
    }

    /// The images below the system disk's base, if it is a chain.
    pub fn golden(&self) -> [PathBuf; 2] {
        ["middle.qcow2", "system.img"].map(|name| self.path.join("disks/golden").join(name))
    }

    /// The base of `disk`.
    pub fn base(&self, disk: &str) -> PathBuf {
        let folder = self.path.join("disks").join(disk);
        let raw = folder.join("base.img");
        if raw.exists() { raw } else { folder.join("base.qcow2") }
    }

    /// Both bases must be in order for QEMU's own tools, as far as these can tell.
    pub fn assert_sound(&self) {
        for base in ["system", "user"].map(|disk| self.base(disk)) {
            if super::oracle::format_of(&base) == "qcow2" {
                super::image_check(&base);
            }
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
