//! Several drives are plugged in.

use std::path::PathBuf;

use eframe::egui::Ui;

use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::widgets::{page, secondary, title, wants};

/// One button for each drive.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, drives: &[PathBuf]) {
    let words = scene.words;
    let foot = |ui: &mut Ui| {
        let again = secondary(ui, words.say("look-again"));
        wants(scene, &again, || Intent::Look);
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("drives-title"));
        ui.label(words.say("drives-text"));
        for drive in drives {
            let name = drive.display().to_string();
            let use_it = secondary(ui, words.with("drives-one", [("drive", name.into())]));
            wants(scene, &use_it, || Intent::Drive(drive.clone()));
        }
    });
}
