//! macOS: `caffeinate` holds off sleep until the process it watches, this one, ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A running `caffeinate`.
#[derive(Debug)]
pub(super) struct Hold {
    child: Child,
}

pub(super) fn hold(_why: &str) -> Result<Hold, String> {
    let child = Command::new("/usr/bin/caffeinate")
        .args(["-i", "-m", "-s", "-w", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("caffeinate can't be started, {error}"))?;
    Ok(Hold { child })
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is held after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
