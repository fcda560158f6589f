//! The saves, and the way to any state between them.

use eframe::egui::{RichText, Spinner, Ui};

use super::failed::explain;
use crate::gui::model::{Confirm, Intent, Model, Stage};
use crate::gui::scene::Scene;
use crate::gui::signs::{Sign, sign};
use crate::gui::theme;
use crate::gui::widgets::{page, quiet, title, wants};
use crate::session::history::{Direction, History, Save};
use crate::session::status::State;

/// The newest first.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    page(
        ui,
        scene,
        |_| {},
        |ui| {
            title(ui, &words.say("page-history"));
            match &model.history {
                None if model.is_busy() => {
                    ui.label(words.say("history-blocked"));
                }
                None => {
                    ui.horizontal(|ui| {
                        ui.add(Spinner::new().size(theme::FAR));
                        ui.label(words.say("history-loading"));
                    });
                }
                Some(Err(failure)) => explain(ui, scene, failure),
                Some(Ok(history)) if history.saves.is_empty() => {
                    ui.label(words.say("history-empty"));
                }
                Some(Ok(history)) => saves(ui, scene, history),
            }
        },
    );
}

/// Whether the disks can be moved now.
fn may_travel(model: &Model) -> bool {
    match model.stage {
        Stage::Ready => model.status.as_ref().is_some_and(|status| status.state == State::Clean),
        Stage::Done(_) => true,
        _ => false,
    }
}

fn saves(ui: &mut Ui, scene: &Scene<'_>, history: &History) {
    let (words, model) = (scene.words, scene.model);
    ui.label(words.say("history-text"));
    if !may_travel(model) {
        quiet(ui, scene, &words.say("history-blocked"));
    }
    for save in history.saves.iter().rev() {
        theme::card(scene.palette).show(ui, |ui| {
            ui.set_width(ui.available_width());
            row(ui, scene, save);
            let name = words.with("history-go-named", [("when", when(scene, save).into())]);
            state(ui, scene, history, save.number, &name);
        });
    }
    theme::card(scene.palette).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(words.say("history-first"));
        state(ui, scene, history, 0, &words.say("history-go-first"));
    });
}

fn when(scene: &Scene<'_>, save: &Save) -> String {
    save.time.map(|time| scene.words.moment(time, scene.model.now)).unwrap_or_default()
}

fn row(ui: &mut Ui, scene: &Scene<'_>, save: &Save) {
    let words = scene.words;
    ui.horizontal_wrapped(|ui| {
        ui.label(words.with(
            "history-row",
            [
                ("when", when(scene, save).into()),
                ("host", save.host_name.as_str().into()),
                ("size", words.bytes(save.changed).into()),
            ],
        ));
        if !save.in_effect {
            ui.label(RichText::new(words.say("history-undone")).italics());
        }
    });
    quiet(ui, scene, &words.with("history-disks", [("disks", save.disks.join(", ").into())]));
}

/// Where the disks are, or the way there.
fn state(ui: &mut Ui, scene: &Scene<'_>, history: &History, number: usize, name: &str) {
    let words = scene.words;
    if history.state == number {
        ui.horizontal_wrapped(|ui| {
            sign(ui, Sign::Check, theme::TEXT, scene.palette.good);
            ui.label(RichText::new(words.say("history-now")).strong());
        });
        return;
    }
    ui.add_enabled_ui(may_travel(scene.model), |ui| {
        let go = ui.button(words.say("history-go"));
        ui.ctx().accesskit_node_builder(go.id, |node| node.set_label(name));
        wants(scene, &go, || match number < history.state {
            true => {
                // What is undone first is the oldest save that goes.
                let undone = history.saves.iter().find(|save| save.number == number + 1);
                Intent::Ask(Confirm::Undo(number, undone.and_then(|save| save.time)))
            }
            false => Intent::Travel(Direction::Redo, Some(number)),
        });
    });
}
