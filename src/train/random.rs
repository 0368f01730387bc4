//! Random numbers: reproducible generators and normal variates.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::f32::consts::TAU;

/// Creates a generator for item `index` of the sequence that `seed` defines.
pub(super) fn rng_stream(seed: u64, index: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Draws a standard normal variate (Box-Muller).
pub(super) fn normal(rng: &mut impl Rng) -> f32 {
    let u = 1.0 - rng.random::<f32>();
    (-2.0 * u.ln()).sqrt() * (TAU * rng.random::<f32>()).cos()
}
