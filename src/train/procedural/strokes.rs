//! Strokes: hair and grass in bundles, twigs, wires.

use std::f32::consts::TAU;

use rand::Rng;

use super::canvas::{Bounds, LayerCanvas, Light};
use super::leaves::random_position;
use super::material::{Finish, Material};
use super::palette::Palette;
use super::texture::{SmoothField, Texture};
use crate::train::random::normal;

/// A stroke with constant curvature.
struct Stroke {
    start: [f32; 2],
    angle: f32,
    /// Change of the angle over the whole length.
    bend: f32,
    length: f32,
    /// Width at the root. The width at the tip is `taper` times this.
    width: f32,
    taper: f32,
    root: Light,
    tip: Light,
}

impl Stroke {
    /// Paints the stroke and returns its end.
    fn paint(&self, canvas: &mut LayerCanvas) -> [f32; 2] {
        let [mut x, mut y] = self.start;
        let mut t = 0.0;
        while t < 1.0 {
            let radius = 0.5 * self.width * (1.0 + (self.taper - 1.0) * t).max(0.1);
            let step = (0.8 * radius).max(0.7);
            let light: Light =
                std::array::from_fn(|c| self.root[c] + (self.tip[c] - self.root[c]) * t);
            // A disc of less than half a pixel could miss all pixel centres, and the stroke would
            // have gaps.
            let reach = radius.max(0.6);
            let inside = |px: f32, py: f32| (px - x).powi(2) + (py - y).powi(2) < reach * reach;
            canvas.paint(Bounds::around(x, y, reach + 1.0), inside, &light);
            let (sin, cos) = (self.angle + self.bend * t).sin_cos();
            x += step * cos;
            y += step * sin;
            t += step / self.length.max(1.0);
        }
        [x, y]
    }
}

/// Fills the canvas with hair, fur or grass that follows a common flow.
pub(super) fn hair(
    canvas: &mut LayerCanvas,
    palette: &Palette,
    finish: &Finish,
    rng: &mut impl Rng,
) {
    let side = canvas.side();
    let width = rng.random_range(1.2..4.5f32);
    let length = width * rng.random_range(8.0..45.0);
    let flow = SmoothField::draw(side * rng.random_range(0.1..1.0), rng);
    let swirl = rng.random_range(0.1..1.2f32);
    let lean = rng.random_range(0.0..TAU);
    let mess = rng.random_range(0.05..0.5f32);
    let contrast = rng.random_range(0.08..0.5f32);
    let patches = SmoothField::draw(side * rng.random_range(0.05..0.4), rng);
    let shades = if rng.random_bool(0.7) {
        palette.shades(rng)
    } else {
        palette.clone()
    };
    let rest = (canvas.open() as f32 * 0.08) as usize;
    let limit = (3.0 * canvas.open() as f32 / (width * length)) as usize;
    for _ in 0..limit {
        if canvas.open() <= rest {
            break;
        }
        // A lock of hairs with similar direction and brightness.
        let root = random_position(canvas, length * 0.5, rng);
        let angle = lean + swirl * flow.value(root[0], root[1]) + 0.5 * mess * normal(rng);
        let lock = (0.6 * contrast * normal(rng)).exp();
        let bend = mess * normal(rng);
        for _ in 0..rng.random_range(1..7) {
            let start = root.map(|v| v + 2.5 * width * normal(rng));
            let light = lock * (contrast * normal(rng)).exp();
            let tone = 0.5 + 0.25 * patches.value(start[0], start[1]);
            let tip = shades.colour_at(tone, rng).map(|v| (v * light).min(1.5));
            let stroke = Stroke {
                start,
                angle: angle + 0.3 * mess * normal(rng),
                bend: bend + 0.5 * mess * normal(rng),
                length: length * (0.3 * normal(rng)).exp(),
                width: width * (0.2 * normal(rng)).exp(),
                taper: 0.4,
                root: tip.map(|v| 0.5 * v),
                tip,
            };
            stroke.paint(canvas);
        }
    }
    let centre = random_position(canvas, 0.0, rng);
    let skin = shades.colour(rng).map(|v| 0.4 * v);
    let mut texture = Material::draw(skin, centre, side, finish, rng);
    texture = texture.with_texture(Texture::noise(centre[0], centre[1], rng), 0.3, rng);
    canvas.paint_rest(&texture);
}

/// Paints a few branching twigs. Other pixels stay open.
pub(super) fn twigs(canvas: &mut LayerCanvas, palette: &Palette, rng: &mut impl Rng) {
    let shades = palette.shades(rng);
    let side = canvas.side();
    for _ in 0..rng.random_range(1..6) {
        let start = random_position(canvas, 0.1 * side, rng);
        let width = 2f32.powf(rng.random_range(1.0..5.0));
        let mut ends = vec![(start, rng.random_range(0.0..TAU), width)];
        for _ in 0..120 {
            let Some((start, angle, width)) = ends.pop() else {
                break;
            };
            let dark = shades.colour(rng);
            let stroke = Stroke {
                start,
                angle,
                bend: 0.3 * normal(rng),
                length: width * rng.random_range(6.0..20.0),
                width,
                taper: 0.75,
                root: dark,
                tip: dark.map(|v| v * 1.2),
            };
            let end = stroke.paint(canvas);
            if width > 1.5 {
                for _ in 0..rng.random_range(1..4) {
                    let turn = 0.5 * normal(rng);
                    ends.push((
                        end,
                        angle + stroke.bend + turn,
                        width * rng.random_range(0.5..0.85),
                    ));
                }
            }
        }
    }
}

/// Paints long thin lines, some of them parallel. Other pixels stay open.
pub(super) fn wires(canvas: &mut LayerCanvas, palette: &Palette, rng: &mut impl Rng) {
    let side = canvas.side();
    for _ in 0..rng.random_range(1..7) {
        let angle = rng.random_range(0.0..TAU);
        let bend = 0.3 * normal(rng);
        let width = 2f32.powf(rng.random_range(0.3..3.5));
        let colour = palette.colour(rng);
        let start = random_position(canvas, 0.0, rng);
        let gap = width * rng.random_range(2.0..8.0);
        let (sin, cos) = angle.sin_cos();
        let length = side * rng.random_range(0.1..1.5);
        for i in 0..rng.random_range(1..6) {
            let shift = i as f32 * gap;
            let stroke = Stroke {
                start: [start[0] - sin * shift, start[1] + cos * shift],
                angle,
                bend,
                length,
                width,
                taper: 1.0,
                root: colour,
                tip: colour.map(|v| v * 1.1),
            };
            stroke.paint(canvas);
        }
    }
}

/// Paints the polyline `points` with a round pen, or a square one if `square` is set.
pub(super) fn draw_polyline(
    canvas: &mut LayerCanvas,
    points: &[[f32; 2]],
    width: f32,
    square: bool,
    light: Light,
) {
    let radius = 0.5 * width;
    for pair in points.windows(2) {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        let steps = ((x1 - x0).hypot(y1 - y0) / (0.4 * radius).max(0.5)).ceil() as usize;
        for i in 0..=steps {
            let t = i as f32 / steps.max(1) as f32;
            let (x, y) = (x0 + (x1 - x0) * t, y0 + (y1 - y0) * t);
            let inside = |px: f32, py: f32| {
                let (dx, dy) = ((px - x).abs(), (py - y).abs());
                if square {
                    dx.max(dy) <= radius
                } else {
                    dx * dx + dy * dy <= radius * radius
                }
            };
            canvas.paint(Bounds::around(x, y, radius + 1.0), inside, &light);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stroke_covers_its_length() {
        let mut canvas = LayerCanvas::new(40, 40);
        let stroke = Stroke {
            start: [10.0, 40.0],
            angle: 0.0,
            bend: 0.0,
            length: 50.0,
            width: 4.0,
            taper: 1.0,
            root: [1.0; 3],
            tip: [1.0; 3],
        };
        let before = canvas.open();
        let end = stroke.paint(&mut canvas);
        assert!((end[0] - 60.0).abs() < 3.0 && (end[1] - 40.0).abs() < 1e-3);
        let covered = before - canvas.open();
        assert!((180..260).contains(&covered), "{covered}");
    }
}
