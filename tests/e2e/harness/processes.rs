//! Processes that a test's launchers started, found by the test's folder in their command line.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Process ids whose command line mentions `folder` and whose program's name starts with `program`.
pub fn of(folder: &Path, program: &str) -> Vec<Pid> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| *id != own)
        .filter(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            name.starts_with(program) && line.windows(folder.len()).any(|part| part == folder)
        })
        .filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .collect()
}

/// Ends, without mercy, everything that has `folder` in its command line.
pub fn kill_all_of(folder: &Path) {
    for process in of(folder, "") {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Whether a process called `program` has `folder` in its command line.
pub fn running(folder: &Path, program: &str) -> bool {
    !of(folder, program).is_empty()
}

/// Kills the hypervisor of the one session under `folder` as the kernel's out-of-memory killer would.
pub fn kill_hypervisor(folder: &Path) {
    let found = of(folder, "qemu-system");
    assert_eq!(found.len(), 1, "exactly one hypervisor should run for {}", folder.display());
    kill_process(found[0], Signal::KILL).unwrap();
    wait_until_gone(folder, "qemu-system");
}

/// Waits until no process called `program` has `folder` in its command line.
pub fn wait_until_gone(folder: &Path, program: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    for process in of(folder, program) {
        // Gone since the list was made: what is waited for.
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { continue };
        let left = end.saturating_duration_since(Instant::now());
        let timeout = left.try_into().unwrap();
        let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)).unwrap();
        assert!(ready > 0, "{program} still runs after a minute for {}", folder.display());
    }
}
