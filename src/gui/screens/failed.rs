//! It ended otherwise: what failed, what is safe, the one next thing to do.

use eframe::egui::{RichText, Ui};

use crate::Kind;
use crate::gui::log::word;
use crate::gui::model::{Failure, Intent, Safety};
use crate::gui::scene::Scene;
use crate::gui::widgets::{Tone, details, page, panel, primary, secondary, title, wants};

/// The failure as a page.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, failure: &Failure) {
    let words = scene.words;
    let foot = |ui: &mut Ui| {
        let again = primary(ui, scene, words.say("look-again"), true);
        wants(scene, &again, || Intent::Look);
        let close = secondary(ui, words.say("close-window"));
        wants(scene, &close, || Intent::Close);
        if failure.kind == Kind::Refused {
            let elsewhere = secondary(ui, words.say("ready-scratch-elsewhere"));
            wants(scene, &elsewhere, || Intent::Scratch);
        }
        let copy = secondary(ui, words.say("log-copy"));
        wants(scene, &copy, || Intent::CopyReport);
        copy.on_hover_text(words.say("log-copy-hint"));
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say(&format!("fail-{}", word(&failure.kind))));
        explain(ui, scene, failure);
    });
}

/// What is safe and what to do, and the session's own words for experts.
pub fn explain(ui: &mut Ui, scene: &Scene<'_>, failure: &Failure) {
    let words = scene.words;
    let safe = match failure.safety {
        Safety::Before => Some(words.say("fail-safe-before")),
        Safety::Unchanged => Some(words.say("fail-safe-unchanged")),
        Safety::Kept => Some(words.say("fail-safe-kept")),
        Safety::Either => Some(words.say("fail-safe-either")),
        Safety::Saved => Some(words.say("fail-safe-saved")),
        Safety::Untouched => Some(words.say("fail-safe-drive")),
        Safety::Told => None,
    };
    if let Some(safe) = &safe {
        panel(ui, scene, Tone::Good, safe, |_| {});
    }
    let next = words.say(&format!("fail-next-{}", word(&failure.kind)));
    ui.label(RichText::new(next).strong());
    let mut lines = vec![failure.what.as_str()];
    lines.extend(failure.safe.as_deref());
    lines.extend(failure.hint.as_deref());
    // What only the session's own words can tell must not be hidden, nor what a save lacks.
    if safe.is_none() || failure.kind == Kind::Merge {
        for line in &lines {
            ui.label(sentence(line));
        }
    } else {
        details(ui, scene, &lines);
    }
}

/// The session's clauses begin with a small letter, for the end of a line on the command line.
fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}
