//! Holds off sleep, log-off and shutdown while a session needs the PC, where the PC lets us.

#[cfg(target_os = "macos")]
#[path = "inhibit/macos.rs"]
mod platform;
#[cfg(all(unix, not(target_os = "macos")))]
#[path = "inhibit/linux.rs"]
mod platform;
#[cfg(windows)]
#[path = "inhibit/windows.rs"]
mod platform;

/// Sleep and the like are held off until this is dropped, or this process ends in whatever way.
#[derive(Debug)]
pub struct Inhibitor {
    held: Result<platform::Hold, String>,
}

impl Inhibitor {
    /// Asks the system. `why` is one clause that it may show: "a computer runs from a drive".
    ///
    /// Takes at most a few seconds. Where the system refuses, the session goes on without; see
    /// [`Inhibitor::refusal`].
    #[must_use]
    pub fn hold(why: &str) -> Inhibitor {
        Inhibitor { held: platform::hold(why) }
    }

    /// Why nothing is held off; none if it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.held.as_ref().err().map(String::as_str)
    }
}
