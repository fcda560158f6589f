//! How the window looks and speaks.

use eframe::egui::{Slider, Ui};

use crate::drive::{Look, Settings};
use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::widgets::{card, page, quiet, title};
use crate::gui::words::LANGUAGES;

/// Each setting with what it does.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let words = scene.words;
    let mut settings = scene.model.settings.clone();
    page(
        ui,
        scene,
        |_| {},
        |ui| {
            title(ui, &words.say("page-settings"));
            card(ui, scene, &words.say("settings-look"), |ui| {
                let looks = [
                    (Look::System, "settings-look-system"),
                    (Look::Light, "settings-look-light"),
                    (Look::Dark, "settings-look-dark"),
                ];
                for (look, key) in looks {
                    ui.radio_value(&mut settings.look, look, words.say(key));
                }
                quiet(ui, scene, &words.say("settings-look-hint"));
            });
            card(ui, scene, &words.say("settings-language"), |ui| {
                ui.push_id("language", |ui| {
                    ui.radio_value(&mut settings.language, None, words.say("settings-language-system"));
                    for language in LANGUAGES {
                        ui.radio_value(&mut settings.language, Some(language.code.to_owned()), language.name);
                    }
                });
                quiet(ui, scene, &words.say("settings-language-hint"));
            });
            card(ui, scene, &words.say("settings-size"), |ui| size(ui, scene, &mut settings));
            quiet(ui, scene, &words.say("settings-where"));
        },
    );
    if settings != scene.model.settings {
        scene.want(Intent::Settings(settings));
    }
}

fn size(ui: &mut Ui, scene: &Scene<'_>, settings: &mut Settings) {
    let words = scene.words;
    let label = ui.label(words.say("settings-size-hint"));
    let mut size = settings.size;
    let slider = Slider::new(&mut size, Settings::SMALLEST..=Settings::LARGEST).step_by(25.0).suffix(" %");
    let response = ui.add(slider).labelled_by(label.id);
    // A window that grows under the pointer would run away from it.
    if !response.dragged() {
        settings.size = size;
    }
}
