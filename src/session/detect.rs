//! Which hypervisor and accelerator to use, with the verdicts that earlier sessions left on the drive.

use std::path::PathBuf;

use super::event::{Event, Notice, View};
use super::proposal::Door;
use crate::drive::{Drive, names};
use crate::hypervisor::{self, Candidate, Places, Verdicts};
use crate::{Error, Kind, Result, host};

/// What this PC has, in order of preference.
pub struct Detected {
    /// Everything found, usable or not.
    pub candidates: Vec<Candidate>,
}

/// Whether new verdicts are written to the drive; only its holder may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// Finds hypervisors and proves their accelerators. Verdicts are read from `drive`, if there is one.
pub fn detect(drive: Option<&Drive>, fresh: bool, remember: Remember, view: &dyn View) -> Detected {
    let host = host::facts::host_id();
    let mut verdicts = Verdicts::new();
    if let (Some(drive), false) = (drive, fresh) {
        // They only save time: what can't be read is proved again.
        verdicts =
            drive.read_verdicts(&host).and_then(|text| serde_json::from_value(text).ok()).unwrap_or_default();
    }
    let before = verdicts.clone();
    let carried: Option<PathBuf> = drive.map(|drive| drive.root().join(names::RUNTIME));
    let candidates = hypervisor::detect(&Places { carried }, &mut verdicts, &|trying| tracing::info!(trying));
    if let (Some(drive), Remember::Yes) = (drive, remember)
        && verdicts != before
        && let Ok(text) = serde_json::to_value(&verdicts)
        && let Err(error) = drive.write_verdicts(&host, &text)
    {
        tracing::warn!(%error, "the verdicts can't be remembered");
    }
    for candidate in &candidates {
        view.show(&Event::Candidate { candidate: candidate.clone() });
    }
    Detected { candidates }
}

impl Detected {
    /// The first usable hypervisor and accelerator, or the wished accelerator. Says why better ones are not used.
    ///
    /// # Errors
    /// None is usable; the text lists the reasons.
    pub fn choose(&self, wished: Option<&str>, view: &dyn View) -> Result<Door> {
        let mut reasons = vec![];
        for candidate in &self.candidates {
            if let Some(rejected) = &candidate.rejected {
                reasons.push(format!("{}: {}", candidate.program.display(), rejected.reason));
                continue;
            }
            for accelerator in
                candidate.accelerators.iter().filter(|one| wished.is_none_or(|name| one.name == name))
            {
                if let Some(rejected) = &accelerator.rejected {
                    let fix = rejected.fix.as_ref().map(|fix| format!(" ({fix})")).unwrap_or_default();
                    // What a program said is for `detect`; here the verdict is enough.
                    let verdict = rejected.reason.split(": ").next().unwrap_or_default();
                    reasons.push(format!("{} is not used: {verdict}{fix}", accelerator.name));
                    continue;
                }
                for reason in reasons {
                    view.show(&Event::notice(Notice::Accelerator, reason));
                }
                return Ok((hypervisor::open(candidate.clone())?, accelerator.name.clone()));
            }
        }
        let error = match (wished, self.candidates.is_empty()) {
            (_, true) => Error::new(Kind::Hypervisor, "this PC has no hypervisor that PocketVM knows").hint(
                "install QEMU (on Debian and Ubuntu: apt install qemu-system-x86), or carry it on the drive",
            ),
            (Some(name), false) => {
                Error::new(Kind::Hypervisor, format!("no usable accelerator of that name: {name}"))
                    .hint("see what this PC has with: pocketvm detect")
            }
            (None, false) => Error::new(Kind::Hypervisor, "no hypervisor on this PC is usable")
                .hint("see the reasons and their fixes with: pocketvm detect"),
        };
        Err(if reasons.is_empty() { error } else { error.because(reasons.join("; ")) })
    }
}
