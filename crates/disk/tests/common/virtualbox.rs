//! A real VirtualBox as oracle. Its programs handle disks without its kernel module.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::text;

/// A VirtualBox with a media registry of its own.
pub struct VirtualBox {
    program: PathBuf,
    home: tempfile::TempDir,
    socket: String,
    /// Whole disks that children may need.
    parents: RefCell<Vec<PathBuf>>,
}

/// Its server ends some seconds after a client, whether or not another comes just then, and forgets the disks that no
/// machine has.
const FORGETFUL: [&str; 3] =
    ["is not found in the media registry", "Failed to create the VirtualBox object", "NS_ERROR_CALL_FAILED"];

/// A folder with a `VBoxManage` that runs; without this variable, where the project's scripts put one.
const VARIABLE: &str = "POCKETVM_TEST_VIRTUALBOX";

impl VirtualBox {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::var_os(VARIABLE).map(PathBuf::from).unwrap_or_else(|| {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/pocketvm/virtualbox/bin")
        });
        let program = folder.join("VBoxManage");
        assert!(
            program.exists(),
            "this test needs a VBoxManage in the folder that {VARIABLE} names: {}",
            program.display()
        );
        let socket = format!("pvm{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        VirtualBox { program, home: tempfile::tempdir().unwrap(), socket, parents: RefCell::default() }
    }

    fn command(&self, args: &[&str]) -> std::process::Output {
        Command::new(&self.program)
            .args(args)
            .env("VBOX_USER_HOME", self.home.path())
            .env("VBOX_IPC_SOCKETID", &self.socket)
            .output()
            .unwrap_or_else(|error| panic!("VBoxManage does not run: {error}"))
    }

    /// Runs `VBoxManage`, which must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        for attempt in 0.. {
            let output = self.command(args);
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let said = said.concat();
            if output.status.success() {
                return said;
            }
            let forgot = FORGETFUL.iter().any(|words| said.contains(words));
            assert!(forgot && attempt < 5, "VBoxManage {args:?}: {said}");
            for parent in self.parents.borrow().iter() {
                self.command(&["showmediuminfo", "disk", text(parent)]);
            }
        }
        unreachable!()
    }

    /// Tells it of a whole disk: a child names that by its UUID only.
    pub fn know(&self, parent: &Path) -> String {
        self.parents.borrow_mut().push(parent.to_path_buf());
        self.run(&["showmediuminfo", "disk", text(parent)])
    }

    /// What a guest reads from a disk, as a raw file beside it.
    pub fn flattened(&self, disk: &Path) -> PathBuf {
        let flat = disk.with_extension("vbox.raw");
        let _ = std::fs::remove_file(&flat);
        self.run(&["clonemedium", "disk", text(disk), text(&flat), "--format", "RAW"]);
        self.run(&["closemedium", "disk", text(&flat)]);
        flat
    }

    /// Converts a raw file to a whole disk.
    pub fn whole(&self, raw: &Path, disk: &Path, format: &str) {
        self.run(&["convertfromraw", text(raw), text(disk), "--format", format]);
        self.parents.borrow_mut().push(disk.to_path_buf());
    }

    /// Makes an empty child.
    pub fn child(&self, disk: &Path, parent: &Path, format: &str) {
        let args = ["createmedium", "disk", "--filename", text(disk), "--diffparent", text(parent)];
        self.run(&[&args[..], &["--format", format]].concat());
    }

    /// Writes the content of a raw file into an existing disk, a child too.
    pub fn write_into(&self, disk: &Path, raw: &Path) {
        let source = raw.with_extension("source.vdi");
        let _ = std::fs::remove_file(&source);
        self.whole(raw, &source, "VDI");
        self.run(&["clonemedium", "disk", text(&source), text(disk), "--existing"]);
        self.run(&["closemedium", "disk", text(&source)]);
    }

    /// Puts an empty file system on a disk, with a few writes.
    pub fn format(&self, disk: &Path) {
        self.run(&["mediumio", &format!("--disk={}", text(disk)), "formatfat", "--quick"]);
    }
}
