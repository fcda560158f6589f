//! What the machine will run on, why, and what else there is.

use eframe::egui::{RichText, Ui};

use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::signs::{Sign, sign};
use crate::gui::theme;
use crate::gui::widgets::{quiet, wants};
use crate::gui::words::Words;
use crate::hypervisor::{self, Candidate, Rejection};
use crate::session::plan::{Choice, Plan};

/// The choice, and the reasons behind one click.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let (words, unfolded) = (scene.words, scene.model.unfolded);
    ui.horizontal_wrapped(|ui| {
        match &plan.hypervisor {
            Some(choice) => {
                let version = choice.version.as_deref().unwrap_or_default();
                ui.label(words.with(
                    "ready-with",
                    [
                        ("hypervisor", hypervisor::title(&choice.hypervisor).into()),
                        ("version", version.into()),
                        ("accelerator", accelerator(words, &choice.accelerator).into()),
                    ],
                ));
            }
            None => {
                ui.label(words.say("refusal-no-hypervisor"));
            }
        }
        let why = ui.button(words.say(if unfolded { "ready-why-hide" } else { "ready-why" }));
        wants(scene, &why, || Intent::Unfold(!unfolded));
    });
    if !unfolded {
        return;
    }
    ui.label(RichText::new(words.say("ready-why-title")).strong());
    if scene.model.candidates.is_empty() {
        ui.label(words.say("ready-nothing-found"));
    }
    let mut chosen = plan.hypervisor.as_ref();
    let mut offered: Vec<(String, String)> =
        chosen.iter().map(|choice| (choice.hypervisor.clone(), choice.accelerator.clone())).collect();
    for candidate in &scene.model.candidates {
        let version = candidate.version.as_deref().unwrap_or_default();
        ui.label(format!(
            "{} {version}  {}",
            hypervisor::title(&candidate.hypervisor),
            candidate.program.display()
        ));
        ui.indent(&candidate.program, |ui| {
            if let Some(rejected) = &candidate.rejected {
                rejection(ui, scene, "", rejected);
                return;
            }
            accelerators(ui, scene, candidate, &mut chosen, &mut offered);
        });
    }
}

fn accelerators(
    ui: &mut Ui,
    scene: &Scene<'_>,
    candidate: &Candidate,
    chosen: &mut Option<&Choice>,
    offered: &mut Vec<(String, String)>,
) {
    let words = scene.words;
    for one in &candidate.accelerators {
        let name = accelerator(words, &one.name);
        let pair = (candidate.hypervisor.clone(), one.name.clone());
        if let Some(rejected) = &one.rejected {
            rejection(ui, scene, &name, rejected);
            continue;
        }
        // The first that is usable is taken.
        let is_it = |choice: &mut &Choice| {
            (&choice.hypervisor, &choice.accelerator) == (&pair.0, &pair.1)
                && choice.version == candidate.version
        };
        let is_chosen = chosen.take_if(is_it).is_some();
        let verdict = words.say(if is_chosen { "ready-chosen" } else { "ready-usable" });
        ui.horizontal_wrapped(|ui| {
            if is_chosen {
                sign(ui, Sign::Check, theme::TEXT, scene.palette.good);
            }
            ui.label(format!("{name}: {verdict}"));
            // The session takes the first that has this name, and so does the offer.
            if !is_chosen && !offered.contains(&pair) {
                offered.push(pair.clone());
                let title = hypervisor::title(&candidate.hypervisor);
                let instead = ui.button(words.with(
                    "ready-use",
                    [("hypervisor", title.into()), ("accelerator", name.as_str().into())],
                ));
                let (hypervisor, accelerator) = pair.clone();
                wants(scene, &instead, || Intent::RunOn { hypervisor, accelerator });
            }
        });
        if let Some(rate) = one.rate {
            let millions = words.decimal(rate as f64 / 1000.0, 1);
            quiet(ui, scene, &words.with("ready-rate", [("rate", millions.into())]));
        }
    }
}

/// The reason is the door's own, in English.
fn rejection(ui: &mut Ui, scene: &Scene<'_>, name: &str, rejected: &Rejection) {
    let words = scene.words;
    let reason = words.with("ready-not-usable", [("reason", rejected.reason.as_str().into())]);
    ui.label(if name.is_empty() { reason } else { format!("{name}: {reason}") });
    if let Some(fix) = &rejected.fix {
        quiet(ui, scene, &words.with("ready-fix", [("fix", fix.as_str().into())]));
    }
}

/// As people write it.
fn accelerator(words: &Words, name: &str) -> String {
    match name {
        "hardware" | "interpreter" => words.say(&format!("accelerator-{name}")),
        other => other.to_uppercase(),
    }
}
