//! An installed Linux that is fitted to other hardware, on a small ext4; and what becomes of that if the ext4 is anybody's.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use pocketvm_guest::apply::{Changed, Way, apply};
use pocketvm_guest::fit::{Change, Fit, Offers, Refusal, fit};
use pocketvm_guest::guest::{Guest, System};
use pocketvm_guest::linux::Scope;
use pocketvm_guest::patch::SharedDisk;
use pocketvm_guest::{Disk, Hardware};

fn must(command: &mut Command) -> Vec<u8> {
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} is missing: {error}; run: make setup"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a boot loader takes for a kernel.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 66 * 512];
    kernel[0x1f1] = 4;
    kernel[0x1fe..0x206].copy_from_slice(b"\x55\xaa\xeb\x66HdrS");
    kernel
}

const FSTAB: &str =
    "# what is mounted\n/dev/vda / ext4 defaults 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n";
const UUID: &str = "c0ffee12-57ad-4f3e-9d41-0d3b1a12d0e5";

/// An ext4 that fills a disk, with a Linux whose initramfs has virtio_blk and whose tree has ahci as well. `more` is what else
/// mke2fs is told.
fn linux(more: &[&str]) -> Vec<u8> {
    linux_with(more, |_| ())
}

/// As [`linux`], after a `change` of its files.
fn linux_with(more: &[&str], change: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let tree = root.join("usr/lib/modules/6.1");
    let write = |path: &Path, content: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for name in ["ahci", "libahci", "virtio_blk", "virtio_pci"] {
        write(&tree.join(format!("kernel/{name}.ko")), name);
    }
    write(
        &tree.join("modules.dep"),
        "kernel/ahci.ko: kernel/libahci.ko\nkernel/libahci.ko:\nkernel/virtio_blk.ko:\nkernel/virtio_pci.ko:\n",
    );
    write(&tree.join("modules.builtin"), "kernel/sd_mod.ko\n");
    write(&root.join("etc/os-release"), "ID=debian\nPRETTY_NAME=\"Debian 12\"\n");
    write(&root.join("etc/fstab"), FSTAB);
    write(&root.join("etc/network/interfaces"), "auto ens3\niface ens3 inet dhcp\n");
    std::fs::create_dir_all(root.join("boot")).unwrap();
    std::fs::write(root.join("boot/vmlinuz-6.1"), kernel()).unwrap();
    let menu = "menuentry 'Debian' {\n linux /boot/vmlinuz-6.1 root=/dev/vda ro quiet\n initrd /boot/initrd.img-6.1\n}\n";
    write(&root.join("boot/grub/grub.cfg"), menu);
    let initramfs = folder.path().join("initramfs");
    for name in ["virtio_blk", "virtio_pci"] {
        write(&initramfs.join(format!("usr/lib/modules/6.1/kernel/{name}.ko")), name);
    }
    write(&initramfs.join("scripts/functions"), "");
    let script = "cd \"$1\" && find . -mindepth 1 | cpio --quiet -o -H newc > \"$2/boot/initrd.img-6.1\"";
    must(Command::new("sh").args(["-c", script, "sh"]).arg(&initramfs).arg(&root));
    change(&root);
    let image = folder.path().join("image");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-d"]).arg(&root).args(more).arg(&image).arg("8M");
    must(&mut make);
    std::fs::read(&image).unwrap()
}

static LINUX: LazyLock<Vec<u8>> = LazyLock::new(|| linux(&[]));

fn look(bytes: &[u8]) -> pocketvm_guest::Result<(SharedDisk, Guest)> {
    let disk: SharedDisk = Arc::new(bytes.to_vec());
    let shared: Rc<dyn Disk> = Rc::new(Arc::clone(&disk));
    let guest = Guest::inspect(&shared, Scope::Default)?;
    Ok((disk, guest))
}

const OFFERS: Offers<'_> = Offers {
    controllers: &[Hardware::Ahci],
    cards: &[Hardware::VirtioNet, Hardware::E1000],
    displays: &[],
    mixed: false,
};

fn planned(bytes: &[u8]) -> Result<(SharedDisk, Guest, Fit), Refusal> {
    let (disk, guest) = look(bytes).unwrap();
    let fit = fit(&guest, &[], &OFFERS)?;
    Ok((disk, guest, fit))
}

fn with(bytes: &[u8], changed: &Changed) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, new) in &changed.bytes {
        bytes[*at as usize..][..new.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn a_kernel_started_beside_the_disk_gets_drivers_a_root_and_a_fstab() {
    let (disk, guest, fit) = planned(&LINUX).unwrap();
    let [Change::Initramfs { modules, .. }, Change::Fstab { .. }, Change::Root { from, to }] =
        &fit.changes[..]
    else {
        panic!("{fit:?}")
    };
    assert_eq!(
        (modules.as_slice(), from.as_str(), to.clone()),
        (&["ahci"][..], "/dev/vda", format!("UUID={UUID}"))
    );
    assert_eq!(fit.card_name.as_deref(), Some("ens3"));
    // No card's driver is in this tree.
    assert!(fit.card.is_none() && fit.notes.iter().any(|note| note.contains("network card")));
    let changed = apply(&disk, &guest, &fit, Way::Beside).unwrap();
    let boot = changed.boot.clone().unwrap();
    assert_eq!(boot.command_line, format!("root=UUID={UUID} ro quiet"));
    assert!(boot.kernel == kernel());
    assert!(boot.initramfs.windows(8).any(|part| part == b"ahci.ko\0"));

    // e2fsck and debugfs are content, and the next time only what is beside the disk is left to do.
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let bytes = with(&LINUX, &changed);
    std::fs::write(&image, &bytes).unwrap();
    must(Command::new("e2fsck").arg("-fn").arg(&image));
    let fstab = must(Command::new("debugfs").args(["-R", "cat /etc/fstab"]).arg(&image));
    assert_eq!(String::from_utf8(fstab).unwrap(), FSTAB.replace("/dev/vda ", &format!("UUID={UUID} ")));
    let (_, _, again) = planned(&bytes).unwrap();
    assert!(matches!(&again.changes[..], [Change::Initramfs { .. }, Change::Root { .. }]), "{again:?}");
}

#[test]
fn a_boot_loader_that_names_the_root_after_its_controller_can_not_be_helped() {
    let (disk, guest, fit) = planned(&LINUX).unwrap();
    let error = apply(&disk, &guest, &fit, Way::InBoot).unwrap_err().to_string();
    assert!(error.contains("names the root /dev/vda"), "{error}");
}

#[test]
fn what_is_changed_in_the_boot_folder_is_changed_once() {
    let (disk, guest, mut fit) = planned(&LINUX).unwrap();
    fit.changes.retain(|change| !matches!(change, Change::Root { .. }));
    let changed = apply(&disk, &guest, &fit, Way::InBoot).unwrap();
    assert_eq!(changed.boot, None);
    let bytes = with(&LINUX, &changed);
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, &bytes).unwrap();
    must(Command::new("e2fsck").arg("-fn").arg(&image));
    let (_, _, again) = planned(&bytes).unwrap();
    assert!(matches!(&again.changes[..], [Change::Root { .. }]), "{again:?}");
}

#[test]
fn a_linux_that_was_not_shut_down_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, &*LINUX).unwrap();
    must(Command::new("debugfs").args(["-w", "-R", "ssv state 0"]).arg(&image));
    let refusal = planned(&std::fs::read(&image).unwrap()).err().unwrap();
    assert!(refusal.what.contains("not shut down cleanly"), "{refusal}");
    // What it starts with anyway is not refused.
    let (_, guest) = look(&std::fs::read(&image).unwrap()).unwrap();
    let offers = Offers { controllers: &[Hardware::VirtioBlk], ..OFFERS };
    assert_eq!(fit(&guest, &[], &offers).unwrap().changes, []);
}

#[test]
fn a_file_system_with_features_that_are_not_written_is_refused_and_not_half_changed() {
    for (more, written) in [
        (&["-O", "casefold", "-E", "encoding=utf8"][..], true),
        (&["-O", "encrypt"], false),
        (&["-O", "inline_data"], true),
        (&["-O", "^has_journal"], true),
    ] {
        let bytes = linux(more);
        let (disk, guest, mut fit) = planned(&bytes).unwrap();
        fit.changes.retain(|change| !matches!(change, Change::Root { .. }));
        let changed = apply(&disk, &guest, &fit, Way::InBoot);
        assert_eq!(changed.is_ok(), written, "{more:?}: {:?}", changed.as_ref().err());
        let Ok(changed) = changed else { continue };
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, with(&bytes, &changed)).unwrap();
        must(Command::new("e2fsck").arg("-fn").arg(&image));
    }
}

#[test]
fn no_ext4_makes_more_of_a_mess_than_an_error() {
    // Without checksums, which would refuse nearly all of them.
    let bytes = linux(&["-O", "^metadata_csum"]);
    let lines: Vec<usize> =
        (0..bytes.len()).step_by(64).filter(|at| bytes[*at..at + 64].iter().any(|byte| *byte != 0)).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut done, mut refused, mut panicked) = (0, 0, 0);
    for _ in 0..400 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random() % 4 {
            let at = lines[random() as usize % lines.len()] + random() as usize % 64;
            bytes[at] = random() as u8;
        }
        let Ok((disk, guest)) = look(&bytes) else { continue };
        let Ok(fit) = fit(&guest, &[], &OFFERS) else { continue };
        for way in [Way::Beside, Way::InBoot] {
            match apply(&disk, &guest, &fit, way) {
                Ok(changed) => {
                    let end = |(at, bytes): &(u64, Vec<u8>)| at + bytes.len() as u64;
                    assert!(changed.bytes.iter().all(|piece| end(piece) <= disk.size()));
                    done += 1;
                }
                Err(error) => {
                    // The library could not go on, which ended there.
                    panicked += usize::from(error.to_string().ends_with("the guest's file system"));
                    refused += 1;
                }
            }
        }
    }
    assert!(
        done > 50 && refused > 50 && panicked < 20,
        "{done} done, {refused} refused, {panicked} panicked"
    );
}

#[test]
fn a_guest_of_which_nothing_is_known_gets_what_every_system_knows() {
    let offers = Offers { controllers: &[Hardware::VirtioBlk, Hardware::Ahci], ..OFFERS };
    // A Windows that is encrypted, a Linux without a kernel, and a root that is not read.
    let mut encrypted = vec![0; 1 << 20];
    encrypted[3..11].copy_from_slice(b"-FVE-FS-");
    encrypted[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (_, guest) = look(&encrypted).unwrap();
    assert_eq!(guest.systems.len(), 1, "{guest:?}");
    let fitted = fit(&guest, &[], &offers).unwrap();
    assert_eq!((fitted.controller, fitted.changes.len(), fitted.notes.len()), (1, 0, 1));
    let (_, guest) = look(&LINUX).unwrap();
    let System::Linux { linux, .. } = &guest.systems[0] else { panic!("{guest:?}") };
    for (root, kernels) in [(Some(0), false), (None, true)] {
        let mut linux = linux.clone();
        // Of a root that is not read nothing is known but what the initramfs holds.
        linux.kernels.iter_mut().for_each(|kernel| {
            kernel.tree = Default::default();
            kernel.initramfs.as_mut().unwrap().modules.clear();
        });
        if !kernels {
            linux.kernels.clear();
        }
        let mut guest = guest.clone();
        guest.systems = vec![System::Linux { root, boot: Some(0), linux }];
        let fitted = fit(&guest, &[], &offers).unwrap();
        assert_eq!((fitted.controller, fitted.changes.len(), fitted.notes.len()), (1, 0, 1), "{fitted:?}");
    }
}

#[test]
fn names_of_disks_that_could_mean_another_one_are_left_alone() {
    // Named after two controllers, and by what follows from one.
    for line in
        ["/dev/sdb1 /data ext4 defaults 0 2\n", "/dev/disk/by-id/ata-X-part3 /data ext4 defaults 0 2\n"]
    {
        let bytes =
            linux_with(&[], |root| std::fs::write(root.join("etc/fstab"), format!("{FSTAB}{line}")).unwrap());
        let (_, guest) = look(&bytes).unwrap();
        let offers = |controllers| Offers { controllers, ..OFFERS };
        let refusal = fit(&guest, &[], &offers(&[Hardware::VirtioBlk])).unwrap_err();
        assert!(refusal.what.contains("after its controller"), "{refusal}");
        // Where it can't be told, nothing is written; the usual controller is tried all the same, if the root can be found.
        let fitted = fit(&guest, &[], &offers(&[Hardware::Ahci]));
        let written =
            fitted.is_ok_and(|fit| fit.changes.iter().any(|change| matches!(change, Change::Fstab { .. })));
        assert_eq!(written, line.contains("by-id"));
    }
    let (_, guest) = look(&LINUX).unwrap();
    assert!(fit(&guest, &[], &Offers { mixed: true, ..OFFERS }).unwrap_err().what.contains("can't be told"));
}

#[test]
fn what_is_not_seen_is_not_lacking() {
    let bytes =
        linux_with(&[], |root| std::fs::write(root.join("boot/initrd.img-6.1"), "070701 cut off").unwrap());
    let (_, guest) = look(&bytes).unwrap();
    let offers = Offers { controllers: &[Hardware::VirtioBlk, Hardware::Ahci], ..OFFERS };
    let fitted = fit(&guest, &[], &offers).unwrap();
    assert_eq!((fitted.controller, fitted.changes.len(), fitted.notes.len()), (1, 0, 1), "{fitted:?}");
}

#[test]
fn of_several_systems_none_is_changed_unless_it_is_known_which_one_starts() {
    let (_, mut guest) = look(&LINUX).unwrap();
    guest.systems.push(guest.systems[0].clone());
    let fitted = fit(&guest, &[], &OFFERS).unwrap();
    assert!(fitted.changes.is_empty() && fitted.notes[0].contains("which one starts"), "{fitted:?}");
}

#[test]
fn a_hypervisor_gets_no_kernel_but_the_one_of_this_root_in_the_usual_format() {
    for (change, why) in [
        (("boot/vmlinuz-6.1", "\x7fELF and more".to_owned()), "would have to guess"),
        (
            ("boot/grub/grub.cfg", "menuentry 'x' {\n linux /boot/vmlinuz-6.1 root=UUID=1234 ro\n initrd /boot/initrd.img-6.1\n}\n".to_owned()),
            "starts another root",
        ),
    ] {
        let bytes = linux_with(&[], |root| std::fs::write(root.join(change.0), change.1).unwrap());
        let (disk, guest, fit) = planned(&bytes).unwrap();
        let error = apply(&disk, &guest, &fit, Way::Beside).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
