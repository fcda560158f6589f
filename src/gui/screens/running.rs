//! The guest runs: what is unsaved, what it takes of this PC, what can be done.

use eframe::egui::{RichText, Ui};

use super::plot;
use crate::gui::log::word;
use crate::gui::model::{Confirm, Intent};
use crate::gui::scene::Scene;
use crate::gui::signs::{Sign, sign};
use crate::gui::theme;
use crate::gui::widgets::{Tone, card, destructive, notices, page, panel, primary, quiet, title, wants};
use crate::session::event::Notice;

/// The screen of a running guest.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    let run = &model.run;
    let foot = |ui: &mut Ui| {
        let key = if run.shutting_down { "running-shut-down-again" } else { "running-shut-down" };
        let shut_down = primary(ui, scene, words.say(key), true);
        wants(scene, &shut_down, || Intent::ShutDown);
        let force = destructive(ui, scene, words.say("running-force"));
        wants(scene, &force, || Intent::Ask(Confirm::Force));
    };
    page(ui, scene, foot, |ui| {
        let machine = model.machine().unwrap_or_default();
        title(ui, &words.with("running-title", [("machine", machine.into())]));
        ui.horizontal_wrapped(|ui| {
            let time = words.duration(run.seconds);
            ui.label(words.with("running-time", [("time", time.into())]));
            if run.is_paused() {
                sign(ui, Sign::Pause, theme::TEXT, scene.palette.attention);
                ui.label(RichText::new(words.say("running-paused")).strong());
            }
        });
        for code in run.troubles.iter().rev() {
            trouble(ui, scene, *code);
        }
        if run.is_paused() {
            // One thing at a time.
        } else if run.shutting_down {
            panel(ui, scene, Tone::Attention, &words.say("running-shutting-down"), |ui| {
                ui.label(words.say("running-shutting-down-text"));
            });
        } else if run.troubles.is_empty() {
            ui.label(words.say("running-text"));
        }
        notices(ui, scene);
        if !run.changes.is_empty() {
            let count = run.changes.len() as u64;
            quiet(ui, scene, &words.with("running-changes", [("count", count.into())]));
            run.changes.iter().for_each(|change| quiet(ui, scene, change));
        }
        unsaved(ui, scene);
        ui.label(words.with("running-memory", [("size", words.bytes(run.memory).into())]));
        ui.label(words.with("running-room", [("size", words.bytes(run.room).into())]));
        let keys = model.plan.as_ref().and_then(|plan| plan.hypervisor.as_ref()?.release_keys.as_deref());
        if let Some(keys) = keys {
            quiet(ui, scene, &words.with("running-keys", [("keys", keys.into())]));
        }
    });
}

/// One calm panel: what is the matter, what is safe, what to do.
fn trouble(ui: &mut Ui, scene: &Scene<'_>, code: Notice) {
    let (words, key) = (scene.words, word(&code));
    panel(ui, scene, Tone::Attention, &words.say(&format!("trouble-{key}")), |ui| {
        ui.label(words.say(&format!("trouble-{key}-safe")));
        ui.label(RichText::new(words.say(&format!("trouble-{key}-next"))).strong());
    });
}

/// What exists only on this PC, in figures and over time.
fn unsaved(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    card(ui, scene, &words.say("running-unsaved"), |ui| {
        let kept = |disk: &str| {
            let planned = model.plan.as_ref().and_then(|plan| plan.disks.iter().find(|one| one.name == disk));
            planned.is_none_or(|planned| planned.keep)
        };
        for (number, (disk, bytes)) in model.run.unsaved.iter().enumerate() {
            let key = if kept(disk) { "running-unsaved-disk" } else { "running-discarded-disk" };
            let size = words.bytes(*bytes);
            ui.horizontal_wrapped(|ui| {
                plot::sample(ui, scene, number);
                ui.label(words.with(key, [("disk", disk.as_str().into()), ("size", size.into())]));
            });
        }
        plot::show(ui, scene);
    });
}
