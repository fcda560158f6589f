//! What a screen gets to draw itself with.

use std::cell::RefCell;

use eframe::egui::TextureHandle;

use super::model::{Intent, Model};
use super::theme::Palette;
use super::words::Words;

/// The model, the words and the colours, and a place to say what the user wants.
pub struct Scene<'a> {
    /// What is to be shown.
    pub model: &'a Model,
    /// How it is said.
    pub words: &'a Words,
    /// Its colours.
    pub palette: Palette,
    /// The machine's picture.
    pub picture: Option<&'a TextureHandle>,
    /// This page, or dialog, was not there a frame ago.
    pub is_new: bool,
    wanted: RefCell<Vec<Intent>>,
}

impl<'a> Scene<'a> {
    /// A scene in which nothing is wanted yet.
    pub fn new(
        model: &'a Model,
        words: &'a Words,
        palette: Palette,
        picture: Option<&'a TextureHandle>,
        is_new: bool,
    ) -> Scene<'a> {
        Scene { model, words, palette, picture, is_new, wanted: RefCell::default() }
    }

    /// The user wants this.
    pub fn want(&self, intent: Intent) {
        self.wanted.borrow_mut().push(intent);
    }

    /// What the user wants, in order.
    pub fn wanted(self) -> Vec<Intent> {
        self.wanted.into_inner()
    }
}
