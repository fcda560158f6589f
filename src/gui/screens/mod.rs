//! The screens: one for each thing that the session can be doing, pages that lie over it, and dialogs over everything.

use eframe::egui::{self, Frame, Margin, Panel, RichText, Ui};

use crate::gui::model::{Confirm, Intent, Model, Page, Stage};
use crate::gui::scene::Scene;
use crate::gui::theme;
use crate::gui::widgets::wants;
use crate::session::status::State;

mod about;
mod asked;
mod choosing;
mod dialog;
mod done;
mod failed;
mod history;
mod log;
mod plot;
mod ready;
mod recovery;
mod running;
mod saving;
mod settings;
mod why;
mod working;

/// Which screen is shown: changes when the keyboard should go to the one next thing of a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    page: Page,
    stage: std::mem::Discriminant<Stage>,
    state: Option<State>,
    /// What a start would do is known.
    is_planned: bool,
    confirm: Option<Confirm>,
}

impl Shown {
    /// What is shown of `model`.
    pub fn of(model: &Model) -> Shown {
        let state = matches!(model.stage, Stage::Ready).then_some(model.status.as_ref()).flatten();
        Shown {
            page: model.page,
            stage: std::mem::discriminant(&model.stage),
            state: state.map(|status| status.state),
            is_planned: model.plan.is_some(),
            confirm: model.confirm.clone(),
        }
    }
}

/// Draws everything.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    if scene.model.confirm.is_some() {
        ui.add_enabled_ui(false, |ui| below(ui, scene));
        dialog::show(ui, scene);
    } else {
        below(ui, scene);
    }
}

fn below(ui: &mut Ui, scene: &Scene<'_>) {
    bar(ui, scene);
    match scene.model.page {
        Page::Main => stage(ui, scene),
        Page::History => history::show(ui, scene),
        Page::Log => log::show(ui, scene),
        Page::Settings => settings::show(ui, scene),
        Page::About => about::show(ui, scene),
    }
}

fn stage(ui: &mut Ui, scene: &Scene<'_>) {
    match &scene.model.stage {
        Stage::Looking => working::looking(ui, scene),
        Stage::Choosing(drives) => choosing::show(ui, scene, drives),
        Stage::Ready => match scene.model.status.as_ref().map(|status| status.state) {
            Some(State::LeftOver | State::Elsewhere | State::InUse) => recovery::show(ui, scene),
            Some(State::Clean) | None => ready::show(ui, scene),
        },
        Stage::Working(step) => working::show(ui, scene, *step),
        Stage::Running => running::show(ui, scene),
        Stage::Asked(asked) => asked::show(ui, scene, asked),
        Stage::Saving(saving) => saving::show(ui, scene, saving),
        Stage::Done(outcome) => done::show(ui, scene, *outcome),
        Stage::Failed(failure) => failed::show(ui, scene, failure),
    }
}

/// The pages, from wherever one is.
fn bar(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, model) = (scene.words, scene.model);
    let frame = Frame::new()
        .fill(scene.palette.ground)
        .inner_margin(Margin::symmetric(theme::MARGIN, theme::NEAR as i8));
    Panel::top("bar").resizable(false).frame(frame).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            if model.page != Page::Main {
                let back = ui.button(words.say("back"));
                wants(scene, &back, || Intent::Show(Page::Main));
                if ui.input(|input| input.key_pressed(egui::Key::Escape)) && model.confirm.is_none() {
                    scene.want(Intent::Show(Page::Main));
                }
            }
            let pages = [
                (Page::History, "page-history"),
                (Page::Log, "page-log"),
                (Page::Settings, "page-settings"),
                (Page::About, "page-about"),
            ];
            for (page, key) in pages {
                // There is no history without a drive.
                if page == Page::History && model.status.is_none() {
                    continue;
                }
                let is_shown = model.page == page;
                let response = ui.selectable_label(is_shown, RichText::new(words.say(key)));
                if !is_shown {
                    wants(scene, &response, || Intent::Show(page));
                }
            }
        });
    });
}
