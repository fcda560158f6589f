//! The view for people: events as lines on standard error, live figures as one line that stays.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::host::env;
use crate::hypervisor::GuestEvent;
use crate::session::controls::Controls;
use crate::session::event::{Answer, Event, Notice, Question, Step, StepState, View};

/// How soon a question notices a signal.
const SIGNAL_TICK: Duration = Duration::from_millis(100);

/// Writes for people.
pub struct Human {
    quiet: bool,
    colour: bool,
    controls: Arc<Controls>,
    line: Mutex<Option<ProgressBar>>,
}

impl Human {
    /// A view on standard error; `quiet` leaves only warnings, questions and errors.
    pub fn new(quiet: bool, controls: Arc<Controls>) -> Human {
        let colour = std::io::stderr().is_terminal() && env::value(env::NO_COLOR).is_none();
        Human { quiet, colour, controls, line: Mutex::new(None) }
    }

    fn say(&self, text: &str) {
        let line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*line {
            Some(bar) => bar.suspend(|| write_line(text)),
            None => write_line(text),
        }
    }

    fn mark(&self, mark: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_owned() }
    }

    /// A line from the keyboard; none when there is no more, or when Ctrl-C or a signal came instead.
    fn read_line(&self) -> Option<String> {
        let (sender, line) = mpsc::channel();
        // Reading can't be interrupted; a thread that waits in vain holds nothing, and ends with the process.
        std::thread::spawn(move || {
            let mut reply = String::new();
            let read = std::io::stdin().lock().read_line(&mut reply);
            let _ = sender.send(read.is_ok_and(|count| count > 0).then_some(reply));
        });
        loop {
            match line.recv_timeout(SIGNAL_TICK) {
                Ok(reply) => return reply,
                Err(_) if self.controls.is_stopping() => return None,
                Err(_) => {}
            }
        }
    }

    fn live(&self, style: &str, length: Option<u64>, update: impl FnOnce(&ProgressBar)) {
        if self.quiet {
            return;
        }
        let mut line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bar = line.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(length, target);
            // The templates are constants of this file; should one be wrong, the plain style still shows the figures.
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        update(bar);
    }

    fn end_live(&self) {
        if let Some(bar) = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            bar.finish_and_clear();
        }
    }
}

/// Standard error may be closed or full; a session must not end because of that.
fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

impl View for Human {
    fn show(&self, event: &Event) {
        match event {
            Event::Phase { phase, state: StepState::Started, .. } => {
                self.end_live();
                if !self.quiet && matches!(phase, Step::Run | Step::Merge | Step::Compact) {
                    let text = match phase {
                        Step::Run => "The machine runs. Shut it down inside, or press Ctrl-C",
                        Step::Compact => "Compacting. Do not unplug yet",
                        _ => "Saving to the drive. Do not unplug yet",
                    };
                    self.say(&format!("{} {text}", self.mark("·", "2")));
                }
            }
            Event::Phase { phase, state: StepState::Done, seconds } => {
                self.end_live();
                if !self.quiet {
                    self.say(&format!("{} {:<8} {seconds:.1} s", self.mark("✓", "32"), phase.word()));
                }
            }
            Event::Candidate { .. } => {}
            Event::Plan { plan } if !self.quiet => {
                if let Some(choice) = &plan.hypervisor {
                    self.say(&format!(
                        "  {} on {} {} ({}), {} MiB of memory, {} CPU{}",
                        plan.machine,
                        choice.hypervisor,
                        choice.version.as_deref().unwrap_or("of unknown version"),
                        choice.accelerator,
                        plan.memory_mib,
                        plan.cpus,
                        if plan.cpus == 1 { "" } else { "s" }
                    ));
                }
            }
            Event::Figures { seconds, memory, unsaved, room } => {
                let unsaved: Vec<String> =
                    unsaved.iter().map(|(disk, bytes)| format!("{disk} {}", HumanBytes(*bytes))).collect();
                let text = format!(
                    "{}  memory {}  unsaved on this PC: {}  room {}",
                    HumanDuration(Duration::from_secs(*seconds)),
                    HumanBytes(*memory),
                    unsaved.join(", "),
                    HumanBytes(*room)
                );
                self.live("  {msg}", None, |bar| bar.set_message(text));
            }
            Event::Notice { code, text } => {
                let calm = matches!(
                    code,
                    Notice::DriveBack
                        | Notice::HostRoom
                        | Notice::ShuttingDown
                        | Notice::Accelerator
                        | Notice::Stamped
                        | Notice::Resumed
                        | Notice::Skipped
                );
                if !(self.quiet && calm) {
                    self.say(&format!("{} {text}", self.mark("!", "33")));
                }
            }
            Event::Adapted { adapted } if !self.quiet => {
                let card = adapted.card.map(|card| format!(", network card {card}")).unwrap_or_default();
                self.say(&format!("  {} on {}{card}", adapted.system, adapted.controller));
                for change in &adapted.changes {
                    self.say(&format!("  For this hypervisor, in this session's overlay: {change}"));
                }
            }
            Event::Guest { guest: GuestEvent::Reset } if !self.quiet => self.say("  The machine restarts"),
            Event::CopyProgress { done, total } | Event::MergeProgress { done, total } => {
                self.live(
                    "  {bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
                    Some(*total),
                    |bar| {
                        bar.set_length(*total);
                        bar.set_position(*done);
                    },
                );
            }
            Event::Merged { disks } if !self.quiet => {
                self.end_live();
                for disk in disks {
                    self.say(&format!(
                        "  {}: {} changed, {} written to the drive",
                        disk.name,
                        HumanBytes(disk.changed),
                        HumanBytes(disk.written)
                    ));
                }
            }
            Event::Compacted { disks } if !self.quiet => {
                self.end_live();
                for disk in disks {
                    self.say(&format!(
                        "  {}: {}, {} given back to the drive",
                        disk.name,
                        HumanBytes(disk.after),
                        HumanBytes(disk.before.saturating_sub(disk.after))
                    ));
                }
            }
            Event::Moved { disks, .. } if !self.quiet => {
                for disk in disks {
                    self.say(&format!("  {}: {} of changes", disk.name, HumanBytes(disk.changed)));
                }
            }
            Event::Done { text, .. } => {
                self.end_live();
                if !self.quiet {
                    self.say(&format!("{} {text}", self.mark("✓", "32;1")));
                }
            }
            Event::Error { what, safe, hint, .. } => {
                self.end_live();
                self.say(&format!("{} {what}", self.mark("error:", "31;1")));
                if let Some(safe) = safe {
                    self.say(&format!("{} {safe}", self.mark("safe:", "32")));
                }
                if let Some(hint) = hint {
                    self.say(&format!("{} {hint}", self.mark("hint:", "36")));
                }
            }
            Event::Session { .. }
            | Event::Adapted { .. }
            | Event::Guest { .. }
            | Event::Plan { .. }
            | Event::Merged { .. }
            | Event::Moved { .. }
            | Event::Compacted { .. } => {}
        }
    }

    fn ask(&self, question: &Question) -> Option<Answer> {
        self.end_live();
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return None;
        }
        write_line(&question.text);
        loop {
            let words: Vec<&str> = question.answers.iter().map(|answer| word(*answer)).collect();
            let _ = write!(std::io::stderr().lock(), "{}? ", words.join(" / "));
            let reply = self.read_line()?;
            let reply = reply.trim().to_lowercase();
            let chosen = question.answers.iter().find(|answer| !reply.is_empty() && word(**answer) == reply);
            if let Some(answer) = chosen {
                return Some(*answer);
            }
            write_line(&format!("Please type one of: {}", words.join(", ")));
        }
    }
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Merge => "merge",
        Answer::Discard => "discard",
        Answer::Later => "later",
        Answer::Accept => "yes",
    }
}
