//! Something stands in the way of a new session: what, when, where, how much; then what can be done about it.

use eframe::egui::{RichText, Ui};

use crate::gui::model::{Confirm, Intent};
use crate::gui::scene::Scene;
use crate::gui::widgets::{Tone, destructive, details, page, panel, primary, quiet, secondary, title, wants};
use crate::gui::words::Value;
use crate::session::status::State;
use crate::session::{Elsewhere, Fate, LeftBehind, Place, Status};

/// The screen for how the drive stands.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let Some(status) = &scene.model.status else { return };
    match (status.state, &status.away, &status.here) {
        (State::InUse, ..) => busy(ui, scene, status),
        (_, Some(away), here) => elsewhere(ui, scene, status, away, here.as_ref()),
        (_, None, Some(here)) if here.fate == Fate::Settled => settled(ui, scene, status),
        (_, None, Some(here)) => left_behind(ui, scene, status, here),
        (_, None, None) => interrupted(ui, scene, status),
    }
}

fn busy(ui: &mut Ui, scene: &Scene<'_>, status: &Status) {
    let words = scene.words;
    let foot = |ui: &mut Ui| {
        let again = primary(ui, scene, words.say("look-again"), true);
        wants(scene, &again, || Intent::Look);
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("busy-title"));
        panel(ui, scene, Tone::Attention, &words.say("busy-text"), |ui| {
            ui.label(words.say("busy-fix"));
        });
        details(ui, scene, &[&status.text]);
    });
}

fn interrupted(ui: &mut Ui, scene: &Scene<'_>, status: &Status) {
    let words = scene.words;
    let foot = |ui: &mut Ui| {
        let finish = primary(ui, scene, words.say("interrupted-fix"), true);
        wants(scene, &finish, || Intent::Save);
        let later = secondary(ui, words.say("not-now"));
        wants(scene, &later, || Intent::Close);
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("interrupted-title"));
        panel(ui, scene, Tone::Attention, &words.say("interrupted-text"), |_| {});
        details(ui, scene, &[&status.text]);
    });
}

/// Nothing of it has to be saved: it is, or nothing ever ran.
fn settled(ui: &mut Ui, scene: &Scene<'_>, status: &Status) {
    let words = scene.words;
    let foot = |ui: &mut Ui| {
        let tidy = primary(ui, scene, words.say("leftover-tidy"), true);
        wants(scene, &tidy, || Intent::TidyUp);
        let later = secondary(ui, words.say("not-now"));
        wants(scene, &later, || Intent::Close);
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("leftover-settled-title"));
        panel(ui, scene, Tone::Good, &words.say("leftover-settled"), |_| {});
        details(ui, scene, &[&status.text]);
    });
}

fn left_behind(ui: &mut Ui, scene: &Scene<'_>, status: &Status, left: &LeftBehind) {
    let words = scene.words;
    let can_be_saved = left.fate == Fate::Mergeable;
    let foot = |ui: &mut Ui| {
        if can_be_saved {
            let key = if left.running { "leftover-save-running" } else { "leftover-save" };
            let save = primary(ui, scene, words.say(key), true);
            wants(scene, &save, || Intent::Save);
            save.on_hover_text(words.say("leftover-save-hint"));
        } else {
            let files = primary(ui, scene, words.say("keep-as-files"), true);
            wants(scene, &files, || Intent::SaveAs);
        }
        let later = secondary(ui, words.say("not-now"));
        wants(scene, &later, || Intent::Close);
        later.on_hover_text(words.say("leftover-later-hint"));
        if can_be_saved && !left.running {
            let files = secondary(ui, words.say("keep-as-files"));
            wants(scene, &files, || Intent::SaveAs);
        }
        let discard = destructive(ui, scene, words.say("leftover-discard"));
        wants(scene, &discard, || Intent::Ask(Confirm::Discard(left.total())));
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say(if left.running { "leftover-running-title" } else { "leftover-title" }));
        panel(ui, scene, Tone::Attention, &left_text(scene, left), |ui| {
            for (disk, bytes) in &left.unsaved {
                let size = words.bytes(*bytes);
                ui.label(
                    words.with("leftover-per-disk", [("disk", disk.as_str().into()), ("size", size.into())]),
                );
            }
            if can_be_saved && !left.running {
                let key = if left.clean_shutdown { "leftover-clean" } else { "leftover-unclean" };
                ui.label(words.say(key));
            }
        });
        let safe = match left.fate {
            Fate::Unreadable { .. } => "leftover-safe-changes",
            _ => "leftover-safe",
        };
        panel(ui, scene, Tone::Good, &words.say(safe), |ui| {
            if can_be_saved {
                ui.label(words.say("leftover-save-hint"));
            }
        });
        details(ui, scene, &[&status.text]);
    });
}

/// What was left behind: when, how much, and what can become of it.
pub fn left_text(scene: &Scene<'_>, left: &LeftBehind) -> String {
    let words = scene.words;
    let when = || words.moment(left.started, scene.model.now).into();
    let size = || words.bytes(left.total()).into();
    match &left.fate {
        _ if left.running => words.with("leftover-running", [("when", when()), ("size", size())]),
        Fate::Mergeable | Fate::Settled => words.with("leftover-text", [("when", when()), ("size", size())]),
        Fate::Moved { disk } => {
            words.with("leftover-moved", [("when", when()), ("size", size()), ("disk", disk.as_str().into())])
        }
        Fate::Unreadable { .. } => words.with("leftover-unreadable", [("when", when()), ("size", size())]),
    }
}

fn elsewhere(ui: &mut Ui, scene: &Scene<'_>, status: &Status, away: &Elsewhere, here: Option<&LeftBehind>) {
    let words = scene.words;
    let (what, fix) = away_words(scene, away);
    let foot = |ui: &mut Ui| {
        if away.place == Place::Lost {
            let find = primary(ui, scene, words.say("elsewhere-lost-find"), true);
            wants(scene, &find, || Intent::Scratch);
        } else {
            let close = primary(ui, scene, words.say("close-window"), true);
            wants(scene, &close, || Intent::Close);
        }
        // What is here comes first: giving up would throw it away.
        if away.place == Place::Original || here.is_some() {
            let files = secondary(ui, words.say("keep-as-files"));
            wants(scene, &files, || Intent::SaveAs);
        }
        if here.is_none() {
            let give_up = destructive(ui, scene, words.say("elsewhere-give-up"));
            wants(scene, &give_up, || Intent::Ask(Confirm::GiveUp(away.host_name.clone())));
        }
    };
    page(ui, scene, foot, |ui| {
        let key = match away.place {
            Place::OtherPc => "elsewhere-title",
            Place::Lost => "elsewhere-lost-title",
            Place::Original => "elsewhere-original-title",
        };
        title(ui, &words.say(key));
        panel(ui, scene, Tone::Attention, &what, |ui| {
            if away.unsaved > 0 {
                ui.label(words.with("elsewhere-size", [("size", words.bytes(away.unsaved).into())]));
            }
            ui.label(RichText::new(fix).strong());
        });
        panel(ui, scene, Tone::Good, &words.say("elsewhere-safe"), |_| {});
        if let Some(here) = here {
            let when = words.moment(here.started, scene.model.now);
            let size = words.bytes(here.total());
            quiet(
                ui,
                scene,
                &words.with("elsewhere-besides", [("when", when.into()), ("size", size.into())]),
            );
        }
        details(ui, scene, &[&status.text]);
    });
}

/// Where the changes are, and what to do.
fn away_words(scene: &Scene<'_>, away: &Elsewhere) -> (String, String) {
    let words = scene.words;
    let host = || -> Value<'_> { away.host_name.as_str().into() };
    let when = || -> Value<'_> { words.moment(away.started, scene.model.now).into() };
    match away.place {
        Place::OtherPc => (
            words.with("elsewhere-other", [("host", host()), ("when", when())]),
            words.with("elsewhere-other-fix", [("host", host())]),
        ),
        Place::Lost => (words.with("elsewhere-lost", [("when", when())]), words.say("elsewhere-lost-fix")),
        Place::Original => (
            words.with("elsewhere-original", [("host", host()), ("when", when())]),
            words.say("elsewhere-original-fix"),
        ),
    }
}
