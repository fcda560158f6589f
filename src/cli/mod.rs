//! The command line: a view of the session. It parses, shows and asks; no step lives here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::host::relaunch::{self, OwnCopy};
use crate::host::{self, signals::Signal};
use crate::session::compact::Consent;
use crate::session::controls::Controls;
use crate::session::event::{Answer, Event, Outcome, Question, Subject, View};
use crate::session::history::Direction;
use crate::session::supervision::Control;
use crate::session::{self, Options, Wish};
use crate::{Error, Kind, Result};

pub mod args;
mod disk;
mod human;
mod json;
mod report;

use args::{Cli, Command, Decision, DriveArgs, RecoverArgs, RunArgs, TravelArgs};

/// Does what the command line says; the exit code is documented in `--help`.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log();
    let controls = Arc::new(Controls::new());
    let view: Arc<dyn View> = if cli.output.json {
        Arc::new(json::Json)
    } else {
        Arc::new(human::Human::new(cli.output.quiet, controls.clone()))
    };
    match act(&cli, &view, &controls) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            view.show(&Event::error(&error));
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// The log goes to standard error and only when asked for, so that it never mixes with what people or programs read.
fn init_log() {
    if let Some(filter) = host::env::text(host::env::LOG) {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}

fn act(cli: &Cli, view: &Arc<dyn View>, controls: &Arc<Controls>) -> Result<u8> {
    let json = cli.output.json;
    let Some(command) = &cli.command else { return without_command(cli.output) };
    match command {
        Command::Run(args) => {
            let options = options(args);
            in_session(&options, view, controls, |controls| session::run(&options, controls, &**view))
        }
        Command::Recover(args) => {
            let (options, wish) = (drive_options(&args.drive), wish(args));
            in_session(&options, view, controls, |controls| {
                session::recover(&options, wish, controls, &**view)
            })
        }
        Command::Discard(args) => {
            let options = Options { abandon_session: args.abandon_session, ..drive_options(&args.drive) };
            confirm_discard(args.yes, &options, &**view)?;
            in_session(&options, view, controls, |controls| {
                session::recover(&options, Some(Wish::Discard), controls, &**view)
            })
        }
        Command::Undo(args) => travel(args, Direction::Undo, view, controls),
        Command::Redo(args) => travel(args, Direction::Redo, view, controls),
        Command::History(args) => {
            let history = session::history::history(&drive_options(args))?;
            report::answer(json, "history", &history, report::history);
            Ok(0)
        }
        Command::Compact(args) => {
            let options = drive_options(&args.drive);
            let consent = if args.yes { Consent::Given } else { Consent::Ask };
            in_session(&options, view, controls, |controls| {
                session::compact::compact(&options, &args.disk, consent, controls, &**view)
            })
        }
        #[cfg(feature = "gui")]
        Command::Window(args) => crate::gui::open(drive_options(args)),
        Command::Plan(args) => {
            let plan = session::plan(&options(args), &**view)?;
            let refused = !plan.refusals.is_empty();
            if json {
                view.show(&Event::Plan { plan: Box::new(plan) });
            } else {
                report::plan(&plan);
            }
            Ok(if refused { Kind::Refused.exit_code() } else { 0 })
        }
        Command::Status(args) => {
            let status = session::status(&drive_options(args))?;
            report::answer(json, "status", &status, report::status);
            Ok(0)
        }
        Command::Detect(args) => {
            let options = Options { fresh_verdicts: args.fresh, ..drive_options(&args.drive) };
            let candidates = session::detect(&options, &**view)?;
            if !json {
                report::candidates(&candidates);
            }
            Ok(if candidates.iter().any(|one| one.is_usable()) { 0 } else { Kind::Hypervisor.exit_code() })
        }
        Command::Render(args) => {
            let rendered = session::render(&options(args), &**view)?;
            report::answer(json, "rendered", &rendered, report::rendered);
            Ok(0)
        }
        Command::Guest(args) => {
            let installed = session::guest::guest(&drive_options(&args.drive), args.plan_for.as_deref())?;
            report::answer(json, "installed", &installed, report::installed);
            let refused = matches!(installed.plan, Some(session::guest::Planned::Refused { .. }));
            Ok(if refused { Kind::Refused.exit_code() } else { 0 })
        }
        Command::Check(args) => {
            let health = session::check(&drive_options(args))?;
            report::answer(json, "health", &health, report::health);
            Ok(if health.is_good() { 0 } else { Kind::Disk.exit_code() })
        }
        Command::Disk(command) => {
            disk::act(command, &disk::Desk { view: &**view, controls, output: cli.output })
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "pocketvm", &mut std::io::stdout());
            Ok(0)
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(0)
        }
    }
}

/// A double-click gives no arguments. How to say it makes no sense without what to do.
fn without_command(output: args::Output) -> Result<u8> {
    #[cfg(feature = "gui")]
    if !output.json && !output.quiet {
        host::display::leave_console();
        return crate::gui::open(drive_options(&DriveArgs::default()));
    }
    let _ = output;
    Err(Error::new(Kind::Usage, "the command is missing").hint("`pocketvm --help` lists them"))
}

/// Does what touches the drive for long: from a copy of this program, with signals passed on, and a last line.
fn in_session(
    options: &Options,
    view: &Arc<dyn View>,
    controls: &Arc<Controls>,
    work: impl FnOnce(&Controls) -> Result<Outcome>,
) -> Result<u8> {
    in_session_saying(options, view, controls, work, |outcome| {
        match outcome {
            Outcome::Saved => "Everything is saved",
            Outcome::Discarded => "The changes were discarded",
            Outcome::Clean => "The drive is clean",
            Outcome::SetAside => "The changes are kept as files",
            Outcome::Undone => "The disks are as before the last save",
            Outcome::Redone => "The disks are as after that save again",
            Outcome::Compacted => "The disks take no more room than they need",
            Outcome::Merged => "The changes are merged",
        }
        .to_owned()
    })
}

/// As [`in_session`]; `text` says what came of it.
fn in_session_saying(
    options: &Options,
    view: &Arc<dyn View>,
    controls: &Arc<Controls>,
    work: impl FnOnce(&Controls) -> Result<Outcome>,
    text: impl FnOnce(Outcome) -> String,
) -> Result<u8> {
    let root = options.find_drive()?;
    let scratch = options.find_scratch(&root)?;
    scratch.prepare()?;
    relaunch::remove_left_over(scratch.path());
    host::instance::remove_left_over(scratch.path());
    if relaunch::is_needed(&root)? {
        // On POSIX this does not return: the copy takes this process over.
        return relaunch::relaunch(&scratch);
    }
    let copy = OwnCopy::hold()?;
    relaunch::leave_to(scratch.path())?;
    pass_signals_on(controls)?;
    let outcome = work(controls);
    drop(copy);
    scratch.remove_if_empty();
    let outcome = outcome?;
    view.show(&Event::Done { outcome, text: format!("{}. You can unplug the drive now", text(outcome)) });
    Ok(0)
}

fn travel(
    args: &TravelArgs,
    direction: Direction,
    view: &Arc<dyn View>,
    controls: &Arc<Controls>,
) -> Result<u8> {
    let options = drive_options(&args.drive);
    let work = |_: &Controls| session::history::travel(&options, direction, args.to, &**view);
    match args.to {
        None => in_session(&options, view, controls, work),
        Some(0) => in_session_saying(&options, view, controls, work, |_| {
            "The disks are as before the first of the kept saves".to_owned()
        }),
        Some(number) => in_session_saying(&options, view, controls, work, |_| {
            format!("The disks are as after save {number}")
        }),
    }
}

fn pass_signals_on(controls: &Arc<Controls>) -> Result<()> {
    let signals = host::signals::listen()?;
    let controls = controls.clone();
    std::thread::spawn(move || {
        for signal in signals {
            controls.send(match signal {
                Signal::Interrupt => Control::Interrupt,
                Signal::Terminate | Signal::HangUp => Control::Terminate,
            });
            tracing::info!(?signal, "asked to stop");
        }
    });
    Ok(())
}

fn options(args: &RunArgs) -> Options {
    Options {
        keep: args.keep.clone(),
        discard: args.discard.clone(),
        headless: args.headless,
        memory: args.memory.map(|size| size.bytes()),
        cpus: args.cpus,
        hypervisor: args.hypervisor.clone(),
        accelerator: args.accelerator.clone(),
        share: args.share.as_deref().map(absolute),
        leftover: args.leftover.map(answer),
        on_unclean: args.on_unclean.map(answer),
        abandon_session: args.abandon_session,
        accept_plain_scratch: args.accept_plain_scratch,
        ..drive_options(&args.drive)
    }
}

fn drive_options(args: &DriveArgs) -> Options {
    let place = |path: &Option<PathBuf>| path.as_deref().map(absolute);
    // The variable, too: it is read again after the launcher left the folder.
    let scratch = args.scratch.clone().or_else(|| host::env::path(host::env::SCRATCH));
    Options { drive: place(&args.drive), scratch: place(&scratch), ..Options::default() }
}

/// A path that stays right when the launcher leaves the current folder, which may lie on the drive.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Merge => Answer::Merge,
        Decision::Discard => Answer::Discard,
        Decision::Stop => Answer::Later,
    }
}

fn wish(args: &RecoverArgs) -> Option<Wish> {
    match (&args.save_as, args.merge, args.discard) {
        (Some(target), _, _) => Some(Wish::SaveAs(absolute(target))),
        (None, true, _) => Some(Wish::Merge),
        (None, _, true) => Some(Wish::Discard),
        (None, false, false) => None,
    }
}

fn confirm_discard(yes: bool, options: &Options, view: &dyn View) -> Result<()> {
    if yes {
        return Ok(());
    }
    let status = session::status(options)?;
    if status.state == session::status::State::Clean {
        return Ok(());
    }
    let text = format!("{}. Discarding can't be undone", status.text);
    let answers = vec![Answer::Later, Answer::Discard];
    match view.ask(&Question { subject: Subject::Confirm, text, answers }) {
        Some(Answer::Discard) => Ok(()),
        _ => Err(Error::new(Kind::Leftover, "nobody confirmed that the changes are to be thrown away")
            .safe("nothing was changed")
            .hint("confirm it with --yes")),
    }
}
