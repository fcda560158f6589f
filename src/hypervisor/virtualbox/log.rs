//! `VBox.log`, the only place where VirtualBox tells what happens to a machine as it happens: what its lines mean.

use crate::hypervisor::{Ending, GuestEvent};

/// Turns lines of the log into events: a pure function of what came before.
#[derive(Debug, Default)]
pub struct Reader {
    /// Somebody on this PC ends the machine.
    told: bool,
    /// The guest ended.
    powered_off: bool,
    /// Its state was written to a file.
    saved: bool,
    stuck: bool,
    /// A message about a full disk came since the machine last ran.
    full: bool,
    /// A write failed for want of room.
    no_space: bool,
    /// The machine runs.
    runs: bool,
    /// Virtual machine and console are done.
    over: bool,
}

impl Reader {
    /// What `line` means to others, if anything.
    pub fn read(&mut self, line: &str) -> Option<GuestEvent> {
        // `00:00:01.097165 Console: Machine state changed to 'Running'`
        let said = line.split_once(' ').map_or("", |(_, said)| said.trim());
        if let Some(state) = quoted(said, "Console: Machine state changed to '") {
            return self.on_state(state);
        }
        if let Some(change) = said.strip_prefix("Changing the VM state from '") {
            return self.on_change(change);
        }
        // The console's id of the message; its text is in the user's language.
        // The guest may say what it likes in the same log.
        if said.starts_with("VMMDev: Guest Log:") {
            return None;
        }
        let is_error =
            said.starts_with("VM: Raising runtime error") || said.starts_with("Console: VM runtime error:");
        // `BLKCACHE_IOERR` is what the cache says of any failed write; why it failed stands in the line before.
        self.no_space |= said.contains("VERR_DISK_FULL");
        if is_error && (said.contains("DISKFULL") || (said.contains("BLKCACHE_IOERR") && self.no_space)) {
            return self.on_full();
        }
        None
    }

    fn on_full(&mut self) -> Option<GuestEvent> {
        (!std::mem::replace(&mut self.full, true)).then(|| GuestEvent::DiskError {
            // VirtualBox does not say which; they all lie on the same disk of this PC.
            disk: "system".into(),
            no_space: true,
            read: false,
            reason: "the disk of this PC is full".into(),
        })
    }

    /// Whether the disk was full when the machine ran last.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// VirtualBox was asked and says that the machine is in `state`: what that means, if the log did not tell.
    pub fn is(&mut self, state: &str) -> Option<GuestEvent> {
        match state {
            "paused" if self.runs => {
                self.runs = false;
                self.on_full()
            }
            "running" if self.full => self.on_state("Running"),
            _ => None,
        }
    }

    fn on_state(&mut self, state: &str) -> Option<GuestEvent> {
        match state {
            "Running" => {
                (self.full, self.no_space, self.runs) = (false, false, true);
                Some(GuestEvent::Running)
            }
            // The pause that belongs to a full disk was told.
            "Paused" => {
                self.runs = false;
                (!self.full).then_some(GuestEvent::Paused)
            }
            "Stuck" => {
                self.stuck = true;
                Some(GuestEvent::Panicked)
            }
            "Saving" => {
                self.saved = true;
                None
            }
            // Before the machine is switched off, if somebody on this PC wants that; after it, if the guest did it.
            "Stopping" => {
                self.told |= !self.powered_off;
                self.told.then_some(GuestEvent::ShuttingDown { by_guest: false })
            }
            "PoweredOff" => {
                self.over = true;
                None
            }
            _ => None,
        }
    }

    fn on_change(&mut self, change: &str) -> Option<GuestEvent> {
        let (from, to) =
            change.split_once("' to '").and_then(|(from, to)| Some((from, to.split_once('\'')?.0)))?;
        match (from, to) {
            (_, "RESETTING") => Some(GuestEvent::Reset),
            ("RUNNING", "POWERING_OFF") if !self.told && !self.stuck => {
                self.powered_off = true;
                Some(GuestEvent::ShuttingDown { by_guest: true })
            }
            (_, "GURU_MEDITATION" | "GURU_MEDITATION_LS" | "FATAL_ERROR") => {
                self.stuck = true;
                None
            }
            _ => None,
        }
    }

    /// How it ended, after the last line. `how` says what is known of the process, `forced` if we ended it.
    pub fn ending(&self, forced: bool, how: impl Fn() -> String) -> Ending {
        match () {
            () if self.stuck => Ending::Panicked,
            () if self.saved => Ending::HypervisorDied {
                detail: "the machine was not shut down: its state was saved, which can't be kept".into(),
            },
            () if self.powered_off && self.over && !self.no_space => Ending::PoweredOff,
            () if forced || (self.told && self.over) => Ending::Forced,
            () => Ending::HypervisorDied { detail: how() },
        }
    }
}

/// What stands between `before` and the next quotation mark.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split_once('\'').map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str]) -> (Reader, Vec<GuestEvent>) {
        let mut reader = Reader::default();
        let events =
            lines.iter().filter_map(|line| reader.read(&format!("00:00:01.097165 {line}"))).collect();
        (reader, events)
    }

    const STARTED: [&str; 3] = [
        "Console: Machine state changed to 'Starting'",
        "Changing the VM state from 'POWERING_ON' to 'RUNNING'",
        "Console: Machine state changed to 'Running'",
    ];

    #[test]
    fn a_guest_that_powers_itself_off_ended_cleanly() {
        let mut lines = STARTED.to_vec();
        lines.extend([
            "Changing the VM state from 'RUNNING' to 'POWERING_OFF'",
            "Changing the VM state from 'POWERING_OFF' to 'OFF'",
            "Console: Machine state changed to 'Stopping'",
            "Console::powerDown(): A request to power off the VM has been issued (mMachineState=Stopping, InUninit=0)",
            "Changing the VM state from 'DESTROYING' to 'TERMINATED'",
        ]);
        let (reader, events) = run(&lines);
        assert_eq!(events, [GuestEvent::Running, GuestEvent::ShuttingDown { by_guest: true }]);
        assert!(matches!(reader.ending(false, String::new), Ending::HypervisorDied { .. }), "not over yet");
        lines.push("Console: Machine state changed to 'PoweredOff'");
        assert_eq!(run(&lines).0.ending(false, String::new), Ending::PoweredOff);
    }

    #[test]
    fn whoever_is_switched_off_did_not() {
        let mut lines = STARTED.to_vec();
        lines.extend([
            "Console: Machine state changed to 'Stopping'",
            "Changing the VM state from 'RUNNING' to 'POWERING_OFF'",
            "Changing the VM state from 'DESTROYING' to 'TERMINATED'",
            "Console: Machine state changed to 'PoweredOff'",
        ]);
        let (reader, events) = run(&lines);
        assert_eq!(events, [GuestEvent::Running, GuestEvent::ShuttingDown { by_guest: false }]);
        assert_eq!(reader.ending(false, String::new), Ending::Forced);
    }

    #[test]
    fn a_saved_state_is_no_end_that_could_be_kept() {
        let mut lines = STARTED.to_vec();
        lines.extend([
            "Console: Machine state changed to 'Saving'",
            "Console: Machine state changed to 'Saved'",
        ]);
        assert!(matches!(run(&lines).0.ending(false, String::new), Ending::HypervisorDied { .. }));
    }

    #[test]
    fn a_process_that_dies_tells_nothing() {
        let died = Ending::HypervisorDied { detail: "signal 9".into() };
        assert_eq!(run(&STARTED).0.ending(false, || "signal 9".into()), died);
        assert_eq!(run(&STARTED).0.ending(true, String::new), Ending::Forced);
        let mut lines = STARTED.to_vec();
        lines.push("Console: Machine state changed to 'Stuck'");
        assert_eq!(run(&lines).0.ending(true, String::new), Ending::Panicked);
    }

    #[test]
    fn a_pause_is_told_unless_a_full_disk_is_its_reason() {
        let paused = "Console: Machine state changed to 'Paused'";
        assert_eq!(run(&[paused]).1, [GuestEvent::Paused]);
        let full = "VM: Raising runtime error 'DrvVD_DISKFULL' (fFlags=0x6)";
        assert!(matches!(run(&[full, paused]).1[..], [GuestEvent::DiskError { no_space: true, .. }]));
        let cache = "VM: Raising runtime error 'BLKCACHE_IOERR' (fFlags=0x6)";
        assert_eq!(run(&[cache]).1, []);
        let why = "I/O cache: Error while writing entry at offset 33943040 (65024 bytes) to medium \"ahci-0-1\" (rc=VERR_DISK_FULL)";
        assert!(matches!(run(&[why, cache, cache]).1[..], [GuestEvent::DiskError { no_space: true, .. }]));
        let guest = format!("VMMDev: Guest Log: {full}");
        assert_eq!(run(&[&guest]).1, [], "the guest said it");
    }

    #[test]
    fn a_log_that_could_not_be_written_is_made_up_for_by_asking() {
        let (mut reader, _) = run(&STARTED);
        assert_eq!(reader.is("running"), None);
        assert!(matches!(reader.is("paused"), Some(GuestEvent::DiskError { no_space: true, .. })));
        assert_eq!(reader.is("paused"), None, "told once");
        assert_eq!(reader.is("running"), Some(GuestEvent::Running));
        assert_eq!(reader.is("running"), None);
    }
}
