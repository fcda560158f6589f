//! What happened: the last events of this window, for the page that shows them and for the report.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::words::Words;
use crate::hypervisor::GuestEvent;
use crate::session::event::{Event, StepState};

/// Entries that are kept; the oldest go first.
const MOST: usize = 500;

/// The last events.
#[derive(Default)]
pub struct Log {
    entries: VecDeque<Entry>,
}

/// An event and when it was heard.
pub struct Entry {
    /// When.
    pub time: Timestamp,
    /// What.
    pub event: Event,
}

impl Log {
    /// Adds an event; what comes all the time is not kept.
    pub fn add(&mut self, event: &Event, time: Timestamp) {
        if matches!(event, Event::Figures { .. } | Event::CopyProgress { .. } | Event::MergeProgress { .. }) {
            return;
        }
        if self.entries.len() == MOST {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { time, event: event.clone() });
    }

    /// Oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    /// What happened, in the user's language; none if it is shown elsewhere.
    pub fn text(&self, words: &Words) -> Option<String> {
        Some(match &self.event {
            Event::Phase { phase, state, seconds } => {
                let step = words.say(&format!("step-{}", phase.word()));
                match state {
                    StepState::Started => words.with("log-step-started", [("step", step.into())]),
                    StepState::Done => {
                        let seconds = words.decimal(*seconds, 1);
                        words.with("log-step-done", [("step", step.into()), ("seconds", seconds.into())])
                    }
                }
            }
            Event::Notice { code, .. } => words.say(&format!("log-notice-{}", word(code))),
            Event::Guest { guest } => match guest {
                GuestEvent::Running => words.say("log-guest-running"),
                GuestEvent::Paused => words.say("log-guest-paused"),
                GuestEvent::Reset => words.say("log-guest-reset"),
                GuestEvent::Panicked => words.say("log-guest-panicked"),
                GuestEvent::DiskError { disk, .. } => {
                    words.with("log-guest-disk-error", [("disk", disk.as_str().into())])
                }
                GuestEvent::ShuttingDown { .. } => words.say("log-guest-shutting-down"),
                GuestEvent::Ended(_) => words.say("log-guest-ended"),
            },
            Event::Merged { disks } => {
                let line = |disk: &crate::session::event::MergedDisk| {
                    words.with(
                        "log-merged",
                        [
                            ("disk", disk.name.as_str().into()),
                            ("changed", words.bytes(disk.changed).into()),
                            ("written", words.bytes(disk.written).into()),
                        ],
                    )
                };
                disks.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Event::Moved { .. } => words.say("log-moved"),
            Event::Session { .. } => words.say("log-session"),
            Event::Adapted { adapted } if adapted.changes.is_empty() => words.say("log-adapted-none"),
            Event::Adapted { .. } => words.say("log-adapted"),
            Event::Error { kind, .. } => words.say(&format!("fail-{}", word(kind))),
            _ => return None,
        })
    }

    /// What the session itself said about it, in English; for experts.
    pub fn own_words(&self) -> Option<String> {
        match &self.event {
            Event::Notice { text, .. } => Some(text.clone()),
            Event::Guest { guest: GuestEvent::DiskError { reason, .. } } => Some(reason.clone()),
            Event::Error { what, .. } => Some(what.clone()),
            Event::Adapted { adapted } => {
                let card = adapted.card.map(|card| format!(", {card}")).unwrap_or_default();
                let first = format!("{}: {}{card}", adapted.system, adapted.controller);
                Some(
                    [first].into_iter().chain(adapted.changes.iter().cloned()).collect::<Vec<_>>().join("; "),
                )
            }
            Event::Session { id, scratch } => Some(format!("{id}, {}", scratch.display())),
            _ => None,
        }
    }
}

/// The word by which programs know something.
pub fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
