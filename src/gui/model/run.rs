//! A session that runs, or ran last, as far as the window saw it.

use std::collections::BTreeMap;

use super::stage::Saving;
use crate::hypervisor::GuestEvent;
use crate::session::event::{Notice, Step};

/// Points of a plot that are kept; with more, every second one goes.
const MOST_POINTS: usize = 600;

/// What a guest is paused for.
const PAUSING: [Notice; 4] = [Notice::DriveGone, Notice::DriveChanged, Notice::HostFull, Notice::DiskError];

/// What the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Task {
    /// A new session.
    #[default]
    Start,
    /// A left-over session is to be saved, or an interrupted save to be finished.
    Save,
    /// It is to be thrown away.
    Discard,
    /// It is to be kept as files.
    KeepAsFiles,
    /// A session elsewhere is given up.
    GiveUp,
    /// Only temporary files are to go.
    TidyUp,
    /// Another state of the history.
    Travel,
}

/// A session that runs, or ran last.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What the user asked for.
    pub task: Task,
    /// Something was made for it on this PC.
    pub begun: bool,
    /// The guest was started.
    pub launched: bool,
    /// Saving began.
    pub merging: bool,
    /// Cleaning up began.
    pub wiping: bool,
    /// An earlier session was settled on the way.
    pub settled: bool,
    /// It is to stop.
    pub stopping: bool,
    /// What the user should know of, with the session's own words.
    pub told: Vec<(Notice, String)>,
    /// What was changed in the guest to fit it to the hypervisor, in the session's own words.
    pub changes: Vec<String>,
    /// Seconds since the launch.
    pub seconds: u64,
    /// Bytes of this PC's memory.
    pub memory: u64,
    /// Bytes free on this PC.
    pub room: u64,
    /// Bytes on this PC only, per disk.
    pub unsaved: BTreeMap<String, u64>,
    /// Seconds and bytes per disk, for the plot.
    pub points: BTreeMap<String, Vec<[f64; 2]>>,
    every: u64,
    /// What is wrong at the moment, the latest last.
    pub troubles: Vec<Notice>,
    /// The guest was asked to shut down.
    pub shutting_down: bool,
    /// How far the disks are copied to this PC; none where they need not be.
    pub copying: Option<Saving>,
    /// Bytes that are saved on the drive; none until they are.
    pub saved: Option<u64>,
}

impl Run {
    /// Nothing has happened yet.
    pub(super) fn of(task: Task) -> Run {
        Run { task, ..Run::default() }
    }

    pub(super) fn on_figures(
        &mut self,
        seconds: u64,
        memory: u64,
        unsaved: BTreeMap<String, u64>,
        room: u64,
    ) {
        self.note(seconds, &unsaved);
        (self.seconds, self.memory, self.unsaved, self.room) = (seconds, memory, unsaved, room);
    }

    fn note(&mut self, seconds: u64, unsaved: &BTreeMap<String, u64>) {
        self.every = self.every.max(1);
        if !seconds.is_multiple_of(self.every) {
            return;
        }
        for (disk, bytes) in unsaved {
            let points = self.points.entry(disk.clone()).or_default();
            points.push([seconds as f64, *bytes as f64]);
        }
        if self.points.values().any(|points| points.len() > MOST_POINTS) {
            self.every *= 2;
            for points in self.points.values_mut() {
                points.retain(|point| (point[0] as u64).is_multiple_of(self.every));
            }
        }
    }

    pub(super) fn on_step(&mut self, step: Step) {
        match step {
            Step::Detect if self.task == Task::Start => {
                let settled = self.launched || self.merging || self.wiping;
                let told = std::mem::take(&mut self.told);
                // What was settled before is another session's.
                *self = Run { task: self.task, stopping: self.stopping, settled, told, ..Run::default() };
            }
            Step::Prepare => self.begun = true,
            Step::Run => self.launched = true,
            Step::Merge => self.merging = true,
            Step::Wipe => self.wiping = true,
            Step::Detect | Step::Plan | Step::Launch | Step::Compact => {}
        }
    }

    pub(super) fn on_notice(&mut self, code: Notice, text: String) {
        match code {
            Notice::Recovered | Notice::Cloned | Notice::Awake | Notice::Fit => self.told.push((code, text)),
            Notice::DriveGone | Notice::DriveChanged => {
                self.has_trouble(&[Notice::DriveGone, Notice::DriveChanged], code)
            }
            Notice::HostFull
            | Notice::DiskError
            | Notice::DriveRoom
            | Notice::Hypervisor
            | Notice::GuestPanicked => self.has_trouble(&[code], code),
            Notice::DriveBack => self.is_over(&[Notice::DriveGone, Notice::DriveChanged, Notice::DiskError]),
            Notice::HostRoom => self.is_over(&[Notice::HostFull]),
            Notice::ShuttingDown => self.shutting_down = true,
            _ => {}
        }
    }

    pub(super) fn on_guest(&mut self, event: GuestEvent) {
        match event {
            GuestEvent::Running => {
                self.is_over(&PAUSING);
                self.is_over(&[Notice::Hypervisor]);
            }
            GuestEvent::Reset => {
                self.is_over(&[Notice::GuestPanicked]);
                self.shutting_down = false;
            }
            GuestEvent::ShuttingDown { .. } => self.shutting_down = true,
            GuestEvent::Paused
            | GuestEvent::Panicked
            | GuestEvent::DiskError { .. }
            | GuestEvent::Ended(_) => {}
        }
    }

    /// This is wrong from now on, instead of what is wrong in `instead_of`.
    fn has_trouble(&mut self, instead_of: &[Notice], code: Notice) {
        self.is_over(instead_of);
        self.troubles.push(code);
    }

    fn is_over(&mut self, codes: &[Notice]) {
        self.troubles.retain(|trouble| !codes.contains(trouble));
    }

    /// Bytes on this PC only.
    pub fn total(&self) -> u64 {
        self.unsaved.values().sum()
    }

    /// Whether the guest waits for the user.
    pub fn is_paused(&self) -> bool {
        self.troubles.iter().any(|trouble| PAUSING.contains(trouble))
    }
}
