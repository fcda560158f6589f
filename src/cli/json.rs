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
    let mut out = std::io::stdout().lock();
    let _ = write(&mut out, content).and_then(|()| out.flush());
}

/// Writes `content` as one line to `out`, with the version and the time.
///
/// # Errors
/// The reader went away.
pub fn write<T: Serialize>(out: &mut impl Write, content: &T) -> std::io::Result<()> {
    let line = Line { v: STREAM_VERSION, time: jiff::Timestamp::now(), content };
    let text = serde_json::to_string(&line)?;
    writeln!(out, "{text}")
}

impl View for Json {
    fn show(&self, event: &Event) {
        line(event);
    }

    fn ask(&self, _question: &Question) -> Option<Answer> {
        None
    }
}
