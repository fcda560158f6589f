//! What the helper tells, in our words.
//!
//! How a machine ended is in Hyper-V's own log (`Microsoft-Windows-Hyper-V-Worker-Admin`), by numbers that are the same in every
//! language of Windows: 18508 the guest shut down, 18504 it shut down because its shutdown service was asked to, 18502 it was
//! turned off, 18528 it was turned off after a critical error, 18590 the guest crashed, 18608 it hibernated, and in the log of
//! the service 14070 its process ended. The last of them counts, and only the first two are a clean end.

use serde::Deserialize;
use uuid::Uuid;

use crate::hypervisor::{Ending, GuestEvent};

/// A line of the helper's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Said {
    /// The machine is made and does not run yet.
    Created(Created),
    /// Its state changed.
    State {
        /// As PowerShell calls it.
        state: String,
        /// The process that runs it; 0 if none does.
        pid: u32,
    },
    /// A word was obeyed, or not.
    Done {
        /// Which one.
        number: u64,
        /// Why not; empty if it was.
        error: String,
    },
    /// The machine does not run any more. Always the last line.
    Off(Off),
    /// There is no such machine.
    Gone,
    /// The helper can't go on.
    Failed {
        /// In Hyper-V's words.
        error: String,
    },
}

/// A machine as Hyper-V made it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Created {
    /// Its id in Hyper-V.
    pub id: Uuid,
    /// When that was.
    pub time: String,
    /// 1 or 2.
    pub generation: u32,
    /// Bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// `Disabled`, …
    pub checkpoints: String,
    /// The images of its disks.
    pub disks: Vec<String>,
    /// How many other drives it has.
    pub others: u32,
    /// Its network cards.
    pub cards: Vec<Card>,
}

/// A network card as Hyper-V made it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Card {
    /// Twelve digits.
    pub mac: String,
    /// It is on the network that Windows shares its way out with.
    pub lan: bool,
}

/// A machine that does not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Off {
    /// `Off`, `Saved`, …
    pub state: String,
    /// The numbers in Hyper-V's log, oldest first.
    pub halts: Vec<u32>,
    /// The images of its disks.
    pub disks: Vec<String>,
}

/// What a state means to others, if anything.
pub fn event_of(state: &str) -> Option<GuestEvent> {
    match state {
        "Running" => Some(GuestEvent::Running),
        "Paused" => Some(GuestEvent::Paused),
        // Hyper-V pauses a machine whose disk it can't write. All of them lie on this PC.
        "PausedCritical" => Some(GuestEvent::DiskError {
            disk: "system".into(),
            no_space: true,
            read: false,
            reason: "Hyper-V can't write a disk of the machine; the disk of this PC is full".into(),
        }),
        "Stopping" => Some(GuestEvent::ShuttingDown { by_guest: false }),
        _ => None,
    }
}

/// How a machine ended. `overlays` take the guest's writes, `forced` if we ended it.
pub fn ending(off: &Off, overlays: &[String], forced: bool) -> Ending {
    let died = |detail: &str| Ending::HypervisorDied { detail: detail.into() };
    if !same(&off.disks, overlays) {
        let detail = "somebody made a checkpoint or changed the machine's disks in Hyper-V: what the guest wrote since then lies \
             elsewhere";
        return Ending::WrittenElsewhere { detail: detail.into() };
    }
    if off.state != "Off" {
        return died("the machine was not shut down: its state was saved, which can't be kept");
    }
    // A crash is told beside what came of it.
    let last = off.halts.iter().rev().find(|halt| **halt != 18590);
    match last {
        Some(18504 | 18508) => Ending::PoweredOff,
        _ if off.halts.contains(&18590) => Ending::Panicked,
        Some(18500 | 18596) => died("the machine was started once more, and nothing says how it ended"),
        Some(18502) => Ending::Forced,
        Some(18608) => Ending::Hibernated { detail: pocketvm_guest::fit::HIBERNATED_WINDOWS.into() },
        Some(18528) => died("Hyper-V turned the machine off after an error that it could not go on with"),
        Some(14070) => died("the machine's process ended unexpectedly"),
        _ if forced => Ending::Forced,
        _ => died("Hyper-V's log does not say that the guest shut down"),
    }
}

/// Whether two lists name the same files. Windows does not tell capital letters from small ones.
pub fn same(some: &[String], others: &[String]) -> bool {
    let sorted = |paths: &[String]| {
        let mut paths: Vec<String> = paths.iter().map(|path| path.to_lowercase()).collect();
        paths.sort();
        paths
    };
    sorted(some) == sorted(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(state: &str, halts: &[u32]) -> Ending {
        let disks = vec![r"C:\S\system.vhd".to_owned(), r"c:\s\user.vhd".into()];
        let overlays = [r"C:\s\user.vhd".to_owned(), r"C:\s\system.vhd".into()];
        ending(&Off { state: state.into(), halts: halts.to_vec(), disks }, &overlays, false)
    }

    #[test]
    fn only_a_guest_that_shut_down_ended_cleanly() {
        assert_eq!(off("Off", &[18508]), Ending::PoweredOff);
        assert_eq!(off("Off", &[18504]), Ending::PoweredOff);
        assert_eq!(off("Off", &[18502]), Ending::Forced);
        assert_eq!(off("Off", &[18590, 18502]), Ending::Panicked);
        assert_eq!(off("Off", &[18508, 18502]), Ending::Forced, "the last one counts");
        assert!(matches!(off("Off", &[18608]), Ending::Hibernated { .. }));
        for (state, halts) in [
            ("Off", &[][..]),
            ("Off", &[18528]),
            ("Off", &[14070]),
            ("Off", &[18508, 14070]),
            ("Off", &[4711]),
            ("Saved", &[18508]),
            ("OffCritical", &[18508]),
        ] {
            assert!(matches!(off(state, halts), Ending::HypervisorDied { .. }), "{state} {halts:?}");
        }
    }

    #[test]
    fn a_checkpoint_spoils_a_clean_end() {
        let disks = vec![r"C:\s\system_1.avhd".to_owned()];
        let spoilt = Off { state: "Off".into(), halts: vec![18508], disks };
        let ending = ending(&spoilt, &[r"C:\s\system.vhd".into()], false);
        assert!(matches!(ending, Ending::WrittenElsewhere { .. }));
        assert!(matches!(off("Off", &[18508, 18500]), Ending::HypervisorDied { .. }), "started once more");
    }

    #[test]
    fn what_we_forced_is_forced_if_the_log_says_nothing() {
        let silent = Off { state: "Off".into(), halts: vec![], disks: vec![] };
        assert_eq!(ending(&silent, &[], true), Ending::Forced);
    }

    #[test]
    fn the_helpers_lines_are_understood() {
        let said = |line: &str| serde_json::from_str::<Said>(line).unwrap();
        let state = r#"{"state":"Running","event":"state","pid":4711}"#;
        assert_eq!(said(state), Said::State { state: "Running".into(), pid: 4711 });
        assert_eq!(said(r#"{"event":"gone"}"#), Said::Gone);
        let done = r#"{"number":3,"error":"","event":"done"}"#;
        assert_eq!(said(done), Said::Done { number: 3, error: String::new() });
        let off = r#"{"disks":["C:\\s\\ä.vhd"],"event":"off","halts":[18508],"state":"Off"}"#;
        assert!(matches!(said(off), Said::Off(off) if off.disks == [r"C:\s\ä.vhd"]));
        let created = r#"{"event":"created","id":"6f2d0f42-0000-4000-8000-000000000001","time":"2026-11-25T12:00:00Z",
            "generation":1,"memory":1073741824,"cpus":2,"checkpoints":"Disabled","disks":[],"others":0,
            "cards":[{"mac":"525400123456","lan":true}]}"#;
        assert!(matches!(said(created), Said::Created(created) if created.cards[0].lan));
    }
}
