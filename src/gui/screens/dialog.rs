//! The window's own questions, over everything. The safe answer has the keyboard, and Escape means it.

use eframe::egui::{Id, Modal, Ui};

use crate::gui::model::{Confirm, Intent, Stage};
use crate::gui::scene::Scene;
use crate::gui::theme;
use crate::gui::widgets::{choices, destructive, safe_choice, secondary, title, wants};
use crate::session::event::{Answer, Step};
use crate::session::history::Direction;

/// What a dialog says and offers.
struct Dialog {
    title: String,
    text: String,
    /// What leaves everything as it is.
    stay: String,
    /// What else there is: its text, what it means, and whether it is destructive.
    choices: Vec<(String, Intent, bool)>,
}

/// The dialog that is to be confirmed.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let Some(confirm) = &scene.model.confirm else { return };
    let dialog = dialog(scene, confirm);
    let frame = theme::card(scene.palette).inner_margin(theme::MARGIN);
    let shown = Modal::new(Id::unique("dialog")).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(theme::DIALOG.min(ui.ctx().content_rect().width() - 2.0 * f32::from(theme::MARGIN)));
        title(ui, &dialog.title);
        ui.label(&dialog.text);
        ui.add_space(theme::FAR);
        choices(ui, |ui| {
            let stay = safe_choice(ui, scene, dialog.stay);
            wants(scene, &stay, || Intent::Dismiss);
            for (text, intent, is_destructive) in dialog.choices {
                let choice = if is_destructive { destructive(ui, scene, text) } else { secondary(ui, text) };
                wants(scene, &choice, || intent);
            }
        });
    });
    if shown.should_close() {
        scene.want(Intent::Dismiss);
    }
}

fn dialog(scene: &Scene<'_>, confirm: &Confirm) -> Dialog {
    let words = scene.words;
    match confirm {
        Confirm::Force => Dialog {
            title: words.say("force-title"),
            text: words.say("force-text"),
            stay: words.say("force-no"),
            choices: vec![(words.say("force-yes"), Intent::ForceOff, true)],
        },
        Confirm::Discard(bytes) | Confirm::DiscardAnswer(bytes) => {
            let intent = match confirm {
                Confirm::Discard(_) => Intent::Discard,
                _ => Intent::Answer(Answer::Discard),
            };
            Dialog {
                title: words.say("discard-title"),
                text: {
                    let is_running = scene.model.leftover().is_some_and(|left| left.running);
                    let key = if is_running { "discard-text-running" } else { "discard-text" };
                    words.with(key, [("size", words.bytes(*bytes).into())])
                },
                stay: words.say("discard-no"),
                choices: vec![(words.say("discard-yes"), intent, true)],
            }
        }
        Confirm::GiveUp(host) => Dialog {
            title: words.say("give-up-title"),
            text: words.with("give-up-text", [("host", host.as_str().into())]),
            stay: words.say("give-up-no"),
            choices: vec![(words.say("give-up-yes"), Intent::GiveUp, true)],
        },
        Confirm::Undo(number, time) => {
            let when = time.map(|time| words.moment(time, scene.model.now)).unwrap_or_default();
            Dialog {
                title: words.say("undo-title"),
                text: words.with("undo-text", [("when", when.into())]),
                stay: words.say("undo-no"),
                choices: vec![(words.say("undo-yes"), Intent::Travel(Direction::Undo, Some(*number)), false)],
            }
        }
        Confirm::Close => close(scene),
    }
}

/// What closing the window can mean depends on what is under way.
fn close(scene: &Scene<'_>) -> Dialog {
    let words = scene.words;
    match scene.model.stage {
        Stage::Running => Dialog {
            title: words.say("close-title"),
            text: words.say("close-text"),
            stay: words.say("close-stay"),
            choices: vec![
                (words.say("close-shut-down"), Intent::ShutDown, false),
                (words.say("close-force"), Intent::Ask(Confirm::Force), true),
            ],
        },
        Stage::Saving(_) => Dialog {
            title: words.say("close-saving-title"),
            text: words.say("close-saving-text"),
            stay: words.say("close-saving-stay"),
            choices: vec![(words.say("close-saving-cancel"), Intent::CloseNow, false)],
        },
        Stage::Working(step) if scene.model.is_starting() && step.is_none_or(|step| step < Step::Launch) => {
            Dialog {
                title: words.say("close-starting-title"),
                text: words.say("close-starting-text"),
                stay: words.say("close-starting-stay"),
                choices: vec![(words.say("close-starting-stop"), Intent::CloseNow, false)],
            }
        }
        _ => Dialog {
            title: words.say("close-working-title"),
            text: words.say("close-working-text"),
            stay: words.say("close-working-stay"),
            choices: vec![(words.say("close-working-then"), Intent::CloseLater, false)],
        },
    }
}
