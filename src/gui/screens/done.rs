//! It ended well: "You can unplug now", which is shown only when it is true.

use eframe::egui::accesskit::Live;
use eframe::egui::{CentralPanel, Frame, Margin, Panel, RichText, ScrollArea, Ui};

use crate::gui::log::word;
use crate::gui::model::{Intent, Task};
use crate::gui::scene::Scene;
use crate::gui::signs::{Sign, sign};
use crate::gui::theme;
use crate::gui::widgets::{choices, heading, primary, secondary, wants};
use crate::session::event::Outcome;
use crate::session::history::Direction;

/// The whole window says it.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, outcome: Outcome) {
    let (words, palette) = (scene.words, scene.palette);
    let foot = Frame::new().fill(palette.ground).inner_margin(Margin::symmetric(theme::MARGIN, theme::INSET));
    Panel::bottom("foot").resizable(false).frame(foot).show(ui, |ui| {
        choices(ui, |ui| {
            let close = primary(ui, scene, words.say("close-window"), true);
            wants(scene, &close, || Intent::Close);
            let again = secondary(ui, words.say("done-again"));
            wants(scene, &again, || Intent::Look);
            match outcome {
                // What was saved before is not this session's.
                Outcome::Saved if matches!(scene.model.run.task, Task::TidyUp) => {}
                Outcome::Saved | Outcome::Redone => {
                    let undo = secondary(ui, words.say("done-undo"));
                    wants(scene, &undo, || Intent::Travel(Direction::Undo, None));
                }
                Outcome::Undone => {
                    let redo = secondary(ui, words.say("done-redo"));
                    wants(scene, &redo, || Intent::Travel(Direction::Redo, None));
                }
                _ => {}
            }
        });
    });
    let ground = Frame::new().fill(palette.good).inner_margin(theme::MARGIN);
    CentralPanel::default().frame(ground).show(ui, |ui| {
        let above = ((ui.available_height() - theme::UNMISTAKABLE * 5.0) / 2.0).max(0.0);
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.add_space(above);
            ui.vertical_centered(|ui| unmistakable(ui, scene, outcome));
        });
    });
}

fn unmistakable(ui: &mut Ui, scene: &Scene<'_>, outcome: Outcome) {
    let (words, colour) = (scene.words, scene.palette.on_good);
    sign(ui, Sign::Check, theme::UNMISTAKABLE * 1.6, colour);
    let told = words.say("done-unplug");
    let text = RichText::new(&told).size(theme::UNMISTAKABLE).color(colour).strong();
    let big = ui.label(text);
    heading(ui, &big, &told);
    // Read out at once, wherever the user is.
    ui.ctx().accesskit_node_builder(big.id, |node| node.set_live(Live::Assertive));
    ui.add_space(theme::FAR);
    ui.label(RichText::new(outcome_text(scene, outcome)).color(colour));
    let is_all_gone = matches!(outcome, Outcome::Saved | Outcome::Discarded | Outcome::Clean);
    if is_all_gone && scene.model.run.task != Task::GiveUp {
        ui.label(RichText::new(words.say("done-nothing-here")).color(colour));
    }
    for (code, text) in &scene.model.run.told {
        ui.add_space(theme::FAR);
        ui.label(RichText::new(words.say(&format!("log-notice-{}", word(code)))).color(colour).strong());
        ui.label(RichText::new(text).color(colour));
    }
}

fn outcome_text(scene: &Scene<'_>, outcome: Outcome) -> String {
    let words = scene.words;
    match outcome {
        Outcome::Saved if scene.model.run.task == Task::TidyUp => words.say("done-tidied"),
        Outcome::Saved | Outcome::Merged => match scene.model.run.saved {
            Some(bytes) if bytes > 0 => words.with("done-saved", [("size", words.bytes(bytes).into())]),
            _ => words.say("done-saved-nothing"),
        },
        Outcome::Discarded => words.say(match scene.model.run.task {
            Task::GiveUp => "done-given-up",
            Task::TidyUp => "done-tidied",
            _ => "done-discarded",
        }),
        Outcome::SetAside => words.say("done-set-aside"),
        // The notices tell.
        Outcome::Clean if !scene.model.run.told.is_empty() => String::new(),
        Outcome::Clean if scene.model.run.task == Task::TidyUp => words.say("done-tidied"),
        Outcome::Clean | Outcome::Compacted => words.say("done-clean"),
        Outcome::Undone => words.say("done-undone"),
        Outcome::Redone => words.say("done-redone"),
    }
}
