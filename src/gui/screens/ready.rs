//! Before the start: what will happen, and the one next thing.

use std::ops::RangeInclusive;

use eframe::egui::emath::Numeric;
use eframe::egui::{Align2, FontId, Grid, Image, RichText, Sense, Slider, SliderClamping, Spinner, Ui, Vec2};

use super::why;
use crate::gui::model::Intent;
use crate::gui::scene::Scene;
use crate::gui::theme;
use crate::gui::widgets::{Tone, card, page, panel, primary, quiet, secondary, title, wants};
use crate::session::plan::{Plan, Reason, Refusal};

const MIB: u64 = 1 << 20;

/// Memory is chosen in steps of this many MiB.
const STEP: u64 = 128;

/// The first screen.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    let machine = model.machine().unwrap_or_default();
    let foot = |ui: &mut Ui| {
        let start = primary(ui, scene, words.say("ready-start"), model.may_start());
        wants(scene, &start, || Intent::Start);
        start.on_hover_text(words.with("ready-start-hint", [("machine", machine.into())]));
        if model.plan.as_ref().is_some_and(|plan| !plan.refusals.is_empty()) {
            let again = secondary(ui, words.say("look-again"));
            wants(scene, &again, || Intent::Look);
        }
    };
    page(ui, scene, foot, |ui| {
        head(ui, scene, machine);
        let Some(plan) = &model.plan else {
            ui.horizontal(|ui| {
                ui.add(Spinner::new().size(theme::FAR));
                ui.label(words.say("ready-checking"));
            });
            return;
        };
        refusals(ui, scene, plan);
        consent(ui, scene, plan);
        card(ui, scene, &words.say("ready-runs-on"), |ui| {
            why::show(ui, scene, plan);
            limits(ui, scene, plan);
        });
        resources(ui, scene, plan);
        disks(ui, scene, plan);
        room(ui, scene, plan);
    });
}

/// The machine's picture and name, and what became of the last session.
fn head(ui: &mut Ui, scene: &Scene<'_>, machine: &str) {
    let (words, model) = (scene.words, scene.model);
    ui.horizontal_top(|ui| {
        match scene.picture {
            Some(picture) => {
                ui.add(Image::new(picture).fit_to_exact_size(Vec2::splat(theme::PICTURE)).alt_text(machine));
            }
            None => initial(ui, scene, machine),
        }
        ui.vertical(|ui| {
            title(ui, machine);
            let last = model.status.as_ref().and_then(|status| status.last.as_ref());
            match last {
                Some(last) => {
                    ui.label(words.with(
                        "ready-last",
                        [
                            ("when", words.moment(last.ended, model.now).into()),
                            ("host", last.host_name.as_str().into()),
                            ("size", words.bytes(last.saved).into()),
                        ],
                    ));
                    quiet(ui, scene, &words.say("ready-clean"));
                }
                None => {
                    let is_fresh = model.status.as_ref().is_some_and(|status| status.identity.is_none());
                    ui.label(words.say(if is_fresh { "ready-fresh" } else { "ready-clean" }));
                }
            }
        });
    });
}

/// Instead of a picture: a screen with the first letter of the machine's name.
fn initial(ui: &mut Ui, scene: &Scene<'_>, machine: &str) {
    let palette = scene.palette;
    let (frame, _) = ui.allocate_exact_size(Vec2::splat(theme::PICTURE), Sense::empty());
    ui.painter().rect_filled(frame, theme::RADIUS, palette.action);
    let letter: String = machine.chars().take(1).flat_map(char::to_uppercase).collect();
    let font = FontId::proportional(theme::UNMISTAKABLE);
    ui.painter().text(frame.center(), Align2::CENTER_CENTER, letter, font, palette.on_action);
}

/// What stands in the way, each with its remedy.
fn refusals(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    if plan.refusals.is_empty() {
        return;
    }
    let words = scene.words;
    let count = plan.refusals.len();
    panel(ui, scene, Tone::Bad, &words.with("ready-refused", [("count", count.into())]), |ui| {
        for refusal in &plan.refusals {
            let (what, fix) = refusal_words(scene, plan, refusal);
            ui.label(what);
            ui.label(RichText::new(fix).strong());
            match refusal.reason {
                Reason::Asked => {
                    let proposed = secondary(ui, words.say("ready-proposed"));
                    wants(scene, &proposed, || Intent::Proposed);
                }
                Reason::ScratchRoom { .. } => {
                    let elsewhere = secondary(ui, words.say("ready-scratch-elsewhere"));
                    wants(scene, &elsewhere, || Intent::Scratch);
                }
                _ => {}
            }
        }
    });
}

/// What is missing and what helps, in the user's language.
fn refusal_words(scene: &Scene<'_>, plan: &Plan, refusal: &Refusal) -> (String, String) {
    let words = scene.words;
    let size = |mib: u64| words.bytes(mib * MIB).into();
    let machine = || plan.machine.as_str().into();
    match refusal.reason {
        Reason::Memory { needed, spare } => (
            words.with(
                "refusal-memory",
                [("machine", machine()), ("needed", size(needed)), ("spare", size(spare))],
            ),
            words.say("refusal-memory-fix"),
        ),
        Reason::Cpus { needed, available } => (
            words.with(
                "refusal-cpus",
                [("machine", machine()), ("needed", needed.into()), ("available", available.into())],
            ),
            words.say("refusal-cpus-fix"),
        ),
        Reason::Asked => (words.say("refusal-asked"), words.say("refusal-asked-fix")),
        Reason::ScratchRoom { missing } => (
            words.with("refusal-scratch-room", [("missing", size(missing))]),
            words.say("refusal-scratch-room-fix"),
        ),
        Reason::DriveRoom { missing } => (
            words.with("refusal-drive-room", [("missing", size(missing))]),
            words.say("refusal-drive-room-fix"),
        ),
        Reason::NoWindow => (words.say("refusal-no-window"), words.say("refusal-no-window-fix")),
        Reason::NoHypervisor => (words.say("refusal-no-hypervisor"), words.say("refusal-no-hypervisor-fix")),
        Reason::Unsettled => (words.say("refusal-unsettled"), words.say("refusal-unsettled-fix")),
    }
}

/// Changes lie on this PC without encryption: the user accepts it, or the owner has.
fn consent(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let words = scene.words;
    if plan.needs_consent {
        panel(ui, scene, Tone::Attention, &words.say("ready-consent-title"), |ui| {
            ui.label(words.say("ready-consent-text"));
            if let Some(copied) = plan.copied {
                ui.label(words.with("ready-consent-copied", [("size", words.bytes(copied).into())]));
            }
            let mut given = scene.model.options.accept_plain_scratch;
            if ui.checkbox(&mut given, words.say("ready-consent")).changed() {
                scene.want(Intent::Consent(given));
            }
        });
    } else if plan.plain_scratch {
        quiet(ui, scene, &words.say("ready-plain"));
    }
}

/// What this hypervisor needs, and what it can't.
fn limits(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let words = scene.words;
    if let Some(copied) = plan.copied {
        ui.label(words.with("ready-copied", [("size", words.bytes(copied).into())]));
    }
    if !plan.lacks.is_empty() {
        let lacks: Vec<String> = plan.lacks.iter().map(|name| words.say(&format!("device-{name}"))).collect();
        ui.label(words.with("ready-lacks", [("devices", lacks.join(", ").into())]));
    }
}

/// Memory and CPUs, as proposed or chosen within what is safe.
fn resources(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let (words, limits, options) = (scene.words, plan.limits, &scene.model.options);
    card(ui, scene, &words.say("ready-resources"), |ui| {
        let beside = ui.available_width() - theme::BESIDE_SLIDER;
        ui.spacing_mut().slider_width = beside.clamp(theme::SLIDER / 3.0, theme::SLIDER);
        Grid::new("resources").num_columns(3).show(ui, |ui| {
            // What was chosen is shown at once, before it is planned.
            let memory = options.memory.map_or(plan.memory_mib, |bytes| bytes / MIB);
            let range = limits.memory_min_mib.div_ceil(STEP)..=limits.memory_max_mib / STEP;
            if let Some(steps) = row(ui, &words.say("ready-memory"), memory.div_ceil(STEP), range) {
                scene.want(Intent::Memory(steps * STEP));
            }
            ui.label(words.bytes(memory * MIB));
            ui.end_row();
            let cpus = options.cpus.unwrap_or(plan.cpus);
            let range = limits.cpus_min..=limits.cpus_max;
            if let Some(cpus) = row(ui, &words.say("ready-cpus"), cpus, range) {
                scene.want(Intent::Cpus(cpus));
            }
            ui.label(cpus.to_string());
            ui.end_row();
        });
        if options.memory.is_some()
            || options.cpus.is_some()
            || options.hypervisor.is_some()
            || options.accelerator.is_some()
        {
            let proposed = ui.button(words.say("ready-proposed"));
            wants(scene, &proposed, || Intent::Proposed);
        }
    });
}

/// A name and, if there is a choice, a slider. Returns what was chosen just now.
fn row<N: Numeric>(ui: &mut Ui, name: &str, mut value: N, range: RangeInclusive<N>) -> Option<N> {
    let label = ui.label(name);
    if range.start() >= range.end() {
        return None;
    }
    let slider = Slider::new(&mut value, range).show_value(false).clamping(SliderClamping::Always);
    ui.add(slider).labelled_by(label.id).changed().then_some(value)
}

/// What becomes of each disk's changes.
fn disks(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let words = scene.words;
    card(ui, scene, &words.say("ready-disks"), |ui| {
        for disk in &plan.disks {
            ui.horizontal_wrapped(|ui| {
                let mut keep = disk.keep;
                let label = words.with("ready-disk-keep", [("disk", disk.name.as_str().into())]);
                if ui.checkbox(&mut keep, label).changed() {
                    scene.want(Intent::Keep(disk.name.clone(), keep));
                }
                let key = if disk.keep { "ready-disk-kept" } else { "ready-disk-discarded" };
                quiet(ui, scene, &words.say(key));
            });
        }
        if let Some(paging) = plan.paging {
            quiet(ui, scene, &words.with("ready-paging", [("size", words.bytes(paging).into())]));
        }
    });
}

/// Room on both sides.
fn room(ui: &mut Ui, scene: &Scene<'_>, plan: &Plan) {
    let words = scene.words;
    card(ui, scene, &words.say("ready-room"), |ui| {
        for (key, room) in [("ready-room-here", plan.scratch_room), ("ready-room-drive", plan.drive_room)] {
            let (free, needed) = (words.bytes(room.available), words.bytes(room.needed));
            ui.label(words.with(key, [("free", free.into()), ("needed", needed.into())]));
        }
    });
}
