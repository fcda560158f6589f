//! What exists only on this PC, over time: a line per disk, known by its colour and by how it is drawn.

use eframe::egui::{Color32, Role, Sense, Shape, Stroke, Ui};
use egui_plot::{GridInput, GridMark, Line, LineStyle, Plot, PlotPoints, uniform_grid_spacer};

use crate::gui::scene::Scene;
use crate::gui::theme;

/// Lengths of a dash and of a gap, in points; none for a line without gaps.
const DASHES: [Option<(f32, f32)>; 4] = [None, Some((8.0, 4.0)), Some((2.0, 3.0)), Some((14.0, 3.0))];

/// Colour and dashes of a disk's line.
fn manner(scene: &Scene<'_>, number: usize) -> (Color32, Option<(f32, f32)>) {
    let lines = scene.palette.lines;
    (lines[number % lines.len()], DASHES[number % DASHES.len()])
}

/// A piece of a disk's line, for beside its name.
pub fn sample(ui: &mut Ui, scene: &Scene<'_>, number: usize) {
    let (colour, dashes) = manner(scene, number);
    let (place, _) = ui.allocate_exact_size(theme::SAMPLE, Sense::empty());
    let ends = [place.left_center(), place.right_center()];
    let stroke = Stroke::new(theme::LINE, colour);
    match dashes {
        None => drop(ui.painter().line_segment(ends, stroke)),
        Some((dash, gap)) => ui.painter().extend(Shape::dashed_line(&ends, stroke, dash, gap)),
    }
}

/// The plot, which a screen reader hears of as one figure.
pub fn show(ui: &mut Ui, scene: &Scene<'_>) {
    let (words, run) = (scene.words, &scene.model.run);
    let bytes = |mark: GridMark, _: &_| words.bytes(mark.value.max(0.0) as u64);
    let time = |mark: GridMark, _: &_| {
        let seconds = mark.value.max(0.0) as u64;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    };
    let name = words.with("running-plot", [("size", words.bytes(run.total()).into())]);
    let shown = Plot::new("unsaved")
        .height(theme::PLOT)
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .show_x(false)
        .show_y(false)
        .include_x(60.0)
        .include_x(0.0)
        .include_y(0.0)
        .include_y(1024.0 * 1024.0)
        .x_grid_spacer(uniform_grid_spacer(minutes))
        .y_grid_spacer(uniform_grid_spacer(halves))
        .x_axis_formatter(time)
        .y_axis_formatter(bytes)
        .show(ui, |plot| {
            // In the order of the names above.
            for (number, disk) in run.unsaved.keys().enumerate() {
                let Some(points) = run.points.get(disk) else { continue };
                let (colour, dashes) = manner(scene, number);
                let style = match dashes {
                    None => LineStyle::Solid,
                    Some((dash, gap)) if dash <= gap => LineStyle::Dotted { spacing: dash + gap },
                    Some((dash, _)) => LineStyle::Dashed { length: dash },
                };
                let line = Line::new(disk.clone(), PlotPoints::from(points.clone()));
                plot.line(line.stroke(Stroke::new(theme::LINE, colour)).style(style));
            }
        });
    ui.ctx().accesskit_node_builder(shown.response.id, |node| {
        node.set_role(Role::Figure);
        node.set_label(name);
    });
}

/// Steps of the time: what people divide minutes and hours into.
fn minutes(input: GridInput) -> [f64; 3] {
    const STEPS: [f64; 10] = [10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0];
    let step = STEPS.into_iter().find(|step| (input.bounds.1 - input.bounds.0) / step <= 6.0);
    let step = step.unwrap_or(7.0 * 86_400.0);
    [step, step * 10.0, step * 100.0]
}

/// Steps of amounts: powers of two, as the units are.
fn halves(input: GridInput) -> [f64; 3] {
    let step = ((input.bounds.1 - input.bounds.0).max(4.0) / 4.0).log2().ceil().exp2();
    [step, step * 8.0, step * 64.0]
}
