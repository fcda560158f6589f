//! Sticks of processes that are gone without having cleaned up: killed ones.

use std::path::Path;

use crate::filesystem::{program, run};

/// Where the folders of sticks are: the PC's own disk, not memory.
pub const PLACE: &str = "/var/tmp";
const PREFIX: &str = "pocketvm-stick-";
/// In it: where the stick is mounted.
pub const MOUNT: &str = "mount";

/// How the folder of a stick of this process begins.
pub fn prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Unmounts and deletes the sticks of processes that are gone. What can't be cleaned up is in nobody's way.
pub fn sweep() {
    let Ok(entries) = fs_err::read_dir(PLACE) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            detach(&entry.path());
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}

/// Unmounts what is mounted in the folder of a stick, and frees its loop device.
pub fn detach(folder: &Path) {
    unmount_below(&folder.join(MOUNT));
    // While the file system that its file is on is still mounted: afterwards the device could not be told from others.
    if let Ok(list) = run(program("losetup").args(["--noheadings", "--output", "NAME,BACK-FILE"])) {
        for line in String::from_utf8_lossy(&list.stdout).lines() {
            let Some((device, file)) = line.trim().split_once(' ') else { continue };
            if Path::new(file.trim()).starts_with(folder) {
                let _ = run(program("losetup").args(["--detach", device]));
            }
        }
    }
    unmount_below(folder);
}

fn unmount_below(folder: &Path) {
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(folder)) {
        let _ = run(program("umount").arg("--lazy").arg(point));
    }
}
