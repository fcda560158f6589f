//! Finding Hyper-V: a part of Windows that may be switched off, missing, or another user's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{HARDWARE, NAME};
use crate::host::child;
use crate::host::programs;
use crate::hypervisor::{Accelerator, Candidate, Rejection};

/// For `whoami`.
const PATIENCE: Duration = Duration::from_millis(2000);

/// Windows 10 1709, the first with the network that Windows shares its way out with.
const OLDEST_BUILD: u32 = 16299;

/// The groups whose members may use Hyper-V (well-known SIDs): its administrators, and the PC's if they are elevated, which
/// the integrity of their processes tells.
const HYPERV_ADMINISTRATORS: &str = "S-1-5-32-578";
const ADMINISTRATORS: &str = "S-1-5-32-544";
const ELEVATED: [&str; 2] = ["S-1-16-12288", "S-1-16-16384"];

/// Hyper-V, if this is Windows.
pub fn detect(say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
    programs::well_known(NAME).into_iter().take(1).map(|powershell| look_at(powershell, say)).collect()
}

fn look_at(program: PathBuf, say: &(dyn Fn(&str) + Sync)) -> Candidate {
    say("Looking at Hyper-V");
    let version = programs::product(NAME, &program).version;
    let accelerator = accelerator();
    let rejected = accelerator.rejected.clone().or_else(|| rejection(&program, version.as_deref()));
    Candidate {
        hypervisor: NAME.into(),
        version,
        edition: None,
        program,
        found_in: "well-known",
        accelerators: vec![accelerator],
        rejected,
    }
}

fn accelerator() -> Accelerator {
    let rejected = Rejection::of_device(NAME);
    Accelerator { name: HARDWARE.into(), rate: None, rejected, remembered: false, on_request: false }
}

fn rejection(powershell: &Path, version: Option<&str>) -> Option<Rejection> {
    let reject = |reason: &str, fix: &str| Some(Rejection { reason: reason.into(), fix: Some(fix.into()) });
    if std::env::consts::ARCH != "x86_64" {
        return reject("Hyper-V runs no PC on this processor", "use QEMU, which imitates one");
    }
    let build = version.and_then(|version| version.rsplit('.').next()?.parse::<u32>().ok());
    if build.is_none_or(|build| build < OLDEST_BUILD) {
        return reject(
            "this Windows is too old for it: 10 version 1709 or newer is needed",
            "update Windows",
        );
    }
    if !powershell.parent().is_some_and(|folder| folder.join("Modules").join("Hyper-V").is_dir()) {
        let fix = "turn on the Windows feature “Hyper-V Module for Windows PowerShell”";
        return reject("its commands are not installed", fix);
    }
    let whoami = powershell.ancestors().nth(3).map(|system| system.join("whoami.exe"));
    let groups = whoami.map(|whoami| {
        child::ask(&whoami, &["/groups", "/fo", "csv", "/nh"], 256 * 1024, PATIENCE).map(|said| said.stdout)
    });
    let Some(Ok(groups)) = groups else {
        return reject("it is not to be found out whether you may use Hyper-V", "start the program again");
    };
    if may_use(&groups) {
        return None;
    }
    reject(
        "you have no permission to use Hyper-V",
        "have an administrator add you to the group “Hyper-V Administrators” and log in again, or run this as administrator",
    )
}

/// Whether a user in these `groups`, as `whoami` lists them, may use Hyper-V. The words are in the user's language; the ids are
/// not.
fn may_use(groups: &str) -> bool {
    let fields: Vec<&str> =
        groups.split([',', '\n', '\r']).map(|field| field.trim().trim_matches('"')).collect();
    let is_in = |id: &str| fields.contains(&id);
    is_in(HYPERV_ADMINISTRATORS) || (is_in(ADMINISTRATORS) && ELEVATED.iter().any(|level| is_in(level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(ids: &[&str]) -> String {
        let line = |id: &&str| {
            format!("\"VORDEFINIERT\\Wer auch immer\",\"Alias\",\"{id}\",\"Aktivierte Gruppe\"\r\n")
        };
        ids.iter().map(line).collect()
    }

    #[test]
    fn who_may_use_hyper_v_is_told_by_ids_and_not_by_words() {
        let users = "S-1-5-32-545";
        assert!(may_use(&groups(&[users, HYPERV_ADMINISTRATORS])));
        assert!(may_use(&groups(&[users, ADMINISTRATORS, "S-1-16-12288"])));
        // An administrator whose processes are not elevated has the group for denials only.
        assert!(!may_use(&groups(&[users, ADMINISTRATORS, "S-1-16-8192"])));
        assert!(!may_use(&groups(&[users])));
        assert!(!may_use(&groups(&["S-1-5-32-5789", "S-1-5-21-1-S-1-5-32-578"])));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn an_old_windows_is_rejected_with_a_remedy() {
        for version in [None, Some("10.0.14393"), Some("x")] {
            let rejected = rejection(Path::new("powershell.exe"), version).unwrap();
            assert!(rejected.reason.contains("too old") && rejected.fix.is_some());
        }
    }
}
