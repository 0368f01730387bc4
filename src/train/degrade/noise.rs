//! Noise: random numbers, and how they are added to a picture.

use super::chroma::brightness;
use crate::pixels::planes::Planes;
use rand::Rng;
use std::f32::consts::TAU;

/// A standard normal variate (Box-Muller).
pub(in crate::train) fn normal(rng: &mut impl Rng) -> f32 {
    let u = 1.0 - rng.random::<f32>();
    (-2.0 * u.ln()).sqrt() * (TAU * rng.random::<f32>()).cos()
}

/// Adds normal noise of the standard deviation that `deviation` gives for each value; the same draw for all channels of
/// a pixel where it is `grey`.
pub(super) fn add_normal(
    picture: &mut Planes,
    grey: bool,
    rng: &mut impl Rng,
    deviation: impl Fn(f32) -> f32,
) {
    let n = picture.width * picture.height;
    let shared: Vec<f32> = if grey {
        (0..n).map(|_| normal(rng)).collect()
    } else {
        Vec::new()
    };
    for (i, value) in picture.data.iter_mut().enumerate() {
        let draw = if grey { shared[i % n] } else { normal(rng) };
        *value += deviation(*value) * draw;
    }
}

/// Adds `scale` times the noise of counting photons, in the way of Real-ESRGAN: a value of 1 is as many photons as the
/// picture has different values in 8 bits, rounded up to a power of two. Where it is `grey`, photons of the luma are
/// counted and all channels share their noise.
pub(super) fn add_poisson(picture: &mut Planes, scale: f32, grey: bool, rng: &mut impl Rng) {
    let n = picture.width * picture.height;
    let counted = if grey {
        let luma = (0..n).map(|i| brightness(std::array::from_fn(|c| picture.plane(c)[i])));
        Planes::new(1, picture.width, picture.height, luma.collect())
    } else {
        picture.clone()
    };
    let photons = levels(&counted).next_power_of_two() as f32;
    let mut noise = |value: f32| {
        let value = value.clamp(0.0, 1.0);
        scale * (poisson(value * photons, rng) / photons - value)
    };
    let noise: Vec<f32> = counted.data.iter().map(|&value| noise(value)).collect();
    for (i, value) in picture.data.iter_mut().enumerate() {
        *value += noise[i % noise.len()];
    }
}

/// Number of different values in 8 bits.
fn levels(picture: &Planes) -> usize {
    let mut seen = [false; 256];
    for value in &picture.data {
        seen[(value * 255.0).round() as u8 as usize] = true;
    }
    seen.iter().filter(|&&seen| seen).count()
}

/// A Poisson variate of the given mean, up to 256.
///
/// Knuth's product of uniform numbers below 16, above it a rounded normal variate: its skewness, 1/4 at most, is lost.
fn poisson(mean: f32, rng: &mut impl Rng) -> f32 {
    if mean >= 16.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0);
    }
    let end = (-mean).exp();
    let mut product = rng.random::<f32>();
    let mut count = 0.0;
    while product > end {
        product *= rng.random::<f32>();
        count += 1.0;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn poisson_has_its_mean_and_variance() {
        for mean in [0.0, 0.3, 4.0, 15.9, 16.0, 200.0] {
            let mut rng = SmallRng::seed_from_u64(1);
            let draws: Vec<f64> = (0..20_000)
                .map(|_| f64::from(poisson(mean, &mut rng)))
                .collect();
            let average = draws.iter().sum::<f64>() / draws.len() as f64;
            let squares = draws.iter().map(|d| (d - average).powi(2)).sum::<f64>();
            let variance = squares / draws.len() as f64;
            let mean = f64::from(mean);
            // Four standard errors of either, and a third of a unit squared for rounding.
            assert!(
                (average - mean).abs() <= 4.0 * (mean / 2e4).sqrt(),
                "{mean} {average}"
            );
            assert!(
                (variance - mean).abs() <= 0.05 * mean + 0.1,
                "{mean} {variance}"
            );
        }
    }

    #[test]
    fn photons_are_as_many_as_levels() {
        let mut rng = SmallRng::seed_from_u64(2);
        let plane: Vec<f32> = (0..64 * 64).map(|i| (i % 200) as f32 / 255.0).collect();
        let high = Planes::new(3, 64, 64, plane.repeat(3));
        assert_eq!(levels(&high), 200);
        for grey in [false, true] {
            let mut noisy = high.clone();
            add_poisson(&mut noisy, 1.0, grey, &mut rng);
            assert_eq!(noisy.plane(0) == noisy.plane(1), grey);
            let noise = noisy.data.iter().zip(&high.data).map(|(a, b)| a - b);
            let variance = noise.map(|v| v * v).sum::<f32>() / high.data.len() as f32;
            // 200 levels are 256 photons at white: a value's variance is the value over that.
            let expected = high.data.iter().sum::<f32>() / high.data.len() as f32 / 256.0;
            assert!(
                (variance / expected - 1.0).abs() < 0.1,
                "{variance} {expected}"
            );
        }
    }
}
