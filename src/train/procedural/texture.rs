//! Textures: a value for each position, with mean near zero and deviation near one, read through a
//! random affine map.

use std::f32::consts::{PI, TAU};
use std::sync::OnceLock;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::train::random::normal;

/// Side of a noise tile.
const SIDE: usize = 512;
/// Number of noise tiles. Their spectra range from rough to smooth.
const TILES: usize = 16;

/// Periodic noise fields with amplitude spectra 1/f^s, s from 0.5 to 2.5.
///
/// All pictures use the same tiles. A surface reads one at a random position through a random map,
/// which costs a hundredth of a Fourier transform for each picture.
fn tiles() -> &'static [Vec<f32>] {
    static NOISE: OnceLock<Vec<Vec<f32>>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut rng = SmallRng::seed_from_u64(0x5eed);
        let tile = |i: usize| noise(0.5 + 2.0 * i as f32 / (TILES - 1) as f32, &mut rng);
        (0..TILES).map(tile).collect()
    })
}

fn noise(exponent: f32, rng: &mut impl Rng) -> Vec<f32> {
    let mut field = vec![Complex::new(0.0, 0.0); SIDE * SIDE];
    let frequency = |i: usize| i.min(SIDE - i) as f32;
    for (i, value) in field.iter_mut().enumerate().skip(1) {
        let f = frequency(i % SIDE).hypot(frequency(i / SIDE));
        *value = Complex::new(normal(rng), normal(rng)) * f.powf(-exponent);
    }
    let transform = FftPlanner::new().plan_fft_inverse(SIDE);
    for _ in 0..2 {
        transform.process(&mut field);
        for y in 0..SIDE {
            for x in 0..y {
                field.swap(y * SIDE + x, x * SIDE + y);
            }
        }
    }
    // Bin 0 is zero, so the mean is zero.
    let n = field.len() as f32;
    let deviation = (field.iter().map(|v| v.re * v.re).sum::<f32>() / n).sqrt();
    field.iter().map(|v| v.re / deviation).collect()
}

/// Reads a tile at (`x`, `y`), in pixels, with bilinear interpolation.
fn read(tile: &[f32], x: f32, y: f32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (wx, wy) = (x - fx, y - fy);
    let (x0, y0) = (fx as isize as usize % SIDE, fy as isize as usize % SIDE);
    let (x1, y1) = ((x0 + 1) % SIDE, (y0 + 1) % SIDE);
    let row = |y: usize| tile[y * SIDE + x0] * (1.0 - wx) + tile[y * SIDE + x1] * wx;
    row(y0) * (1.0 - wy) + row(y1) * wy
}

/// Returns a pseudorandom number in -1..1 for the integers `x` and `y`.
fn hash(x: f32, y: f32) -> f32 {
    let mut h =
        (x as i32 as u32).wrapping_mul(0x9e37_79b1) ^ (y as i32 as u32).wrapping_mul(0x85eb_ca77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h ^= h >> 13;
    (h & 0xffff) as f32 / 32768.0 - 1.0
}

/// A function that noise passes through.
#[derive(Clone, Copy)]
enum NoiseCurve {
    /// The identity.
    Plain,
    /// Thin dark lines at the zeros: creases, veins, bark.
    Ridges,
    /// Two levels with soft edges: spots, lichen, worn paint.
    Spots { gain: f32, threshold: f32 },
}

#[derive(Clone, Copy)]
enum Pattern {
    Noise(NoiseCurve),
    /// Sine waves along one axis, or the product of two, with soft or hard edges: stripes, ripples,
    /// knit.
    Waves {
        period: [f32; 2],
        gain: f32,
    },
    /// Cells with a border and individual tones; every other row can be shifted: bricks, tiles,
    /// shingles, windows.
    Cells {
        size: [f32; 2],
        border: f32,
        shift: f32,
        tone: f32,
    },
    /// Threads that cross over and under: cloth.
    Weave {
        period: f32,
    },
    /// Round dots: mesh, halftone, perforation.
    Dots {
        period: f32,
        radius: f32,
    },
}

/// A texture on a surface.
#[derive(Clone)]
pub(super) struct Texture {
    /// Rows of the linear part of the map from the canvas to the texture.
    map: [[f32; 2]; 2],
    offset: [f32; 2],
    /// Foreshortening along the second axis.
    recede: f32,
    pattern: Pattern,
    tile: usize,
    /// Share of noise that is mixed into a regular pattern.
    grime: f32,
}

impl Texture {
    /// Draws a random texture of any kind for a surface around (`x`, `y`).
    pub(super) fn draw(x: f32, y: f32, rng: &mut impl Rng) -> Self {
        let mut texture = Self::noise(x, y, rng);
        if rng.random_bool(0.22) {
            texture.pattern = Self::regular(rng);
            texture.set_map(rng.random_range(0.0..PI), 1.0, 1.0, x, y, rng);
        }
        texture
    }

    /// Draws a random noise texture for a surface around (`x`, `y`).
    pub(super) fn noise(x: f32, y: f32, rng: &mut impl Rng) -> Self {
        let curve = match rng.random_range(0..10) {
            0 => NoiseCurve::Ridges,
            1 | 2 => NoiseCurve::Spots {
                gain: rng.random_range(1.0..8.0),
                threshold: rng.random_range(-0.8..0.8),
            },
            _ => NoiseCurve::Plain,
        };
        let mut texture = Self {
            map: [[1.0, 0.0], [0.0, 1.0]],
            offset: [0.0; 2],
            recede: 0.0,
            pattern: Pattern::Noise(curve),
            tile: rng.random_range(0..TILES),
            grime: rng.random_range(0.1..0.6),
        };
        let zoom = 2f32.powf(rng.random_range(-1.8..1.0));
        let along = if rng.random_bool(0.35) {
            2f32.powf(-rng.random_range(0.5..3.5f32))
        } else {
            1.0
        };
        texture.set_map(rng.random_range(0.0..TAU), zoom * along, zoom, x, y, rng);
        texture
    }

    /// Random cells (bricks, tiles, windows) with rows along `angle`.
    pub(super) fn masonry(x: f32, y: f32, angle: f32, rng: &mut impl Rng) -> Self {
        let mut texture = Self::noise(x, y, rng);
        texture.pattern = Self::cells(rng);
        texture.set_map(angle, 1.0, 1.0, x, y, rng);
        if rng.random_bool(0.5) {
            texture.recede = rng.random_range(-0.001..0.001);
        }
        texture
    }

    fn cells(rng: &mut impl Rng) -> Pattern {
        let size = 2f32.powf(rng.random_range(3.0..7.0));
        let aspect = rng.random_range(0.4..3.0);
        Pattern::Cells {
            size: [size * aspect, size],
            border: rng.random_range(0.04..0.4),
            shift: if rng.random_bool(0.5) { 0.5 } else { 0.0 },
            tone: rng.random_range(0.0..0.8),
        }
    }

    fn regular(rng: &mut impl Rng) -> Pattern {
        let period = 2f32.powf(rng.random_range(2.3..6.0));
        match rng.random_range(0..4) {
            0 => Pattern::Waves {
                period: [
                    period,
                    if rng.random_bool(0.6) {
                        f32::INFINITY
                    } else {
                        period * rng.random_range(0.5..2.0)
                    },
                ],
                gain: rng.random_range(0.7..6.0),
            },
            1 => Self::cells(rng),
            2 => Pattern::Weave {
                period: period.min(16.0),
            },
            _ => Pattern::Dots {
                period,
                radius: rng.random_range(0.2..0.45),
            },
        }
    }

    /// Sets the map to a rotation by `angle`, scaled by `along` and `across` it, that takes (`x`,
    /// `y`) to a random position.
    fn set_map(&mut self, angle: f32, along: f32, across: f32, x: f32, y: f32, rng: &mut impl Rng) {
        let (sin, cos) = angle.sin_cos();
        self.map = [[cos * along, sin * along], [-sin * across, cos * across]];
        for (offset, row) in self.offset.iter_mut().zip(self.map) {
            // The offset keeps all positions positive.
            *offset = 4096.0 + rng.random_range(0.0..SIDE as f32) - row[0] * x - row[1] * y;
        }
    }

    /// Returns the value at (`x`, `y`), in canvas pixels.
    pub(super) fn value(&self, x: f32, y: f32) -> f32 {
        let [u, v] = [0, 1].map(|i| self.map[i][0] * x + self.map[i][1] * y + self.offset[i]);
        let u = 4096.0 + (u - 4096.0) * (1.0 + self.recede * (v - 4096.0)).clamp(0.3, 3.0);
        let noise = read(&tiles()[self.tile], u, v);
        let regular = match self.pattern {
            Pattern::Noise(NoiseCurve::Plain) => return noise,
            Pattern::Noise(NoiseCurve::Ridges) => return 1.5 * noise.abs().min(1.3) - 1.0,
            Pattern::Noise(NoiseCurve::Spots { gain, threshold }) => {
                let t = gain * (noise - threshold);
                return t / (1.0 + t.abs());
            }
            Pattern::Waves { period, gain } => {
                let wave = (TAU * u / period[0]).sin() * (TAU * v / period[1]).cos();
                let t = gain * wave;
                1.4 * t / (1.0 + t.abs())
            }
            Pattern::Cells {
                size,
                border,
                shift,
                tone,
            } => {
                let row = (v / size[1]).floor();
                let across = u / size[0] + shift * (row % 2.0);
                let column = across.floor();
                let (fx, fy) = (across - column, v / size[1] - row);
                // The border has the same width on all four sides.
                let inset = (fx.min(1.0 - fx) * size[0]).min(fy.min(1.0 - fy) * size[1]);
                if 2.0 * inset < border * size[1] {
                    -1.2
                } else {
                    0.3 + tone * hash(column, row)
                }
            }
            Pattern::Weave { period } => {
                let (a, b) = ((PI * u / period).sin(), (PI * v / period).sin());
                let over = ((u / period).floor() + (v / period).floor()) % 2.0 < 1.0;
                if over {
                    1.8 * a.abs() - 1.0
                } else {
                    1.6 * b.abs() - 1.3
                }
            }
            Pattern::Dots { period, radius } => {
                let (fx, fy) = (u / period, v / period);
                let (fx, fy) = (fx - fx.floor() - 0.5, fy - fy.floor() - 0.5);
                if fx * fx + fy * fy < radius * radius {
                    1.0
                } else {
                    -0.7
                }
            }
        };
        (1.0 - self.grime) * regular + self.grime * noise
    }
}

/// A slowly varying field over the whole picture, with mean near zero and deviation near one.
pub(super) struct SmoothField {
    offset: [f32; 2],
    zoom: f32,
    tile: usize,
}

impl SmoothField {
    /// Draws a random field with features of about `size` canvas pixels.
    pub(super) fn draw(size: f32, rng: &mut impl Rng) -> Self {
        Self {
            offset: [0; 2].map(|_| rng.random_range(0.0..SIDE as f32)),
            zoom: 24.0 / size,
            tile: rng.random_range(TILES / 2..TILES),
        }
    }

    /// Returns the value at (`x`, `y`), in canvas pixels.
    pub(super) fn value(&self, x: f32, y: f32) -> f32 {
        let [u, v] = [
            self.zoom * x + self.offset[0],
            self.zoom * y + self.offset[1],
        ];
        // Positions must be positive, but shapes can have centres outside the canvas.
        let wrap = |v: f32| v.rem_euclid(SIDE as f32);
        read(&tiles()[self.tile], wrap(u), wrap(v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_normalised_and_in_order_of_smoothness() {
        let roughness = |tile: &[f32]| -> f32 {
            tile.windows(2).map(|w| (w[1] - w[0]).powi(2)).sum::<f32>() / tile.len() as f32
        };
        let mut last = f32::INFINITY;
        // Neighbouring smooth tiles differ less by their exponents than by chance, so every fifth
        // is compared.
        for (i, tile) in tiles().iter().enumerate() {
            let n = tile.len() as f32;
            let mean = tile.iter().sum::<f32>() / n;
            let variance = tile.iter().map(|v| v * v).sum::<f32>() / n;
            assert!(mean.abs() < 1e-2 && (variance - 1.0).abs() < 1e-2);
            if i % 5 == 0 {
                assert!(roughness(tile) < last, "tile {i}");
                last = roughness(tile);
            }
        }
    }

    #[test]
    fn values_stay_moderate() {
        let mut rng = SmallRng::seed_from_u64(3);
        for _ in 0..200 {
            let texture = Texture::draw(500.0, 300.0, &mut rng);
            for i in 0..500 {
                let value = texture.value((i * 37 % 1000) as f32, (i * 91 % 800) as f32);
                assert!(value.abs() < 6.0, "{value}");
            }
        }
    }
}
