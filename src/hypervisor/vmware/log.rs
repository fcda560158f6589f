//! `vmware.log`, the only place where VMware tells what happens to a machine as it happens: what its lines mean.
//!
//! The lines come from logs that people published, of Workstation 5 to 17 and Fusion 13, whose forms differ; the words after
//! the name of the thread hardly do. What a guest writes into the log (`Guest: …`) has other words in front.
//!
//! ```text
//! 2026-10-06T13:46:00.000Z In(05) vcpu-0 Chipset: The guest has requested that the virtual machine be powered off.
//! 2014-01-30T18:02:11.120+01:00| vcpu-0| I120: PIIX4: PM Soft Off.  Good-bye.
//! Jun 28 23:40:56.674: vmx| Transitioned vmx/execState/val to poweredOff
//! ```

use crate::hypervisor::{Ending, GuestEvent};

/// Turns lines of the log into events: a pure function of what came before.
#[derive(Debug, Default)]
pub struct Reader {
    /// It ran.
    ran: bool,
    /// Somebody on this PC ends the machine.
    told: bool,
    /// The guest ended.
    powered_off: bool,
    /// Its state was written to a file.
    saved: bool,
    /// VMware met an error that it can't go on with.
    crashed: bool,
    /// A message about a full disk came since the machine last ran.
    full: bool,
    /// The last line: it left in order.
    over: bool,
    /// Which process it is.
    pid: Option<u32>,
}

impl Reader {
    /// What `line` means to others, if anything.
    pub fn read(&mut self, line: &str) -> Option<GuestEvent> {
        let said = message(line)?;
        if let Some(state) = said.strip_prefix("Transitioned vmx/execState/val to ") {
            return self.on_state(state.trim_end_matches('.'));
        }
        if let Some(rest) = said.strip_prefix("Log for VMware ") {
            let word = rest.split_whitespace().find_map(|word| word.strip_prefix("pid="));
            self.pid = word.and_then(|word| word.parse().ok());
            return None;
        }
        if said.starts_with("Chipset: The guest has requested that the virtual machine be powered off")
            || said.starts_with("PIIX4: PM Soft Off.")
        {
            // Whoever was told to go down hard did not go by itself, whatever else it says.
            if self.told || !self.ran {
                return None;
            }
            self.powered_off = true;
            return Some(GuestEvent::ShuttingDown { by_guest: true });
        }
        if said.starts_with("Chipset: The guest has requested that the virtual machine be hard reset") {
            self.powered_off = false;
            return Some(GuestEvent::Reset);
        }
        if said.contains("VMAutomation_InitiatePowerOff. Trying hard powerOff")
            || said.starts_with("VMXVmdbCbVmVmxExecState: Exec state change requested to state poweredOff without reset, hard")
        {
            // After its own power-off the guest can't be told any more.
            self.told |= !self.powered_off;
            return self.told.then_some(GuestEvent::ShuttingDown { by_guest: false });
        }
        if said.starts_with("VMXVmdbCbVmVmxExecState: Exec state change requested to state suspended") {
            self.saved = true;
            return None;
        }
        if said.starts_with("[msg.hbacommon.outofspace]") {
            self.full = true;
            return Some(GuestEvent::DiskError {
                disk: "system".into(),
                no_space: true,
                read: false,
                reason: "the disk of this PC is full".into(),
            });
        }
        if said.starts_with("Unexpected signal:")
            || said.starts_with("[msg.log.error.unrecoverable]")
            || said.starts_with("VMware Workstation unrecoverable error")
            || said.starts_with("VMware Player unrecoverable error")
            || said.starts_with("VMware Fusion unrecoverable error")
        {
            self.crashed = true;
            return None;
        }
        if said.starts_with("VMX exit (0)") || said.starts_with("VMX has left the building: 0") {
            self.over = true;
        }
        None
    }

    fn on_state(&mut self, state: &str) -> Option<GuestEvent> {
        match state {
            "poweredOn" => {
                (self.ran, self.full) = (true, false);
                Some(GuestEvent::Running)
            }
            // The pause that belongs to a full disk was told.
            "paused" => (!self.full).then_some(GuestEvent::Paused),
            "suspended" => {
                self.saved = true;
                None
            }
            _ => None,
        }
    }

    /// The process that writes the log; none before its first line.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How it ended, after the last line. `how` says what is known of the process, `forced` if we ended it. Only a guest that
    /// switched itself off, in a VMware that then left in order, ended cleanly.
    pub fn ending(&self, forced: bool, how: impl Fn() -> String) -> Ending {
        match () {
            () if self.saved => Ending::HypervisorDied {
                detail: "the machine was not shut down: its state was saved, which can't be kept".into(),
            },
            () if self.crashed => Ending::HypervisorDied { detail: how() },
            () if self.powered_off && self.over => Ending::PoweredOff,
            () if forced || (self.told && self.over) => Ending::Forced,
            () => Ending::HypervisorDied { detail: how() },
        }
    }
}

/// What a line says, behind time, thread and weight. A line that goes on from the one before says nothing by itself.
fn message(line: &str) -> Option<&str> {
    let mut words = line.splitn(4, ' ');
    let (_time, weight) = (words.next()?, words.next()?);
    // `TIME In(05) THREAD MESSAGE`, with a dash in some.
    if weight.ends_with(')') && weight.get(2..3) == Some("(") {
        let (thread, said) = (words.next()?, words.next()?);
        return is_thread(thread).then(|| said.strip_prefix("- ").unwrap_or(said).trim());
    }
    let (before, rest) = line.split_once("| ")?;
    // `TIME| THREAD| I125: MESSAGE`
    if !before.contains(' ') {
        let (thread, rest) = rest.split_once("| ")?;
        let (weight, said) = rest.split_once(": ")?;
        return (is_thread(thread) && is_weight(weight)).then_some(said.trim());
    }
    // `Jun 28 23:40:56.674: THREAD| MESSAGE`
    let (time, thread) = before.rsplit_once(": ")?;
    (time.len() <= 20 && is_thread(thread)).then_some(rest.trim())
}

fn is_thread(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_#".contains(c))
}

/// `I125`, `W110`: information, warning, … and a number.
fn is_weight(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_uppercase())
        && word.len() > 1
        && bytes.all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms of lines that VMware has had.
    const FORMS: [&str; 5] = [
        "2026-10-06T13:46:00.000Z Wa(03) vmx WORDS",
        "2026-10-06T13:46:00.000Z In(05) vmx WORDS",
        "2026-06-04T02:29:26.001Z In(05) vmx - WORDS",
        "2014-01-30T18:02:11.120+01:00| vmx| I120: WORDS",
        "Jun 28 23:40:56.674: vmx| WORDS",
    ];

    fn run_as(form: &str, said: &[&str]) -> (Reader, Vec<GuestEvent>) {
        let mut reader = Reader::default();
        let lines = said.iter().map(|words| form.replace("WORDS", words));
        let events = lines.filter_map(|line| reader.read(&line)).collect();
        (reader, events)
    }

    fn run(said: &[&str]) -> (Reader, Vec<GuestEvent>) {
        run_as(FORMS[0], said)
    }

    const STARTED: [&str; 4] = [
        "Log for VMware Workstation pid=4711 version=17.5.2 build=build-23775571 option=Release",
        "Transitioned vmx/execState/val to poweredOff",
        "VMXVmdbCbVmVmxExecState: Exec state change requested to state poweredOn without reset, hard, softOptionTimeout: 0.",
        "Transitioned vmx/execState/val to poweredOn",
    ];
    const BY_GUEST: &str = "Chipset: The guest has requested that the virtual machine be powered off.";
    const BY_US: &str = "Vix: [vmxCommands.c:508]: VMAutomation_InitiatePowerOff. Trying hard powerOff";
    const OFF: [&str; 2] = ["Transitioned vmx/execState/val to poweredOff", "VMX exit (0)."];

    fn lines(more: &[&'static str]) -> Vec<&'static str> {
        STARTED.iter().chain(more).chain(&OFF).copied().collect()
    }

    #[test]
    fn a_guest_that_powers_itself_off_ended_cleanly_in_every_form_of_the_log() {
        for form in FORMS {
            for by_guest in [BY_GUEST, "PIIX4: PM Soft Off.  Good-bye."] {
                let (reader, events) = run_as(form, &lines(&[by_guest]));
                let meant = [GuestEvent::Running, GuestEvent::ShuttingDown { by_guest: true }];
                assert_eq!(events, meant, "{form}");
                assert_eq!(reader.ending(false, String::new), Ending::PoweredOff);
                assert_eq!(reader.pid(), Some(4711));
            }
        }
    }

    #[test]
    fn it_did_not_if_vmware_did_not_leave_in_order() {
        let mut said = lines(&[BY_GUEST]);
        said.pop();
        assert!(matches!(run(&said).0.ending(false, String::new), Ending::HypervisorDied { .. }));
        said.push("VMX exit (1).");
        assert!(matches!(run(&said).0.ending(false, String::new), Ending::HypervisorDied { .. }));
        let crashed = lines(&[BY_GUEST, "VMware Workstation unrecoverable error: (vcpu-0)"]);
        assert!(matches!(run(&crashed).0.ending(false, String::new), Ending::HypervisorDied { .. }));
    }

    #[test]
    fn whoever_is_switched_off_did_not_end_cleanly() {
        for said in [lines(&[BY_US]), lines(&[BY_US, BY_GUEST])] {
            let (reader, events) = run(&said);
            assert_eq!(events, [GuestEvent::Running, GuestEvent::ShuttingDown { by_guest: false }]);
            assert_eq!(reader.ending(false, String::new), Ending::Forced);
        }
        // Nothing but a normal exit proves nothing.
        assert!(matches!(run(&lines(&[])).0.ending(false, String::new), Ending::HypervisorDied { .. }));
        assert_eq!(run(&lines(&[])).0.ending(true, String::new), Ending::Forced);
    }

    #[test]
    fn a_guest_that_restarts_has_not_powered_off() {
        let reset = "Chipset: The guest has requested that the virtual machine be hard reset.";
        let (reader, events) = run(&lines(&[BY_GUEST, reset]));
        assert!(events.contains(&GuestEvent::Reset));
        assert!(matches!(reader.ending(false, String::new), Ending::HypervisorDied { .. }));
    }

    #[test]
    fn a_saved_state_is_no_end_that_could_be_kept() {
        let said = lines(&[BY_GUEST, "Transitioned vmx/execState/val to suspended"]);
        assert!(matches!(run(&said).0.ending(true, String::new), Ending::HypervisorDied { .. }));
    }

    #[test]
    fn what_a_guest_writes_into_the_log_is_not_taken_for_vmwares_words() {
        for words in [
            format!("Guest: {BY_GUEST}"),
            format!("GuestMsg: Channel 0: {BY_GUEST}"),
            format!("x| vmx| {BY_GUEST}"),
            format!("Guest: x| vmx| {BY_GUEST}"),
            format!("Guest: x: vmx| {BY_GUEST}"),
            format!("Guest: x| vmx| I120: {BY_GUEST}"),
        ] {
            for form in FORMS {
                let mut said: Vec<&str> = STARTED.to_vec();
                said.push(&words);
                said.extend(OFF);
                let (reader, _) = run_as(form, &said);
                assert!(
                    matches!(reader.ending(false, String::new), Ending::HypervisorDied { .. }),
                    "{words}"
                );
            }
        }
        let mut reader = Reader::default();
        for line in [format!("2014-01-30T18:02:11.120+01:00| vmx| I120+ {BY_GUEST}"), BY_GUEST.to_owned()] {
            assert_eq!(reader.read(&line), None, "{line}");
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_pauses() {
        let full = "[msg.hbacommon.outofspace] There is no more space for virtual disk 'system.vmdk'.";
        let paused = "Transitioned vmx/execState/val to paused";
        assert!(matches!(run(&[full, paused]).1[..], [GuestEvent::DiskError { no_space: true, .. }]));
        assert_eq!(run(&[paused]).1, [GuestEvent::Paused]);
    }
}
