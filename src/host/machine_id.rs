//! The text by which each system tells PCs apart.

/// Linux: machine-id(5).
#[cfg(all(unix, not(target_os = "macos")))]
pub(super) fn read() -> Option<String> {
    let paths = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    paths.iter().filter_map(|path| fs_err::read_to_string(path).ok()).find(|id| !id.trim().is_empty())
}

/// macOS: the hardware UUID of the platform expert, as `ioreg` shows it.
#[cfg(target_os = "macos")]
pub(super) fn read() -> Option<String> {
    let output =
        std::process::Command::new("/usr/sbin/ioreg").args(["-rd1", "-c", "IOPlatformExpertDevice"]).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let line = text.lines().find(|line| line.contains("IOPlatformUUID"))?;
    line.rsplit('"').nth(1).map(str::to_owned)
}

/// Windows: the id that its set-up made.
#[cfg(windows)]
pub(super) fn read() -> Option<String> {
    let key = windows_registry::LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Cryptography").ok()?;
    key.get_string("MachineGuid").ok()
}
