//! Which of a QEMU's accelerators are usable here, judged by proof or by a remembered proof.

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::probe::{self, Patience, Proof};
use crate::host::programs::{self, Device};
use crate::hypervisor::rendering::plain;
use crate::hypervisor::{Accelerator, Rejection, Verdict, Verdicts};

/// Emulation: always there, and the yardstick for the others.
const TCG: &str = "tcg";

/// More entries than any PC produces; what is over it in a remembered list is dropped.
const MOST_VERDICTS: usize = 64;

/// An accelerator must send its first byte within this time. A good one takes 50 ms.
const START: Duration = Duration::from_millis(800);

/// Longest time for the yardstick's work. It takes 130 ms on an idle PC of 2020.
const TCG_WORK: Duration = Duration::from_millis(1200);

/// The accelerator as `-accel` wants it, with the options it needs.
pub fn argument(accelerator: &str) -> String {
    match accelerator {
        // The interrupt controller that WHPX brings does not work with q35's firmware (QEMU's documentation of WHPX).
        "whpx" => "whpx,kernel-irqchip=off".into(),
        other => other.into(),
    }
}

/// The CPU model a guest gets. `max` hangs under WHPX, and `host` exists only where the host's CPU is used.
pub fn cpu_model(accelerator: &str) -> &'static str {
    match accelerator {
        "kvm" | "hvf" => "host",
        "whpx" => "qemu64",
        _ => "max",
    }
}

/// Judges those accelerators of `program` that are of use on this platform, best first. `offered` is what it lists
/// itself. Proofs are looked up in `remembered` and added to it; past `deadline` nothing new is tried.
pub fn judge(
    program: &Path,
    version: &str,
    offered: &[String],
    remembered: &mut Verdicts,
    deadline: Instant,
    say: &(dyn Fn(&str) + Sync),
) -> Vec<Accelerator> {
    let wanted = programs::accelerators().iter().copied().filter(|name| offered.iter().any(|o| o == name));
    // The yardstick is measured first, and only where it is not known.
    let mut order: Vec<&str> = wanted.collect();
    order.reverse();
    let mut tcg_rate = None;
    let mut judged = Vec::new();
    for name in order {
        let judge = Judge { program, version, name, tcg_rate, deadline, say };
        let accelerator = judge.verdict(remembered);
        if name == TCG {
            tcg_rate = accelerator.rate;
        }
        judged.push(accelerator);
    }
    judged.reverse();
    judged
}

/// Everything that one verdict depends on.
struct Judge<'a> {
    program: &'a Path,
    version: &'a str,
    name: &'a str,
    tcg_rate: Option<u64>,
    deadline: Instant,
    say: &'a dyn Fn(&str),
}

impl Judge<'_> {
    fn verdict(&self, remembered: &mut Verdicts) -> Accelerator {
        let device = match programs::accelerator_device(self.name) {
            Device::Missing { reason, fix } | Device::Denied { reason, fix } => {
                return self.with(None, Some(Rejection { reason, fix: Some(fix) }), false);
            }
            Device::Ready(facts) => facts,
            Device::Unknown => String::new(),
        };
        let (slot, key) = (self.slot(), self.key(&device));
        if let Some(outcome) = remembered.get(&slot).filter(|v| v.key == key).and_then(Outcome::recall) {
            return self.with(outcome.rate(), self.rejection(&outcome), true);
        }
        if self.deadline <= Instant::now() {
            let reason = "there was no time to try it".into();
            return self.with(None, Some(Rejection { reason, fix: None }), false);
        }
        (self.say)(&format!("Trying {} with a small test program", self.name));
        let outcome = self.prove();
        let rejected = self.rejection(&outcome);
        if let Some(rejection) = &rejected {
            (self.say)(&format!("{} is not used: {}", self.name, rejection.reason));
        }
        while remembered.len() >= MOST_VERDICTS && !remembered.contains_key(&slot) {
            remembered.pop_first();
        }
        remembered.insert(slot, outcome.remember(key));
        self.with(outcome.rate(), rejected, false)
    }

    fn with(&self, rate: Option<u64>, rejected: Option<Rejection>, remembered: bool) -> Accelerator {
        Accelerator { name: self.name.into(), rate, rejected, remembered, on_request: false }
    }

    /// Where the verdict is kept: one place for each accelerator of each program, so that an updated QEMU's verdict
    /// takes the place of the old one's.
    fn slot(&self) -> String {
        let place = blake3::hash(self.program.as_os_str().as_encoded_bytes()).to_hex();
        format!("qemu-{}-{}", self.name, &place[..16])
    }

    /// What the verdict depends on; another key means another proof.
    fn key(&self, device: &str) -> String {
        let facts = std::fs::metadata(self.program).ok();
        let modified = facts.as_ref().and_then(|facts| facts.modified().ok());
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let size = facts.map_or(0, |facts| facts.len());
        let modified = modified.map_or(0, |time| time.as_nanos());
        let mut hasher = blake3::Hasher::new();
        for part in [
            self.program.as_os_str().as_encoded_bytes(),
            self.version.as_bytes(),
            argument(self.name).as_bytes(),
            cpu_model(self.name).as_bytes(),
            device.as_bytes(),
            &size.to_le_bytes(),
            &modified.to_le_bytes(),
            probe::PAYLOAD,
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Nothing is given more time than it takes to know that it is slower than emulation.
    fn prove(&self) -> Outcome {
        let work = match self.tcg_rate {
            Some(rate) => probe::time_at(rate).clamp(Duration::from_millis(50), TCG_WORK),
            None => TCG_WORK,
        };
        let patience = Patience { start: START, work };
        match probe::prove(self.program, &argument(self.name), cpu_model(self.name), patience) {
            Err(error) => Outcome::Crashed(Some(error.to_string())),
            Ok(Proof::Crashed(words)) => Outcome::Crashed(Some(words)),
            Ok(Proof::Silent) => Outcome::Silent,
            Ok(Proof::Rate(rate)) if self.name != TCG && self.tcg_rate.is_some_and(|tcg| rate < tcg) => {
                Outcome::Slow(rate)
            }
            Ok(Proof::Rate(rate)) => Outcome::Good(rate),
        }
    }

    fn rejection(&self, outcome: &Outcome) -> Option<Rejection> {
        let name = self.name;
        let (reason, fix) = match outcome {
            Outcome::Good(_) => return None,
            Outcome::Slow(rate) => {
                let tcg = self.tcg_rate.unwrap_or_default();
                let reason =
                    format!("{SLOW} ({} against {} million loops a second)", rate / 1000, tcg / 1000);
                (reason, "if this PC is itself a virtual machine, switch on nested virtualisation for it")
            }
            Outcome::Silent => (SILENT.into(), "close other programs that use hardware virtualisation"),
            Outcome::Crashed(words) => {
                let words = words.as_deref().map(|words| format!(": {}", plain(words))).unwrap_or_default();
                (format!("{CRASHED}{words}"), "nothing needs to be done; a newer QEMU may be able to use it")
            }
        };
        let fix = (name != TCG).then(|| fix.to_owned());
        Some(Rejection { reason, fix })
    }
}

const SLOW: &str = "it works, but is slower than emulation here";
const SILENT: &str = "a small test program did not start in it";
const CRASHED: &str = "QEMU ends when it is used";

/// What a proof came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Good(u64),
    Slow(u64),
    Silent,
    Crashed(Option<String>),
}

impl Outcome {
    fn rate(&self) -> Option<u64> {
        match self {
            Outcome::Good(rate) | Outcome::Slow(rate) => Some(*rate),
            Outcome::Silent | Outcome::Crashed(_) => None,
        }
    }

    /// The verdict to keep.
    fn remember(&self, key: String) -> Verdict {
        let reason = match self {
            Outcome::Good(_) => None,
            Outcome::Slow(_) => Some(SLOW),
            Outcome::Silent => Some(SILENT),
            Outcome::Crashed(_) => Some(CRASHED),
        };
        let rejected = reason.map(|reason| Rejection { reason: reason.into(), fix: None });
        Verdict { key, rate: self.rate(), rejected }
    }

    /// Verdicts come from the drive, which may be anybody's: nothing of their text is shown, it only selects among what
    /// we would say ourselves. At worst a slow accelerator is used, or a fast one is not.
    fn recall(verdict: &Verdict) -> Option<Self> {
        match (verdict.rejected.as_ref().map(|rejection| rejection.reason.as_str()), verdict.rate) {
            (None, Some(rate)) => Some(Outcome::Good(rate)),
            (Some(SLOW), Some(rate)) => Some(Outcome::Slow(rate)),
            (Some(SILENT), _) => Some(Outcome::Silent),
            (Some(CRASHED), _) => Some(Outcome::Crashed(None)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_recalled_as_it_was_remembered() {
        for outcome in [Outcome::Good(7), Outcome::Slow(3), Outcome::Silent, Outcome::Crashed(None)] {
            assert_eq!(Outcome::recall(&outcome.remember("k".into())), Some(outcome));
        }
    }

    #[test]
    fn the_text_of_a_verdict_from_a_drive_is_not_shown() {
        let rejected = Rejection { reason: "call 555".into(), fix: Some("run evil.exe".into()) };
        let verdict = Verdict { key: "k".into(), rate: Some(1), rejected: Some(rejected) };
        assert_eq!(Outcome::recall(&verdict), None, "what we would not say leads to a new proof");
    }

    #[test]
    fn each_accelerator_has_a_cpu_model_that_works_in_it() {
        assert_eq!(["kvm", "hvf", "whpx", "tcg"].map(cpu_model), ["host", "host", "qemu64", "max"]);
    }
}
