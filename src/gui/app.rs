//! The window as eframe runs it: messages in, a frame out, orders carried out.

use std::sync::mpsc::Receiver;

use eframe::egui::{Context, TextureHandle, Ui, ViewportCommand};
use eframe::{App, Frame};
use jiff::Timestamp;

use super::desk::{Desk, Message, Order};
use super::model::{Intent, Model};
use super::scene::Scene;
use super::screens::{self, Shown};
use super::words::Words;
use super::{picture, report, theme};
use crate::drive::Settings;

/// Somebody who carries out what the window orders.
pub trait Hands {
    /// Does it.
    fn carry_out(&mut self, order: Order);
}

impl Hands for Desk {
    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Do(job) => self.give(job),
            Order::Control(control) => self.control(control),
            // These are the window's.
            Order::Copy | Order::Close => {}
        }
    }
}

/// The window.
pub struct Window<H> {
    model: Model,
    words: Words,
    locales: Vec<String>,
    hands: H,
    messages: Receiver<Message>,
    renderer: &'static str,
    picture: Option<TextureHandle>,
    /// What the last frame showed.
    shown: Option<Shown>,
    title: String,
    clock: fn() -> Timestamp,
    /// Frames so far, as far as they are counted.
    frames: u8,
}

impl<H: Hands> Window<H> {
    /// A window that shows `model`, is told `messages`, and has its orders carried out by `hands`.
    pub fn new(
        context: &Context,
        model: Model,
        words: Words,
        locales: Vec<String>,
        hands: H,
        messages: Receiver<Message>,
        renderer: &'static str,
    ) -> Window<H> {
        theme::dress(context);
        theme::apply(context, &model.settings);
        let (picture, shown, title, clock) = (None, None, String::new(), Timestamp::now as fn() -> Timestamp);
        let frames = 0;
        Window { model, words, locales, hands, messages, renderer, picture, shown, title, clock, frames }
    }

    /// Tells the time by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Timestamp) -> Window<H> {
        self.clock = clock;
        self
    }

    /// What is shown.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Who carries out the orders.
    pub fn hands(&mut self) -> &mut H {
        &mut self.hands
    }

    /// Looks at the drive, as if the user had asked for it.
    pub fn look(&mut self, context: &Context) {
        self.want(context, Intent::Look);
    }

    /// Says in the log when the first frame is on the screen: the second one begins after it.
    fn count_frame(&mut self, context: &Context) {
        match self.frames {
            0 => context.request_repaint(),
            1 => tracing::info!(renderer = self.renderer, "the first frame is shown"),
            _ => return,
        }
        self.frames += 1;
    }

    fn want(&mut self, context: &Context, intent: Intent) {
        let orders = self.model.want(intent);
        self.carry_out(context, orders);
    }

    fn carry_out(&mut self, context: &Context, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Copy => context.copy_text(report::report(&self.model, self.renderer)),
                Order::Close => context.send_viewport_cmd(ViewportCommand::Close),
                order => self.hands.carry_out(order),
            }
        }
    }

    /// Takes in everything that was said since the last frame.
    fn hear(&mut self, context: &Context) {
        let before = self.model.settings.clone();
        while let Ok(message) = self.messages.try_recv() {
            let is_status = matches!(message, Message::Status { .. });
            let orders = self.model.hear(message, (self.clock)());
            if is_status {
                let bytes = self.model.picture.as_deref();
                self.picture = bytes.and_then(|bytes| picture::load(context, bytes));
            }
            self.carry_out(context, orders);
        }
        self.settle_in(context, &before);
    }

    /// Looks and speaks as the settings say now.
    fn settle_in(&mut self, context: &Context, before: &Settings) {
        if self.model.settings != *before {
            if self.model.settings.language != before.language {
                self.words = Words::new(self.model.settings.language.as_deref(), &self.locales);
            }
            theme::apply(context, &self.model.settings);
        }
        let title = match self.model.machine() {
            Some(machine) => self.words.with("window-title", [("machine", machine.into())]),
            None => self.words.say("window-title-plain"),
        };
        if title != self.title {
            context.send_viewport_cmd(ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }
}

impl<H: Hands> App for Window<H> {
    fn logic(&mut self, context: &Context, _: &mut Frame) {
        self.model.now = (self.clock)();
        self.hear(context);
        let is_asked_to_close = context.input(|input| input.viewport().close_requested());
        if is_asked_to_close && self.model.is_busy() {
            context.send_viewport_cmd(ViewportCommand::CancelClose);
            self.want(context, Intent::Close);
        }
    }

    fn ui(&mut self, ui: &mut Ui, _: &mut Frame) {
        self.count_frame(&ui.ctx().clone());
        let shown = Shown::of(&self.model);
        let is_new = self.shown.as_ref() != Some(&shown);
        let palette = theme::palette(ui.ctx().theme());
        let scene = Scene::new(&self.model, &self.words, palette, self.picture.as_ref(), is_new);
        screens::show(ui, &scene);
        let wanted = scene.wanted();
        self.shown = Some(shown);
        let before = self.model.settings.clone();
        let is_wanted = !wanted.is_empty();
        for intent in wanted {
            self.want(&ui.ctx().clone(), intent);
        }
        if is_wanted {
            // What came of it is shown at once.
            ui.ctx().request_repaint();
            self.settle_in(&ui.ctx().clone(), &before);
        }
    }
}
