//! Text: lines of letters and digits, drawn as pen strokes.

use rand::Rng;

use super::canvas::LayerCanvas;
use super::leaves::{Shape, ground, random_position};
use super::material::{Finish, Material};
use super::palette::Palette;
use super::strokes::draw_polyline;
use crate::train::random::normal;

/// Strokes of each glyph: capital letters, small letters, digits. Commas separate strokes and
/// spaces separate points. A point is two digits, x and y, on a grid 5 wide and 7 high.
const GLYPHS: [&str; 52] = [
    "07 20 47,15 35",
    "00 07 37 46 44 33 03,33 42 41 30 00",
    "41 30 10 01 06 17 37 46",
    "00 07 27 46 41 20 00",
    "40 00 07 47,03 33",
    "40 00 07,03 33",
    "41 30 10 01 06 17 37 46 44 24",
    "00 07,40 47,03 43",
    "20 27",
    "40 46 37 17 06",
    "00 07,40 03 47",
    "00 07 47",
    "07 00 24 40 47",
    "07 00 47 40",
    "10 01 06 17 37 46 41 30 10",
    "07 00 30 41 43 34 04",
    "10 01 06 17 37 46 41 30 10,25 47",
    "07 00 30 41 42 33 03,23 47",
    "41 30 10 01 02 13 33 44 46 37 17 06",
    "00 40,20 27",
    "00 06 17 37 46 40",
    "00 27 40",
    "00 17 24 37 40",
    "00 47,40 07",
    "00 23 40,23 27",
    "00 40 07 47",
    "12 32 43 47,45 15 06 17 37 46",
    "00 07,03 12 32 43 46 37 17 06",
    "43 32 12 03 06 17 37 46",
    "40 47,43 32 12 03 06 17 37 46",
    "05 45 43 32 12 03 06 17 37",
    "40 30 21 27,12 32",
    "42 48 39 19,43 32 12 03 05 16 36 45",
    "00 07,03 12 32 43 47",
    "22 27,20 21",
    "32 38 29 09,30 31",
    "00 07,42 05 47",
    "20 26 37",
    "02 07,03 12 23 27,23 32 43 47",
    "02 07,03 12 32 43 47",
    "12 03 06 17 37 46 43 32 12",
    "02 09,03 12 32 43 46 37 17 06",
    "02 07,04 22 42",
    "43 32 12 03 14 34 45 46 37 07",
    "10 16 27 37,02 32",
    "02 06 17 37 46,42 47",
    "10 01 06 17 37 46 41 30 10",
    "11 20 27,07 47",
    "01 10 30 41 42 07 47",
    "00 40 22 43 46 37 17 06",
    "30 05 45,30 37",
    "40 00 03 32 44 46 37 17 06",
];

/// Calls `stroke` with the points of each stroke of a glyph. Its upper left corner is `at`, and
/// `unit` is the grid step.
fn glyph(
    index: usize,
    unit: [f32; 2],
    slant: f32,
    at: [f32; 2],
    mut stroke: impl FnMut(&[[f32; 2]]),
) {
    for line in GLYPHS[index].split(',') {
        let points: Vec<[f32; 2]> = line
            .split(' ')
            .map(|point| {
                let digit = |i: usize| f32::from(point.as_bytes()[i] - b'0');
                let (x, y) = (digit(0), digit(1));
                [
                    at[0] + unit[0] * x + slant * unit[1] * (7.0 - y),
                    at[1] + unit[1] * y,
                ]
            })
            .collect();
        stroke(&points);
    }
}

/// Paints a block of text with its upper left corner at (`x`, `y`). Other pixels stay open.
fn text_block(
    canvas: &mut LayerCanvas,
    [x, y]: [f32; 2],
    lines: usize,
    columns: usize,
    palette: &Palette,
    rng: &mut impl Rng,
) {
    let unit = 2f32.powf(rng.random_range(0.6..3.6));
    let shape = [unit * rng.random_range(0.7..1.3), unit];
    let weight = unit * rng.random_range(0.5..1.9);
    let slant = if rng.random_bool(0.25) { 0.2 } else { 0.0 };
    let square = rng.random_bool(0.4);
    let rotation = if rng.random_bool(0.5) {
        0.0
    } else {
        0.3 * normal(rng)
    };
    let (sin, cos) = rotation.sin_cos();
    let capitals = rng.random_bool(0.3);
    let step = shape[0] * rng.random_range(5.4..7.0);
    let leading = unit * rng.random_range(9.5..15.0);
    let ink = palette.colour(rng);
    for line in 0..lines {
        let ink = ink.map(|v| v * (0.03 * normal(rng)).exp());
        for column in 0..columns {
            if rng.random_bool(0.16) {
                continue;
            }
            let index = if capitals {
                rng.random_range(0..26)
            } else {
                rng.random_range(0..GLYPHS.len())
            };
            let at = [column as f32 * step, line as f32 * leading];
            glyph(index, shape, slant, at, |points| {
                let rotated: Vec<[f32; 2]> = points
                    .iter()
                    .map(|[u, v]| [x + cos * u - sin * v, y + sin * u + cos * v])
                    .collect();
                draw_polyline(canvas, &rotated, weight, square, ink);
            });
        }
    }
}

/// Fills the canvas with a page: blocks of text, some on a plate, and a plain background.
pub(super) fn page(
    canvas: &mut LayerCanvas,
    palette: &Palette,
    finish: &Finish,
    rng: &mut impl Rng,
) {
    let side = canvas.side();
    for _ in 0..rng.random_range(1..7) {
        let start = random_position(canvas, 0.0, rng);
        let (lines, columns) = (rng.random_range(1..7), rng.random_range(2..24));
        text_block(canvas, start, lines, columns, palette, rng);
        if rng.random_bool(0.4) {
            let radius = side * rng.random_range(0.1..0.5);
            let colour = palette.colour(rng);
            let centre = [start[0] + 0.5 * radius, start[1] + 0.2 * radius];
            let shape = Shape::rectangle(centre, radius, 0.05 * normal(rng), rng);
            shape.paint(canvas, &Material::draw(colour, centre, radius, finish, rng));
        }
    }
    ground(canvas, palette, finish, rng);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glyphs_are_well_formed() {
        for index in 0..GLYPHS.len() {
            let mut strokes = 0;
            glyph(index, [1.0, 1.0], 0.0, [0.0, 0.0], |points| {
                strokes += 1;
                assert!(points.len() >= 2, "glyph {index}");
                assert!(points.iter().all(|p| p[0] <= 4.0 && p[1] <= 9.0));
            });
            assert!(strokes > 0);
        }
    }
}
