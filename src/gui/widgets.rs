//! What every screen is made of.

use eframe::egui::{
    Align, Button, CentralPanel, Frame, Layout, Margin, Panel, Response, RichText, Role, ScrollArea, Stroke,
    Ui, Vec2,
};

use super::log::word;
use super::model::Intent;
use super::scene::Scene;
use super::signs::{Sign, sign};
use super::theme;

/// A page: what it says, and at its foot what can be done, the one next thing at the right.
pub fn page(ui: &mut Ui, scene: &Scene<'_>, foot: impl FnOnce(&mut Ui), body: impl FnOnce(&mut Ui)) {
    let frame = |fill| Frame::new().fill(fill).inner_margin(Margin::symmetric(theme::MARGIN, theme::INSET));
    Panel::bottom("foot")
        .resizable(false)
        .frame(frame(scene.palette.ground))
        .show(ui, |ui| choices(ui, foot));
    CentralPanel::default().frame(frame(scene.palette.ground)).show(ui, |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let spare = (ui.available_width() - theme::MEASURE).max(0.0) / 2.0;
            let width = ui.available_width().min(theme::MEASURE);
            ui.horizontal_top(|ui| {
                ui.add_space(spare);
                ui.vertical(|ui| {
                    ui.set_width(width);
                    body(ui);
                });
            });
        });
    });
}

/// What can be done, from the right to the left, in as many rows as it takes.
pub fn choices(ui: &mut Ui, buttons: impl FnOnce(&mut Ui)) {
    let row = Vec2::new(ui.available_width(), theme::BUTTON.y);
    ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center).with_main_wrap(true), buttons);
}

/// The one next thing. It has the keyboard when its page comes up.
pub fn primary(ui: &mut Ui, scene: &Scene<'_>, text: String, is_possible: bool) -> Response {
    let label = RichText::new(text).color(scene.palette.on_action).strong();
    let button = Button::new(label).fill(scene.palette.action).min_size(theme::BUTTON);
    let response = ui.add_enabled(is_possible, button);
    if scene.is_new && is_possible {
        response.request_focus();
    }
    response
}

/// Something else that can be done.
pub fn secondary(ui: &mut Ui, text: String) -> Response {
    ui.add(Button::new(text).min_size(theme::BUTTON))
}

/// As [`secondary`], and it has the keyboard when its dialog comes up.
pub fn safe_choice(ui: &mut Ui, scene: &Scene<'_>, text: String) -> Response {
    let response = secondary(ui, text);
    if scene.is_new {
        response.request_focus();
    }
    response
}

/// Something that can't be taken back. Never the default.
pub fn destructive(ui: &mut Ui, scene: &Scene<'_>, text: String) -> Response {
    let label = RichText::new(text).color(scene.palette.danger);
    ui.add(Button::new(label).stroke(Stroke::new(1.0, scene.palette.danger)).min_size(theme::BUTTON))
}

/// A button that means `intent`.
pub fn wants(scene: &Scene<'_>, response: &Response, intent: impl FnOnce() -> Intent) {
    if response.clicked() {
        scene.want(intent());
    }
}

/// The title of a page, which screen readers can jump to.
pub fn title(ui: &mut Ui, text: &str) {
    let response = ui.heading(RichText::new(text).strong());
    heading(ui, &response, text);
    ui.add_space(theme::NEAR);
}

/// Screen readers can jump to what is a heading, and read its label.
pub fn heading(ui: &Ui, response: &Response, text: &str) {
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_role(Role::Heading);
        node.clear_value();
        node.set_label(text);
    });
}

/// What a group is about.
pub fn caption(ui: &mut Ui, text: &str) -> Response {
    ui.label(RichText::new(text).strong())
}

/// What is said besides.
pub fn quiet(ui: &mut Ui, scene: &Scene<'_>, text: &str) {
    ui.label(RichText::new(text).color(scene.palette.quiet).size(theme::SMALL));
}

/// A group with a caption.
pub fn card(ui: &mut Ui, scene: &Scene<'_>, text: &str, body: impl FnOnce(&mut Ui)) {
    theme::card(scene.palette).show(ui, |ui| {
        ui.set_width(ui.available_width());
        caption(ui, text);
        body(ui);
    });
}

/// How something is meant, by a sign and a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is well.
    Good,
    /// It wants attention.
    Attention,
    /// It failed.
    Bad,
}

/// A calm panel: what is the matter, what is safe, what to do.
pub fn panel(ui: &mut Ui, scene: &Scene<'_>, tone: Tone, text: &str, body: impl FnOnce(&mut Ui)) {
    let (kind, colour) = match tone {
        Tone::Good => (Sign::Check, scene.palette.good),
        Tone::Attention => (Sign::Attention, scene.palette.attention),
        Tone::Bad => (Sign::Cross, scene.palette.danger),
    };
    theme::card(scene.palette).stroke(Stroke::new(1.5, colour)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_wrapped(|ui| {
            sign(ui, kind, theme::TEXT, colour);
            ui.label(RichText::new(text).color(colour).strong());
        });
        body(ui);
    });
}

/// What the session found out that the user should know of.
pub fn notices(ui: &mut Ui, scene: &Scene<'_>) {
    for (code, text) in &scene.model.run.told {
        let said = scene.words.say(&format!("log-notice-{}", word(code)));
        panel(ui, scene, Tone::Attention, &said, |ui| quiet(ui, scene, text));
    }
}

/// Technical details that the user may unfold.
pub fn details(ui: &mut Ui, scene: &Scene<'_>, lines: &[&str]) {
    let (words, unfolded) = (scene.words, scene.model.unfolded);
    let key = if unfolded { "details-hide" } else { "details" };
    let response = ui.button(words.say(key));
    wants(scene, &response, || Intent::Unfold(!unfolded));
    if unfolded {
        theme::card(scene.palette).show(ui, |ui| {
            ui.set_width(ui.available_width());
            for line in lines {
                ui.label(RichText::new(*line).monospace());
            }
        });
    }
}
