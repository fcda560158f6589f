//! The other side of the window: a thread that does what is wanted by means of `session`, and says what came of it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::Chosen;
use super::scratch;
use super::seat::Seat;
use crate::drive::Settings;
use crate::host::{display, relaunch};
use crate::session::controls::Controls;
use crate::session::event::{Answer, Event, Outcome, Question, View};
use crate::session::history::{Direction, History};
use crate::session::plan::Plan;
use crate::session::status::State;
use crate::session::supervision::Control;
use crate::session::{self, Options, Status, Wish};
use crate::{Error, Kind, Result};

/// What the window wants to be done.
#[expect(clippy::large_enum_variant, reason = "orders are few, and most are jobs")]
#[derive(Debug)]
pub enum Order {
    /// By the desk, after what it does now.
    Do(Job),
    /// By the session that is under way, at once.
    Control(Control),
    /// The report goes to the clipboard.
    Copy,
    /// The window closes.
    Close,
}

/// What takes longer than a frame.
#[derive(Debug)]
pub enum Job {
    /// Look at the drive and the PC.
    Look(Options),
    /// Find out again what a run would do.
    Plan(Options),
    /// Run a session.
    Run(Options),
    /// Settle a session that was left behind.
    Recover(Options, Wish),
    /// Go to a state of the history.
    Travel(Options, Direction, Option<usize>),
    /// Read the history.
    History(Options),
    /// Remember how the window looks and speaks.
    Remember(Options, Settings),
    /// Let the user choose a folder.
    PickFolder(Chosen),
}

/// What the window is told.
pub enum Message {
    /// By the session.
    Event(Event),
    /// The session waits for an answer.
    Ask(Question, Sender<Option<Answer>>),
    /// Several drives are there.
    Drives(Vec<PathBuf>),
    /// How the drive stands.
    Status {
        /// In which state it is.
        status: Box<Status>,
        /// How the window looks and speaks, as kept on it.
        settings: Settings,
        /// The machine's picture, as it is in its file.
        picture: Option<Vec<u8>>,
    },
    /// What a run would do.
    Plan(Box<Plan>),
    /// The drive could not be looked at, or it could not be found out what a run would do.
    Unseen(Error),
    /// The saves.
    History(Result<History>),
    /// The folder that the user chose; none if they did not.
    Folder(Chosen, Option<PathBuf>),
    /// What was under way has ended, and the drive is free.
    Ended(Result<Outcome>),
    /// Another window has this drive and came to the front.
    Elsewhere,
    /// The system wants the window to end.
    Quit,
}

/// Says something to the window, from any thread.
pub type Post = Arc<dyn Fn(Message) + Send + Sync>;

/// Which drive the window has; none before it is known, and after the window.
pub type SharedSeat = Arc<Mutex<Option<Seat>>>;

/// The window's way to the desk.
pub struct Desk {
    jobs: Sender<Job>,
    controls: Arc<Controls>,
}

impl Desk {
    /// A desk that posts what it has to say. It ends with this value, after what it does then. If the window is called
    /// to the front while it has a seat that the desk took, `raise` is done.
    pub fn open(post: Post, seat: SharedSeat, raise: Box<dyn Fn() + Send + Sync>) -> Desk {
        let (jobs, incoming) = mpsc::channel();
        let controls = Arc::new(Controls::new());
        let clerk = Clerk { post, controls: controls.clone(), seat, raise: raise.into() };
        std::thread::spawn(move || clerk.work(incoming));
        Desk { jobs, controls }
    }

    /// Gets a job done after the ones before it.
    pub fn give(&self, job: Job) {
        // What was wished for before is not meant for this; what is wished for from now on is.
        if matches!(job, Job::Run(_) | Job::Recover(..) | Job::Travel(..)) {
            self.controls.take();
        }
        // The thread ends with this value only.
        let _ = self.jobs.send(job);
    }

    /// Reaches the session that is under way.
    pub fn control(&self, control: Control) {
        self.controls.send(control);
    }
}

/// As chosen, but as if the user had not accepted unencrypted changes: whether that is needed must not depend on it.
fn unaccepted(options: &Options) -> Options {
    Options { accept_plain_scratch: false, ..options.clone() }
}

/// Works at the desk.
struct Clerk {
    post: Post,
    controls: Arc<Controls>,
    seat: SharedSeat,
    raise: Arc<dyn Fn() + Send + Sync>,
}

impl View for Clerk {
    fn show(&self, event: &Event) {
        (self.post)(Message::Event(event.clone()));
    }

    fn ask(&self, question: &Question) -> Option<Answer> {
        let (reply, answer) = mpsc::channel();
        (self.post)(Message::Ask(question.clone(), reply));
        // A window that is gone does not answer.
        answer.recv().ok().flatten()
    }
}

impl Clerk {
    fn work(self, jobs: Receiver<Job>) {
        for job in jobs {
            self.do_job(job);
        }
    }

    fn do_job(&self, job: Job) {
        let message = match job {
            Job::Look(options) => match self.look(&options) {
                Ok(()) => return,
                Err(error) => Message::Unseen(error),
            },
            Job::Plan(options) => match session::plan(&unaccepted(&options), self) {
                Ok(plan) => Message::Plan(Box::new(plan)),
                Err(error) => Message::Unseen(error),
            },
            Job::Run(options) => {
                Message::Ended(self.in_scratch(&options, || session::run(&options, &self.controls, self)))
            }
            Job::Recover(options, wish) => Message::Ended(
                self.in_scratch(&options, || session::recover(&options, Some(wish), &self.controls, self)),
            ),
            Job::Travel(options, direction, to) => Message::Ended(
                self.in_scratch(&options, || session::history::travel(&options, direction, to, self)),
            ),
            Job::History(options) => Message::History(session::history::history(&options)),
            Job::Remember(options, settings) => {
                if let Err(error) = session::remember(&options, &settings) {
                    tracing::warn!(%error, "the settings can't be remembered");
                }
                return;
            }
            Job::PickFolder(chosen) => {
                let folder = display::pick_folder("PocketVM");
                Message::Folder(
                    chosen,
                    match chosen {
                        Chosen::Scratch => folder.map(scratch::within),
                        Chosen::SaveAs => folder,
                    },
                )
            }
        };
        (self.post)(message);
    }

    /// Says how the drive stands, and, if it is free, what a run would do.
    fn look(&self, options: &Options) -> Result<()> {
        let drive = match options.find_drive() {
            Ok(drive) => drive,
            Err(error) if error.kind == Kind::Drive && options.drive.is_none() => {
                let drives = session::drives();
                if drives.len() < 2 {
                    return Err(error);
                }
                (self.post)(Message::Drives(drives));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !self.sit(options, &drive)? {
            (self.post)(Message::Elsewhere);
            return Ok(());
        }
        let status = session::status(options)?;
        let is_clean = status.state == State::Clean;
        let (settings, picture) = (session::settings(options)?, session::picture(options)?);
        (self.post)(Message::Status { status: Box::new(status), settings, picture });
        if is_clean {
            let plan = session::plan(&unaccepted(options), self)?;
            (self.post)(Message::Plan(Box::new(plan)));
        }
        Ok(())
    }

    /// Takes the seat of a drive, unless the window has it. Returns whether it has.
    fn sit(&self, options: &Options, drive: &Path) -> Result<bool> {
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if seat.as_ref().is_some_and(|seat| seat.is_of(drive)) {
            return Ok(true);
        }
        let taken = Seat::take(drive, options.find_scratch(drive)?)?;
        if let Some(taken) = &taken {
            // Only at its start can the program go on from a copy of itself.
            if relaunch::is_needed(drive)? {
                return Err(Error::new(Kind::Busy, "this window can't go on from here")
                    .safe("nothing was changed")
                    .hint("close it and start the program again"));
            }
            relaunch::leave_to(taken.scratch().path())?;
        }
        let is_taken = taken.is_some();
        *seat = taken.map(|mut taken| {
            let raise = self.raise.clone();
            taken.on_call(move || raise());
            taken
        });
        Ok(is_taken)
    }

    /// Does what needs the folder of all sessions on this PC, which goes again if nothing is left in it.
    fn in_scratch(&self, options: &Options, work: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
        let scratch = options.find_scratch(&options.find_drive()?)?;
        scratch.prepare()?;
        let outcome = work();
        scratch.remove_if_empty();
        outcome
    }
}
