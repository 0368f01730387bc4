//! The appearance of a surface: colour, gradient, spherical shading and textures.

use std::f32::consts::TAU;

use rand::Rng;

use super::canvas::{Light, Surface};
use super::texture::{SmoothField, Texture};
use crate::train::random::normal;

/// Colour, shading and textures of a surface.
pub(super) struct Material {
    colour: Light,
    centre: [f32; 2],
    /// Gradient of the logarithm of the light, per canvas pixel.
    gradient: [f32; 2],
    sphere: Option<SphereShading>,
    /// Textures, with the strength of each in each channel.
    textures: Vec<(Texture, Light)>,
    /// Smooth variation of the light over the surface, and its strength.
    relief: Option<(SmoothField, f32)>,
}

/// Shading of a sphere.
struct SphereShading {
    inverse_radius: f32,
    towards_light: [f32; 3],
    gloss: f32,
}

/// Properties that the materials of one layer share.
pub(super) struct Finish {
    /// Share of surfaces with a texture.
    pub textured_share: f64,
    /// Typical contrast of a texture, as a standard deviation of the logarithm of the light.
    pub contrast: f32,
    /// Typical strength of gradients.
    pub shading: f32,
    /// Share of surfaces with spherical shading.
    pub sphere_share: f64,
    /// Direction towards the light, a unit vector.
    pub towards_light: [f32; 3],
}

impl Finish {
    /// Draws a random finish.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let angle = rng.random_range(0.0..TAU);
        let tilt = rng.random_range(0.3..0.9f32);
        let flat = (1.0 - tilt * tilt).sqrt();
        Self {
            textured_share: rng.random_range(0.2..0.9),
            contrast: 0.02 * 2f32.powf(rng.random_range(0.0..3.4)),
            shading: rng.random_range(0.15..0.8),
            sphere_share: rng.random_range(0.0..0.5),
            towards_light: [flat * angle.cos(), flat * angle.sin(), tilt],
        }
    }
}

impl Material {
    /// Draws a random material for a surface of the given `radius` around (`x`, `y`).
    pub(super) fn draw(
        colour: Light,
        [x, y]: [f32; 2],
        radius: f32,
        finish: &Finish,
        rng: &mut impl Rng,
    ) -> Self {
        let strength = finish.shading / radius;
        let mut material = Self {
            colour,
            centre: [x, y],
            gradient: [strength * normal(rng), strength * normal(rng)],
            sphere: None,
            textures: Vec::new(),
            relief: None,
        };
        if radius > 4.0 && rng.random_bool(finish.sphere_share) {
            material.sphere = Some(SphereShading {
                inverse_radius: 0.9 / radius,
                towards_light: finish.towards_light,
                gloss: if rng.random_bool(0.3) {
                    rng.random_range(0.1..1.0)
                } else {
                    0.0
                },
            });
        }
        if radius > 16.0 {
            let size = radius * 2f32.powf(rng.random_range(-2.0..1.0));
            material.relief = Some((
                SmoothField::draw(size, rng),
                0.5 * finish.shading * normal(rng),
            ));
        }
        // On a few pixels, a texture only changes the colour.
        if radius > 8.0 && rng.random_bool(finish.textured_share) {
            material = material.with_texture(Texture::draw(x, y, rng), finish.contrast, rng);
            if radius > 32.0 && rng.random_bool(0.4) {
                material =
                    material.with_texture(Texture::noise(x, y, rng), 0.7 * finish.contrast, rng);
            }
        }
        material
    }

    /// Adds a texture.
    pub(super) fn with_texture(
        mut self,
        texture: Texture,
        contrast: f32,
        rng: &mut impl Rng,
    ) -> Self {
        let contrast = contrast * (0.5 * normal(rng)).exp();
        let depth = [0; 3].map(|_| contrast * (1.0 + 0.15 * normal(rng)));
        self.textures.push((texture, depth));
        self
    }
}

/// Approximates e^x by (1 + x/8)^8, which is close for the small x of shading.
pub(super) fn exp(x: f32) -> f32 {
    let x = (1.0 + x * 0.125).max(0.0);
    let x = x * x;
    let x = x * x;
    x * x
}

impl Surface for Material {
    fn light(&self, x: f32, y: f32) -> Light {
        let (u, v) = (x - self.centre[0], y - self.centre[1]);
        let mut slope = (self.gradient[0] * u + self.gradient[1] * v).clamp(-1.5, 1.5);
        if let Some((relief, depth)) = &self.relief {
            slope += depth * relief.value(x, y);
        }
        let mut light = self.colour;
        let (mut factor, mut highlight) = (1.0, 0.0);
        if let Some(sphere) = &self.sphere {
            let (nx, ny) = (u * sphere.inverse_radius, v * sphere.inverse_radius);
            let nz = (1.0 - nx * nx - ny * ny).max(0.05).sqrt();
            let [lx, ly, lz] = sphere.towards_light;
            let facing = (nx * lx + ny * ly + nz * lz).max(0.0);
            factor = 0.35 + 0.75 * facing;
            let power = facing * facing;
            let power = power * power;
            let power = power * power;
            highlight = sphere.gloss * power * power * power;
        }
        let mut exponents = [slope; 3];
        for (texture, depth) in &self.textures {
            let t = texture.value(x, y);
            for (exponent, depth) in exponents.iter_mut().zip(depth) {
                *exponent += depth * t;
            }
        }
        for (value, exponent) in light.iter_mut().zip(exponents) {
            *value = *value * factor * exp(exponent) + highlight;
        }
        light
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_approximate_exponential_is_close() {
        for x in [-1.0f32, -0.2, 0.0, 0.3, 1.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 0.07);
        }
    }
}
