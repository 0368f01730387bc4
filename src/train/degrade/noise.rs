//! Adds Gaussian and Poisson noise to a picture.

use super::chroma::luma;
use crate::pixels::planes::Planes;
use crate::train::random::normal;
use rand::Rng;

/// Adds Gaussian noise. `deviation` returns the standard deviation for a value. `grey` noise is the
/// same in all channels.
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

/// Adds `scale` times Poisson noise as in Real-ESRGAN. A value of 1 represents as many photons as
/// the picture has distinct 8-bit values, rounded up to a power of two. `grey` noise is computed
/// for the luma and is the same in all channels.
pub(super) fn add_poisson(picture: &mut Planes, scale: f32, grey: bool, rng: &mut impl Rng) {
    let n = picture.width * picture.height;
    let counted = if grey {
        let luma = (0..n).map(|i| luma(std::array::from_fn(|c| picture.plane(c)[i])));
        Planes::new(1, picture.width, picture.height, luma.collect())
    } else {
        picture.clone()
    };
    let photons = count_levels(&counted).next_power_of_two() as f32;
    let mut noise = |value: f32| {
        let value = value.clamp(0.0, 1.0);
        scale * (poisson(value * photons, rng) / photons - value)
    };
    let noise: Vec<f32> = counted.data.iter().map(|&value| noise(value)).collect();
    for (i, value) in picture.data.iter_mut().enumerate() {
        *value += noise[i % noise.len()];
    }
}

/// Counts the distinct 8-bit values.
fn count_levels(picture: &Planes) -> usize {
    let mut present = [false; 256];
    for value in &picture.data {
        present[(value * 255.0).round() as u8 as usize] = true;
    }
    present.iter().filter(|&&present| present).count()
}

/// Draws a Poisson variate of the given mean, which may be up to 256.
///
/// Below a mean of 16, this is Knuth's product of uniform numbers. From 16 on, it is a rounded
/// normal variate, which loses the skewness of at most 1/4.
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
            // Four standard errors of the mean; 5 % of the variance, and some room for rounding.
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
    fn the_number_of_photons_follows_the_number_of_levels() {
        let mut rng = SmallRng::seed_from_u64(2);
        let plane: Vec<f32> = (0..64 * 64).map(|i| (i % 200) as f32 / 255.0).collect();
        let high = Planes::new(3, 64, 64, plane.repeat(3));
        assert_eq!(count_levels(&high), 200);
        for grey in [false, true] {
            let mut noisy = high.clone();
            add_poisson(&mut noisy, 1.0, grey, &mut rng);
            assert_eq!(noisy.plane(0) == noisy.plane(1), grey);
            let noise = noisy.data.iter().zip(&high.data).map(|(a, b)| a - b);
            let variance = noise.map(|v| v * v).sum::<f32>() / high.data.len() as f32;
            // 200 levels round up to 256 photons at white. The variance of a value is the value
            // divided by 256.
            let expected = high.data.iter().sum::<f32>() / high.data.len() as f32 / 256.0;
            assert!(
                (variance / expected - 1.0).abs() < 0.1,
                "{variance} {expected}"
            );
        }
    }
}
