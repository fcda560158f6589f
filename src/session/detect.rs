//! Which hypervisor and accelerator to use, with the verdicts that earlier sessions left on the drive.

use std::path::PathBuf;

use super::Options;
use super::event::{Event, Notice, View};
use super::proposal::Door;
use crate::drive::{Drive, names};
use crate::hypervisor::{self, Candidate, Needs, Places, Verdicts};
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
    let order: Vec<String> = match drive {
        Some(drive) => {
            drive.manifest().hypervisors.order.iter().map(|name| name.as_str().to_owned()).collect()
        }
        None => hypervisor::names().map(str::to_owned).collect(),
    };
    let say = |trying: &str| tracing::info!(trying);
    let candidates = hypervisor::detect(&Places { carried }, &order, &mut verdicts, &say);
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
    /// The first usable hypervisor and accelerator that the machine can run on, or the wished ones. Says why better ones
    /// are not used.
    ///
    /// # Errors
    /// None is usable; the text lists the reasons.
    pub fn choose(&self, needs: &Needs, options: &Options, view: &dyn View) -> Result<Door> {
        let (wished, accelerator) = (options.hypervisor.as_deref(), options.accelerator.as_deref());
        let mut reasons = vec![];
        for candidate in &self.candidates {
            let title = hypervisor::title(&candidate.hypervisor);
            if wished.is_some_and(|name| name != candidate.hypervisor) {
                continue;
            }
            if let Some(rejected) = &candidate.rejected {
                reasons.push(format!("{}: {}", candidate.program.display(), rejected.reason));
                continue;
            }
            let mut door = None;
            for one in
                candidate.accelerators.iter().filter(|one| accelerator.is_none_or(|name| one.name == name))
            {
                if one.is_offered(accelerator) {
                    match hypervisor::open(candidate.clone()) {
                        Ok(opened) => door = Some((opened, one.name.clone())),
                        Err(error) => reasons.push(format!("{title} is not used: {error}")),
                    }
                    break;
                }
                if let Some(rejected) = &one.rejected {
                    let fix = rejected.fix.as_ref().map(|fix| format!(" ({fix})")).unwrap_or_default();
                    // What a program said is for `detect`; here the verdict is enough.
                    let verdict = rejected.reason.split(": ").next().unwrap_or_default();
                    reasons.push(format!("{title} with {} is not used: {verdict}{fix}", one.name));
                }
            }
            let Some((door, name)) = door else { continue };
            if let Some(unfit) = door.capabilities().unfit(needs) {
                let fix = unfit.fix.map(|fix| format!(" ({fix})")).unwrap_or_default();
                reasons.push(format!("{title} is not used: {}{fix}", unfit.reason));
                continue;
            }
            for reason in reasons {
                view.show(&Event::notice(Notice::Accelerator, reason));
            }
            return Ok((door, name));
        }
        let error = match (wished.or(accelerator), self.candidates.is_empty()) {
            (_, true) => Error::new(Kind::Hypervisor, "this PC has no hypervisor that PocketVM knows").hint(
                "install QEMU (on Debian and Ubuntu: apt install qemu-system-x86) or VirtualBox, or carry QEMU on the drive",
            ),
            (Some(name), false) => {
                Error::new(Kind::Hypervisor, format!("no usable hypervisor or accelerator of that name: {name}"))
                    .hint("see what this PC has with: pocketvm detect")
            }
            (None, false) => Error::new(Kind::Hypervisor, "no hypervisor on this PC is usable")
                .hint("see the reasons and their fixes with: pocketvm detect; or install QEMU or VirtualBox, or carry QEMU on the drive"),
        };
        Err(if reasons.is_empty() { error } else { error.because(reasons.join("; ")) })
    }
}
