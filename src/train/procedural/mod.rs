//! Procedural training pictures: abstract images with the local statistics of photographs, computed
//! from a seed.
//!
//! A picture is a stack of layers. Each is filled by one generator: dead leaves, objects, hair,
//! foliage, masonry, text or plain shading. A camera with a focus, a blur and an exposure captures
//! the stack. The pictures contain what a network with a local receptive field learns from: edges
//! between occluding objects at all scales, textures with power-law spectra, shading, and defocus,
//! which is part of the target. For dead leaves in restoration, see Achddou, Gousseau and Ladjal
//! (SSVM 2021) and their VibrantLeaves (2025).
//!
//! Layers are painted in linear light at twice the size and averaged, as in a sensor.

mod camera;
mod canvas;
mod glyphs;
mod leaves;
mod material;
mod palette;
mod strokes;
mod texture;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::camera::{Layer, blur};
use self::canvas::LayerCanvas;
use self::leaves::{Shape, dead_leaves, foliage, ground, power_law, random_position};
use self::material::{Finish, Material, exp};
use self::palette::Palette;
use self::strokes::{hair, twigs, wires};
use self::texture::{SmoothField, Texture};
use super::random::normal;
use crate::pixels::planes::Planes;

/// The generator of one layer.
#[derive(Clone, Copy)]
enum LayerKind {
    Leaves,
    /// A few large smooth objects with shading and little texture.
    Objects,
    Hair,
    Foliage,
    Masonry,
    Page,
    /// One surface, such as a wall, skin or the sky.
    Plain,
}

/// Relative frequency of each kind.
const KINDS: [(LayerKind, f32); 7] = [
    (LayerKind::Leaves, 0.24),
    (LayerKind::Objects, 0.4),
    (LayerKind::Hair, 0.08),
    (LayerKind::Foliage, 0.07),
    (LayerKind::Masonry, 0.08),
    (LayerKind::Page, 0.1),
    (LayerKind::Plain, 0.05),
];

impl LayerKind {
    fn draw(rng: &mut impl Rng) -> Self {
        let mut pick = rng.random_range(0.0..KINDS.iter().map(|k| k.1).sum::<f32>());
        for (kind, weight) in KINDS {
            pick -= weight;
            if pick < 0.0 {
                return kind;
            }
        }
        KINDS[0].0
    }

    /// Covers the whole canvas.
    fn fill(
        self,
        canvas: &mut LayerCanvas,
        palette: &Palette,
        finish: &Finish,
        rng: &mut impl Rng,
    ) {
        if rng.random_bool(0.12) {
            twigs(canvas, palette, rng);
        }
        if rng.random_bool(0.15) {
            wires(canvas, palette, rng);
        }
        match self {
            LayerKind::Leaves => dead_leaves(canvas, palette, finish, rng),
            LayerKind::Objects => objects(canvas, palette, finish, rng),
            LayerKind::Hair => hair(canvas, palette, finish, rng),
            LayerKind::Foliage => foliage(canvas, palette, finish, rng),
            LayerKind::Masonry => masonry(canvas, palette, finish, rng),
            LayerKind::Page => glyphs::page(canvas, palette, finish, rng),
            LayerKind::Plain => ground(canvas, palette, finish, rng),
        }
    }
}

/// Fills the canvas with larger shapes that have smaller parts on them.
fn objects(canvas: &mut LayerCanvas, palette: &Palette, finish: &Finish, rng: &mut impl Rng) {
    let side = canvas.side();
    for _ in 0..rng.random_range(8..60) {
        let radius = power_law(0.04 * side, 0.6 * side, 1.8, rng);
        let centre = random_position(canvas, 0.3 * radius, rng);
        let shades = palette.shades(rng);
        for _ in 0..rng.random_range(0..30) {
            let size = radius * power_law(0.02, 0.4, 2.0, rng);
            let at = centre.map(|v| v + 0.4 * radius * normal(rng));
            let shape = match rng.random_range(0..4) {
                0 => Shape::rectangle(at, size, 0.1 * normal(rng), rng),
                1 => Shape::ellipse(at, size, rng),
                2 => Shape::shard(at, size, rng),
                _ => Shape::blob(at, size, rng),
            };
            let material = Material::draw(shades.colour(rng), at, size, finish, rng);
            shape.paint(canvas, &material);
        }
        let shape = if rng.random_bool(0.7) {
            Shape::blob(centre, radius, rng)
        } else {
            Shape::shard(centre, radius, rng)
        };
        let material = Material::draw(shades.colour(rng), centre, radius, finish, rng);
        shape.paint(canvas, &material);
    }
    ground(canvas, palette, finish, rng);
}

/// Fills the canvas with walls of bricks or tiles, and rectangles in front of them.
fn masonry(canvas: &mut LayerCanvas, palette: &Palette, finish: &Finish, rng: &mut impl Rng) {
    let side = canvas.side();
    let angle = 0.15 * normal(rng);
    for i in 0..rng.random_range(1..10) {
        let radius = power_law(0.03 * side, 0.7 * side, 2.0, rng);
        let centre = random_position(canvas, 0.0, rng);
        let material = Material::draw(palette.colour(rng), centre, radius, finish, rng);
        let shape = Shape::rectangle(centre, radius, angle + 0.02 * normal(rng), rng);
        let material = if i % 2 == 0 {
            let texture = Texture::masonry(centre[0], centre[1], angle, rng);
            material.with_texture(texture, 0.1 + finish.contrast, rng)
        } else {
            material
        };
        shape.paint(canvas, &material);
    }
    let centre = random_position(canvas, 0.0, rng);
    let wall = Material::draw(palette.colour(rng), centre, side, finish, rng);
    let texture = Texture::masonry(centre[0], centre[1], angle, rng);
    canvas.paint_rest(&wall.with_texture(texture, 0.1 + finish.contrast, rng));
}

/// The camera's focus and blur.
struct Focus {
    layer: usize,
    /// Blur of a layer next to the focused one, in pixels. It grows with the square root of the
    /// distance.
    aperture: f32,
    softness: f32,
}

impl Focus {
    fn draw(layers: usize, rng: &mut impl Rng) -> Self {
        let u = rng.random::<f32>();
        Self {
            layer: rng.random_range(0..layers),
            aperture: if rng.random_bool(0.4) {
                5.0 * u * u * u
            } else {
                0.0
            },
            softness: match rng.random_range(0..20) {
                0 => rng.random_range(1.0..2.2),
                1 | 2 => 0.0,
                _ => rng.random_range(0.2..0.8),
            },
        }
    }
}

/// Computes the picture of `seed`, RGB in 0..1. On one platform, the result depends on the
/// arguments alone, not on the thread.
///
/// # Panics
///
/// Panics if `width` or `height` is 0.
pub fn picture(seed: u64, width: usize, height: usize) -> Planes {
    assert!(
        width > 0 && height > 0,
        "the size is {width}x{height}, expected at least 1x1"
    );
    let rng = &mut SmallRng::seed_from_u64(seed);
    let palette = Palette::draw(rng);
    let mut finish = Finish::draw(rng);
    let layers = 1 + [0, 1, 1, 2, 2, 3, 4, 5][rng.random_range(0..8usize)];
    let focus = Focus::draw(layers, rng);

    let mut scene = Layer::empty(width, height);
    for index in 0..layers {
        let mut canvas = LayerCanvas::new(width, height);
        if index > 0 {
            let side = canvas.side();
            let radius = power_law(0.1 * side, 0.6 * side, 1.5, rng);
            let shape = Shape::blob(random_position(&canvas, 0.0, rng), radius, rng);
            canvas.restrict(|x, y| shape.contains(x, y));
        }
        // The layers of a scene can share colours, and they share the direction of the light.
        let colours = if rng.random_bool(0.4) {
            palette.clone()
        } else {
            Palette::draw(rng)
        };
        finish = Finish {
            towards_light: finish.towards_light,
            ..Finish::draw(rng)
        };
        LayerKind::draw(rng).fill(&mut canvas, &colours, &finish, rng);
        let mut layer = canvas.into_layer();
        layer.defocus(focus.aperture * (index.abs_diff(focus.layer) as f32).sqrt());
        if index > 0 && rng.random_bool(0.5) {
            let reach = width.max(height) as f32 * rng.random_range(0.002..0.05);
            let [x, y, _] = finish.towards_light;
            let (dx, dy) = ((x * reach) as isize, (y * reach) as isize);
            scene.shade(&layer, dx, dy, 0.5 * reach, rng.random_range(0.2..0.7));
        }
        scene.cover_with(&layer);
    }

    illuminate(&mut scene, rng);
    scene.expose(
        0.02 * rng.random::<f32>().powi(2),
        rng.random_range(0.08..0.35),
        0.03 * rng.random::<f32>().powi(3),
        rng.random_range(0.6..1.1),
    );
    for plane in &mut scene.planes[..3] {
        blur(plane, width, height, focus.softness);
    }
    scene.develop()
}

/// Multiplies the scene by uneven light.
fn illuminate(scene: &mut Layer, rng: &mut impl Rng) {
    let side = 2.0 * scene.width.max(scene.height) as f32;
    let field = SmoothField::draw(side * rng.random_range(0.3..1.5), rng);
    let depth = rng.random_range(0.05..0.6f32);
    for y in 0..scene.height {
        for x in 0..scene.width {
            let light = exp(depth * field.value(2.0 * x as f32, 2.0 * y as f32));
            for plane in &mut scene.planes[..3] {
                plane[y * scene.width + x] *= light;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustfft::FftPlanner;
    use rustfft::num_complex::Complex;

    use super::*;

    const SIDE: usize = 128;

    fn luma(picture: &Planes) -> Vec<f32> {
        let [r, g, b] = [0, 1, 2].map(|c| picture.plane(c));
        let weigh = |i| 0.299 * r[i] + 0.587 * g[i] + 0.114 * b[i];
        (0..picture.width * picture.height).map(weigh).collect()
    }

    #[test]
    fn a_seed_gives_the_same_picture_on_any_thread() {
        let here = picture(7, 60, 44);
        let there = std::thread::spawn(|| picture(7, 60, 44)).join().unwrap();
        assert_eq!(here, there);
        assert_ne!(here, picture(8, 60, 44));
    }

    #[test]
    fn pictures_of_any_size_have_values_in_range() {
        for (seed, (width, height)) in [(1, 1), (1, 9), (17, 3), (33, 64)].into_iter().enumerate() {
            for offset in 0..20 {
                let p = picture(100 * seed as u64 + offset, width, height);
                assert_eq!((p.channels, p.width, p.height), (3, width, height));
                assert!(p.data.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }

    #[test]
    fn every_kind_fills_its_canvas() {
        let mut rng = SmallRng::seed_from_u64(0);
        for (kind, _) in KINDS {
            for _ in 0..5 {
                let mut canvas = LayerCanvas::new(48, 40);
                let (palette, finish) = (Palette::draw(&mut rng), Finish::draw(&mut rng));
                kind.fill(&mut canvas, &palette, &finish, &mut rng);
                assert_eq!(canvas.open(), 0);
            }
        }
    }

    /// In photographs, the power spectrum of a row falls like 1/f^1 to 1/f^2.5 (that of the plane
    /// by one power more), and differences of neighbours are far from Gaussian.
    #[test]
    fn statistics_resemble_those_of_photographs() {
        let transform = FftPlanner::new().plan_fft_forward(SIDE);
        let mut power = [0f64; SIDE / 2];
        let (mut second, mut fourth, mut mean, mut spread) = (0f64, 0f64, 0f64, 0f64);
        const COUNT: u64 = 48;
        for seed in 0..COUNT {
            let luma = luma(&picture(seed, SIDE, SIDE));
            let average = luma.iter().sum::<f32>() / luma.len() as f32;
            let variance = luma.iter().map(|v| (v - average).powi(2)).sum::<f32>();
            mean += f64::from(average) / COUNT as f64;
            spread += f64::from((variance / luma.len() as f32).sqrt()) / COUNT as f64;
            for row in luma.chunks_exact(SIDE) {
                let hann = |i: usize| {
                    (std::f32::consts::PI * i as f32 / SIDE as f32)
                        .sin()
                        .powi(2)
                };
                let window = |(i, v): (usize, &f32)| Complex::new((v - average) * hann(i), 0.0);
                let mut line: Vec<_> = row.iter().enumerate().map(window).collect();
                transform.process(&mut line);
                for (sum, value) in power.iter_mut().zip(&line) {
                    *sum += f64::from(value.norm_sqr());
                }
                for pair in row.windows(2) {
                    let square = f64::from(pair[1] - pair[0]).powi(2);
                    second += square;
                    fourth += square * square;
                }
            }
        }
        let octave = |from: usize| power[from..2 * from].iter().sum::<f64>() / from as f64;
        let slope = (octave(16) / octave(2)).log2() / 3.0;
        assert!((-2.5..-1.0).contains(&slope), "slope {slope}");
        let differences = (COUNT as usize * SIDE * (SIDE - 1)) as f64;
        let kurtosis = fourth * differences / (second * second);
        assert!(kurtosis > 8.0, "kurtosis {kurtosis}");
        assert!((0.3..0.6).contains(&mean), "mean {mean}");
        assert!((0.1..0.3).contains(&spread), "deviation {spread}");
    }
}
