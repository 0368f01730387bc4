//! Colours: a few centres in Oklab (Ottosson 2020) for each picture, with random deviations around
//! them.
//!
//! Photographs vary far more in lightness than in chroma, and most of their surfaces are almost
//! grey. The distribution here is similar.

use std::f32::consts::TAU;

use rand::Rng;

use super::canvas::Light;
use crate::train::random::normal;

/// Lightness, and green-red and blue-yellow chroma.
#[derive(Clone, Copy)]
struct Oklab {
    l: f32,
    a: f32,
    b: f32,
}

impl Oklab {
    fn to_light(self) -> Light {
        let cube = |v: f32| v * v * v;
        let l = cube(self.l + 0.396_337_78 * self.a + 0.215_803_76 * self.b);
        let m = cube(self.l - 0.105_561_35 * self.a - 0.063_854_17 * self.b);
        let s = cube(self.l - 0.089_484_18 * self.a - 1.291_485_5 * self.b);
        [
            4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
            -1.268_438 * l + 2.609_757_4 * m - 0.341_319_4 * s,
            -0.004_196_09 * l - 0.703_418_6 * m + 1.707_614_7 * s,
        ]
        .map(|v| v.clamp(0.002, 1.0))
    }
}

/// Draws a hue: mostly that of earth, wood and skin, then of sky and plants, sometimes any.
fn hue(rng: &mut impl Rng) -> f32 {
    let (centre, spread) = match rng.random_range(0..16) {
        0..8 => (1.1, 0.35),
        8..11 => (4.4, 0.35),
        11..14 => (2.2, 0.3),
        _ => (rng.random_range(0.0..TAU), 0.0),
    };
    centre + spread * normal(rng)
}

/// The colours of one picture or one of its layers.
#[derive(Clone)]
pub(super) struct Palette {
    centres: Vec<Oklab>,
    scatter: f32,
}

impl Palette {
    /// Draws a random palette. All its hues are close to one or two.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let hues = [hue(rng), hue(rng)];
        let vivid = 0.02 * 2f32.powf(rng.random_range(0.0..2.6));
        let key = rng.random_range(0.3..0.75f32);
        let range = rng.random_range(0.12..0.35f32);
        let centres = (0..rng.random_range(3..8))
            .map(|_| {
                let hue = hues[rng.random_range(0..2usize)] + 0.2 * normal(rng);
                let l = (key + range * normal(rng)).clamp(0.08, 0.98);
                // Very dark and very light surfaces have no room for chroma.
                let chroma = (vivid * normal(rng).abs()).min(0.15) * (4.0 * l * (1.0 - l)).sqrt();
                Oklab {
                    l,
                    a: chroma * hue.cos(),
                    b: chroma * hue.sin(),
                }
            })
            .collect();
        Self {
            centres,
            scatter: rng.random_range(0.02..0.12),
        }
    }

    /// Creates a narrower palette around one colour of this one, for the parts of one object.
    pub(super) fn shades(&self, rng: &mut impl Rng) -> Self {
        let centre = self.centres[rng.random_range(0..self.centres.len())];
        let spread = rng.random_range(0.02..0.15f32);
        let centres = (0..3)
            .map(|_| Oklab {
                l: (centre.l + spread * normal(rng)).clamp(0.08, 0.97),
                a: centre.a + 0.015 * normal(rng),
                b: centre.b + 0.015 * normal(rng),
            })
            .collect();
        Self {
            centres,
            scatter: rng.random_range(0.01..0.08),
        }
    }

    /// Draws a colour near position `place` in the palette, 0 to 1. Equal positions have similar
    /// colours.
    pub(super) fn colour_at(&self, place: f32, rng: &mut impl Rng) -> Light {
        let n = self.centres.len();
        let centre = self.centres[((place * n as f32).max(0.0) as usize).min(n - 1)];
        Oklab {
            l: (centre.l + self.scatter * normal(rng)).clamp(0.05, 0.99),
            a: centre.a + 0.2 * self.scatter * normal(rng),
            b: centre.b + 0.2 * self.scatter * normal(rng),
        }
        .to_light()
    }

    /// Draws a colour from anywhere in the palette.
    pub(super) fn colour(&self, rng: &mut impl Rng) -> Light {
        let place = rng.random();
        self.colour_at(place, rng)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn zero_chroma_is_grey() {
        let [r, g, b] = Oklab {
            l: 0.6,
            a: 0.0,
            b: 0.0,
        }
        .to_light();
        assert!((r - 0.216).abs() < 1e-3 && (g - r).abs() < 1e-3 && (b - r).abs() < 1e-3);
    }

    #[test]
    fn lightness_varies_more_than_chroma() {
        let mut rng = SmallRng::seed_from_u64(0);
        let colours: Vec<Light> = (0..2000)
            .map(|_| Palette::draw(&mut rng).colour(&mut rng).map(f32::sqrt))
            .collect();
        let spread = |f: &dyn Fn(&Light) -> f32| {
            let mean = colours.iter().map(f).sum::<f32>() / 2000.0;
            (colours.iter().map(|c| (f(c) - mean).powi(2)).sum::<f32>() / 2000.0).sqrt()
        };
        let luma = spread(&|c| c.iter().sum::<f32>() / 3.0);
        let chroma = spread(&|c| c[0] - c[2]);
        assert!(luma > 1.3 * chroma, "{luma} {chroma}");
    }
}
