//! Linux: `systemd-inhibit` holds a lock for as long as the program it starts runs. That program is a `cat` on a
//! pipe of ours, so that the lock ends with us, even by `kill -9`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// What the started program writes once the lock is held.
const HELD: &str = "held";

/// How long the login manager may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is held off, most first: who sits at the PC may stop a shutdown, others often only sleep.
const WISHES: [&str; 2] = ["idle:sleep:shutdown", "idle:sleep"];

/// A lock of the login manager.
#[derive(Debug)]
pub(super) struct Hold {
    child: Child,
}

pub(super) fn hold(why: &str) -> Result<Hold, String> {
    hold_with("systemd-inhibit", why)
}

fn hold_with(program: &str, why: &str) -> Result<Hold, String> {
    let mut refusal = String::new();
    for wish in WISHES {
        match try_hold(program, wish, why) {
            Ok(hold) => return Ok(hold),
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}

fn try_hold(program: &str, what: &str, why: &str) -> Result<Hold, String> {
    let mut child = Command::new(program)
        .args([format!("--what={what}"), format!("--why={why}")])
        .args(["--who=PocketVM", "--mode=block", "sh", "-c", "echo held; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal goes to the launcher's group; the lock must outlive the first one.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program} can't be started, {error}"))?;
    let (sender, answer) = channel();
    let output = child.stdout.take();
    std::thread::spawn(move || {
        let mut line = String::new();
        let result = output.map(|output| BufReader::new(output.take(64)).read_line(&mut line));
        // Nobody waits for it any more when the patience is over.
        let _ = sender.send(result.is_some_and(|result| result.is_ok()) && line.trim() == HELD);
    });
    let hold = |child| Hold { child };
    match answer.recv_timeout(PATIENCE) {
        Ok(true) => Ok(hold(child)),
        Ok(false) => {
            let mut text = String::new();
            if let Some(errors) = child.stderr.take() {
                // It ended, so that this ends too; what can't be read is not told.
                let _ = errors.take(1024).read_to_string(&mut text);
            }
            drop(hold(child));
            let text = text.lines().next().unwrap_or("it gave no reason").trim().to_owned();
            Err(format!("the system refused, {text}"))
        }
        Err(_) => {
            drop(hold(child));
            Err("the system did not answer".to_owned())
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing the pipe ends `cat`, and with it the lock. A program that hangs before that is ended.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A stand-in for `systemd-inhibit`, which needs a login manager.
    fn stand_in(folder: &Path, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("inhibit");
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn with(script: &str) -> Result<Hold, String> {
        let folder = tempfile::tempdir().unwrap();
        hold_with(stand_in(folder.path(), script).to_str().unwrap(), "a test")
    }

    #[test]
    fn it_is_held_until_dropped() {
        let mut hold = with("shift 4; exec \"$@\"").unwrap();
        assert!(hold.child.try_wait().unwrap().is_none(), "it still runs");
        let process = rustix::process::Pid::from_raw(hold.child.id().cast_signed()).unwrap();
        drop(hold);
        assert!(rustix::process::test_kill_process(process).is_err(), "it is gone");
    }

    #[test]
    fn where_shutdown_is_refused_sleep_is_still_held_off() {
        let hold = with("case \"$1\" in *shutdown*) echo denied >&2; exit 1;; esac; shift 4; exec \"$@\"");
        assert!(hold.is_ok());
    }

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(
            with("echo 'Access denied' >&2; exit 1").unwrap_err(),
            "the system refused, Access denied"
        );
        assert!(hold_with("/no/such/program", "a test").unwrap_err().contains("can't be started"));
    }
}
