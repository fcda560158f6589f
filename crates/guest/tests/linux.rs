//! An installed Linux on a real ext4, with an initramfs of each compression: what is found, and what is added to it.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[path = "common/linux.rs"]
mod common;

use std::fs;
use std::path::Path;

use common::{Guest, PACKERS, Packer, VERSION, filter, modprobe, open, program, run, unpack};
use pocketvm_guest::Error;
use pocketvm_guest::linux::{self, Compression, Generator, Support, extension, support};
use proptest::prelude::*;

/// What initramfs-tools is known by.
const DEBIAN: [(&str, &str); 2] =
    [("conf/initramfs.conf", "MODULES=dep\n"), ("conf/modules", "virtio_blk\n")];
const DRIVERS: [&str; 5] = ["ahci", "ata_piix", "nvme", "vmw_pvscsi", "virtio_blk"];

#[test]
fn an_installed_debian_is_told() {
    let guest = Guest::debian();
    guest.put_initramfs(&Packer::Zstd.pack(&guest.initramfs(&["virtio_blk"], &DEBIAN)));
    guest.file(
        "/etc/network/interfaces",
        "auto lo\niface lo inet loopback\nallow-hotplug ens3\niface ens3 inet dhcp\n",
    );
    guest.file(
        "/etc/netplan/01.yaml",
        "network:\n  ethernets:\n    lan:\n      match: {}\n      set-name: lan0\n",
    );
    guest.file("/usr/sbin/qemu-ga", "");
    guest.file("/etc/initramfs-tools/conf.d/resume", "RESUME=UUID=5\n");
    guest.file(
        "/boot/grub/grub.cfg",
        format!(
            "menuentry 'Debian' {{\n linux /boot/vmlinuz-{VERSION} root=UUID=1 ro resume=/dev/sda5\n}}\n"
        ),
    );
    let (_, linux) = guest.inspect();
    assert_eq!(linux.release.id.as_deref(), Some("debian"));
    assert_eq!(linux.release.version.as_deref(), Some("12"));
    assert_eq!(linux.architecture, Some("x86_64"), "through two links");
    assert!(linux.state.clean);
    assert!(linux.fstab.has_swap("pocketvm-swap", None));
    assert!(linux.fstab.mounts[0].names_hardware());
    let cards: Vec<_> = linux.network.iter().filter_map(|card| card.name.as_deref()).collect();
    assert_eq!(cards, ["ens3", "lan0"]);
    assert_eq!(linux.guest_tools, [linux::Tools::QemuGuestAgent]);
    let resume: Vec<_> = linux.resume.iter().map(|resume| resume.from.as_str()).collect();
    assert_eq!(resume, ["/dev/sda5", "UUID=5"]);
    let kernel = linux.default_kernel().unwrap();
    assert_eq!((kernel.version.as_str(), kernel.tree.len()), (VERSION, 9));
    assert_eq!(kernel.folder.as_deref(), Some(&*format!("/usr/lib/modules/{VERSION}")));
    let initramfs = kernel.initramfs.as_ref().unwrap();
    assert_eq!(initramfs.contents.generator, Generator::InitramfsTools);
    assert_eq!(initramfs.contents.loaded, ["virtio_blk"]);
    assert!(initramfs.contents.udev);
    let supports = ["sd_mod", "virtio-blk", "ahci", "hv_storvsc"].map(|module| support(kernel, module));
    assert_eq!(supports, [Support::BuiltIn, Support::InInitramfs, Support::InTree, Support::Missing]);
}

#[test]
fn every_compression_is_read_and_extended() {
    let guest = Guest::debian();
    let (early, main) = (guest.microcode(), guest.initramfs(&["virtio_blk", "libata"], &DEBIAN));
    for packer in PACKERS {
        let mut initramfs = [early.clone(), packer.pack(&main)].concat();
        if packer == Packer::Gzip {
            // The sizes of the others are whatever they are.
            initramfs.push(0);
        }
        guest.put_initramfs(&initramfs);
        let (files, kernel) = guest.kernel();
        let contents = &kernel.initramfs.as_ref().unwrap().contents;
        assert_eq!(contents.damage, None, "{packer:?}");
        let expected = match packer {
            Packer::Plain => Compression::None,
            Packer::Gzip => Compression::Gzip,
            Packer::Bzip2 => Compression::Bzip2,
            Packer::Xz => Compression::Xz,
            Packer::Zstd => Compression::Zstd,
            Packer::Lz4 => Compression::Lz4,
        };
        let segments: Vec<_> =
            contents.segments.iter().map(|segment| (segment.compression, segment.microcode)).collect();
        assert_eq!(segments, [(Compression::None, true), (expected, false)]);
        assert_eq!(support(&kernel, "virtio_blk"), Support::InInitramfs);
        assert_eq!(support(&kernel, "ahci"), Support::InTree);

        let added = extension(&files, &kernel, &DRIVERS).unwrap();
        assert_eq!(extension(&files, &kernel, &DRIVERS).unwrap(), added, "the same each time");
        guest.put_initramfs(&[initramfs, added].concat());
        let (files, kernel) = guest.kernel();
        let contents = &kernel.initramfs.as_ref().unwrap().contents;
        assert_eq!((contents.damage.as_deref(), contents.segments.len()), (None, 3), "{packer:?}");
        assert_eq!(contents.loaded, ["virtio_blk", "ahci", "ata_piix", "nvme", "vmw_pvscsi"]);
        for driver in DRIVERS {
            assert_eq!(support(&kernel, driver), Support::InInitramfs, "{packer:?}: {driver}");
        }
        assert!(extension(&files, &kernel, &DRIVERS).unwrap().is_empty(), "{packer:?}");
    }
}

#[test]
fn modprobe_finds_what_was_there_and_what_was_added() {
    for compressed in [false, true] {
        let guest = Guest::debian();
        if compressed {
            // As where the generator unpacks them: the guest's own modules.dep names files that the initramfs has not.
            guest.compress_modules();
        }
        let main = guest.initramfs(&["virtio_blk", "libata"], &DEBIAN);
        guest.put_initramfs(&main);
        let (files, kernel) = guest.kernel();
        let added = extension(&files, &kernel, &["ahci", "nvme"]).unwrap();

        let folder = tempfile::tempdir().unwrap();
        unpack(&main, folder.path());
        unpack(&added, folder.path());
        let suffix = if compressed { ".xz" } else { "" };
        assert!(
            fs::symlink_metadata(folder.path().join("lib")).unwrap().is_symlink(),
            "the link is still there"
        );
        assert_eq!(modprobe(folder.path(), "virtio_blk"), ["virtio_blk.ko"]);
        let ahci = ["libata.ko".to_owned(), format!("libahci.ko{suffix}"), format!("ahci.ko{suffix}")];
        assert_eq!(modprobe(folder.path(), "ahci"), ahci);
        assert_eq!(
            modprobe(folder.path(), "nvme"),
            ["nvme-core", "nvme"].map(|name| format!("{name}.ko{suffix}"))
        );
        assert_eq!(modprobe(folder.path(), "sd_mod"), ["sd_mod"]);
        // What udev asks for a device.
        let mut command = program("modprobe", "kmod");
        command.arg("-d").arg(folder.path()).args(["-S", VERSION, "-R"]);
        let device = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
        assert_eq!(run(command.arg(device)), b"ahci\n");
        let loaded = fs::read_to_string(folder.path().join("conf/modules")).unwrap();
        assert_eq!(loaded, "virtio_blk\nahci\nnvme\n");
    }
}

#[test]
fn lsinitramfs_lists_the_whole() {
    let guest = Guest::debian();
    let initramfs = [guest.microcode(), guest.initramfs(&["virtio_blk"], &DEBIAN)].concat();
    guest.put_initramfs(&initramfs);
    let (files, kernel) = guest.kernel();
    let added = extension(&files, &kernel, &["vmw_pvscsi"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // It wants something compressed at the end, and reads nothing behind that.
    common::write(&folder.path().join("end/end"), "");
    let end = Packer::Gzip.pack(&common::cpio(&folder.path().join("end")));
    let whole = [initramfs, added.clone(), end].concat();
    let path = folder.path().join("initrd");
    fs::write(&path, &whole).unwrap();
    let listed = String::from_utf8(run(program("lsinitramfs", "initramfs-tools-core").arg(&path))).unwrap();
    let tree = format!("usr/lib/modules/{VERSION}/kernel/drivers");
    for name in [
        "kernel/x86/microcode/GenuineIntel.bin",
        &format!("{tree}/block/virtio_blk.ko"),
        &format!("{tree}/scsi/vmw_pvscsi.ko"),
        &format!("{tree}/scsi/scsi_mod.ko"),
    ] {
        assert!(listed.lines().any(|line| line == name), "{name} in {listed}");
    }
    assert_eq!(listed.lines().filter(|line| *line == "conf/modules").count(), 2, "the later one counts");

    // libarchive's reader is another one, and stricter than cpio.
    let start = added.iter().position(|byte| *byte != 0).unwrap();
    let mut reader = program("bsdcpio", "libarchive-tools");
    let listed = String::from_utf8(filter(reader.args(["-i", "-t", "--quiet"]), &added[start..])).unwrap();
    let expected = ["conf", "conf/modules", "usr", "usr/lib", "usr/lib/modules"];
    let names: Vec<&str> = listed.lines().collect();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn dracut_gets_its_own_list() {
    let guest = Guest::debian();
    let dracut = [("usr/lib/dracut/build-parameter.txt", ""), ("usr/lib/systemd/systemd-modules-load", "")];
    guest.put_initramfs(&Packer::Xz.pack(&guest.initramfs(&["virtio_blk"], &dracut)));
    let (files, kernel) = guest.kernel();
    assert_eq!(kernel.initramfs.as_ref().unwrap().contents.generator, Generator::Dracut);
    let added = extension(&files, &kernel, &["nvme"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    unpack(&added, folder.path());
    let list = fs::read_to_string(folder.path().join("etc/modules-load.d/pocketvm.conf")).unwrap();
    assert_eq!(list, "nvme\n");
    assert!(!folder.path().join("conf").exists());
}

#[test]
fn arch_calls_its_images_after_the_package() {
    let guest = Guest::debian();
    fs::remove_file(guest.path(&format!("/boot/vmlinuz-{VERSION}"))).unwrap();
    guest.file("/boot/vmlinuz-linux", "a kernel");
    guest.file(&format!("/usr/lib/modules/{VERSION}/pkgbase"), "linux\n");
    let config = [("buildconfig", ""), ("config", "MODULES=\"\"\nEARLYHOOKS=\"udev\"\n")];
    guest.file("/boot/initramfs-linux.img", Packer::Zstd.pack(&guest.initramfs(&["virtio_blk"], &config)));
    let (files, kernel) = guest.kernel();
    assert_eq!((kernel.version.as_str(), kernel.image.as_str()), (VERSION, "/boot/vmlinuz-linux"));
    let initramfs = kernel.initramfs.as_ref().unwrap();
    assert_eq!(initramfs.path, "/boot/initramfs-linux.img");
    assert_eq!(initramfs.contents.generator, Generator::Mkinitcpio);
    let folder = tempfile::tempdir().unwrap();
    unpack(&extension(&files, &kernel, &["ahci"]).unwrap(), folder.path());
    // The initramfs's init is a shell that reads this.
    let mut shell = program("sh", "dash");
    let loaded = run(shell.args(["-c", ". ./config; echo $EARLYHOOKS $MODULES"]).current_dir(folder.path()));
    assert_eq!(loaded, b"udev ahci\n");
}

#[test]
fn fedora_boots_by_entries_of_the_specification() {
    let guest = Guest::debian();
    let entry = |version: &str| {
        format!(
            "title Fedora\nlinux /vmlinuz-{version}\ninitrd /initramfs-{version}.img\noptions root=UUID=1 ro\n"
        )
    };
    guest.file("/boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\nblscfg\n");
    guest.file("/boot/grub2/grubenv", "# GRUB Environment Block\nsaved_entry=1-old\n####");
    guest.file("/boot/loader/entries/1-old.conf", entry(VERSION));
    guest.file("/boot/loader/entries/1-rescue.conf", entry("0-rescue-1"));
    guest.file("/boot/loader/entries/2-new.conf", entry("6.9.9"));
    guest.file("/boot/vmlinuz-6.9.9", "a kernel without its modules");
    guest.file("/boot/vmlinuz-0-rescue-1", "a kernel");
    guest.file(&format!("/boot/initramfs-{VERSION}.img"), guest.initramfs(&[], &[("usr/lib/dracut/x", "")]));
    let (_, linux) = guest.inspect();
    let versions: Vec<_> = linux.kernels.iter().map(|kernel| kernel.version.as_str()).collect();
    assert_eq!(versions, ["6.9.9", VERSION]);
    let kernel = linux.default_kernel().unwrap();
    assert_eq!(kernel.version, VERSION, "the saved entry counts, not the newest");
    assert_eq!(kernel.initramfs.as_ref().unwrap().path, format!("/boot/initramfs-{VERSION}.img"));
    assert_eq!(linux.boot.unwrap().options, "root=UUID=1 ro");
}

#[test]
fn what_can_not_be_extended_is_refused_in_words() {
    let refused = |guest: &Guest, module: &str| {
        let (files, kernel) = guest.kernel();
        match extension(&files, &kernel, &[module]) {
            Err(Error::Unsupported(text)) => text.split(" (kernel").next().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let guest = Guest::debian();
    assert_eq!(refused(&guest, "ahci"), "the guest has no initramfs to which a driver can be added");
    guest.put_initramfs(&guest.initramfs(&[], &DEBIAN));
    assert_eq!(refused(&guest, "hv_storvsc"), "the guest has no driver hv_storvsc");
    guest.put_initramfs(&[guest.initramfs(&[], &DEBIAN), b"rubbish".to_vec()].concat());
    assert!(refused(&guest, "ahci").starts_with("the guest's initramfs was not understood to its end: "));
    guest.put_initramfs(&guest.initramfs(&[], &[("squashfs-root.img", "")]));
    assert_eq!(refused(&guest, "ahci"), "the guest's initramfs keeps its drivers in a squashfs");
    guest.put_initramfs(&guest.initramfs(&[], &DEBIAN));
    fs::remove_file(guest.path(&format!("/usr/lib/modules/{VERSION}/kernel/drivers/ata/ahci.ko"))).unwrap();
    assert_eq!(refused(&guest, "ahci"), "the file of the guest's driver ahci is not there");
}

#[test]
fn a_boot_of_its_own_is_part_of_the_tree() {
    let guest = Guest::debian();
    guest.put_initramfs(&Packer::Gzip.pack(&guest.initramfs(&["virtio_blk"], &DEBIAN)));
    let boot = guest.ext4(&guest.path("/boot"), "boot.img", &[]);
    fs::remove_dir_all(guest.path("/boot")).unwrap();
    fs::create_dir(guest.path("/boot")).unwrap();
    let root = guest.ext4(&guest.root(), "root.img", &[]);

    let files = open(Some(&root), Some(&boot)).unwrap().unwrap();
    let kernel = linux::inspect(&files).unwrap().unwrap().kernels.remove(0);
    assert_eq!(support(&kernel, "virtio_blk"), Support::InInitramfs);
    assert!(!extension(&files, &kernel, &["ahci"]).unwrap().is_empty());

    let files = open(Some(&root), None).unwrap().unwrap();
    assert_eq!(linux::inspect(&files).unwrap().unwrap().kernels.len(), 0);

    // A root that can't be read.
    let files = open(None, Some(&boot)).unwrap().unwrap();
    let kernel = linux::inspect(&files).unwrap().unwrap().kernels.remove(0);
    assert_eq!(support(&kernel, "virtio_blk"), Support::InInitramfs);
    assert_eq!(support(&kernel, "ahci"), Support::Missing);
}

#[test]
fn an_ext4_that_was_not_unmounted_is_not_clean() {
    let guest = Guest::debian();
    let debugfs = |image: &Path, commands: &str| {
        let mut command = program("debugfs", "e2fsprogs");
        filter(command.args(["-w", "-f", "-"]).arg(image), commands.as_bytes())
    };
    let state = |image: &Path| open(Some(image), None).unwrap().unwrap().state();
    let image = guest.ext4(&guest.root(), "root.img", &[]);
    assert!(state(&image).clean);
    debugfs(&image, "set_super_value state 0\n");
    assert!(!state(&image).clean);
    debugfs(&image, "set_super_value state 3\n");
    assert!(state(&image).errors && !state(&image).clean);
}

#[test]
fn what_is_only_in_the_journal_is_read() {
    let guest = Guest::debian();
    let image = guest.ext4(&guest.root(), "root.img", &["-b", "4096"]);
    let mut command = program("debugfs", "e2fsprogs");
    let block = String::from_utf8(run(command.args(["-R", "blocks /etc/fstab"]).arg(&image))).unwrap();
    let new = guest.path("/../fstab");
    let mut content = b"LABEL=new none swap sw 0 0\n".to_vec();
    content.resize(4096, b'#');
    fs::write(&new, content).unwrap();
    let commands =
        format!("journal_open -c -v 3\njournal_write -b {} {}\njournal_close\n", block.trim(), new.display());
    let mut command = program("debugfs", "e2fsprogs");
    filter(command.args(["-w", "-f", "-"]).arg(&image), commands.as_bytes());

    let files = open(Some(&image), None).unwrap().unwrap();
    assert!(files.state().journal && !files.state().clean);
    let linux = linux::inspect(&files).unwrap().unwrap();
    // The file is as long as before.
    assert!(linux.fstab.has_swap("new", None), "{:?}", linux.fstab);
}

#[test]
fn what_is_no_linux_is_none() {
    let guest = Guest::debian();
    fs::create_dir_all(guest.path("/data")).unwrap();
    guest.file("/data/letters/a", "dear b");
    let image = guest.ext4(&guest.path("/data"), "data.img", &[]);
    let files = open(Some(&image), None).unwrap().unwrap();
    assert_eq!(linux::inspect(&files).unwrap(), None);
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    assert!(open(Some(&image), None).unwrap().is_none());
}

#[test]
fn links_that_lead_nowhere_or_around_are_nothing() {
    let guest = Guest::debian();
    guest.link("/around", "around");
    guest.link("/one", "two/x");
    guest.link("/two", "one/y");
    guest.link("/outside", "../../../../etc/fstab");
    guest.link("/long", &"a/".repeat(400));
    let files = guest.files();
    for path in ["/around", "/one", "/two", "/long", "/nothing", "/etc/fstab/x", "/etc"] {
        assert_eq!(files.read(path, 100).unwrap(), None, "{path}");
    }
    assert_eq!(files.read("/outside", 1000).unwrap(), files.read("/etc/fstab", 1000).unwrap());
    assert!(matches!(files.read("/etc/fstab", 10), Err(Error::TooLarge(_))));
}

#[test]
fn a_bomb_in_an_initramfs_is_damage() {
    let guest = Guest::debian();
    let zeros = guest.path("/../bomb");
    fs::create_dir_all(zeros.join("x")).unwrap();
    fs::File::create(zeros.join("x/zeros")).unwrap().set_len(64 << 20).unwrap();
    guest.put_initramfs(&Packer::Zstd.pack(&common::cpio(&zeros)));
    let files = guest.files();
    let limits = linux::Limits { bytes: 16 << 20, ..linux::Limits::default() };
    let linux = linux::inspect_within(&files, linux::Scope::All, &limits).unwrap().unwrap();
    let damage = linux.kernels[0].initramfs.as_ref().unwrap().contents.damage.clone();
    assert_eq!(damage.as_deref(), Some("the initramfs, unpacked, is larger than what is read of it"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn planning_twice_plans_nothing(
        held in proptest::sample::subsequence(vec!["libata", "libahci", "ahci", "nvme-core", "virtio_blk", "scsi_mod"], 0..=6),
        wanted in proptest::sample::subsequence(DRIVERS.to_vec(), 0..=5),
        packer in proptest::sample::select(PACKERS.to_vec()),
        dracut in any::<bool>(),
    ) {
        let guest = Guest::debian();
        let kind = if dracut { vec![("usr/lib/dracut/x", "")] } else { DEBIAN.to_vec() };
        let initramfs = packer.pack(&guest.initramfs(&held, &kind));
        guest.put_initramfs(&initramfs);
        let (files, kernel) = guest.kernel();
        let first = extension(&files, &kernel, &wanted).unwrap();
        let there = wanted.iter().all(|module| support(&kernel, module) == Support::InInitramfs);
        prop_assert_eq!(first.is_empty(), there);
        guest.put_initramfs(&[initramfs, first].concat());
        let (files, kernel) = guest.kernel();
        prop_assert!(extension(&files, &kernel, &wanted).unwrap().is_empty());
        for module in wanted {
            prop_assert_eq!(support(&kernel, module), Support::InInitramfs);
        }
    }
}
