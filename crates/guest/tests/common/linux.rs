//! An installed Linux as files, made an ext4 by `mke2fs`: its modules are real, and `depmod` wrote what belongs to them.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use pocketvm_guest::Disk;
use pocketvm_guest::linux::{self, Files, Kernel, Linux};
use tempfile::TempDir;

pub const VERSION: &str = "6.1.0-50-amd64";

/// Each module with those whose functions it calls, and the devices it says it is for.
const MODULES: [(&str, &[&str], &str); 9] = [
    ("drivers/ata/libata", &[], ""),
    ("drivers/ata/libahci", &["libata"], ""),
    ("drivers/ata/ahci", &["libahci", "libata"], "pci:v*d*sv*sd*bc01sc06i01*"),
    ("drivers/ata/ata_piix", &["libata"], "pci:v00008086d00007010sv*sd*bc*sc*i*"),
    ("drivers/nvme/host/nvme-core", &[], ""),
    ("drivers/nvme/host/nvme", &["nvme-core"], "pci:v*d*sv*sd*bc01sc08i02*"),
    ("drivers/block/virtio_blk", &[], "virtio:d00000002v*"),
    ("drivers/scsi/scsi_mod", &[], ""),
    ("drivers/scsi/vmw_pvscsi", &["scsi_mod"], "pci:v000015ADd000007C0sv*sd*bc*sc*i*"),
];

/// The program `name`, of the Debian package `package`.
pub fn program(name: &str, package: &str) -> Command {
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is missing: install the package {package}")))
}

/// Runs a command that must succeed, and returns what it prints.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a filter.
pub fn filter(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the kernel can unpack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Packer {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Lz4,
}

pub const PACKERS: [Packer; 6] =
    [Packer::Plain, Packer::Gzip, Packer::Bzip2, Packer::Xz, Packer::Zstd, Packer::Lz4];

impl Packer {
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let mut command = match self {
            Packer::Plain => return bytes.to_owned(),
            Packer::Gzip => program("gzip", "gzip"),
            Packer::Bzip2 => program("bzip2", "bzip2"),
            Packer::Xz => program("xz", "xz-utils"),
            Packer::Zstd => program("zstd", "zstd"),
            Packer::Lz4 => program("lz4", "lz4"),
        };
        // As mkinitramfs calls them.
        let arguments: &[&str] = match self {
            Packer::Gzip => &["-n"],
            Packer::Xz => &["-8", "--check=crc32"],
            Packer::Zstd => &["-q", "-9", "-T0"],
            Packer::Lz4 => &["-q", "-9", "-l"],
            _ => &[],
        };
        filter(command.args(arguments).arg("-c"), bytes)
    }
}

/// An archive of all that is in `folder`.
pub fn cpio(folder: &Path) -> Vec<u8> {
    let mut names = Vec::new();
    walk(folder, folder, &mut names);
    names.sort();
    let mut command = program("cpio", "cpio");
    command.args(["-o", "-H", "newc", "--quiet", "-R", "0:0", "--reproducible"]).current_dir(folder);
    filter(&mut command, (names.join("\n") + "\n").as_bytes())
}

fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, names);
        }
    }
}

/// A file as a disk.
#[derive(Debug)]
pub struct Image(fs::File, u64);

impl Disk for Image {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The files of a guest that is put together.
pub struct Guest {
    folder: TempDir,
}

impl Guest {
    /// Debian 12 with a kernel and its modules, and without an initramfs.
    pub fn debian() -> Self {
        let guest = Guest { folder: tempfile::tempdir().unwrap() };
        guest.file(
            "/usr/lib/os-release",
            "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        );
        guest.link("/etc/os-release", "../usr/lib/os-release");
        guest.link("/lib", "usr/lib");
        guest.link("/bin", "usr/bin");
        // The first bytes of a program for x86_64.
        guest.file(
            "/usr/bin/dash",
            [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 9], &[3, 0, 62, 0], &[0; 100]].concat(),
        );
        guest.link("/usr/bin/sh", "dash");
        guest.file(
            "/etc/fstab",
            "/dev/sda1 / ext4 errors=remount-ro 0 1\nLABEL=pocketvm-swap none swap sw,nofail 0 0\n",
        );
        guest.file(&format!("/boot/vmlinuz-{VERSION}"), "a kernel");
        guest.modules();
        guest
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        write(&self.path(path), content);
    }

    pub fn link(&self, path: &str, to: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        symlink(to, self.path(path)).unwrap();
    }

    fn tree(&self) -> PathBuf {
        self.path(&format!("/usr/lib/modules/{VERSION}"))
    }

    fn modules(&self) {
        for (path, calls, alias) in MODULES {
            let name = path.rsplit('/').next().unwrap().replace('-', "_");
            let externs: String = calls
                .iter()
                .map(|call| format!("extern void {0}_f(void);", call.replace('-', "_")))
                .collect();
            let called: String =
                calls.iter().map(|call| format!("{}_f();", call.replace('-', "_"))).collect();
            let source = format!(
                "{externs} void {name}_f(void) {{ {called} }}\n\
                __attribute__((section(\"__ksymtab_strings\"))) const char exported[] = \"{name}_f\";\n\
                __attribute__((section(\".modinfo\"))) const char info[] = \"name={name}\\0alias={alias}\";\n"
            );
            let file = self.tree().join(format!("kernel/{path}.ko"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let mut compiler = program("cc", "gcc");
            filter(compiler.args(["-x", "c", "-c", "-w", "-", "-o"]).arg(&file), source.as_bytes());
        }
        write(&self.tree().join("modules.builtin"), "kernel/drivers/scsi/sd_mod.ko\n");
        write(&self.tree().join("modules.order"), "");
        self.depmod();
    }

    /// Writes all that belongs to the modules anew.
    pub fn depmod(&self) {
        run(program("depmod", "kmod").arg("-b").arg(self.root()).arg(VERSION));
    }

    /// Compresses all modules in the tree.
    pub fn compress_modules(&self) {
        for (path, ..) in MODULES {
            run(program("xz", "xz-utils")
                .arg("--check=crc32")
                .arg(self.tree().join(format!("kernel/{path}.ko"))));
        }
        self.depmod();
    }

    /// The archive that initramfs-tools makes of these modules, with what it is known by.
    pub fn initramfs(&self, modules: &[&str], more: &[(&str, &str)]) -> Vec<u8> {
        let folder = self.folder.path().join("initramfs");
        let _ = fs::remove_dir_all(&folder);
        let tree = folder.join(format!("usr/lib/modules/{VERSION}"));
        fs::create_dir_all(&tree).unwrap();
        symlink("usr/lib", folder.join("lib")).unwrap();
        for module in modules {
            let (path, ..) =
                MODULES.into_iter().find(|(path, ..)| path.rsplit('/').next() == Some(module)).unwrap();
            let from = ["ko", "ko.xz"].map(|suffix| self.tree().join(format!("kernel/{path}.{suffix}")));
            let from = from.into_iter().find(|from| from.exists()).unwrap();
            let to = tree.join(format!("kernel/{path}.ko"));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            match from.extension().unwrap().to_str() {
                // Some generators unpack them.
                Some("xz") => fs::write(to, run(program("xz", "xz-utils").arg("-dc").arg(from))).unwrap(),
                _ => drop(fs::copy(from, to).unwrap()),
            }
        }
        fs::copy(self.tree().join("modules.builtin"), tree.join("modules.builtin")).unwrap();
        fs::copy(self.tree().join("modules.order"), tree.join("modules.order")).unwrap();
        run(program("depmod", "kmod").arg("-b").arg(&folder).arg(VERSION));
        write(&folder.join("usr/lib/systemd/systemd-udevd"), "udev");
        for (name, content) in more {
            write(&folder.join(name), content);
        }
        cpio(&folder)
    }

    /// Early microcode, as it lies before the archive.
    pub fn microcode(&self) -> Vec<u8> {
        let folder = self.folder.path().join("early");
        write(&folder.join("kernel/x86/microcode/GenuineIntel.bin"), [7; 3000]);
        cpio(&folder)
    }

    pub fn put_initramfs(&self, bytes: &[u8]) {
        self.file(&format!("/boot/initrd.img-{VERSION}"), bytes);
    }

    /// An ext4 of `folder` of this guest.
    pub fn ext4(&self, folder: &Path, name: &str, options: &[&str]) -> PathBuf {
        let image = self.folder.path().join(name);
        let _ = fs::remove_file(&image);
        let mut command = program("mke2fs", "e2fsprogs");
        command.args(["-q", "-F", "-t", "ext4"]).args(options).arg("-d").arg(folder).arg(&image).arg("64M");
        run(&mut command);
        image
    }

    pub fn files(&self) -> Files {
        let image = self.ext4(&self.root(), "root.img", &[]);
        open(Some(&image), None).unwrap().unwrap()
    }

    pub fn inspect(&self) -> (Files, Linux) {
        let files = self.files();
        let linux = linux::inspect(&files).unwrap().unwrap();
        (files, linux)
    }

    pub fn kernel(&self) -> (Files, Kernel) {
        let (files, linux) = self.inspect();
        (files, linux.kernels.into_iter().next().unwrap())
    }
}

pub fn open(root: Option<&Path>, boot: Option<&Path>) -> pocketvm_guest::Result<Option<Files>> {
    let disk = |path: Option<&Path>| -> Option<Rc<dyn Disk>> {
        let file = fs::File::open(path?).unwrap();
        let size = file.metadata().unwrap().len();
        Some(Rc::new(Image(file, size)))
    };
    Files::open(disk(root), disk(boot))
}

/// `bytes` unpacked over what is in `folder`, by cpio.
pub fn unpack(bytes: &[u8], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let mut command = program("cpio", "cpio");
    command.args(["-i", "-d", "-u", "--quiet", "--no-absolute-filenames"]).current_dir(folder);
    filter(&mut command, &bytes[start..]);
}

/// What `modprobe` would load for `module` in an unpacked initramfs, by file name.
pub fn modprobe(folder: &Path, module: &str) -> Vec<String> {
    let mut command = program("modprobe", "kmod");
    command.arg("-d").arg(folder).args(["-S", VERSION, "--show-depends", module]);
    let text = String::from_utf8(run(&mut command)).unwrap();
    let lines = text.lines().map(|line| {
        let path = line.strip_prefix("insmod ").unwrap_or(line).trim();
        assert!(line.starts_with("builtin ") || Path::new(path).is_file(), "{line}");
        path.rsplit(['/', ' ']).next().unwrap().to_owned()
    });
    lines.collect()
}
