//! What this program is and what it promises.

use eframe::egui::Ui;

use crate::gui::scene::Scene;
use crate::gui::widgets::{card, page, quiet, title};

/// A page without anything to do.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let words = scene.words;
    page(
        ui,
        scene,
        |_| {},
        |ui| {
            title(ui, "PocketVM");
            ui.label(words.say("about-text"));
            quiet(ui, scene, &words.with("about-version", [("version", env!("CARGO_PKG_VERSION").into())]));
            card(ui, scene, &words.say("about-promise-title"), |ui| {
                for number in 1..=4 {
                    ui.label(format!("•  {}", words.say(&format!("about-promise-{number}"))));
                }
            });
            ui.label(words.say("about-cli"));
            quiet(ui, scene, &words.say("about-licence"));
        },
    );
}
