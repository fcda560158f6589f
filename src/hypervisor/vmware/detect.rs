//! Finding VMware: on `PATH`, where its installers put it, in the registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::vmrun::{VARIABLES, VMRUN};
use super::{Edition, HARDWARE, NAME};
use crate::host::child;
use crate::host::programs::{self, Product};
use crate::hypervisor::{Accelerator, Candidate, Rejection};

/// For the usage text of `vmrun`; a start from a cold disk included.
const PATIENCE: Duration = Duration::from_millis(2000);

/// More than this many are not looked at.
const MOST_PROGRAMS: usize = 3;

/// The oldest Workstation and Player with the virtual hardware of the template, and the oldest Fusion.
const OLDEST: u32 = 12;
const OLDEST_FUSION: u32 = 8;

/// Every VMware on this PC, best first.
pub fn detect(say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
    let on_path = programs::on_path(VMRUN).into_iter().map(|path| (path, "path"));
    let well_known = programs::well_known(NAME).into_iter().map(|path| (path, "well-known"));
    let registered = programs::registered(NAME).into_iter().map(|path| (path, "registry"));
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut candidates = Vec::new();
    for (program, found_in) in on_path.chain(well_known).chain(registered) {
        let Ok(real) = program.canonicalize() else { continue };
        if seen.contains(&real) || seen.len() == MOST_PROGRAMS {
            continue;
        }
        say("Looking at VMware");
        candidates.push(look_at(program, &real, found_in));
        seen.push(real);
    }
    candidates.sort_by_key(|candidate| !candidate.is_usable());
    candidates
}

fn look_at(program: PathBuf, real: &Path, found_in: &'static str) -> Candidate {
    let product = programs::product(NAME, real);
    let edition = Edition::of(product.name.as_deref(), real);
    let version = product.version.clone().or_else(|| usage_version(&program));
    let rejected = rejection(edition, &product, version.as_deref());
    Candidate {
        hypervisor: NAME.into(),
        version,
        edition: Some(edition.title()),
        program,
        found_in,
        accelerators: vec![accelerator()],
        rejected,
    }
}

fn rejection(edition: Edition, product: &Product, version: Option<&str>) -> Option<Rejection> {
    let reject = |reason: String, fix: &str| Some(Rejection { reason, fix: Some(fix.into()) });
    if std::env::consts::ARCH != "x86_64" {
        return reject("VMware runs no PC on this processor".into(), "use QEMU, which imitates one");
    }
    if version.is_none() {
        return reject("it does not say which version of VMware it is".into(), "install VMware again");
    }
    let oldest = if edition == Edition::Fusion { OLDEST_FUSION } else { OLDEST };
    // Only the product's own version counts: that of `vmrun` is another.
    let major = product.version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if let Some(major) = major.filter(|major| *major < oldest) {
        let reason = format!("VMware {} {major} is too old: {oldest} or newer is needed", edition.title());
        return reject(reason, "install a newer VMware");
    }
    None
}

fn accelerator() -> Accelerator {
    let rejected = Rejection::of_device(NAME);
    Accelerator { name: HARDWARE.into(), rate: None, rejected, remembered: false, on_request: false }
}

/// What `vmrun` says without arguments: it starts nothing.
fn usage_version(program: &Path) -> Option<String> {
    let said = child::ask_with(program, &[], VARIABLES, 64 * 1024, PATIENCE).ok()?;
    parse_usage(&said.stdout).or_else(|| parse_usage(&said.stderr))
}

/// `vmrun version 1.17.0 build-20800274`.
fn parse_usage(text: &str) -> Option<String> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix("vmrun version "))?;
    let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').take(20).collect();
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| format!("vmrun {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_vmrun_is_found_in_its_usage_text() {
        let text = "\nvmrun version 1.17.0 build-20800274\n\nUsage: vmrun [AUTHENTICATION-FLAGS] COMMAND\n";
        assert_eq!(parse_usage(text).as_deref(), Some("vmrun 1.17.0"));
        assert_eq!(parse_usage("Usage: vmrun"), None);
    }

    #[test]
    fn the_edition_is_told_by_the_products_name_or_by_its_place() {
        let of = |name, path| Edition::of(name, Path::new(path));
        assert_eq!(of(Some("VMware Player"), "/usr/bin/vmrun"), Edition::Player);
        assert_eq!(of(Some("VMware Workstation"), "/usr/bin/vmrun"), Edition::Workstation);
        assert_eq!(of(None, "/Applications/VMware Fusion.app/Contents/Public/vmrun"), Edition::Fusion);
        assert_eq!(of(None, "/usr/bin/vmrun"), Edition::Workstation);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_too_old_or_says_nothing_is_rejected_with_a_remedy() {
        let product = |version: &str| Product { name: None, version: Some(version.into()) };
        let reject = |edition, version: &str| rejection(edition, &product(version), Some(version));
        assert!(reject(Edition::Player, "7.1.4").unwrap().reason.contains("Player 7 is too old"));
        assert_eq!(reject(Edition::Workstation, "17.5.2"), None);
        assert_eq!(reject(Edition::Fusion, "8.5.10"), None);
        assert!(rejection(Edition::Workstation, &Product::default(), None).unwrap().fix.is_some());
        assert_eq!(rejection(Edition::Workstation, &Product::default(), Some("vmrun 1.17.0")), None);
    }
}
