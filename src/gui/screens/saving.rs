//! Changes are being saved to the drive.

use eframe::egui::{ProgressBar, RichText, Spinner, Ui};

use crate::gui::model::{Intent, Saving};
use crate::gui::scene::Scene;
use crate::gui::theme;
use crate::gui::widgets::{Tone, page, panel, quiet, secondary, title, wants};

/// How far it is.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, saving: &Saving) {
    let (words, is_cancelling) = (scene.words, scene.model.run.stopping);
    let foot = |ui: &mut Ui| {
        ui.add_enabled_ui(!is_cancelling, |ui| {
            let key = if is_cancelling { "saving-cancelling" } else { "saving-cancel" };
            let cancel = secondary(ui, words.say(key));
            wants(scene, &cancel, || Intent::Stop);
        });
    };
    page(ui, scene, foot, |ui| {
        title(ui, &words.say("saving-title"));
        panel(ui, scene, Tone::Attention, &words.say("saving-warning"), |_| {});
        ui.add_space(theme::GAP);
        match saving.total {
            None => {
                ui.horizontal(|ui| {
                    ui.add(Spinner::new().size(theme::FAR));
                    ui.label(words.say("saving-preparing"));
                });
            }
            Some(total) => progress(ui, scene, saving, total),
        }
        quiet(ui, scene, &words.say("saving-cancel-hint"));
    });
}

/// How much is done, how fast it goes, and how long it will take.
pub fn progress(ui: &mut Ui, scene: &Scene<'_>, saving: &Saving, total: u64) {
    let words = scene.words;
    let part = if total == 0 { 1.0 } else { saving.done as f64 / total as f64 };
    ui.add(ProgressBar::new(part as f32).desired_height(theme::BAR).fill(scene.palette.action).text(
        RichText::new(format!("{} %", (part * 100.0) as u64)).color(if part > 0.1 {
            scene.palette.on_action
        } else {
            scene.palette.text
        }),
    ));
    ui.horizontal_wrapped(|ui| {
        let (done, total) = (words.bytes(saving.done), words.bytes(total));
        ui.label(words.with("saving-progress", [("done", done.into()), ("total", total.into())]));
        if let Some(speed) = saving.speed {
            ui.label(words.with("saving-speed", [("speed", words.bytes(speed).into())]));
        }
        if let Some(left) = saving.left {
            ui.label(words.with("saving-left", [("time", words.duration(left).into())]));
        }
    });
}
