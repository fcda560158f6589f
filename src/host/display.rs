//! Whether this PC can show a window, and what is shown by the system instead of by our own.

#[cfg(feature = "gui")]
use std::path::PathBuf;

/// Whether there is a screen on which a window may open.
#[must_use]
pub fn is_there() -> bool {
    platform::is_there()
}

/// Graphics drivers are told to keep no cache of what they compiled for this program: nothing of it is to stay on the PC.
/// To be called before any other thread is started.
#[allow(unsafe_code)]
pub fn keep_no_cache() {
    for (name, value) in [("MESA_SHADER_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0")] {
        // SAFETY: nobody else reads or changes the environment meanwhile, as there is no other thread.
        unsafe { std::env::set_var(name, value) };
    }
}

/// A console that the system opened for this program alone, as for a double-click on Windows, goes away again.
pub fn leave_console() {
    #[cfg(windows)]
    super::windows::leave_own_console();
}

/// Tells something when no window can be drawn, in a box of the system's. Returns when the user has closed it. On macOS to
/// be called by the main thread.
///
/// On Linux the box is one of `zenity`'s; without that program there is none.
#[cfg(feature = "gui")]
pub fn message(title: &str, text: &str) {
    if is_there() {
        rfd::MessageDialog::new()
            .set_level(rfd::MessageLevel::Error)
            .set_title(title)
            .set_description(text)
            .show();
    }
}

/// Lets the user choose a folder; none if the user does not, or nothing on this PC can ask.
///
/// To be called by another thread than the window's, which on macOS must be there already. On Linux the desktop's
/// portal asks or, where there is none, `zenity`, which does not show the title.
#[cfg(feature = "gui")]
#[must_use]
pub fn pick_folder(title: &str) -> Option<PathBuf> {
    rfd::FileDialog::new().set_title(title).pick_folder()
}

#[cfg(all(unix, not(target_os = "macos")))]
mod platform {
    use crate::host::env;

    pub fn is_there() -> bool {
        [env::WAYLAND_DISPLAY, env::WAYLAND_SOCKET, env::DISPLAY]
            .into_iter()
            .any(|name| env::value(name).is_some())
    }

    #[cfg(test)]
    mod tests {
        use std::process::Command;

        /// No test of its own: fails unless there is a display.
        #[test]
        #[ignore = "started by another test"]
        fn there_is_one_for_the_test_below() {
            assert!(super::is_there());
        }

        #[test]
        fn a_display_is_there_if_the_desktop_session_names_one() {
            let names = ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"];
            let is_there_with = |variable: Option<(&str, &str)>| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                let test = "host::display::platform::tests::there_is_one_for_the_test_below";
                command.args(["--exact", test, "--ignored"]);
                for name in names {
                    command.env_remove(name);
                }
                let output = command.envs(variable).output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                assert!(text.contains("running 1 test"), "{text}");
                output.status.success()
            };
            assert!(!is_there_with(None));
            for name in names {
                assert!(is_there_with(Some((name, "1"))), "{name}");
                assert!(!is_there_with(Some((name, ""))), "{name}");
            }
        }
    }
}

#[cfg(any(windows, target_os = "macos"))]
mod platform {
    /// A program that a user starts there has one.
    pub fn is_there() -> bool {
        true
    }
}
