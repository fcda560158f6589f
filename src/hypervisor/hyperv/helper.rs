//! The helper: a PowerShell that runs our script and is the channel to a machine in Hyper-V.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use process_wrap::std::ChildWrapper;
use uuid::Uuid;

use super::events::Said;
use crate::drive::names;
use crate::host::child;
use crate::hypervisor::RenderedFile;
use crate::{Error, Kind, Result};

/// The script.
pub const SCRIPT: &str = include_str!("helper.ps1");

/// Its name in scratch.
pub const SCRIPT_FILE: &str = "hyperv-helper.ps1";

/// Loading Hyper-V's module from a cold disk included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What PowerShell needs besides the usual, to find its modules.
const VARIABLES: &[&str] = &[
    "PSModulePath",
    "ProgramFiles",
    "ProgramFiles(x86)",
    "ProgramW6432",
    "CommonProgramFiles",
    "ALLUSERSPROFILE",
    "PUBLIC",
    "COMPUTERNAME",
    "USERNAME",
    "USERDOMAIN",
    "PATHEXT",
];

/// What the script is to do.
#[derive(Debug, Clone, Default)]
pub struct Order<'a> {
    /// `start`, `attach`, `ending`, `state`, `forget`.
    pub mode: &'a str,
    /// The session.
    pub session: Uuid,
    /// The machine's SMBIOS UUID, to start one.
    pub uuid: Option<Uuid>,
    /// When it was started.
    pub since: Option<&'a str>,
    /// The program that shows it in a window.
    pub window: Option<&'a Path>,
}

impl Order<'_> {
    /// PowerShell's arguments for the script in `scratch`.
    pub fn arguments(&self, scratch: &Path) -> Vec<String> {
        let script = scratch.join(SCRIPT_FILE).display().to_string();
        let mut arguments: Vec<String> =
            ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File"]
                .map(str::to_owned)
                .to_vec();
        arguments.extend([script, "-Mode".into(), self.mode.into()]);
        arguments.extend(["-Session".into(), self.session.to_string()]);
        if let Some(uuid) = self.uuid {
            arguments.extend(["-Uuid".into(), uuid.to_string()]);
        }
        if let Some(since) = self.since {
            arguments.extend(["-Since".into(), since.to_owned()]);
        }
        if let Some(window) = self.window {
            arguments.extend(["-Window".into(), window.display().to_string()]);
        }
        arguments
    }
}

/// The script as a file. Windows' own PowerShell takes a file for Unicode only if it begins with a mark.
pub fn script() -> RenderedFile {
    RenderedFile { name: SCRIPT_FILE.into(), content: format!("\u{feff}{SCRIPT}") }
}

/// A running helper.
pub struct Helper {
    /// Its process.
    pub process: Box<dyn ChildWrapper>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts one in `scratch`.
    ///
    /// # Errors
    /// PowerShell can't be started.
    pub fn start(powershell: &Path, arguments: &[String], scratch: &Path) -> Result<Helper> {
        let log = fs_err::File::create(scratch.join(names::HYPERVISOR_LOG))?.into_file();
        let mut command = Command::new(powershell);
        command.args(arguments).current_dir(scratch);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(log));
        child::clean_environment(&mut command, scratch);
        child::keep_variables(&mut command, VARIABLES);
        let cannot =
            |why: &str| Error::new(Kind::Hypervisor, "PowerShell can't be started").because(why.to_owned());
        let mut process = child::start(command).map_err(|error| cannot(&error.to_string()))?;
        match (process.stdin().take(), process.stdout().take()) {
            (Some(input), Some(output)) => Ok(Helper { process, input, output: BufReader::new(output) }),
            _ => Err(cannot("it has no channel")),
        }
    }

    /// The next line; none after the last one. A line that is not ours is passed over.
    pub fn next(&mut self) -> Option<Said> {
        next(&mut self.output)
    }

    /// Sends a line.
    ///
    /// # Errors
    /// The helper has ended.
    pub fn send(&mut self, line: &str) -> std::io::Result<()> {
        send(&mut self.input, line)
    }

    /// The two ends of the channel and the process.
    pub fn split(self) -> (ChildStdin, BufReader<ChildStdout>, Box<dyn ChildWrapper>) {
        (self.input, self.output, self.process)
    }
}

/// The next line that is ours; none after the last one.
pub fn next(output: &mut impl BufRead) -> Option<Said> {
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        if let Ok(said) = serde_json::from_slice(&line) {
            return Some(said);
        }
    }
}

/// Sends a line.
pub fn send(input: &mut ChildStdin, line: &str) -> std::io::Result<()> {
    input.write_all(format!("{line}\n").as_bytes())?;
    input.flush()
}

/// Asks a helper that answers and ends; its last line.
///
/// # Errors
/// PowerShell can't be started, does not answer, or Hyper-V refused.
pub fn ask(powershell: &Path, order: &Order<'_>, scratch: &Path) -> Result<Said> {
    let arguments = order.arguments(scratch);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failed = |why: String| Error::new(Kind::Hypervisor, "Hyper-V does not answer").because(why);
    let said = child::ask_with(powershell, &arguments, VARIABLES, 256 * 1024, PATIENCE)
        .map_err(|error| failed(error.to_string()))?;
    let lines = said.stdout.lines().rev();
    match lines.filter_map(|line| serde_json::from_str(line).ok()).next() {
        Some(Said::Failed { error }) => Err(failed(crate::hypervisor::rendering::plain(&error))),
        Some(answer) => Ok(answer),
        None => {
            let last =
                said.stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("PowerShell said nothing");
            Err(failed(crate::hypervisor::rendering::plain(last)))
        }
    }
}
