//! Every environment variable that PocketVM reads or sets.

use std::ffi::OsString;
use std::path::PathBuf;

/// Folder for all scratch instead of the one in the user's cache folder. The checks on it stay the same.
pub const SCRATCH: &str = "POCKETVM_SCRATCH";

/// Name of this PC in messages and on the drive instead of its host name.
pub const HOST_NAME: &str = "POCKETVM_HOST_NAME";

/// Id of this PC instead of one that follows from the system's machine id: for PCs installed from one image with
/// the same machine id, and to play two PCs on one. Any text.
pub const HOST_ID: &str = "POCKETVM_HOST_ID";

/// What goes to the log on standard error, as in `POCKETVM_LOG=debug`; the syntax of `tracing`'s `EnvFilter`.
pub const LOG: &str = "POCKETVM_LOG";

/// Set by the launcher for the copy of itself that it starts in scratch: the executable that the user started.
/// A launcher that sees it does not copy itself again.
pub const ORIGIN: &str = "POCKETVM_ORIGIN";

/// What draws the window: `wgpu`, the default, or `glow`. Set by the launcher when it starts itself again because the
/// first can't.
pub const RENDERER: &str = "POCKETVM_RENDERER";

/// If set to anything but nothing, no colours (<https://no-color.org>).
pub const NO_COLOR: &str = "NO_COLOR";

/// Where an X server is; set by the desktop session.
pub const DISPLAY: &str = "DISPLAY";

/// Where a Wayland compositor is; set by the desktop session.
pub const WAYLAND_DISPLAY: &str = "WAYLAND_DISPLAY";

/// A connection to a Wayland compositor that is open already; set by a program that starts us with one.
pub const WAYLAND_SOCKET: &str = "WAYLAND_SOCKET";

/// The value of a variable; an empty one counts as not set.
#[must_use]
pub fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The value of a variable as text; what is not Unicode in it is replaced.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    value(name).map(|value| value.to_string_lossy().into_owned())
}

/// The value of a variable as a path.
#[must_use]
pub fn path(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}
