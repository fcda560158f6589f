//! Runs a guest until it has ended: feeds what happens to the [`Supervision`] and does what it decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::base::Base;
use super::controls::Controls;
use super::event::{Event, View};
use super::folder;
use super::plan;
use super::supervision::{Action, Facts, Input, Started};
use super::watch::{Sought, Watch};
use crate::drive::Drive;
use crate::drive::manifest::Disk;
use crate::host;
use crate::hypervisor::{Ending, Guest, GuestEvent, Running};

/// How often figures are taken.
const TICK: Duration = Duration::from_secs(1);

/// What is run, and where its parts lie.
pub struct Supervised<'a> {
    /// The session's folder on this PC.
    pub scratch: &'a Path,
    /// The drive's folder, as it is now.
    pub root: PathBuf,
    /// How to recognise the drive.
    pub sought: Sought,
    /// The disks with a base.
    pub disks: Vec<SupervisedDisk>,
}

/// A disk of a supervised guest.
pub struct SupervisedDisk {
    /// As the manifest has it.
    pub described: Disk,
    /// Its overlay.
    pub overlay: PathBuf,
    /// Whether its changes will be merged.
    pub keep: bool,
}

/// How a run went.
pub struct Ran {
    /// How the guest ended.
    pub ending: Ending,
    /// The PC ended the session: leave it recoverable.
    pub interrupted: bool,
    /// Where the drive is now; none if it is gone.
    pub root: Option<PathBuf>,
    /// The drive was, or may have been, away in between: what is open on it may be dead.
    pub returned: bool,
}

/// Runs until the guest has ended.
pub fn supervise(
    run: &Supervised<'_>,
    running: Running,
    started: Started,
    controls: &Controls,
    view: &dyn View,
) -> Ran {
    let Running { guest, events } = running;
    let (inputs, incoming) = mpsc::channel();
    forward(events, inputs.clone());
    controls.attach(inputs.clone());
    let watch = Watch::start(run.root.clone(), run.sought.clone(), inputs);
    let ran = until_ended(run, guest.as_ref(), started, &incoming, &watch, view);
    controls.detach();
    ran
}

fn until_ended(
    run: &Supervised<'_>,
    guest: &dyn Guest,
    started: Started,
    incoming: &Receiver<Input>,
    watch: &Watch,
    view: &dyn View,
) -> Ran {
    let mut root = Some(run.root.clone());
    let mut returned = false;
    let start = Instant::now();
    let Started { mut supervision, actions: mut pending } = started;
    let mut next_tick = start;
    loop {
        while !pending.is_empty() {
            let mut results = vec![];
            for action in pending {
                let done = match action.clone() {
                    Action::Tell(code, text) => {
                        view.show(&Event::notice(code, text));
                        Ok(())
                    }
                    Action::Pause => guest.pause(),
                    Action::Resume => guest.resume(),
                    Action::ShutDown => guest.shut_down(),
                    Action::ForceOff => guest.force_off(),
                    Action::Reopen(place) => {
                        let reopened = reopen(run, guest, &place);
                        if reopened.is_ok() {
                            returned = true;
                            root = Some(place);
                        }
                        results.push(Input::Reopened(reopened));
                        Ok(())
                    }
                    Action::End(ending) => {
                        return Ran { ending, interrupted: supervision.interrupted(), root, returned };
                    }
                };
                if let Err(error) = done {
                    results.push(Input::Refused(action, error.to_string()));
                }
            }
            pending = results.into_iter().flat_map(|input| supervision.on(start.elapsed(), input)).collect();
        }
        // The senders live in `watch` and `controls`, so an error can only mean that it is time for figures.
        let input =
            incoming.recv_timeout(next_tick.saturating_duration_since(Instant::now())).unwrap_or_else(|_| {
                next_tick = Instant::now() + TICK;
                Input::Tick(figures(run, watch, guest, start, view))
            });
        match &input {
            Input::Guest(event) => view.show(&Event::Guest { guest: event.clone() }),
            Input::DriveGone => root = None,
            _ => {}
        }
        pending = vec![];
        if matches!(input, Input::Guest(GuestEvent::DiskError { no_space: true, .. })) {
            // The room of a second ago may be what the guest has just filled.
            let facts = figures(run, watch, guest, start, view);
            pending.extend(supervision.on(start.elapsed(), Input::Tick(facts)));
        }
        pending.extend(supervision.on(start.elapsed(), input));
    }
}

fn forward(events: Receiver<GuestEvent>, inputs: Sender<Input>) {
    std::thread::spawn(move || {
        for event in events {
            if inputs.send(Input::Guest(event)).is_err() {
                return;
            }
        }
    });
}

fn reopen(run: &Supervised<'_>, guest: &dyn Guest, root: &Path) -> Result<(), String> {
    // Another stick may be at the same place.
    run.sought.found_at(root)?;
    let drive = Drive::open(root).map_err(|error| error.to_string())?;
    for disk in &run.disks {
        let base = Base::open(&drive, &disk.described).map_err(|error| error.to_string())?;
        guest
            .reopen_base(disk.described.name.as_str(), &base.for_hypervisor())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn figures(run: &Supervised<'_>, watch: &Watch, guest: &dyn Guest, start: Instant, view: &dyn View) -> Facts {
    let (mut unsaved, mut saving) = (BTreeMap::new(), 0u64);
    for disk in &run.disks {
        let changed = folder::unsaved(&disk.overlay);
        unsaved.insert(disk.described.name.as_str().to_owned(), changed);
        if disk.keep {
            saving = saving.saturating_add(plan::saving(disk.described.format, changed));
        }
    }
    let scratch_room = host::volume::free(run.scratch).unwrap_or(0);
    let memory = guest.figures().map(|figures| figures.memory).unwrap_or(0);
    view.show(&Event::Figures { seconds: start.elapsed().as_secs(), memory, unsaved, room: scratch_room });
    Facts { scratch_room, drive_room: watch.drive_room(), saving }
}
