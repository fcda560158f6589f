//! The session waits for a decision.

use eframe::egui::{RichText, Ui};

use super::recovery::left_text;
use crate::gui::model::{Asked, Confirm, Intent};
use crate::gui::scene::Scene;
use crate::gui::widgets::{Tone, destructive, details, page, panel, primary, quiet, secondary, title, wants};
use crate::hypervisor::Ending;
use crate::session::event::{Answer, Subject};

/// The question with its answers; what throws changes away asks once more.
pub fn show(ui: &mut Ui, scene: &Scene<'_>, asked: &Asked) {
    let (words, answers) = (scene.words, &asked.question.answers);
    let foot = |ui: &mut Ui| {
        if answers.contains(&Answer::Merge) {
            let save = primary(ui, scene, words.say("unclean-save"), true);
            wants(scene, &save, || Intent::Answer(Answer::Merge));
        }
        if answers.contains(&Answer::Later) {
            let later = secondary(ui, words.say("unclean-later"));
            wants(scene, &later, || Intent::Answer(Answer::Later));
        }
        if answers.contains(&Answer::Accept) {
            let accept = secondary(ui, words.say("question-accept"));
            wants(scene, &accept, || Intent::Answer(Answer::Accept));
        }
        if answers.contains(&Answer::Discard) {
            let discard = destructive(ui, scene, words.say("unclean-discard"));
            let at_stake = asked.at_stake(&scene.model.run);
            wants(scene, &discard, || Intent::Ask(Confirm::DiscardAnswer(at_stake)));
        }
    };
    page(ui, scene, foot, |ui| {
        match &asked.question.subject {
            Subject::Unclean(ending) => {
                let key = match ending {
                    Ending::Panicked => "unclean-panicked",
                    Ending::HypervisorDied { .. } | Ending::WrittenElsewhere { .. } => "unclean-died",
                    Ending::Hibernated { .. } => "unclean-hibernated",
                    Ending::Forced | Ending::PoweredOff => "unclean-forced",
                };
                title(ui, &words.say(key));
                panel(ui, scene, Tone::Attention, &words.say("unclean-safe"), |ui| {
                    ui.label(RichText::new(words.say("unclean-text")).strong());
                    // How that is avoided.
                    if let Ending::Hibernated { detail } = ending {
                        quiet(ui, scene, detail);
                    }
                });
            }
            Subject::Leftover(left) => {
                title(ui, &words.say("leftover-title"));
                panel(ui, scene, Tone::Attention, &left_text(scene, left), |ui| {
                    ui.label(words.say("leftover-safe-changes"));
                });
            }
            Subject::PlainScratch { .. } => {
                title(ui, &words.say("ready-consent-title"));
                panel(ui, scene, Tone::Attention, &words.say("ready-consent-text"), |_| {});
            }
            Subject::GiveUp(_) | Subject::Confirm => {
                title(ui, &words.say("question-title"));
            }
        }
        details(ui, scene, &[&asked.question.text]);
    });
}
