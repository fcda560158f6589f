//! What the window knows: a fold over what the session says and what the user wants. Nothing is drawn or done here.

use std::path::PathBuf;

use jiff::Timestamp;

use super::desk::{Job, Message, Order};
use super::log::Log;
use crate::drive::Settings;
use crate::hypervisor::{Candidate, GuestEvent};
use crate::session::event::{Answer, Event, Outcome, Step, StepState};
use crate::session::history::History;
use crate::session::plan::Plan;
use crate::session::status::State;
use crate::session::supervision::Control;
use crate::session::{LeftBehind, Options, Status, Wish};
use crate::{Error, Kind};

mod intent;
mod run;
mod stage;

pub use intent::{Chosen, Confirm, Intent, Page};
pub use run::{Run, Task};
pub use stage::{Asked, Failure, Safety, Saving, Stage};

/// Everything that the window shows.
pub struct Model {
    /// What the session is doing, as far as the window is told.
    pub stage: Stage,
    /// What lies over it.
    pub page: Page,
    /// A question of the window's own, over everything.
    pub confirm: Option<Confirm>,
    /// What the user chose for the next session, and which drive.
    pub options: Options,
    /// How the drive stood when it was last looked at.
    pub status: Option<Status>,
    /// As it stood whenever that was known last: also while it is looked at anew.
    known: Option<Status>,
    /// What a run would do; none while that is being found out.
    pub plan: Option<Plan>,
    /// Whether another plan is on its way.
    planning: Planning,
    /// What this PC has.
    pub candidates: Vec<Candidate>,
    /// The machine's picture, as it is in its file.
    pub picture: Option<Vec<u8>>,
    /// The saves that can be undone; none while they are being read.
    pub history: Option<Result<History, Failure>>,
    /// A session that runs, or ran last.
    pub run: Run,
    /// What happened.
    pub log: Log,
    /// How the window looks and speaks.
    pub settings: Settings,
    /// Details, which hypervisor and why: unfolded by the user.
    pub unfolded: bool,
    /// The report was copied.
    pub copied: bool,
    /// The window is to close as soon as the session lets it.
    pub closing: bool,
    /// Drive and folder that were named at the start, which are looked for again after a failure.
    named: (Option<PathBuf>, Option<PathBuf>),
    /// The user is choosing a folder for this.
    picking: Option<Chosen>,
    /// The settings are not on the drive yet.
    remember_later: bool,
    /// This moment, for texts that tell times.
    pub now: Timestamp,
}

/// Whether a plan was ordered that has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planning {
    /// The plan is for what is chosen.
    No,
    /// It is on its way.
    Yes,
    /// It is on its way, but something else was chosen meanwhile.
    Outdated,
}

impl Model {
    /// Before anything is known.
    pub fn new(options: Options, settings: Settings, now: Timestamp) -> Model {
        let named = (options.drive.clone(), options.scratch.clone());
        Model {
            named,
            picking: None,
            remember_later: false,
            stage: Stage::Looking,
            page: Page::Main,
            confirm: None,
            options,
            status: None,
            known: None,
            plan: None,
            planning: Planning::No,
            candidates: vec![],
            picture: None,
            history: None,
            run: Run::default(),
            log: Log::default(),
            settings,
            unfolded: false,
            copied: false,
            closing: false,
            now,
        }
    }

    /// Takes in what the desk says, `now`.
    pub fn hear(&mut self, message: Message, now: Timestamp) -> Vec<Order> {
        self.now = now;
        match message {
            Message::Event(event) => self.on_event(event, now),
            Message::Ask(question, reply) => {
                if self.closing {
                    let _ = reply.send(None);
                } else {
                    self.confirm = None;
                    self.page = Page::Main;
                    self.stage = Stage::Asked(Asked { question, reply });
                }
            }
            Message::Drives(drives) => self.stage = Stage::Choosing(drives),
            Message::Status { status, settings, picture } => {
                self.picture = picture;
                return self.on_status(*status, settings);
            }
            Message::Plan(plan) if matches!(self.stage, Stage::Ready) => {
                self.plan = Some(*plan);
                if std::mem::replace(&mut self.planning, Planning::No) == Planning::Outdated {
                    return self.plan_again();
                }
            }
            // A session is under way, which plans for itself.
            Message::Plan(_) => {}
            Message::Unseen(error) => self.on_unseen(&error, now),
            Message::History(history) => {
                self.history = Some(history.map_err(|error| Failure::of(&error, Safety::Untouched)));
            }
            Message::Folder(chosen, folder) => {
                let is_awaited = self.picking.take() == Some(chosen) && !self.is_busy();
                if let Some(folder) = folder.filter(|_| is_awaited) {
                    return self.on_folder(chosen, folder);
                }
            }
            Message::Ended(result) => return self.on_ended(result, now),
            Message::Elsewhere => return if self.is_busy() { vec![] } else { vec![Order::Close] },
            Message::Quit => return self.quit(),
        }
        vec![]
    }

    fn on_status(&mut self, status: Status, settings: Settings) -> Vec<Order> {
        let is_another = |known: &Status| {
            known.drive != status.drive || (known.identity.is_some() && known.identity != status.identity)
        };
        if self.known.as_ref().is_some_and(is_another) {
            // What was chosen was chosen for another machine.
            self.options = Options { scratch: self.options.scratch.take(), ..Options::default() };
        }
        // What is done from now on is done with this drive.
        self.options.drive = Some(status.drive.clone());
        self.options.identity = status.identity;
        self.known = Some(status.clone());
        self.status = Some(status);
        self.stage = Stage::Ready;
        if !self.remember_later {
            self.settings = settings;
            return vec![];
        }
        if !self.drive_is_free() {
            return vec![];
        }
        self.remember_later = false;
        vec![Order::Do(Job::Remember(self.options.clone(), self.settings.clone()))]
    }

    /// The drive could not be looked at; while a session runs, that is no news.
    fn on_unseen(&mut self, error: &Error, now: Timestamp) {
        self.log.add(&Event::error(error), now);
        self.planning = Planning::No;
        if matches!(self.stage, Stage::Looking | Stage::Ready) {
            (self.options.drive, self.options.scratch) = self.named.clone();
            self.confirm = None;
            self.stage = Stage::Failed(Failure::of(error, Safety::Untouched));
        }
    }

    fn on_folder(&mut self, chosen: Chosen, folder: PathBuf) -> Vec<Order> {
        match chosen {
            Chosen::Scratch => {
                self.options.scratch = Some(folder);
                self.look()
            }
            Chosen::SaveAs => {
                self.begin(Task::KeepAsFiles, Job::Recover(self.options.clone(), Wish::SaveAs(folder)))
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Timestamp) {
        self.log.add(&event, now);
        match event {
            Event::Phase { phase, state: StepState::Started, .. } => self.on_step(phase),
            Event::Candidate { candidate } => self.candidates.push(candidate),
            Event::Plan { plan } => self.plan = Some(*plan),
            Event::Figures { seconds, memory, unsaved, room } => {
                self.run.on_figures(seconds, memory, unsaved, room);
            }
            Event::Notice { code, text } => self.run.on_notice(code, text),
            Event::Guest { guest } => {
                if matches!((&guest, &self.stage), (GuestEvent::Ended(_), Stage::Running)) {
                    // Nothing can be asked of it any more.
                    self.stage = Stage::Working(None);
                    self.confirm = None;
                }
                self.run.on_guest(guest);
            }
            Event::CopyProgress { done, total } => {
                self.run.copying.get_or_insert_default().on_progress(done, total, now);
            }
            Event::MergeProgress { done, total } => {
                if let Stage::Saving(saving) = &mut self.stage {
                    saving.on_progress(done, total, now);
                }
            }
            Event::Adapted { adapted } => self.run.changes = adapted.changes,
            Event::Merged { disks } => {
                self.run.saved = Some(disks.iter().map(|disk| disk.changed).sum());
            }
            _ => {}
        }
    }

    fn on_step(&mut self, step: Step) {
        if step == Step::Detect {
            self.candidates.clear();
        }
        match &self.stage {
            // What is found out beforehand has no steps for people.
            Stage::Looking | Stage::Ready | Stage::Choosing(_) => return,
            _ => {}
        }
        self.run.on_step(step);
        self.stage = match step {
            Step::Run => Stage::Running,
            Step::Merge => Stage::Saving(Saving::default()),
            step => Stage::Working(Some(step)),
        };
        if matches!(step, Step::Merge | Step::Wipe) {
            self.confirm = None;
        }
    }

    fn on_ended(&mut self, result: Result<Outcome, Error>, now: Timestamp) -> Vec<Order> {
        self.confirm = None;
        self.page = Page::Main;
        self.unfolded = false;
        self.history = None;
        self.stage = match result {
            Ok(outcome) => Stage::Done(outcome),
            Err(error) => {
                self.log.add(&Event::error(&error), now);
                Stage::Failed(Failure::of(&error, self.safety(&error)))
            }
        };
        if self.closing { vec![Order::Close] } else { vec![] }
    }

    /// What is safe after this failure of what the user asked for, as far as the window saw it happen.
    fn safety(&self, error: &Error) -> Safety {
        let run = &self.run;
        match () {
            () if error.kind == Kind::Disk || run.task == Task::Discard => Safety::Told,
            // A drive that is gone may not have what was written to it.
            () if run.saved.is_some() && error.kind != Kind::Gone => Safety::Saved,
            () if run.wiping || run.saved.is_some() => Safety::Told,
            () if run.merging => Safety::Either,
            () if run.launched => Safety::Kept,
            () if run.task != Task::Start || run.settled => Safety::Told,
            () if run.begun => Safety::Unchanged,
            () => Safety::Before,
        }
    }

    /// Does what the user wants, as far as it concerns the window; the rest is ordered.
    pub fn want(&mut self, intent: Intent) -> Vec<Order> {
        match intent {
            Intent::Look => return self.look(),
            Intent::Drive(drive) => {
                self.options = Options {
                    drive: Some(drive),
                    scratch: self.options.scratch.take(),
                    ..Options::default()
                };
                return self.look();
            }
            Intent::Start if self.may_start() => {
                return self.begin(Task::Start, Job::Run(self.options.clone()));
            }
            Intent::Start => {}
            Intent::Memory(mib) => {
                self.options.memory = Some(mib << 20);
                return self.plan_again();
            }
            Intent::Cpus(cpus) => {
                self.options.cpus = Some(cpus);
                return self.plan_again();
            }
            Intent::RunOn { hypervisor, accelerator } => {
                (self.options.hypervisor, self.options.accelerator) = (Some(hypervisor), Some(accelerator));
                return self.plan_again();
            }
            Intent::Proposed => {
                (self.options.memory, self.options.cpus) = (None, None);
                (self.options.hypervisor, self.options.accelerator) = (None, None);
                return self.plan_again();
            }
            Intent::Keep(disk, keep) => {
                self.options.keep.retain(|name| *name != disk);
                self.options.discard.retain(|name| *name != disk);
                if keep {
                    self.options.keep.push(disk)
                } else {
                    self.options.discard.push(disk)
                }
                return self.plan_again();
            }
            Intent::Consent(given) => self.options.accept_plain_scratch = given,
            Intent::Scratch => return self.pick(Chosen::Scratch),
            Intent::SaveAs => return self.pick(Chosen::SaveAs),
            Intent::ShutDown => {
                self.confirm = None;
                self.run.shutting_down = true;
                return vec![Order::Control(Control::ShutDown)];
            }
            Intent::ForceOff => {
                self.confirm = None;
                return vec![Order::Control(Control::ForceOff)];
            }
            Intent::Stop => {
                self.confirm = None;
                // A second one would force a guest off that has just been started.
                if std::mem::replace(&mut self.run.stopping, true) {
                    return vec![];
                }
                return vec![Order::Control(Control::Interrupt)];
            }
            Intent::Answer(answer) => {
                self.confirm = None;
                if let Stage::Asked(asked) = std::mem::replace(&mut self.stage, Stage::Working(None)) {
                    // A session that has ended meanwhile needs no answer.
                    let _ = asked.reply.send(Some(answer));
                }
            }
            Intent::Save => return self.begin(Task::Save, Job::Recover(self.options.clone(), Wish::Merge)),
            Intent::TidyUp => {
                return self.begin(Task::TidyUp, Job::Recover(self.options.clone(), Wish::Merge));
            }
            Intent::Discard => {
                return self.begin(Task::Discard, Job::Recover(self.options.clone(), Wish::Discard));
            }
            Intent::GiveUp => {
                let options = Options { abandon_session: true, ..self.options.clone() };
                return self.begin(Task::GiveUp, Job::Recover(options, Wish::Discard));
            }
            Intent::Travel(direction, to) => {
                return self.begin(Task::Travel, Job::Travel(self.options.clone(), direction, to));
            }
            Intent::Ask(confirm) => self.confirm = Some(confirm),
            Intent::Dismiss => self.confirm = None,
            Intent::Show(page) => {
                self.page = page;
                self.copied = false;
                // The desk has other work while something is under way.
                if page == Page::History && !self.is_busy() {
                    self.history = None;
                    return vec![Order::Do(Job::History(self.options.clone()))];
                }
            }
            Intent::Unfold(unfolded) => self.unfolded = unfolded,
            Intent::CopyReport => {
                self.copied = true;
                return vec![Order::Copy];
            }
            Intent::Settings(settings) => {
                self.settings = settings.clone();
                if self.drive_is_free() {
                    return vec![Order::Do(Job::Remember(self.options.clone(), settings))];
                }
                self.remember_later = true;
            }
            Intent::Close => return self.close(),
            Intent::CloseNow => return self.quit(),
            Intent::CloseLater => {
                self.confirm = None;
                self.closing = true;
            }
        }
        vec![]
    }

    /// Whether a click on Start would start.
    pub fn may_start(&self) -> bool {
        let is_planned = self.plan.as_ref().is_some_and(|plan| plan.refusals.is_empty());
        self.drive_is_free() && is_planned && !self.needs_consent()
    }

    /// Whether the user has still to accept that changes lie on this PC without encryption.
    pub fn needs_consent(&self) -> bool {
        let is_needed = self.plan.as_ref().is_some_and(|plan| plan.needs_consent);
        is_needed && !self.options.accept_plain_scratch
    }

    /// The session that was left behind on this PC.
    pub fn leftover(&self) -> Option<&LeftBehind> {
        self.status.as_ref()?.here.as_ref()
    }

    /// Whether something is under way that closing the window would cut short.
    pub fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Working(_) | Stage::Running | Stage::Asked(_) | Stage::Saving(_))
    }

    /// Whether a new session is being started: stopping it leaves everything as it was, until the hypervisor starts.
    pub fn is_starting(&self) -> bool {
        let Stage::Working(step) = &self.stage else { return false };
        self.run.task == Task::Start && !self.run.launched && step.is_none_or(|step| step <= Step::Launch)
    }

    /// Whether nothing is under way, nothing waits, nobody else uses the drive, and nobody was told to unplug.
    fn drive_is_free(&self) -> bool {
        let is_clean = self.status.as_ref().is_some_and(|status| status.state == State::Clean);
        matches!(self.stage, Stage::Ready) && is_clean
    }

    fn pick(&mut self, chosen: Chosen) -> Vec<Order> {
        if self.picking.is_some() {
            return vec![];
        }
        self.picking = Some(chosen);
        vec![Order::Do(Job::PickFolder(chosen))]
    }

    /// Name of the machine, once it is known.
    pub fn machine(&self) -> Option<&str> {
        self.status.as_ref().map(|status| status.machine.as_str())
    }

    /// Orders a plan for what is chosen now, one at a time: a slider that is dragged chooses many times a second.
    fn plan_again(&mut self) -> Vec<Order> {
        if self.planning != Planning::No {
            self.planning = Planning::Outdated;
            return vec![];
        }
        self.planning = Planning::Yes;
        // They are told again with the plan.
        self.candidates.clear();
        vec![Order::Do(Job::Plan(self.options.clone()))]
    }

    fn look(&mut self) -> Vec<Order> {
        self.stage = Stage::Looking;
        (self.page, self.confirm, self.unfolded) = (Page::Main, None, false);
        (self.plan, self.status) = (None, None);
        (self.planning, self.picking) = (Planning::No, None);
        self.candidates.clear();
        self.run = Run::default();
        self.options.accept_plain_scratch = false;
        vec![Order::Do(Job::Look(self.options.clone()))]
    }

    fn begin(&mut self, task: Task, job: Job) -> Vec<Order> {
        self.stage = Stage::Working(None);
        (self.page, self.confirm, self.unfolded) = (Page::Main, None, false);
        (self.planning, self.picking) = (Planning::No, None);
        self.run = Run::of(task);
        vec![Order::Do(job)]
    }

    fn close(&mut self) -> Vec<Order> {
        match &self.stage {
            Stage::Asked(_) => self.quit(),
            _ if self.is_busy() => {
                self.confirm = Some(Confirm::Close);
                vec![]
            }
            _ => vec![Order::Close],
        }
    }

    /// Ends what is under way as safely as it can be, and closes then.
    fn quit(&mut self) -> Vec<Order> {
        if !self.is_busy() {
            return vec![Order::Close];
        }
        self.confirm = None;
        self.closing = true;
        if let Stage::Asked(_) = &self.stage {
            self.want(Intent::Answer(Answer::Later));
            return vec![];
        }
        vec![Order::Control(Control::Terminate)]
    }
}
