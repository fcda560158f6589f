//! Disks that fail under a running guest: a full one, and a drive that is pulled out and comes back elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use pocketvm::hypervisor::{Base, GuestEvent, Layer};

use crate::bench::{Bench, run, text, wait_for};

/// A mounted exFAT on a loop device, like a stick; served by a process that can be killed. Needs root.
struct Stick {
    image: PathBuf,
    device: String,
    mounted: PathBuf,
}

impl Stick {
    fn make(folder: &Path, megabytes: u64) -> Self {
        let image = folder.join("stick.img");
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run("mkfs.exfat", &[text(&image)]);
        let mut stick = Stick { image, device: String::new(), mounted: PathBuf::new() };
        stick.mount(folder.join("before"));
        stick
    }

    fn mount(&mut self, place: PathBuf) {
        self.device = run("losetup", &["--find", "--show", text(&self.image)]).trim().to_owned();
        self.mounted = place;
        std::fs::create_dir(&self.mounted).unwrap();
        run("mount.exfat-fuse", &[&self.device, text(&self.mounted)]);
    }

    /// Its file system goes away under everybody; it comes back in another place, as another device: the old one is
    /// still in use.
    fn pull_and_return(&mut self) {
        let served = format!("mount.exfat-fuse {}", self.device);
        let daemon = std::fs::read_dir("/proc").unwrap().flatten().find(|process| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).replace('\0', " ").starts_with(&format!("{served} "))
        });
        run("kill", &["-9", daemon.expect("the stick is served").file_name().to_str().unwrap()]);
        run("umount", &["-l", text(&self.mounted)]);
        // Goes for good when the last file on it is closed.
        run("losetup", &["-d", &self.device]);
        self.mount(self.mounted.with_file_name("after, \"ü\""));
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", text(&self.mounted)]).output();
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
    }
}

#[test]
fn a_full_host_disk_pauses_the_guest_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let stick = Stick::make(folder.path(), 48);
    let ballast = stick.mounted.join("ballast");
    std::fs::write(&ballast, vec![1; 40 << 20]).unwrap();
    let mut bench = Bench::new(b'F');
    let overlay = stick.mounted.join("overlay.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&overlay), "64M"]);
    bench.machine.disks[0].overlay = overlay;

    let running = bench.launch();
    let event = wait_for(&running.events, |event| matches!(event, GuestEvent::DiskError { .. }));
    let reason = "No space left on device".into();
    assert_eq!(event, GuestEvent::DiskError { disk: "system".into(), no_space: true, read: false, reason });
    let written = bench.serial();

    std::fs::remove_file(&ballast).unwrap();
    running.guest.resume().unwrap();
    wait_for(&running.events, |event| *event == GuestEvent::Running);
    bench.wait_for_serial(|said| said.len() > written.len() + 20);
    assert!(!bench.serial().contains('!'), "the guest saw no error");
    running.guest.force_off().unwrap();
}

/// What a guest's disk stands on, on the stick.
enum Ground {
    /// One image.
    Alone,
    /// A base that holds nothing itself, over a qcow2 image over a raw one, which holds everything.
    Chain,
}

impl Ground {
    /// Moves `base` onto the stick; its content comes from where it was.
    fn lay(&self, stick: &Stick, base: &Base) {
        let name = stick.mounted.join(NAME);
        match self {
            Ground::Alone => drop(std::fs::copy(&base.path, name).unwrap()),
            Ground::Chain => {
                let (middle, golden) = (stick.mounted.join(MIDDLE), stick.mounted.join(GOLDEN));
                run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(&base.path), text(&golden)]);
                let over = |image: &Path, below: &str, format: &str| {
                    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", below, "-F", format, text(image)]);
                };
                over(&middle, GOLDEN, "raw");
                over(&name, MIDDLE, "qcow2");
                // A name that leads nowhere: QEMU must not need it.
                run("qemu-img", &["rebase", "-u", "-b", "/nowhere", "-F", "qcow2", text(&name)]);
            }
        }
    }

    /// Where it is while the stick is at `mounted`.
    fn at(&self, mounted: &Path) -> Base {
        let layer = |name, format: &str| Layer { path: mounted.join(name), format: format.into() };
        let below = match self {
            Ground::Alone => vec![],
            Ground::Chain => vec![layer(MIDDLE, "qcow2"), layer(GOLDEN, "raw")],
        };
        Base { path: mounted.join(NAME), format: "qcow2".into(), below }
    }
}

const NAME: &str = "base, ö.qcow2";
const MIDDLE: &str = "middle, ü.qcow2";
const GOLDEN: &str = "golden.img";

#[test]
fn a_guest_goes_on_when_its_drive_comes_back_elsewhere() {
    goes_on_when_the_drive_comes_back(&Ground::Alone, 96);
}

#[test]
fn a_guest_whose_base_has_layers_goes_on_when_its_drive_comes_back_elsewhere() {
    goes_on_when_the_drive_comes_back(&Ground::Chain, 128);
}

fn goes_on_when_the_drive_comes_back(ground: &Ground, megabytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut stick = Stick::make(folder.path(), megabytes);
    let mut bench = Bench::new(b'R');
    let base = bench.machine.disks[0].base.as_mut().unwrap();
    ground.lay(&stick, base);
    *base = ground.at(&stick.mounted);
    let paths = |base: &Base| {
        let below = base.below.iter().map(|layer| layer.path.clone());
        below.chain([base.path.clone()]).collect::<Vec<_>>()
    };
    let old = paths(base);
    run("sync", &old.iter().map(|path| text(path)).chain([text(&stick.mounted)]).collect::<Vec<_>>());

    let running = bench.launch();
    bench.wait_for_serial(|said| said.contains("...."));
    running.guest.pause().unwrap();
    wait_for(&running.events, |event| *event == GuestEvent::Paused);
    // What the PC has read already would hide that the drive is gone.
    for file in &old {
        run("dd", &[&format!("if={}", text(file)), "iflag=nocache", "count=0", "status=none"]);
    }
    stick.pull_and_return();
    running.guest.resume().unwrap();
    let event = wait_for(&running.events, |event| matches!(event, GuestEvent::DiskError { .. }));
    let GuestEvent::DiskError { disk, no_space: false, read: true, .. } = event else { panic!("{event:?}") };
    assert_eq!(disk, "system");
    let before = bench.serial();

    let now = ground.at(&stick.mounted);
    let nothing = Base { path: stick.mounted.join("other.qcow2"), ..now.clone() };
    let missing = running.guest.reopen_base("system", &nothing).unwrap_err();
    assert!(missing.to_string().contains("No such file"), "{missing}");
    running.guest.reopen_base("system", &now).unwrap();
    running.guest.resume().unwrap();
    wait_for(&running.events, |event| *event == GuestEvent::Running);
    bench.wait_for_serial(|said| said.len() > before.len() + 600);
    assert!(!bench.serial().contains('!'), "the guest saw no error");
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", running.guest.process_id()))
        .unwrap()
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .collect();
    for path in paths(&now) {
        assert!(open.contains(&path), "{}: {open:?}", path.display());
    }
    assert!(!open.iter().any(|path| text(path).contains("before")), "the old file is closed: {open:?}");
    running.guest.force_off().unwrap();
}
