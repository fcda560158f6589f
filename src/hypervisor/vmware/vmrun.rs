//! `vmrun`: the way to the levers of a running machine.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::host::child;
use crate::hypervisor::rendering::plain;
use crate::{Error, Kind, Result};

/// The program.
pub const VMRUN: &str = "vmrun";

/// Longest answer that is read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// An answer takes a second, and some more from a cold disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest takes its time to shut down, and `vmrun` waits for it.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(600);

/// A refusal comes sooner than this.
const REFUSAL: Duration = Duration::from_secs(5);

/// VMware's programs find each other below the user's folder for temporary files.
pub const VARIABLES: &[&str] = &["TMPDIR", "TEMP", "TMP"];

/// One `vmrun`, for one machine.
#[derive(Debug, Clone)]
pub struct Vmrun {
    /// Where it is.
    pub program: PathBuf,
    /// Which VMware: `ws`, `player`, `fusion`.
    pub kind: String,
    /// The machine's configuration.
    pub configuration: PathBuf,
}

impl Vmrun {
    /// The arguments of a command.
    pub fn arguments(kind: &str, configuration: &Path, command: &str, mode: Option<&str>) -> Vec<String> {
        let mut arguments = vec!["-T".to_owned(), kind.to_owned(), command.to_owned()];
        arguments.push(configuration.display().to_string());
        arguments.extend(mode.map(str::to_owned));
        arguments
    }

    /// Does a command and returns when it is done.
    ///
    /// # Errors
    /// [`Kind::Hypervisor`]: VMware refused, with its words; or it does not answer.
    pub fn tell(&self, command: &str, mode: Option<&str>) -> Result<()> {
        self.tell_within(command, mode, PATIENCE)
    }

    /// Asks the guest to shut down. That it refuses is known soon; that it does it is told by the machine's end.
    ///
    /// # Errors
    /// As [`Vmrun::tell`]: above all, that the guest has no VMware Tools.
    pub fn shut_down(&self) -> Result<()> {
        let (sender, told) = mpsc::channel();
        let own = self.clone();
        std::thread::spawn(move || {
            let _ = sender.send(own.tell_within("stop", Some("soft"), SHUTDOWN_PATIENCE));
        });
        told.recv_timeout(REFUSAL).unwrap_or(Ok(())).map_err(|error| {
            error.hint(
                "shut the guest down from inside; for this button it needs VMware Tools (open-vm-tools)",
            )
        })
    }

    fn tell_within(&self, command: &str, mode: Option<&str>, patience: Duration) -> Result<()> {
        let arguments = Self::arguments(&self.kind, &self.configuration, command, mode);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let failed = |why: &str| {
            Error::new(Kind::Hypervisor, format!("VMware refuses: {command}")).because(why.to_owned())
        };
        let said = child::ask_with(&self.program, &arguments, VARIABLES, LONGEST_ANSWER, patience)
            .map_err(|error| failed(&error.to_string()))?;
        match said.status {
            None => Err(failed("it does not answer")),
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let words = reason(&said.stdout).or_else(|| reason(&said.stderr));
                Err(failed(&words.unwrap_or_else(|| child::describe(status))))
            }
        }
    }
}

/// What `vmrun` says is wrong: `Error: …`.
pub fn reason(said: &str) -> Option<String> {
    said.lines().find_map(|line| line.trim().strip_prefix("Error: ")).map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_vmwares_words() {
        let said = "Error: The VMware Tools are not running in the virtual machine: /x.vmx\n";
        assert_eq!(
            reason(said).as_deref(),
            Some("The VMware Tools are not running in the virtual machine: /x.vmx")
        );
        assert_eq!(reason("Total running VMs: 0\n"), None);
    }
}
