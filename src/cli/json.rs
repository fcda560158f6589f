//! The view for programs: one JSON object a line on standard output.

use std::io::Write;

use serde::Serialize;

use crate::session::event::{Answer, Event, Question, STREAM_VERSION, View};

/// Writes JSON lines.
pub struct Json;

#[derive(Serialize)]
struct Line<'a, T> {
    v: u32,
    time: jiff::Timestamp,
    #[serde(flatten)]
    content: &'a T,
}

/// Writes `content` as one line, with the version and the time.
///
/// A reader that went away must not end a session, so a failure to write is not an error.
pub fn line<T: Serialize>(content: &T) {
    let line = Line { v: STREAM_VERSION, time: jiff::Timestamp::now(), content };
    if let Ok(text) = serde_json::to_string(&line) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

impl View for Json {
    fn show(&self, event: &Event) {
        line(event);
    }

    fn ask(&self, _question: &Question) -> Option<Answer> {
        None
    }
}
