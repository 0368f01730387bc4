//! Blur and low-pass kernels, and the convolution of a picture with them.

use crate::pixels::planes::Planes;
use std::f64::consts::TAU;

/// A weight of a convolution kernel and its offset.
pub(super) struct Tap {
    pub(super) dx: isize,
    pub(super) dy: isize,
    pub(super) weight: f32,
}

/// Normalised Gaussian weights up to three sigma.
pub(super) fn gaussian(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i32;
    let weights = (-radius..=radius).map(|x| (-0.5 * (x as f32 / sigma.max(1e-3)).powi(2)).exp());
    let weights: Vec<f32> = weights.collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Returns an anisotropic Gaussian kernel with standard deviation `sigma` along `angle` and `other`
/// across it.
pub(super) fn oriented_gaussian(sigma: f32, other: f32, angle: f32) -> Vec<Tap> {
    let radius = (3.0 * sigma.max(other)).ceil() as isize;
    let (sin, cos) = angle.sin_cos();
    let mut taps = Vec::new();
    for dy in -radius..=radius {
        for dx in -radius..=radius {
            let (x, y) = (dx as f32, dy as f32);
            let along = (x * cos + y * sin) / sigma.max(1e-3);
            let across = (y * cos - x * sin) / other.max(1e-3);
            let weight = (-0.5 * (along * along + across * across)).exp();
            if weight > 1e-4 {
                taps.push(Tap { dx, dy, weight });
            }
        }
    }
    let sum: f32 = taps.iter().map(|tap| tap.weight).sum();
    for tap in &mut taps {
        tap.weight /= sum;
    }
    taps
}

/// Convolves `picture` with a kernel. The border is replicated.
pub(super) fn convolve(picture: &Planes, taps: &[Tap]) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let radius = taps
        .iter()
        .map(|tap| tap.dx.unsigned_abs())
        .max()
        .unwrap_or(0);
    let mut result = Planes::filled(picture.channels, width, height, 0.0);
    let mut padded = Vec::with_capacity(height * (width + 2 * radius));
    for channel in 0..picture.channels {
        padded.clear();
        for row in picture.plane(channel).chunks_exact(width) {
            padded.extend(std::iter::repeat_n(row[0], radius));
            padded.extend_from_slice(row);
            padded.extend(std::iter::repeat_n(row[width - 1], radius));
        }
        for (y, target) in result
            .plane_mut(channel)
            .chunks_exact_mut(width)
            .enumerate()
        {
            for tap in taps {
                let y = y.saturating_add_signed(tap.dy).min(height - 1);
                let x = radius.wrapping_add_signed(tap.dx);
                let source = &padded[y * (width + 2 * radius) + x..][..width];
                for (sum, value) in target.iter_mut().zip(source) {
                    *sum += tap.weight * value;
                }
            }
        }
    }
    result
}

/// A blur kernel with standard deviation `sigma[0]` along `angle` and `sigma[1]` across it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlurKernel {
    pub(super) shape: KernelShape,
    pub(super) sigma: [f64; 2],
    pub(super) angle: f64,
}

/// How a kernel falls off with `q`, the squared distance from its centre in standard deviations
/// (Real-ESRGAN, Wang et al. 2021, section 3.1).
#[derive(Clone, Copy, Debug)]
pub(super) enum KernelShape {
    /// `exp(-q / 2)`.
    Gaussian,
    /// `exp(-q^beta / 2)`. It has long tails for `beta` below 1, and is box-like above.
    Generalised(f64),
    /// `1 / (1 + q^beta)`. It is flat in the middle and has long tails.
    Plateau(f64),
}

impl BlurKernel {
    /// Normalised weights on a square with side `2 * radius + 1`.
    pub(super) fn taps(&self, radius: usize) -> Vec<Tap> {
        let (sin, cos) = self.angle.sin_cos();
        let [along, across] = self.sigma;
        normalised(radius, |x, y| {
            let q = ((x * cos + y * sin) / along).powi(2) + ((y * cos - x * sin) / across).powi(2);
            match self.shape {
                KernelShape::Gaussian => (-0.5 * q).exp(),
                KernelShape::Generalised(beta) => (-0.5 * q.powf(beta)).exp(),
                KernelShape::Plateau(beta) => (1.0 + q.powf(beta)).recip(),
            }
        })
    }
}

/// The ideal low-pass filter of a disc of frequencies, `cutoff J1(cutoff r) / (2 pi r)`, truncated
/// at `radius`. It causes ringing at edges, as strong sharpening or compression does (Real-ESRGAN,
/// section 3.2).
///
/// `cutoff` is in radians per pixel. The highest frequency is pi.
pub(super) fn sinc(cutoff: f64, radius: usize) -> Vec<Tap> {
    normalised(radius, |x, y| {
        let r = x.hypot(y);
        if r == 0.0 {
            cutoff * cutoff / (2.0 * TAU)
        } else {
            cutoff * bessel_j1(cutoff * r) / (TAU * r)
        }
    })
}

/// The Bessel function `J1` from its integral. It is exact up to rounding for `x` up to 80.
fn bessel_j1(x: f64) -> f64 {
    // Over whole periods, the error of the trapezium rule vanishes faster than any power of the
    // number of points.
    const POINTS: usize = 128;
    let points = (0..POINTS).map(|i| TAU * i as f64 / POINTS as f64);
    points.map(|t| (t - x * t.sin()).cos()).sum::<f64>() / POINTS as f64
}

/// Returns the taps with the values of `weight`, divided by their sum. Taps below a millionth of
/// the sum are left out.
fn normalised(radius: usize, weight: impl Fn(f64, f64) -> f64) -> Vec<Tap> {
    let reach = radius as isize;
    let offsets = (-reach..=reach).flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)));
    let weights: Vec<_> = offsets
        .map(|(dx, dy)| (dx, dy, weight(dx as f64, dy as f64)))
        .collect();
    let sum: f64 = weights.iter().map(|(_, _, weight)| weight).sum();
    weights
        .into_iter()
        .map(|(dx, dy, weight)| (dx, dy, weight / sum))
        .filter(|(_, _, weight)| weight.abs() > 1e-6)
        .map(|(dx, dy, weight)| Tap {
            dx,
            dy,
            weight: weight as f32,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn bessel_agrees_with_tables() {
        // Abramowitz and Stegun, table 9.1.
        for (x, expected) in [
            (0.0, 0.0),
            (1.0, 0.440_050_585_7),
            (5.0, -0.327_579_137_6),
            (10.0, 0.043_472_746_2),
        ] {
            assert!((bessel_j1(x) - expected).abs() < 1e-9, "{x}");
        }
        // Zeros of J1.
        for zero in [3.831_705_970_2, 44.759_318_997_7, 76.178_699_584_6] {
            assert!(bessel_j1(zero).abs() < 1e-9, "{zero}");
        }
    }

    fn sum(taps: &[Tap]) -> f32 {
        taps.iter().map(|tap| tap.weight).sum()
    }

    /// Returns the variance of the weights along the x axis.
    fn variance(taps: &[Tap]) -> f32 {
        taps.iter().map(|t| t.weight * (t.dx * t.dx) as f32).sum()
    }

    #[test]
    fn kernels_are_normalised_and_as_wide_as_stated() {
        let blur = |shape, sigma, angle| {
            BlurKernel {
                shape,
                sigma,
                angle,
            }
            .taps(10)
        };
        for taps in [
            blur(KernelShape::Gaussian, [0.2, 0.2], 0.0),
            blur(KernelShape::Generalised(4.0), [3.0, 1.0], 1.0),
            blur(KernelShape::Plateau(1.0), [2.0, 0.5], 2.0),
            sinc(PI / 3.0, 10),
            sinc(PI, 3),
        ] {
            assert!((sum(&taps) - 1.0).abs() < 1e-3, "{}", sum(&taps));
        }
        let wide = blur(KernelShape::Gaussian, [2.0, 1.0], 0.0);
        assert!((variance(&wide) - 4.0).abs() < 0.02, "{}", variance(&wide));
        let rotated = blur(KernelShape::Gaussian, [2.0, 1.0], PI / 2.0);
        assert!((variance(&rotated) - 1.0).abs() < 0.02);
        // A generalised Gaussian with exponent 1 is the Gaussian.
        let one = blur(KernelShape::Generalised(1.0), [2.0, 1.0], 0.0);
        assert_eq!(variance(&one), variance(&wide));
        assert!(
            variance(&blur(KernelShape::Generalised(0.5), [2.0, 1.0], 0.0)) > variance(&wide),
            "tails"
        );
        assert!(sinc(PI / 3.0, 10).iter().any(|tap| tap.weight < 0.0));
    }
}
