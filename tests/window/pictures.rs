//! Pictures of every screen, dark and light. After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test --test
//! window`, and look at each of them.

use eframe::egui::{Theme, Vec2};

use super::bench::{Bench, Manner};
use super::scenes::{SCENES, Scene};

fn compare(scene: &Scene, manner: Manner, size: Option<Vec2>, name: &str, wrong: &mut Vec<String>) {
    let mut bench = match size {
        Some(size) => Bench::with_size(manner, size),
        None => Bench::new(manner),
    };
    (scene.set)(&mut bench, manner);
    if let Err(error) = bench.picture(name) {
        wrong.push(format!("{name}: {error}"));
    }
}

#[test]
fn every_screen_looks_as_it_was_looked_at() {
    let mut wrong = vec![];
    for scene in &SCENES {
        for (theme, look) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
            let manner = Manner { theme, language: "en" };
            compare(scene, manner, None, &format!("{}-{look}", scene.name), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Twice as many points, as many screens have.
#[test]
fn a_fine_screen_shows_fine_letters_and_signs() {
    let mut wrong = vec![];
    let manner = Manner { theme: Theme::Light, language: "en" };
    for scene in SCENES.iter().filter(|scene| ["ready-why", "running"].contains(&scene.name)) {
        let mut bench = Bench::new(manner);
        bench.magnify(2.0);
        (scene.set)(&mut bench, manner);
        if let Err(error) = bench.picture(&format!("{}-fine", scene.name)) {
            wrong.push(error);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// German is longer, and the smallest window the narrowest.
#[test]
fn nothing_is_cut_off_in_german_and_in_a_small_window() {
    let mut wrong = vec![];
    let manner = Manner { theme: Theme::Light, language: "de" };
    for scene in SCENES.iter().filter(|scene| {
        ["ready", "refused", "running", "running-close", "left-behind", "done"].contains(&scene.name)
    }) {
        compare(scene, manner, None, &format!("{}-german", scene.name), &mut wrong);
        let small = pocketvm::gui::theme::WINDOW_LEAST;
        compare(scene, manner, Some(small), &format!("{}-german-small", scene.name), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
