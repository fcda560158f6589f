//! Every name that PocketVM gives to something on a disk, in one place.

/// On the drive: the manifest. Its presence makes a folder a drive.
pub const MANIFEST: &str = "pocketvm.yaml";

/// On the drive: the folder of the bases; one folder per base (`disks/system/base.qcow2`), because on exFAT every
/// write to a file rewrites its entry in the folder, and a torn folder must cost at most one disk.
pub const DISKS: &str = "disks";

/// On the drive, in the folder of one disk: the base as `pocketvm` creates it. The manifest may name other files.
pub const BASE: &str = "base.qcow2";

/// On the drive: hypervisor templates, one file per hypervisor, for IT to edit.
pub const TEMPLATES: &str = "templates";

/// On the drive: hypervisors that the drive carries along, in [`platform`] per platform.
pub const RUNTIME: &str = "runtime";

/// On the drive: what PocketVM itself keeps there. Every file in it is preallocated and never renamed.
pub const STATE: &str = "state";

/// In [`STATE`]: who this drive is, with a fingerprint of the volume it lies on (two-slot record).
pub const IDENTITY: &str = "identity";

/// In [`STATE`]: locked by the launcher that uses the drive. Empty: on Windows nobody can read a locked file.
pub const LOCK: &str = "lock";

/// In [`STATE`]: who holds [`LOCK`], for the message of a second launcher (two-slot record).
pub const HOLDER: &str = "holder";

/// In [`STATE`]: the session that is under way or was left behind, else a summary of the last (two-slot record).
pub const SESSION: &str = "session";

/// In [`STATE`]: the merge that is under way, written and read by the engine (two-slot record).
pub const COMMIT: &str = "commit";

/// Beside a base that lies on no drive: the same for `pocketvm disk`, unless another file is named.
pub const COMMIT_BESIDE: &str = "pocketvm.commit";

/// In [`STATE`]: accelerator verdicts per PC (two-slot record).
pub const VERDICTS: &str = "verdicts";

/// In [`STATE`]: how the window is to look and speak (two-slot record).
pub const WINDOW: &str = "window";

/// On the PC: the folder of all scratch, in the user's cache folder.
pub const SCRATCH_ROOT: &str = "pocketvm";

/// In the scratch root: start of the name of a folder with a launcher's copy of itself, `launcher-<uuid>`.
pub const LAUNCHER_PREFIX: &str = "launcher-";

/// In a `launcher-…` folder: locked as long as that launcher lives, so that left-over copies can be told apart.
pub const LAUNCHER_LOCK: &str = "lock";

/// In the scratch root: start of the names of the files of an open window; after it comes the drive's key.
const INSTANCE_PREFIX: &str = "window-";

/// In the scratch root: end of the name of the file that is locked as long as the window is open.
const INSTANCE_LOCK: &str = ".lock";

/// In a session's scratch folder: locked by the launcher that works in it.
pub const SCRATCH_LOCK: &str = "lock";

/// In a session's scratch folder: the session as the PC knows it.
pub const SCRATCH_SESSION: &str = "session.json";

/// The paging disk's name, as a disk of the machine. No disk of a manifest has it.
pub const PAGING_DISK: &str = "paging";

/// In a session's scratch folder: what the guest wrote to its serial port.
pub const SERIAL_LOG: &str = "serial.log";

/// In a session's folder: the kernel of the guest that is started in place of its boot loader.
pub const BOOT_KERNEL: &str = "boot.kernel";

/// In a session's folder: that kernel's initramfs.
pub const BOOT_INITRAMFS: &str = "boot.initramfs";

/// In a session's scratch folder: what the hypervisor's process wrote to its standard error.
pub const HYPERVISOR_LOG: &str = "hypervisor.log";

/// In a session's scratch folder: which process the hypervisor is, so that a later launcher finds it.
pub const HYPERVISOR_RECORD: &str = "hypervisor.json";

/// In a session's scratch folder: the private socket by which the hypervisor is controlled.
pub const CONTROL_SOCKET: &str = "qmp.sock";

/// In a session's scratch folder: what the hypervisor said on its control channel, also when nobody listened.
pub const CONTROL_LOG: &str = "qmp.log";

/// In a session's scratch folder: the hypervisor's home folder, so that its window leaves nothing in the user's.
pub const HYPERVISOR_HOME: &str = "home";

/// Ends of overlays' names, by what the hypervisors write.
pub const OVERLAY_EXTENSIONS: [&str; 3] = ["qcow2", "vmdk", "vhd"];

/// In a session's scratch folder: what takes the guest's writes to the disk called `disk`, the paging disk included.
#[must_use]
pub fn overlay(disk: &str, extension: &str) -> String {
    format!("{disk}.{extension}")
}

/// In a session's scratch folder: a copy of the base of the disk called `disk`, for a hypervisor that can't read it on the
/// drive. Disk names have no dot.
#[must_use]
pub fn copied_base(disk: &str, extension: &str) -> String {
    format!("{disk}.base.{extension}")
}

/// In a session's scratch folder: what the chip remembers whose memory is the disk called `disk`. Disk names have no dot.
#[must_use]
pub fn chip(disk: &str) -> String {
    format!("{disk}.chip")
}

/// In the scratch root: locked by the process that has the window of the drive with this key.
#[must_use]
pub fn instance_lock(key: &str) -> String {
    format!("{INSTANCE_PREFIX}{key}{INSTANCE_LOCK}")
}

/// In the scratch root: the private socket by which that process is called.
#[must_use]
pub fn instance_socket(key: &str) -> String {
    format!("{INSTANCE_PREFIX}{key}.sock")
}

/// The drive's key, if this is the name of an [`instance_lock`].
#[must_use]
pub fn instance_key(file_name: &str) -> Option<&str> {
    file_name.strip_prefix(INSTANCE_PREFIX)?.strip_suffix(INSTANCE_LOCK)
}

/// In [`RUNTIME`]: the folder of what runs on this platform, `linux-x86_64`, ….
#[must_use]
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_named_after_its_disk() {
        assert_eq!(overlay("user", "vmdk"), "user.vmdk");
    }

    #[test]
    fn the_platforms_folder_names_system_and_processor() {
        let folder = platform();
        assert!(
            folder.starts_with(std::env::consts::OS) && folder.ends_with(std::env::consts::ARCH),
            "{folder}"
        );
    }
}
