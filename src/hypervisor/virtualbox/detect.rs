//! Finding VirtualBox: on `PATH`, where its installers put it, in the registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{HARDWARE, INTERPRETER, NAME, manage};
use crate::host::child;
use crate::host::programs;
use crate::hypervisor::{Accelerator, Candidate, Rejection};

/// For `--version`; a start from a cold disk included.
const PATIENCE: Duration = Duration::from_millis(2500);

/// More than this many are not looked at.
const MOST_PROGRAMS: usize = 3;

/// The oldest version that starts a machine paused, and has the graphics card of the template.
const OLDEST: (u32, u32) = (6, 1);

/// Every VirtualBox on this PC, best first.
pub fn detect(say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
    let on_path = programs::on_path(manage::MANAGE).into_iter().map(|path| (path, "path"));
    let well_known = programs::well_known(NAME).into_iter().map(|path| (path, "well-known"));
    let registered = programs::registered(NAME).into_iter().map(|path| (path, "registry"));
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut candidates = Vec::new();
    for (program, found_in) in on_path.chain(well_known).chain(registered) {
        let Ok(real) = program.canonicalize() else { continue };
        if seen.contains(&real) || seen.len() == MOST_PROGRAMS {
            continue;
        }
        seen.push(real);
        say("Looking at VirtualBox");
        candidates.push(look_at(program, found_in));
    }
    candidates.sort_by_key(|candidate| !candidate.is_usable());
    candidates
}

fn look_at(program: PathBuf, found_in: &'static str) -> Candidate {
    let mut candidate = Candidate {
        hypervisor: NAME.into(),
        version: None,
        edition: None,
        program,
        found_in,
        accelerators: Vec::new(),
        rejected: None,
    };
    match version(&candidate.program) {
        Ok(version) => {
            if version.number < OLDEST {
                let reason = format!(
                    "VirtualBox {} is too old: {}.{} or newer is needed",
                    version.text, OLDEST.0, OLDEST.1
                );
                let fix = Some("install a newer VirtualBox".into());
                candidate.rejected = Some(Rejection { reason, fix });
            }
            candidate.version = Some(version.text);
            candidate.accelerators = accelerators(&candidate.program);
        }
        Err(reason) => {
            candidate.rejected = Some(Rejection { reason, fix: Some("install VirtualBox again".into()) });
        }
    }
    candidate
}

/// What runs the guest's instructions.
fn accelerators(program: &Path) -> Vec<Accelerator> {
    let rejected = Rejection::of_device(NAME);
    let accelerator = |name: &str, rejected, on_request| Accelerator {
        name: name.into(),
        rate: None,
        rejected,
        remembered: false,
        on_request,
    };
    let mut accelerators = vec![accelerator(HARDWARE, rejected, false)];
    // Its option belongs to the program with the window.
    if manage::beside(program, manage::WINDOW).is_some() {
        let slow = Rejection {
            reason: "it is hundreds of times slower than the processor".into(),
            fix: Some(format!("to try it all the same, ask for it: --accelerator {INTERPRETER}")),
        };
        accelerators.push(accelerator(INTERPRETER, Some(slow), true));
    }
    accelerators
}

struct Version {
    text: String,
    number: (u32, u32),
}

/// Asked without starting VirtualBox's server.
fn version(program: &Path) -> Result<Version, String> {
    let said = child::ask_with(program, &["--version"], manage::VARIABLES, 16 * 1024, PATIENCE)
        .map_err(|error| format!("it can't be started: {error}"))?;
    if said.status.is_none() {
        return Err("it does not answer".into());
    }
    parse_version(&said.stdout).ok_or_else(|| "it does not say which version of VirtualBox it is".into())
}

/// `7.2.22_Debianr175245`, after warnings about the kernel module.
fn parse_version(text: &str) -> Option<Version> {
    let line = text.lines().rev().find(|line| line.starts_with(|c: char| c.is_ascii_digit()))?;
    let text: String = line.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(20).collect();
    let number = number(&text)?;
    Some(Version { text, number })
}

/// Major and minor version in `7.2.22`.
pub fn number(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_behind_the_warnings() {
        let of = |text| parse_version(text).map(|version| (version.text, version.number));
        assert_eq!(of("7.2.22_Debianr175245"), Some(("7.2.22".into(), (7, 2))));
        let warned =
            "WARNING: The character device /dev/vboxdrv does not exist.\n\t Please install\n6.1.50r161033\n";
        assert_eq!(of(warned), Some(("6.1.50".into(), (6, 1))));
        assert_eq!(of("VBoxManage: error"), None);
    }
}
