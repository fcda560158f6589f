//! Something is under way that is neither running nor saving.

use eframe::egui::{Spinner, Ui};

use super::saving;
use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::theme;
use crate::gui::widgets::{page, quiet, secondary, title, wants};
use crate::session::event::Step;

/// The drive and the PC are looked at.
pub fn looking(ui: &mut Ui, scene: &Scene<'_>) {
    let words = scene.words;
    page(
        ui,
        scene,
        |_| {},
        |ui| {
            title(ui, &words.say("looking-title"));
            waiting(ui, &words.say("looking-text"));
        },
    );
}

/// A step of the session.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, step: Option<Step>) {
    let (words, model) = (scene.words, scene.model);
    if step == Some(Step::Wipe) {
        return wiping(ui, scene);
    }
    let is_start = model.is_starting();
    let foot = |ui: &mut Ui| {
        if is_start {
            ui.add_enabled_ui(!model.run.stopping, |ui| {
                let key = if model.run.stopping { "saving-cancelling" } else { "starting-stop" };
                let stop = secondary(ui, words.say(key));
                wants(scene, &stop, || Intent::Stop);
            });
        }
    };
    page(ui, scene, foot, |ui| {
        match model.machine().filter(|_| is_start) {
            Some(machine) => title(ui, &words.with("starting-title", [("machine", machine.into())])),
            None => title(ui, &words.say("looking-title")),
        }
        let text = match step {
            Some(step) => words.say(&format!("step-{}", step.word())),
            None => words.say("working-text"),
        };
        match &model.run.copying {
            Some(copying) if step == Some(Step::Prepare) && copying.total.is_some() => {
                ui.label(words.say("copying-text"));
                saving::progress(ui, scene, copying, copying.total.unwrap_or_default());
            }
            _ => waiting(ui, &text),
        }
    });
}

fn wiping(ui: &mut Ui, scene: &Scene<'_>) {
    let words = scene.words;
    page(
        ui,
        scene,
        |_| {},
        |ui| {
            title(ui, &words.say("wiping-title"));
            let key = if scene.model.run.saved.is_some() { "wiping-text" } else { "wiping-text-discarded" };
            waiting(ui, &words.say(key));
            quiet(ui, scene, &words.say("saving-warning"));
        },
    );
}

fn waiting(ui: &mut Ui, text: &str) {
    ui.horizontal_wrapped(|ui| {
        ui.add(Spinner::new().size(theme::FAR));
        ui.label(text);
    });
}
