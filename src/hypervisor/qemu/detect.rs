//! Finding QEMU: on `PATH`, where installers put it, in the registry, on the drive.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::accelerator;
use crate::drive::names;
use crate::host::{child, programs};
use crate::hypervisor::rendering::plain;
use crate::hypervisor::{Candidate, Places, Rejection, Verdicts};

const PROGRAM: &str = "qemu-system-x86_64";

/// The whole detection is done in 3 s: proofs that would come later are left out.
const BUDGET: Duration = Duration::from_millis(2000);

/// For `--version` and the like; a start from a cold disk included.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Longest answer that is read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// More than this many programs are not looked at.
const MOST_PROGRAMS: usize = 6;

/// The oldest version with JSON arguments for `-device` and `blockdev-reopen`.
const OLDEST: (u32, u32) = (6, 2);

/// Every QEMU on this PC and on the drive, best first, each accelerator with its verdict.
pub fn detect(places: &Places, remembered: &mut Verdicts, say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
    let deadline = Instant::now() + BUDGET;
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut candidates = Vec::new();
    for (program, found_in) in programs_in(places) {
        // Several names may lead to one program.
        let Ok(real) = program.canonicalize() else { continue };
        if seen.contains(&real) || seen.len() == MOST_PROGRAMS {
            continue;
        }
        seen.push(real);
        candidates.push(look_at(program, found_in, remembered, deadline, say));
    }
    // Usable ones first; otherwise the order of the places stays.
    candidates.sort_by_key(|candidate| !candidate.is_usable());
    candidates
}

fn programs_in(places: &Places) -> Vec<(PathBuf, &'static str)> {
    let on_path = programs::on_path(PROGRAM).into_iter().map(|p| (p, "path"));
    let well_known = programs::well_known("qemu").into_iter().map(|p| (p, "well-known"));
    let registered = programs::registered("qemu").into_iter().map(|p| (p, "registry"));
    let carried = places.carried.iter().filter_map(|folder| carried_in(folder)).map(|p| (p, "drive"));
    on_path.chain(well_known).chain(registered).chain(carried).collect()
}

/// The one place in the drive's `runtime` folder where a QEMU for this platform may lie. A link that leads out of the
/// folder is not followed.
fn carried_in(runtime: &Path) -> Option<PathBuf> {
    let platform = names::platform();
    let program = runtime.join(platform).join("qemu").join(programs::file_name(PROGRAM));
    let inside = program.canonicalize().ok()?.starts_with(runtime.canonicalize().ok()?);
    (inside && program.is_file()).then_some(program)
}

fn look_at(
    program: PathBuf,
    found_in: &'static str,
    remembered: &mut Verdicts,
    deadline: Instant,
    say: &(dyn Fn(&str) + Sync),
) -> Candidate {
    let mut candidate = Candidate {
        hypervisor: super::NAME.into(),
        version: None,
        edition: None,
        program,
        found_in,
        accelerators: Vec::new(),
        rejected: None,
    };
    candidate.rejected = examine(&mut candidate, remembered, deadline, say).err();
    candidate
}

fn examine(
    candidate: &mut Candidate,
    remembered: &mut Verdicts,
    deadline: Instant,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), Rejection> {
    let reject = |reason: String, fix: &str| Rejection { reason, fix: Some(fix.into()) };
    let text = ask(&candidate.program, &["--version"])
        .map_err(|why| reject(format!("it can't be started: {why}"), "install QEMU again"))?;
    let version = parse_version(&text)
        .ok_or_else(|| reject("it does not say which version of QEMU it is".into(), "install QEMU again"))?;
    candidate.version = Some(version.text.clone());
    if (version.major, version.minor) < OLDEST {
        let reason =
            format!("QEMU {} is too old: {}.{} or newer is needed", version.text, OLDEST.0, OLDEST.1);
        return Err(reject(reason, "install a newer QEMU"));
    }
    let text = ask(&candidate.program, &["-accel", "help"])
        .map_err(|why| reject(format!("it does not list its accelerators: {why}"), "install QEMU again"))?;
    let offered = parse_list(&text);
    candidate.accelerators =
        accelerator::judge(&candidate.program, &version.text, &offered, remembered, deadline, say);
    if candidate.accelerators.iter().all(|accelerator| accelerator.rejected.is_some()) {
        return Err(reject("none of its accelerators works here".into(), "install QEMU again"));
    }
    Ok(())
}

/// The answer of a QEMU to a question that it answers and ends.
pub fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let said = child::ask(program, arguments, LONGEST_ANSWER, PATIENCE).map_err(|error| error.to_string())?;
    match said.status {
        None => Err("it does not answer".into()),
        Some(status) if !status.success() => {
            let last = said.stderr.lines().last().unwrap_or_default();
            Err(format!("{} {}", child::describe(status), plain(last)).trim().to_owned())
        }
        Some(_) => Ok(said.stdout),
    }
}

struct Version {
    text: String,
    major: u32,
    minor: u32,
}

/// `QEMU emulator version 7.2.22 (Debian …)`.
fn parse_version(text: &str) -> Option<Version> {
    let line = text.lines().find(|line| line.contains("version"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "version").skip(1);
    let text: String =
        words.next()?.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(20).collect();
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some(Version { text, major, minor })
}

/// The names that a `-… help` lists: one a line after a heading that ends in a colon or holds spaces.
pub fn parse_list(text: &str) -> Vec<String> {
    let is_name = |line: &&str| {
        !line.is_empty()
            && line.len() <= 32
            && line.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.lines().map(str::trim).filter(is_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_distributions_write() {
        let of = |text| parse_version(text).map(|v| (v.text, v.major, v.minor));
        assert_eq!(
            of("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\nCopyright"),
            Some(("7.2.22".into(), 7, 2))
        );
        assert_eq!(of("warning\nQEMU emulator version 11.0.50-dirty"), Some(("11.0.50".into(), 11, 0)));
        assert_eq!(of("BusyBox v1.36 version"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn the_names_of_a_list_are_told_from_its_heading() {
        assert_eq!(parse_list("Accelerators supported in QEMU binary:\ntcg\nkvm\n"), ["tcg", "kvm"]);
        let displays =
            "Available display backend types:\nnone\nspice-app\n\nSome display backends support suboptions\n";
        assert_eq!(parse_list(displays), ["none", "spice-app"]);
    }

    #[test]
    fn a_carried_qemu_is_found_only_in_its_own_place() {
        let runtime = tempfile::tempdir().unwrap();
        let platform = names::platform();
        let folder = runtime.path().join(platform).join("qemu");
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(carried_in(runtime.path()), None);
        std::fs::write(folder.join("other"), "").unwrap();
        assert_eq!(carried_in(runtime.path()), None);
        let program = folder.join(programs::file_name(PROGRAM));
        std::fs::write(&program, "").unwrap();
        assert_eq!(carried_in(runtime.path()), Some(program));
    }
}
