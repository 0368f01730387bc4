//! Dead leaves: overlapping shapes of all sizes, with radii distributed like r^-3.
//!
//! In this model by Matheron, the power spectrum falls like 1/f^2 and there is no preferred size,
//! as in photographs (Lee, Mumford, Huang 2001).

use std::f32::consts::{PI, TAU};

use rand::Rng;

use super::canvas::{Bounds, LayerCanvas};
use super::material::{Finish, Material, exp};
use super::palette::Palette;
use super::texture::{SmoothField, Texture};
use crate::train::random::normal;

/// Number of directions for which a free outline stores a radius.
const DIRECTIONS: usize = 64;

/// An outline, in units of the shape's radius.
#[derive(Clone)]
enum Outline {
    Ellipse,
    Rectangle,
    /// Pointed at both ends.
    Lens,
    /// The radius in each direction, indexed by [`direction`].
    Free(Box<[f32; DIRECTIONS + 1]>),
}

/// A shape at a position on the canvas.
#[derive(Clone)]
pub(super) struct Shape {
    pub centre: [f32; 2],
    pub radius: f32,
    sin: f32,
    cos: f32,
    /// Ratio of width to length.
    aspect: f32,
    outline: Outline,
}

/// The direction of (`u`, `v`) as a number in 0..1. It is the position on a diamond, which needs no
/// trigonometry.
fn direction(u: f32, v: f32) -> f32 {
    let sum = (u.abs() + v.abs()).max(1e-9);
    let t = 0.25 * v / sum;
    match (u >= 0.0, v >= 0.0) {
        (true, true) => t,
        (true, false) => t + 1.0,
        (false, _) => 0.5 - t,
    }
}

impl Shape {
    /// Draws a random ellipse.
    pub(super) fn ellipse(centre: [f32; 2], radius: f32, rng: &mut impl Rng) -> Self {
        let aspect = rng.random_range(0.4..1.0);
        Self::new(
            centre,
            radius,
            rng.random_range(0.0..TAU),
            aspect,
            Outline::Ellipse,
        )
    }

    /// Draws a random rectangle along `angle`.
    pub(super) fn rectangle(centre: [f32; 2], radius: f32, angle: f32, rng: &mut impl Rng) -> Self {
        let aspect = rng.random_range(0.15..1.0);
        Self::new(centre, radius, angle, aspect, Outline::Rectangle)
    }

    /// Draws a random plant leaf along `angle`, pointed at both ends.
    pub(super) fn lens(centre: [f32; 2], radius: f32, angle: f32, rng: &mut impl Rng) -> Self {
        let aspect = rng.random_range(0.2..0.6);
        Self::new(centre, radius, angle, aspect, Outline::Lens)
    }

    /// Draws a random blob with a wavy outline, smooth or rough.
    pub(super) fn blob(centre: [f32; 2], radius: f32, rng: &mut impl Rng) -> Self {
        let decay = rng.random_range(0.8..2.0f32);
        let size = rng.random_range(0.1..0.4);
        let waves: [(f32, f32); 12] = std::array::from_fn(|k| {
            let amplitude = size * ((k + 1) as f32).powf(-decay) * normal(rng);
            (amplitude, rng.random_range(0.0..TAU))
        });
        Self::free(centre, radius, rng, |angle| {
            let wave =
                |(k, (a, phase)): (usize, &(f32, f32))| a * ((k + 1) as f32 * angle + phase).cos();
            (0.75 + waves.iter().enumerate().map(wave).sum::<f32>()).clamp(0.1, 1.0)
        })
    }

    /// Draws a random star-like polygon.
    pub(super) fn shard(centre: [f32; 2], radius: f32, rng: &mut impl Rng) -> Self {
        let corners = rng.random_range(3..10);
        let low = rng.random_range(0.25..0.9f32);
        let radii: Vec<f32> = (0..corners).map(|_| rng.random_range(low..1.0)).collect();
        Self::free(centre, radius, rng, |angle| {
            let at = angle / TAU * corners as f32;
            let side = (at as usize).min(corners - 1);
            let (a, b) = (radii[side], radii[(side + 1) % corners]);
            // The straight line between two corners, in polar form.
            let (t, step) = (
                (at - side as f32) * TAU / corners as f32,
                TAU / corners as f32,
            );
            a * b * step.sin() / (a * t.sin() + b * (step - t).sin())
        })
    }

    /// Creates a shape whose outline has the radius `at(angle)`, relative to `radius`.
    fn free(centre: [f32; 2], radius: f32, rng: &mut impl Rng, at: impl Fn(f32) -> f32) -> Self {
        let mut radii = [0.0; DIRECTIONS + 1];
        for (i, value) in radii.iter_mut().enumerate() {
            let t = (i % DIRECTIONS) as f32 / DIRECTIONS as f32;
            // A point on the diamond and its angle.
            let u = 4.0 * (t - 0.5).abs() - 1.0;
            let v = if t < 0.5 {
                1.0 - u.abs()
            } else {
                u.abs() - 1.0
            };
            *value = at(v.atan2(u).rem_euclid(TAU));
        }
        let (angle, aspect) = (rng.random_range(0.0..TAU), rng.random_range(0.5..1.0));
        Self::new(
            centre,
            radius,
            angle,
            aspect,
            Outline::Free(Box::new(radii)),
        )
    }

    fn new(centre: [f32; 2], radius: f32, angle: f32, aspect: f32, outline: Outline) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self {
            centre,
            radius,
            sin,
            cos,
            aspect,
            outline,
        }
    }

    /// Returns whether (`x`, `y`) is inside the shape.
    pub(super) fn contains(&self, x: f32, y: f32) -> bool {
        let (dx, dy) = (x - self.centre[0], y - self.centre[1]);
        let u = (self.cos * dx + self.sin * dy) / self.radius;
        let v = (self.cos * dy - self.sin * dx) / (self.radius * self.aspect);
        match &self.outline {
            Outline::Ellipse => u * u + v * v < 1.0,
            Outline::Rectangle => u.abs() < 0.7 && v.abs() < 0.7,
            Outline::Lens => v.abs() < 1.0 - u * u,
            Outline::Free(radii) => {
                let at = direction(u, v) * DIRECTIONS as f32;
                let i = (at as usize).min(DIRECTIONS - 1);
                let w = at - i as f32;
                let r = radii[i] * (1.0 - w) + radii[i + 1] * w;
                u * u + v * v < r * r
            }
        }
    }

    /// Paints the shape.
    pub(super) fn paint(&self, canvas: &mut LayerCanvas, material: &Material) {
        let bounds = Bounds::around(self.centre[0], self.centre[1], self.radius);
        canvas.paint(bounds, |x, y| self.contains(x, y), material);
    }
}

/// Draws r from `low` to `high` with a density proportional to r^-`exponent`.
pub(super) fn power_law(low: f32, high: f32, exponent: f32, rng: &mut impl Rng) -> f32 {
    let e = 1.0 - exponent;
    let u = rng.random_range(0.0..1.0f32);
    (low.powf(e) + u * (high.powf(e) - low.powf(e))).powf(1.0 / e)
}

/// Draws a position in the canvas's extent or at most `margin` outside.
pub(super) fn random_position(canvas: &LayerCanvas, margin: f32, rng: &mut impl Rng) -> [f32; 2] {
    let Bounds {
        left,
        top,
        right,
        bottom,
    } = canvas.extent();
    // A canvas of a pixel or two can have no open pixel, and then its extent is empty.
    let between = |low: f32, high: f32, rng: &mut _| {
        let low = low - margin;
        Rng::random_range(rng, low..=(high + margin).max(low))
    };
    [between(left, right, rng), between(top, bottom, rng)]
}

/// Covers the open pixels with one large surface.
pub(super) fn ground(
    canvas: &mut LayerCanvas,
    palette: &Palette,
    finish: &Finish,
    rng: &mut impl Rng,
) {
    let side = canvas.side();
    let centre = random_position(canvas, 0.0, rng);
    let mut material = Material::draw(palette.colour(rng), centre, side, finish, rng);
    if rng.random_bool(0.7) {
        material = material.with_texture(
            Texture::noise(centre[0], centre[1], rng),
            finish.contrast,
            rng,
        );
    }
    canvas.paint_rest(&material);
}

/// Fills the canvas with dead leaves of mixed shapes.
pub(super) fn dead_leaves(
    canvas: &mut LayerCanvas,
    palette: &Palette,
    finish: &Finish,
    rng: &mut impl Rng,
) {
    let side = canvas.side();
    let low = 2f32.powf(rng.random_range(2.5..6.5));
    let high = side * rng.random_range(0.2..0.8);
    let exponent = rng.random_range(2.2..3.1);
    let shapes: [f32; 4] = std::array::from_fn(|_| rng.random::<f32>().powi(2));
    let total: f32 = shapes.iter().sum();
    let upright = rng.random_bool(0.4);
    // In most pictures, neighbouring shapes have similar colours, since objects consist of parts.
    let drift = SmoothField::draw(side * rng.random_range(0.1..0.8), rng);
    let coherence = rng.random_range(0.7..1.0f64);
    let light = SmoothField::draw(side * rng.random_range(0.05..0.5), rng);
    let relief = rng.random_range(0.1..0.9f32);
    let rest = (canvas.open() as f32 * 0.02) as usize;
    // Late small leaves rarely hit open pixels. The ground covers the rest.
    for _ in 0..30_000 {
        if canvas.open() <= rest {
            break;
        }
        let radius = power_law(low.min(0.5 * high), high, exponent, rng);
        let centre = random_position(canvas, radius, rng);
        let pick = rng.random_range(0.0..total);
        // A free outline is slow, and at a few pixels it looks like an ellipse.
        let free = pick >= shapes[0] + shapes[1];
        let shape = if pick < shapes[0] || free && radius < 6.0 {
            Shape::ellipse(centre, radius, rng)
        } else if pick < shapes[0] + shapes[1] {
            let angle = if upright {
                0.03 * normal(rng) + PI / 2.0 * rng.random_range(0..2) as f32
            } else {
                rng.random_range(0.0..TAU)
            };
            Shape::rectangle(centre, radius, angle, rng)
        } else if pick < shapes[0] + shapes[1] + shapes[2] {
            Shape::shard(centre, radius, rng)
        } else {
            Shape::blob(centre, radius, rng)
        };
        let colour = if rng.random_bool(coherence) {
            palette.colour_at(0.5 + 0.25 * drift.value(centre[0], centre[1]), rng)
        } else {
            palette.colour(rng)
        };
        let lit = exp(relief * light.value(centre[0], centre[1]));
        let colour = colour.map(|v| v * lit);
        let material = Material::draw(colour, centre, radius, finish, rng);
        shape.paint(canvas, &material);
    }
    ground(canvas, palette, finish, rng);
}

/// Fills the canvas with clumps of plant leaves, bright ones in front of dark ones.
pub(super) fn foliage(
    canvas: &mut LayerCanvas,
    palette: &Palette,
    finish: &Finish,
    rng: &mut impl Rng,
) {
    let side = canvas.side();
    let size = 2f32.powf(rng.random_range(3.5..6.0));
    let spread = size * rng.random_range(2.0..8.0);
    let shades = palette.shades(rng);
    let drift = SmoothField::draw(side * 0.3, rng);
    let rest = (canvas.open() as f32 * rng.random_range(0.02..0.25)) as usize;
    let start = canvas.open().max(1) as f32;
    for _ in 0..3000 {
        if canvas.open() <= rest {
            break;
        }
        let clump = random_position(canvas, spread, rng);
        let angle = rng.random_range(0.0..TAU);
        // Later leaves are deeper in the foliage and get less light.
        let depth = 0.25 + 0.75 * canvas.open() as f32 / start;
        for _ in 0..rng.random_range(4..24) {
            let centre = clump.map(|v| v + 0.5 * spread * normal(rng));
            let radius = size * (0.35 * normal(rng)).exp();
            let shape = Shape::lens(centre, radius, angle + 0.8 * normal(rng), rng);
            let tone = 0.5 + 0.25 * drift.value(centre[0], centre[1]);
            let light = depth * (0.3 * normal(rng)).exp();
            let colour = shades.colour_at(tone, rng).map(|v| v * light);
            let material = Material::draw(colour, centre, radius, finish, rng);
            shape.paint(canvas, &material);
        }
    }
    let dark = shades.colour(rng).map(|v| 0.15 * v);
    let centre = random_position(canvas, 0.0, rng);
    let shade = Material::draw(dark, centre, side, finish, rng);
    let texture = Texture::noise(centre[0], centre[1], rng);
    canvas.paint_rest(&shade.with_texture(texture, 0.5, rng));
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn direction_increases_over_one_turn() {
        let mut last = -1.0;
        for i in 0..360 {
            let (sin, cos) = (i as f32 * TAU / 360.0).sin_cos();
            let d = direction(cos, sin);
            assert!((0.0..1.0).contains(&d) && d > last, "{i}: {d} after {last}");
            last = d;
        }
    }

    #[test]
    fn radii_follow_the_power_law() {
        let mut rng = SmallRng::seed_from_u64(0);
        let radii: Vec<f32> = (0..20_000)
            .map(|_| power_law(2.0, 200.0, 3.0, &mut rng))
            .collect();
        assert!(radii.iter().all(|r| (1.99..200.1).contains(r)));
        // With the density r^-3, a quarter of the radii exceed twice the smallest one.
        let above = radii.iter().filter(|&&r| r > 4.0).count();
        assert!((4500..5500).contains(&above), "{above}");
    }

    #[test]
    fn shapes_stay_within_their_radius() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..50 {
            let c = [50.0, 40.0];
            for shape in [
                Shape::ellipse(c, 20.0, &mut rng),
                Shape::rectangle(c, 20.0, 0.3, &mut rng),
                Shape::lens(c, 20.0, 0.3, &mut rng),
                Shape::blob(c, 20.0, &mut rng),
                Shape::shard(c, 20.0, &mut rng),
            ] {
                assert!(shape.contains(50.1, 40.1));
                for i in 0..100 {
                    let (sin, cos) = (i as f32 * TAU / 100.0).sin_cos();
                    assert!(!shape.contains(50.0 + 20.2 * cos, 40.0 + 20.2 * sin));
                }
            }
        }
    }
}
