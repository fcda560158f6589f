//! Every screen in every language: all texts are there, and every control has a name.

use std::panic::{AssertUnwindSafe, catch_unwind};

use eframe::egui::Theme;
use pocketvm::gui::words::LANGUAGES;

use super::bench::{Bench, Manner};
use super::scenes::SCENES;

/// A missing text, a missing value in one, a letter that no font has and a control without a name each end in a panic.
#[test]
fn every_screen_speaks_every_language_and_names_every_control() {
    for language in LANGUAGES {
        for scene in &SCENES {
            let manner = Manner { theme: Theme::Light, language: language.code };
            let drawn = catch_unwind(AssertUnwindSafe(|| {
                let mut bench = Bench::new(manner);
                (scene.set)(&mut bench, manner);
                (bench.names(), bench.text())
            }));
            let (names, text) = drawn.unwrap_or_else(|_| panic!("{} in {}", scene.name, language.code));
            assert!(!text.trim().is_empty());
            for (number, name) in names.iter().enumerate() {
                assert!(
                    !name.trim().is_empty(),
                    "{}, {}: control {number} of {names:?}",
                    scene.name,
                    language.code
                );
            }
            let mut sorted = names.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len(), "{}: two controls have one name: {names:?}", scene.name);
        }
    }
}
