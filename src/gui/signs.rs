//! Signs beside words, drawn with lines: no font has to have them.

use eframe::egui::{Color32, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, pos2};

/// What is drawn. The words beside it say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is well.
    Check,
    /// It wants attention.
    Attention,
    /// It failed.
    Cross,
    /// It waits.
    Pause,
}

/// Draws a sign as high and wide as `edge`.
pub fn sign(ui: &mut Ui, sign: Sign, edge: f32, colour: Color32) {
    let (place, _) = ui.allocate_exact_size(Vec2::splat(edge), Sense::empty());
    ui.painter().extend(shapes(sign, place, Stroke::new(edge / 7.0, colour)));
}

fn shapes(sign: Sign, place: Rect, stroke: Stroke) -> Vec<Shape> {
    let at =
        |x: f32, y: f32| -> Pos2 { pos2(place.left() + x * place.width(), place.top() + y * place.height()) };
    let line = |points: &[(f32, f32)]| Shape::line(points.iter().map(|(x, y)| at(*x, *y)).collect(), stroke);
    match sign {
        Sign::Check => vec![line(&[(0.12, 0.55), (0.4, 0.82), (0.88, 0.2)])],
        Sign::Cross => vec![line(&[(0.18, 0.18), (0.82, 0.82)]), line(&[(0.82, 0.18), (0.18, 0.82)])],
        Sign::Pause => vec![line(&[(0.32, 0.15), (0.32, 0.85)]), line(&[(0.68, 0.15), (0.68, 0.85)])],
        Sign::Attention => {
            let corners = vec![at(0.5, 0.08), at(0.96, 0.9), at(0.04, 0.9)];
            let thin = Stroke::new(stroke.width * 0.75, stroke.color);
            vec![
                Shape::closed_line(corners, thin),
                Shape::line_segment([at(0.5, 0.36), at(0.5, 0.6)], thin),
                Shape::circle_filled(at(0.5, 0.75), stroke.width * 0.55, stroke.color),
            ]
        }
    }
}
