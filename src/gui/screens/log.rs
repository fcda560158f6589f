//! What happened, and a report for whoever helps.

use eframe::egui::{RichText, Ui};

use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::widgets::{page, primary, quiet, title, wants};

/// The newest first, with the session's own words.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    let foot = |ui: &mut Ui| {
        let copy = primary(ui, scene, words.say("log-copy"), true);
        wants(scene, &copy, || Intent::CopyReport);
        quiet(ui, scene, &words.say(if model.copied { "log-copied" } else { "log-copy-hint" }));
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("page-log"));
        if model.log.is_empty() {
            ui.label(words.say("log-empty"));
        }
        for entry in model.log.entries().rev() {
            let Some(text) = entry.text(words) else { continue };
            ui.horizontal_top(|ui| {
                ui.label(RichText::new(words.time_of_day(entry.time)).monospace());
                ui.vertical(|ui| {
                    ui.label(text);
                    if let Some(own) = entry.own_words() {
                        quiet(ui, scene, &own);
                    }
                });
            });
        }
    });
}
