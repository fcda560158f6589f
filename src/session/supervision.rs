//! What to do about what happens while a guest runs: a pure function from inputs to actions.
//!
//! No clock, no file and no hypervisor is touched here; `run` does what is decided here and feeds back what came of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::event::Notice;
use crate::hypervisor::{Ending, GuestEvent};

/// A full host disk counts as having room again when this much more is free than when it was full.
const ROOM_TO_GO_ON: u64 = 32 << 20;

/// How long a guest has to shut down when this PC is logging off or shutting down. Short of the 90 s after which
/// systemd kills, and of what people wait for.
const GRACE: Duration = Duration::from_secs(25);

/// How long a guest has to shut down whose launcher had died: long enough for updates that a system installs at its end,
/// but nobody may be there to force it.
const ADOPTED_GRACE: Duration = Duration::from_secs(120);

/// After this long without a disk error the retries count anew.
const RETRIES_FORGOTTEN: Duration = Duration::from_secs(60);

/// How often a disk error is retried while the drive is there, and at most how many times in a row.
const RETRY_EVERY: Duration = Duration::from_secs(5);
const RETRIES: u32 = 5;

/// What a view, or the PC, may ask of a running session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Ask the guest to shut down.
    ShutDown,
    /// End the guest now.
    ForceOff,
    /// Ctrl-C: the first asks, the second forces.
    Interrupt,
    /// The login ends or the PC goes down: leave a recoverable session.
    Terminate,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// To the guest. A full disk is told after a [`Input::Tick`] with the figures of that moment.
    Guest(GuestEvent),
    /// A wish.
    Control(Control),
    /// Time went by; the figures are those of now.
    Tick(Facts),
    /// The drive can't be read any more.
    DriveGone,
    /// The same drive at the same generations is at this place.
    DriveBack(PathBuf),
    /// A drive came back that is not as we left it.
    DriveChanged(String),
    /// The bases were opened again, or why not.
    Reopened(Result<(), String>),
    /// The hypervisor did not do an action, and why.
    Refused(Action, String),
}

/// What is true at a tick, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Free where scratch lies.
    pub scratch_room: u64,
    /// Free on the drive for merged changes; none while it is gone.
    pub drive_room: Option<u64>,
    /// Room on the drive that saving takes, by what was written so far to overlays that are to be kept.
    pub saving: u64,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell people.
    Tell(Notice, String),
    /// Pause the guest.
    Pause,
    /// Let the guest go on.
    Resume,
    /// Press the power button.
    ShutDown,
    /// End the guest.
    ForceOff,
    /// Open all bases again from this drive folder, and feed back [`Input::Reopened`].
    Reopen(PathBuf),
    /// The run is over.
    End(Ending),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    HostFull,
    DriveGone,
    DiskError,
    Adopted,
}

/// The state of a supervised run.
#[derive(Debug, Default)]
pub struct Supervision {
    paused: BTreeSet<Cause>,
    room_wanted: u64,
    last_room: u64,
    shutting_down: bool,
    interrupted: bool,
    forced: bool,
    deadline: Option<Duration>,
    retry_at: Duration,
    retries: u32,
    root: PathBuf,
    reopen_at: Option<Duration>,
    reopen_failed: String,
    drive_room_told: bool,
    adopted: bool,
}

/// A supervision and what it begins with.
#[derive(Debug)]
pub struct Started {
    /// The supervision.
    pub supervision: Supervision,
    /// To be done first.
    pub actions: Vec<Action>,
}

impl Supervision {
    /// Of a guest that was just launched from the drive at `root`.
    pub fn launched(root: &Path) -> Started {
        let supervision = Supervision { root: root.to_owned(), ..Supervision::default() };
        Started { supervision, actions: vec![] }
    }

    /// Of a guest whose launcher had died, with the drive at `root` now. It may be paused for a reason that nobody saw,
    /// and the drive may have been elsewhere: its bases are opened again before it goes on.
    pub fn adopted(root: &Path) -> Started {
        let supervision =
            Supervision { paused: [Cause::Adopted].into(), adopted: true, ..Supervision::default() };
        Started { supervision, actions: vec![Action::Pause, Action::Reopen(root.to_owned())] }
    }

    /// Whether the end was wished by the PC (log-off, SIGTERM) and not by a person.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// What to do about `input`, `now` after the launch.
    pub fn on(&mut self, now: Duration, input: Input) -> Vec<Action> {
        match input {
            Input::Guest(event) => self.on_guest(now, event),
            Input::Control(control) => self.on_control(now, control),
            Input::Tick(facts) => self.on_tick(now, facts),
            Input::DriveGone => self.on_drive_gone(),
            Input::DriveBack(root) if self.paused.contains(&Cause::DriveGone) => {
                self.root = root;
                self.reopen()
            }
            Input::DriveBack(_) => vec![],
            Input::DriveChanged(why) => vec![Action::Tell(Notice::DriveChanged, why)],
            Input::Reopened(Ok(())) => {
                let adopted = self.paused.remove(&Cause::Adopted);
                self.reopen_failed.clear();
                let missed = self.paused.remove(&Cause::DriveGone) | self.paused.remove(&Cause::DiskError);
                let mut actions = vec![];
                if missed {
                    let text = "The drive's disks are open again. The guest goes on";
                    actions.push(Action::Tell(Notice::DriveBack, text.into()));
                }
                if missed || adopted {
                    actions.extend(self.resume_if_free());
                }
                actions
            }
            Input::Reopened(Err(why)) => {
                self.reopen_at = Some(now + RETRY_EVERY);
                let text = format!(
                    "The drive is there, but its disks could not be opened again: {why}. The guest stays paused; it is \
                     tried again every few seconds"
                );
                if std::mem::replace(&mut self.reopen_failed, why) == self.reopen_failed {
                    return vec![];
                }
                vec![Action::Tell(Notice::DriveGone, text)]
            }
            Input::Refused(action, why) => {
                if action == Action::ForceOff {
                    self.forced = false;
                }
                let text = format!(
                    "The hypervisor did not do what was asked ({why}). Press Ctrl-C to force the guest off"
                );
                vec![Action::Tell(Notice::Hypervisor, text)]
            }
        }
    }

    fn on_guest(&mut self, now: Duration, event: GuestEvent) -> Vec<Action> {
        match event {
            GuestEvent::DiskError { no_space: true, .. } if self.paused.insert(Cause::HostFull) => {
                self.room_wanted = self.last_room.saturating_add(ROOM_TO_GO_ON);
                vec![Action::Tell(
                    Notice::HostFull,
                    "This PC's disk is full. The guest is paused and nothing is lost. Free 32 MiB or more on this PC; \
                     the guest then goes on by itself"
                        .into(),
                )]
            }
            GuestEvent::DiskError { no_space: true, .. } => vec![],
            GuestEvent::DiskError { .. } if self.paused.contains(&Cause::DriveGone) => vec![],
            GuestEvent::DiskError { disk, read, reason, .. } => {
                if !self.paused.insert(Cause::DiskError) {
                    return vec![];
                }
                if now.saturating_sub(self.retry_at) > RETRIES_FORGOTTEN {
                    self.retries = 0;
                }
                self.retry_at = now + RETRY_EVERY;
                let verb = if read { "read" } else { "written" };
                vec![Action::Tell(
                    Notice::DiskError,
                    format!(
                        "The disk {disk} could not be {verb} ({reason}). The guest is paused and nothing is lost"
                    ),
                )]
            }
            GuestEvent::Panicked => vec![Action::Tell(
                Notice::GuestPanicked,
                "The guest's system crashed. Its changes are kept on this PC until you decide about them"
                    .into(),
            )],
            GuestEvent::Ended(ending) => {
                let ending =
                    if self.forced && ending != Ending::PoweredOff { Ending::Forced } else { ending };
                vec![Action::End(ending)]
            }
            GuestEvent::Running
            | GuestEvent::Paused
            | GuestEvent::Reset
            | GuestEvent::ShuttingDown { .. } => vec![],
        }
    }

    fn on_control(&mut self, now: Duration, control: Control) -> Vec<Action> {
        match control {
            Control::ForceOff => self.force(),
            Control::Interrupt if self.shutting_down => self.force(),
            Control::ShutDown | Control::Interrupt => {
                self.shutting_down = true;
                if self.adopted {
                    self.deadline.get_or_insert(now + ADOPTED_GRACE);
                }
                let text = if self.paused.is_empty() {
                    "The guest is asked to shut down. Ctrl-C once more forces it off"
                } else {
                    "The guest is paused and shuts down as soon as it goes on. Ctrl-C once more forces it off; what \
                     it changed stays recoverable on this PC"
                };
                vec![Action::Tell(Notice::ShuttingDown, text.into()), Action::ShutDown]
            }
            Control::Terminate => {
                self.interrupted = true;
                if !self.paused.is_empty() {
                    return self.force();
                }
                self.shutting_down = true;
                self.deadline.get_or_insert(now + GRACE);
                let text = "This PC ends the session. The guest is asked to shut down; its changes stay on this PC \
                            for the next start";
                vec![Action::Tell(Notice::ShuttingDown, text.into()), Action::ShutDown]
            }
        }
    }

    fn on_tick(&mut self, now: Duration, facts: Facts) -> Vec<Action> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            return self.force();
        }
        let mut actions = vec![];
        self.last_room = facts.scratch_room;
        if self.paused.contains(&Cause::HostFull) && facts.scratch_room >= self.room_wanted {
            actions.extend(self.go_on(
                Cause::HostFull,
                Notice::HostRoom,
                "There is room again. The guest goes on",
            ));
        }
        if self.paused.contains(&Cause::DiskError) && now >= self.retry_at && self.reopen_at.is_none() {
            self.retries += 1;
            self.retry_at = now + RETRY_EVERY;
            if self.retries <= RETRIES {
                // The drive may have been away for a moment: what was open on it is dead then, whatever is there now.
                actions.extend(self.reopen());
            } else if self.retries == RETRIES + 1 {
                actions.push(Action::Tell(
                    Notice::DiskError,
                    "The disk still fails. Unplug the drive and plug it in again; or press Ctrl-C twice to force the guest \
                     off, its changes stay on this PC"
                        .into(),
                ));
            }
        }
        if self.reopen_at.is_some_and(|at| now >= at) {
            actions.extend(self.reopen());
        }
        if let Some(room) = facts.drive_room {
            let tight = facts.saving > room;
            if tight && !self.drive_room_told {
                let missing = (facts.saving - room).div_ceil(1 << 20);
                actions.push(Action::Tell(
                    Notice::DriveRoom,
                    format!("The changes no longer fit on the drive: up to {missing} MiB are missing there. Free room on the drive before you shut down"),
                ));
            }
            self.drive_room_told = tight;
        }
        actions
    }

    fn on_drive_gone(&mut self) -> Vec<Action> {
        self.paused.remove(&Cause::DiskError);
        self.reopen_at = None;
        if !self.paused.insert(Cause::DriveGone) {
            return vec![];
        }
        let text = "The drive is gone. The guest is paused and nothing is lost. Plug the same drive in again, at any \
                    port; the guest then goes on by itself";
        vec![Action::Pause, Action::Tell(Notice::DriveGone, text.into())]
    }

    /// One cause of the pause is over: tells so and, when it was the last, lets the guest go on.
    fn go_on(&mut self, cause: Cause, notice: Notice, text: &str) -> Vec<Action> {
        self.paused.remove(&cause);
        let mut actions = vec![Action::Tell(notice, text.into())];
        actions.extend(self.resume_if_free());
        actions
    }

    fn resume_if_free(&self) -> Vec<Action> {
        match (self.paused.is_empty(), self.shutting_down) {
            (false, _) => vec![],
            (true, false) => vec![Action::Resume],
            (true, true) => vec![Action::Resume, Action::ShutDown],
        }
    }

    fn reopen(&mut self) -> Vec<Action> {
        self.reopen_at = None;
        vec![Action::Reopen(self.root.clone())]
    }

    fn force(&mut self) -> Vec<Action> {
        self.shutting_down = true;
        if std::mem::replace(&mut self.forced, true) {
            return vec![];
        }
        let text = "The guest is forced off, as if its power was cut";
        vec![Action::Tell(Notice::Forcing, text.into()), Action::ForceOff]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn levers(actions: Vec<Action>) -> Vec<Action> {
        actions.into_iter().filter(|action| !matches!(action, Action::Tell(..))).collect()
    }

    fn tick(scratch_room: u64) -> Input {
        Input::Tick(Facts { scratch_room, drive_room: None, saving: 0 })
    }

    fn full() -> Input {
        let reason = "No space left on device".into();
        Input::Guest(GuestEvent::DiskError { disk: "user".into(), no_space: true, read: false, reason })
    }

    fn read_error() -> Input {
        let reason = "Input/output error".into();
        Input::Guest(GuestEvent::DiskError { disk: "user".into(), no_space: false, read: true, reason })
    }

    #[test]
    fn a_full_host_disk_resumes_the_guest_only_when_there_is_clearly_more_room() {
        let mut run = Supervision::default();
        run.on(at(1), tick(500 * MIB));
        run.on(at(2), tick(MIB));
        assert!(matches!(run.on(at(2), full())[..], [Action::Tell(Notice::HostFull, _)]));
        assert_eq!(run.on(at(2), full()), [], "told once");
        assert_eq!(run.on(at(3), tick(MIB)), []);
        assert_eq!(run.on(at(4), tick(30 * MIB)), []);
        assert_eq!(levers(run.on(at(5), tick(40 * MIB))), [Action::Resume]);
    }

    #[test]
    fn a_vanished_drive_pauses_and_goes_on_only_after_its_bases_are_open_again() {
        let mut run = Supervision::default();
        assert_eq!(levers(run.on(at(1), Input::DriveGone)), [Action::Pause]);
        assert_eq!(run.on(at(2), Input::DriveGone), [], "told once");
        assert_eq!(run.on(at(3), Input::DriveBack("/new".into())), [Action::Reopen("/new".into())]);
        assert_eq!(levers(run.on(at(4), Input::Reopened(Err("no".into())))), []);
        assert_eq!(levers(run.on(at(5), tick(0))), []);
        assert_eq!(levers(run.on(at(10), tick(0))), [Action::Reopen("/new".into())], "tried again");
        assert_eq!(levers(run.on(at(11), Input::Reopened(Ok(())))), [Action::Resume]);
    }

    #[test]
    fn a_read_error_just_before_the_drive_is_missed_counts_as_the_drive() {
        let mut run = Supervision::default();
        assert_eq!(levers(run.on(at(1), read_error())), []);
        assert_eq!(levers(run.on(at(2), Input::DriveGone)), [Action::Pause]);
        assert_eq!(levers(run.on(at(60), tick(0))), [], "no retry without the drive");
        assert_eq!(levers(run.on(at(61), Input::Reopened(Ok(())))), [Action::Resume]);
    }

    #[test]
    fn a_disk_error_with_the_drive_there_is_retried_a_bounded_number_of_times() {
        let mut run = Supervision::default();
        let mut resumed = 0;
        for second in 0..200 {
            run.on(at(second), read_error());
            for action in levers(run.on(at(second), tick(0))) {
                assert_eq!(action, Action::Reopen(PathBuf::new()));
                resumed += levers(run.on(at(second), Input::Reopened(Ok(())))).len();
            }
        }
        assert_eq!(resumed, RETRIES as usize);
    }

    #[test]
    fn the_guest_stays_paused_while_any_cause_holds() {
        let mut run = Supervision::default();
        run.on(at(1), tick(0));
        run.on(at(1), full());
        run.on(at(2), Input::DriveGone);
        assert_eq!(levers(run.on(at(3), tick(64 * MIB))), []);
        assert_eq!(levers(run.on(at(4), Input::Reopened(Ok(())))), [Action::Resume]);
    }

    #[test]
    fn the_first_interrupt_asks_and_the_second_forces_once() {
        let mut run = Supervision::default();
        let interrupt = Input::Control(Control::Interrupt);
        assert_eq!(levers(run.on(at(1), interrupt.clone())), [Action::ShutDown]);
        assert_eq!(levers(run.on(at(2), interrupt.clone())), [Action::ForceOff]);
        assert_eq!(levers(run.on(at(3), interrupt.clone())), []);
        run.on(at(4), Input::Refused(Action::ForceOff, "it does not end".into()));
        assert_eq!(levers(run.on(at(5), interrupt)), [Action::ForceOff], "what failed can be wished again");
    }

    #[test]
    fn a_shutdown_wished_while_paused_is_repeated_when_the_guest_goes_on() {
        let mut run = Supervision::default();
        run.on(at(1), Input::DriveGone);
        run.on(at(2), Input::Control(Control::ShutDown));
        assert_eq!(levers(run.on(at(3), Input::Reopened(Ok(())))), [Action::Resume, Action::ShutDown]);
    }

    #[test]
    fn the_end_of_the_login_gives_the_guest_a_grace_and_then_forces_it() {
        let mut run = Supervision::default();
        assert_eq!(levers(run.on(at(10), Input::Control(Control::Terminate))), [Action::ShutDown]);
        assert!(run.interrupted());
        assert_eq!(levers(run.on(at(20), tick(0))), []);
        assert_eq!(levers(run.on(at(36), tick(0))), [Action::ForceOff]);
    }

    #[test]
    fn an_adopted_guest_gets_its_bases_again_goes_on_and_is_not_waited_for_without_end() {
        let Started { supervision: mut run, actions } = Supervision::adopted(Path::new("/drive"));
        assert_eq!(actions, [Action::Pause, Action::Reopen("/drive".into())]);
        assert_eq!(run.on(at(0), Input::Reopened(Ok(()))), [Action::Resume]);
        assert_eq!(levers(run.on(at(1), Input::Control(Control::ShutDown))), [Action::ShutDown]);
        assert_eq!(levers(run.on(at(100), tick(0))), []);
        assert_eq!(levers(run.on(at(122), tick(0))), [Action::ForceOff]);
    }

    #[test]
    fn a_guest_that_powers_off_by_itself_after_being_forced_still_ended_cleanly() {
        let mut run = Supervision::default();
        run.on(at(1), Input::Control(Control::ForceOff));
        let ended = Input::Guest(GuestEvent::Ended(Ending::PoweredOff));
        assert_eq!(run.on(at(2), ended), [Action::End(Ending::PoweredOff)]);
        let died = Input::Guest(GuestEvent::Ended(Ending::HypervisorDied { detail: "signal 9".into() }));
        assert_eq!(run.on(at(2), died), [Action::End(Ending::Forced)]);
    }

    #[test]
    fn too_little_room_on_the_drive_is_told_once_per_time_it_gets_tight() {
        let mut run = Supervision::default();
        let facts = |saving| Input::Tick(Facts { scratch_room: 0, drive_room: Some(10 * MIB), saving });
        assert_eq!(run.on(at(1), facts(5 * MIB)), []);
        assert!(matches!(run.on(at(2), facts(11 * MIB))[..], [Action::Tell(Notice::DriveRoom, _)]));
        assert_eq!(run.on(at(3), facts(12 * MIB)), []);
        assert_eq!(run.on(at(4), facts(MIB)), []);
        assert_eq!(run.on(at(5), facts(11 * MIB)).len(), 1);
    }
}
