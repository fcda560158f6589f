//! Colours, sizes and spacings: the only place that has any.

use eframe::egui::{
    self, Color32, Context, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Theme,
    ThemePreference, Vec2, Visuals,
};

use crate::drive::{Look, Settings};

/// Between things that belong together.
pub const NEAR: f32 = 4.0;
/// Between things.
pub const GAP: f32 = 8.0;
/// Between groups.
pub const FAR: f32 = 16.0;
/// Around a page.
pub const MARGIN: i8 = 20;
/// Inside of a card.
pub const INSET: i8 = 12;
/// Roundness of cards and buttons.
pub const RADIUS: u8 = 8;
/// No text runs wider than this.
pub const MEASURE: f32 = 640.0;
/// Least size of a button that decides something.
pub const BUTTON: Vec2 = Vec2::new(112.0, 36.0);
/// Edge of the machine's picture.
pub const PICTURE: f32 = 64.0;
/// Length of a slider where there is room.
pub const SLIDER: f32 = 220.0;
/// What stands beside a slider takes this much.
pub const BESIDE_SLIDER: f32 = 220.0;
/// A piece of a plot's line beside what it stands for.
pub const SAMPLE: Vec2 = Vec2::new(28.0, 4.0);
/// Width of a plot's lines.
pub const LINE: f32 = 2.5;
/// Height of the plot.
pub const PLOT: f32 = 140.0;
/// Height of a bar that shows progress.
pub const BAR: f32 = 20.0;
/// Width of a dialog.
pub const DIALOG: f32 = 420.0;
/// Size of the window when it opens, and the least one.
pub const WINDOW: Vec2 = Vec2::new(760.0, 620.0);
/// Least size of the window.
pub const WINDOW_LEAST: Vec2 = Vec2::new(420.0, 360.0);

/// Size of "You can unplug now".
pub const UNMISTAKABLE: f32 = 40.0;
/// Size of a page's title.
pub const TITLE: f32 = 24.0;
/// Size of what the eye looks for.
pub const TEXT: f32 = 15.0;
/// Size of what is said besides.
pub const SMALL: f32 = 12.5;

/// The colours that mean something. None is ever the only sign of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    /// Behind everything.
    pub ground: Color32,
    /// Behind a card.
    pub card: Color32,
    /// Behind a plot, and what is not done yet of a bar.
    pub sunk: Color32,
    /// Around a card.
    pub line: Color32,
    /// Around what can be pressed, moved or ticked.
    pub control: Color32,
    /// Text.
    pub text: Color32,
    /// Text that is said besides.
    pub quiet: Color32,
    /// The one next thing.
    pub action: Color32,
    /// Text on [`Palette::action`].
    pub on_action: Color32,
    /// Something ended well.
    pub good: Color32,
    /// Text on [`Palette::good`].
    pub on_good: Color32,
    /// Something wants attention.
    pub attention: Color32,
    /// Something is destructive, or failed.
    pub danger: Color32,
    /// The lines of a plot.
    pub lines: [Color32; 4],
}

const LIGHT: Palette = Palette {
    ground: Color32::from_rgb(0xf6, 0xf7, 0xf9),
    card: Color32::from_rgb(0xff, 0xff, 0xff),
    sunk: Color32::from_rgb(0xe8, 0xeb, 0xf0),
    line: Color32::from_rgb(0xc9, 0xce, 0xd6),
    control: Color32::from_rgb(0x80, 0x89, 0x98),
    text: Color32::from_rgb(0x1b, 0x1f, 0x27),
    quiet: Color32::from_rgb(0x52, 0x5b, 0x6b),
    action: Color32::from_rgb(0x1f, 0x5f, 0xbf),
    on_action: Color32::WHITE,
    good: Color32::from_rgb(0x1c, 0x6e, 0x3f),
    on_good: Color32::WHITE,
    attention: Color32::from_rgb(0x8a, 0x5a, 0x00),
    danger: Color32::from_rgb(0xb0, 0x24, 0x2b),
    lines: [
        Color32::from_rgb(0x1f, 0x5f, 0xbf),
        Color32::from_rgb(0xa8, 0x4a, 0x00),
        Color32::from_rgb(0x1c, 0x6e, 0x3f),
        Color32::from_rgb(0x7a, 0x3a, 0x9e),
    ],
};

const DARK: Palette = Palette {
    ground: Color32::from_rgb(0x16, 0x19, 0x1f),
    card: Color32::from_rgb(0x20, 0x24, 0x2c),
    sunk: Color32::from_rgb(0x2d, 0x32, 0x3d),
    line: Color32::from_rgb(0x45, 0x4c, 0x59),
    control: Color32::from_rgb(0x74, 0x7e, 0x90),
    text: Color32::from_rgb(0xec, 0xee, 0xf2),
    quiet: Color32::from_rgb(0xa9, 0xb1, 0xbf),
    action: Color32::from_rgb(0x7a, 0xb0, 0xff),
    on_action: Color32::from_rgb(0x0d, 0x16, 0x26),
    good: Color32::from_rgb(0x6c, 0xd3, 0x97),
    on_good: Color32::from_rgb(0x07, 0x1c, 0x10),
    attention: Color32::from_rgb(0xf0, 0xb9, 0x4d),
    danger: Color32::from_rgb(0xff, 0x8b, 0x8b),
    lines: [
        Color32::from_rgb(0x7a, 0xb0, 0xff),
        Color32::from_rgb(0xf0, 0x9a, 0x4d),
        Color32::from_rgb(0x6c, 0xd3, 0x97),
        Color32::from_rgb(0xc9, 0x9a, 0xf0),
    ],
};

/// The palette of a theme.
pub fn palette(theme: Theme) -> Palette {
    match theme {
        Theme::Dark => DARK,
        Theme::Light => LIGHT,
    }
}

/// Dresses the window; once, before the first frame.
pub fn dress(context: &Context) {
    for theme in [Theme::Dark, Theme::Light] {
        let palette = palette(theme);
        context.style_mut_of(theme, |style| {
            style.visuals = visuals(theme, palette);
            style.text_styles = [
                (TextStyle::Heading, FontId::new(TITLE, FontFamily::Proportional)),
                (TextStyle::Body, FontId::new(TEXT, FontFamily::Proportional)),
                (TextStyle::Button, FontId::new(TEXT, FontFamily::Proportional)),
                (TextStyle::Small, FontId::new(SMALL, FontFamily::Proportional)),
                (TextStyle::Monospace, FontId::new(SMALL, FontFamily::Monospace)),
            ]
            .into();
            let spacing = &mut style.spacing;
            spacing.item_spacing = Vec2::splat(GAP);
            spacing.button_padding = Vec2::new(12.0, 6.0);
            spacing.interact_size.y = 28.0;
            spacing.slider_width = SLIDER;
            spacing.window_margin = Margin::same(MARGIN);
            // What stands still can be read, and costs nothing.
            style.animation_time = 0.0;
        });
    }
}

fn visuals(theme: Theme, palette: Palette) -> Visuals {
    let mut visuals = match theme {
        Theme::Dark => Visuals::dark(),
        Theme::Light => Visuals::light(),
    };
    visuals.panel_fill = palette.ground;
    visuals.window_fill = palette.card;
    visuals.extreme_bg_color = palette.sunk;
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.override_text_color = Some(palette.text);
    visuals.weak_text_color = Some(palette.quiet);
    visuals.hyperlink_color = palette.action;
    visuals.error_fg_color = palette.danger;
    visuals.warn_fg_color = palette.attention;
    visuals.selection.bg_fill = palette.action.gamma_multiply(0.35);
    visuals.selection.stroke = Stroke::new(2.0, palette.action);
    let corners = CornerRadius::same(RADIUS);
    visuals.window_corner_radius = corners;
    let widgets = &mut visuals.widgets;
    for widget in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open] {
        widget.corner_radius = corners;
        widget.bg_stroke = Stroke::new(1.0, palette.control);
        widget.weak_bg_fill = palette.card;
        // A slider's rail and handle, and the box of what can be ticked.
        widget.bg_fill = palette.sunk;
        widget.fg_stroke = Stroke::new(1.5, palette.text);
        widget.expansion = 0.0;
    }
    // Also what has the keyboard: to be seen at a glance.
    widgets.hovered.bg_stroke = Stroke::new(2.0, palette.action);
    widgets.active.bg_stroke = Stroke::new(2.0, palette.text);
    // How much of a slider is chosen.
    visuals.slider_trailing_fill = true;
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    visuals
}

/// Applies what the user chose.
pub fn apply(context: &Context, settings: &Settings) {
    context.set_theme(match settings.look {
        Look::System => ThemePreference::System,
        Look::Light => ThemePreference::Light,
        Look::Dark => ThemePreference::Dark,
    });
    context.set_zoom_factor(f32::from(settings.size) / 100.0);
}

/// A card's frame.
pub fn card(palette: Palette) -> egui::Frame {
    egui::Frame::new()
        .fill(palette.card)
        .stroke(Stroke::new(1.0, palette.line))
        .corner_radius(RADIUS)
        .inner_margin(Margin::same(INSET))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, WCAG 2.2.
    fn luminance(colour: Color32) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    }

    fn contrast(one: Color32, other: Color32) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_text_can_be_read_on_what_it_stands_on() {
        for palette in [LIGHT, DARK] {
            for text in
                [palette.text, palette.quiet, palette.good, palette.attention, palette.danger, palette.action]
            {
                for ground in [palette.ground, palette.card] {
                    let contrast = contrast(text, ground);
                    assert!(contrast >= 4.5, "{text:?} on {ground:?}: {contrast:.2}");
                }
            }
            assert!(contrast(palette.on_action, palette.action) >= 4.5);
            assert!(contrast(palette.on_good, palette.good) >= 4.5);
            for shape in palette.lines.into_iter().chain([palette.control]) {
                assert!(contrast(shape, palette.card) >= 3.0, "{shape:?}");
                assert!(shape == palette.control || contrast(shape, palette.sunk) >= 3.0, "{shape:?}");
            }
        }
    }
}
