//! A window on a bench: told what a session would say, asked what it shows, clicked by accessible names.

use std::sync::mpsc::{self, Sender};

use eframe::egui::accesskit::Role;
use eframe::egui::{Context, Key, Theme, Vec2, ViewportCommand, ViewportEvent, ViewportId};
use egui_kittest::kittest::NodeT;
use egui_kittest::{Harness, Node, SnapshotOptions};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pocketvm::drive::{Look, Settings};
use pocketvm::gui::app::{Hands, Window};
use pocketvm::gui::desk::{Message, Order};
use pocketvm::gui::model::{Model, Stage};
use pocketvm::gui::theme;
use pocketvm::gui::words::{LANGUAGES, Words};
use pocketvm::session::Options;
use pocketvm::session::event::Event;

/// Wednesday noon, wherever the tests run.
pub fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

/// Writes orders down instead of carrying them out.
#[derive(Default)]
pub struct Notebook {
    pub orders: Vec<Order>,
}

impl Hands for Notebook {
    fn carry_out(&mut self, order: Order) {
        self.orders.push(order);
    }
}

/// A window on the bench.
pub struct Bench {
    harness: Harness<'static, Window<Notebook>>,
    says: Sender<Message>,
    closed: bool,
}

/// How a window on the bench looks and speaks.
#[derive(Clone, Copy)]
pub struct Manner {
    pub theme: Theme,
    pub language: &'static str,
}

pub const ENGLISH: Manner = Manner { theme: Theme::Dark, language: "en" };

impl Manner {
    /// As the drive would have it.
    pub fn settings(self) -> Settings {
        let look = match self.theme {
            Theme::Dark => Look::Dark,
            Theme::Light => Look::Light,
        };
        Settings { look, language: Some(self.language.to_owned()), size: 100 }
    }
}

impl Bench {
    pub fn new(manner: Manner) -> Bench {
        Bench::with_size(manner, theme::WINDOW)
    }

    pub fn with_size(manner: Manner, size: Vec2) -> Bench {
        let (says, messages) = mpsc::channel();
        let harness = Harness::builder().with_size(size).with_theme(manner.theme).build_eframe(|creation| {
            let model = Model::new(Options::default(), manner.settings(), now());
            let language = LANGUAGES.into_iter().find(|one| one.code == manner.language).unwrap();
            let words = Words::of(language, TimeZone::UTC);
            let context: &Context = &creation.egui_ctx;
            Window::new(context, model, words, vec![], Notebook::default(), messages, "none").with_clock(now)
        });
        let mut bench = Bench { harness, says, closed: false };
        bench.settle();
        bench
    }

    /// Tells the window something, and lets it draw.
    pub fn say(&mut self, message: Message) -> &mut Bench {
        self.says.send(message).unwrap();
        self.settle()
    }

    /// Tells the window an event of the session.
    pub fn event(&mut self, event: Event) -> &mut Bench {
        self.say(Message::Event(event))
    }

    /// As [`Bench::event`], without a frame.
    pub fn event_quietly(&mut self, event: Event) {
        self.says.send(Message::Event(event)).unwrap();
    }

    /// The window's own close button.
    pub fn close(&mut self) -> &mut Bench {
        let viewports = &mut self.harness.input_mut().viewports;
        viewports.entry(ViewportId::ROOT).or_default().events.push(ViewportEvent::Close);
        self.harness.step();
        let commands = self.commands();
        self.closed |= !commands.contains(&ViewportCommand::CancelClose);
        self.harness.input_mut().viewports.entry(ViewportId::ROOT).or_default().events.clear();
        self.settle()
    }

    /// Frames until everything is in its place. What turns while one waits never is.
    pub fn settle(&mut self) -> &mut Bench {
        for _ in 0..4 {
            self.harness.step();
            self.closed |= self.commands().contains(&ViewportCommand::Close);
        }
        self
    }

    /// What the window asked of the desktop in the last frame.
    fn commands(&self) -> Vec<ViewportCommand> {
        self.harness.output().viewport_output.values().flat_map(|output| output.commands.clone()).collect()
    }

    pub fn model(&self) -> &Model {
        self.harness.state().model()
    }

    /// What was ordered since the last call.
    pub fn orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.harness.state_mut().hands().orders)
    }

    /// Clicks what has this accessible name; screen readers and speech control find it by the same.
    pub fn click(&mut self, name: &str) -> &mut Bench {
        self.named(name).click_accesskit();
        self.settle()
    }

    /// Clicks it with the mouse, where it is.
    pub fn click_with_mouse(&mut self, name: &str) -> &mut Bench {
        self.named(name).click();
        self.settle()
    }

    pub fn key(&mut self, key: Key) -> &mut Bench {
        self.harness.key_press(key);
        self.settle()
    }

    /// So many points of the screen for each of the window's.
    pub fn magnify(&mut self, points: f32) {
        self.harness.set_pixels_per_point(points);
        self.settle();
    }

    /// The next control, with a single frame: there are many.
    pub fn tab(&mut self) {
        self.harness.key_press(Key::Tab);
        self.harness.run_steps(2);
    }

    /// Whether the window was told to close since the last frames.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The one control with this accessible name.
    pub fn named(&self, name: &str) -> Node<'_> {
        let nodes = self.controls();
        let mut found: Vec<Node<'_>> = nodes.into_iter().filter(|node| name_of(node) == name).collect();
        if found.len() > 1 {
            // Below a dialog nothing can be used.
            found.retain(|node| !node.accesskit_node().is_disabled());
        }
        assert_eq!(found.len(), 1, "controls named {name:?} among {:?}", self.names());
        found.remove(0)
    }

    pub fn has(&self, name: &str) -> bool {
        self.controls().iter().any(|node| name_of(node) == name)
    }

    pub fn is_enabled(&self, name: &str) -> bool {
        !self.named(name).accesskit_node().is_disabled()
    }

    /// Sets a slider by its accessible name.
    pub fn slide(&mut self, name: &str, value: f64) -> &mut Bench {
        self.named(name).set_value_accesskit(value);
        self.settle()
    }

    /// The name of what has the keyboard.
    pub fn focused(&self) -> Option<String> {
        self.controls().iter().find(|node| node.is_focused()).map(name_of)
    }

    /// Names of everything that can be used now, top to bottom.
    pub fn names(&self) -> Vec<String> {
        self.controls().iter().filter(|node| !node.accesskit_node().is_disabled()).map(name_of).collect()
    }

    fn controls(&self) -> Vec<Node<'_>> {
        let roles = [Role::Button, Role::CheckBox, Role::RadioButton, Role::Slider, Role::Link];
        self.harness
            .root()
            .children_recursive()
            .filter(|node| roles.contains(&node.accesskit_node().role()))
            .collect()
    }

    /// How many pictures there are, as screen readers count them.
    pub fn images(&self) -> usize {
        self.harness
            .root()
            .children_recursive()
            .filter(|node| node.accesskit_node().role() == Role::Image)
            .count()
    }

    /// Everything that is read out, one text a line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for node in self.harness.root().children_recursive() {
            let node = node.accesskit_node();
            for part in [node.label(), node.value()].into_iter().flatten() {
                text.push_str(&part);
                text.push('\n');
            }
        }
        text
    }

    /// Asserts that all of these texts are read out.
    #[track_caller]
    pub fn reads(&self, texts: &[&str]) -> &Bench {
        let all = self.text();
        for text in texts {
            assert!(all.contains(text), "{text:?} is not in:\n{all}");
        }
        self
    }

    /// Asserts that none of these texts is read out.
    #[track_caller]
    pub fn keeps_quiet(&self, texts: &[&str]) -> &Bench {
        let all = self.text();
        for text in texts {
            assert!(!all.contains(text), "{text:?} is in:\n{all}");
        }
        self
    }

    /// Compares with the picture of that name.
    pub fn picture(&mut self, name: &str) -> Result<(), String> {
        let options = SnapshotOptions::new().output_path("tests/window/pictures");
        self.harness.try_snapshot_options(name, &options).map_err(|error| error.to_string())
    }

    pub fn copied(&self) -> Option<String> {
        self.harness.output().platform_output.commands.iter().find_map(|command| match command {
            eframe::egui::OutputCommand::CopyText(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// Copies by a click; what is copied is told in the frame of the click only.
    pub fn click_to_copy(&mut self, name: &str) -> Option<String> {
        self.named(name).click_accesskit();
        for _ in 0..4 {
            self.harness.step();
            if let Some(text) = self.copied() {
                return Some(text);
            }
        }
        None
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.model().stage, Stage::Working(_))
    }
}

/// The name that a screen reader says.
fn name_of(node: &Node<'_>) -> String {
    let node = node.accesskit_node();
    let own = node.label();
    own.or_else(|| node.labelled_by().next().and_then(|label| label.label().or_else(|| label.value())))
        .unwrap_or_default()
}
