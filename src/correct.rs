//! Holding a restored picture to the one it was made from: its colours, and how far it may move in each band of
//! frequencies.
//!
//! What the model changed is taken apart into octaves (the à trous transform, as in the wavelet colour fix of StableSR):
//! the picture is smoothed by `1 2 1` with gaps of 1, 2, 4, 8 and 16 pixels, and what each smoothing takes away is one
//! band. The bands add up to the whole.

use crate::padding::Edge;
use crate::planes::Planes;
use crate::progress::{Watch, Watched};
use rayon::prelude::*;

/// Smoothings, and bands but for what is left after the last.
const LEVELS: usize = 5;

/// How the colours of the model's output are held to those of the input.
///
/// Measured with the bundled model at x4 on two photos (`benches/score.py`: reduced to a quarter, and blurred, reduced,
/// noisy and compressed): PSNR and SSIM of luma, PSNR of RGB, and how far the mean of a channel moves from the input's.
///
/// | | PSNR | SSIM | PSNR, RGB | mean of a channel |
/// | --- | --- | --- | --- | --- |
/// | none: clean, real | 28.34, 26.37 dB | 0.8413, 0.7638 | 26.710, 24.263 dB | 0.18/255, 1.62/255 |
/// | mean and deviation: clean, real | 28.32, 26.31 dB | 0.8405, 0.7614 | 26.694, 24.220 dB | 0.02/255, 0.02/255 |
/// | wavelet: clean, real | 28.34, 26.37 dB | 0.8412, 0.7635 | 26.711, 24.272 dB | 0.02/255, 0.03/255 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColorFix {
    /// Not at all.
    None,
    /// Each channel's mean and standard deviation over the picture become those of the plain resize.
    MeanStd,
    /// What is coarser than about 32 pixels of the output comes from the plain resize (low-pass match, the "wavelet" fix of
    /// other programs).
    #[default]
    Wavelet,
}

/// Moves `restored` towards `plain`, the plain resize: exactly that for a `fidelity` of 0, exactly the restored with its
/// colours fixed for 1. Between, the finest band of what the model changed is kept by `fidelity`, and each coarser one by a
/// power more. `plain` is asked for only where it is needed.
pub(crate) fn correct(
    plain: impl FnOnce() -> Planes,
    mut restored: Planes,
    fix: ColorFix,
    fidelity: f64,
    edge: Edge,
    watch: Watch,
) -> Watched<Planes> {
    if fix == ColorFix::None && fidelity == 1.0 {
        return Ok(restored);
    }
    let plain = plain();
    watch.check()?;
    if fix == ColorFix::MeanStd {
        match_statistics(&plain, &mut restored);
    }
    let mut weights: [f32; LEVELS + 1] =
        std::array::from_fn(|band| fidelity.powi(band as i32 + 1) as f32);
    if fix == ColorFix::Wavelet {
        weights[LEVELS] = 0.0;
    }
    // One channel after the other: the rows of each keep all cores busy, and less is in memory at a time.
    let width = plain.width;
    let mut change = vec![0.0; width * plain.height];
    let mut across = change.clone();
    let mut parts = watch.parts(plain.channels * LEVELS);
    for channel in 0..plain.channels {
        let out = restored.plane_mut(channel);
        let plain = plain.plane(channel);
        let values = out.par_iter_mut().zip(&mut change).zip(plain);
        values.for_each(|((out, change), plain)| {
            *change = *out - plain;
            *out = plain + weights[0] * *change;
        });
        for level in 1..=LEVELS {
            smooth(&mut change, &mut across, width, 1 << (level - 1), edge);
            // A band is the difference of two smoothings, so each smoothing counts by the step of the weights.
            let step = weights[level] - weights[level - 1];
            if step != 0.0 {
                let pairs = out.par_iter_mut().zip(&change);
                pairs.for_each(|(out, change)| *out += step * change);
            }
            parts.done()?;
        }
    }
    Ok(restored)
}

/// Gives each channel of `picture` the mean and the standard deviation of that of `like`.
fn match_statistics(like: &Planes, picture: &mut Planes) {
    let statistics = |plane: &[f32]| {
        let n = plane.len() as f64;
        let mean = plane.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let squares = plane.iter().map(|&v| (f64::from(v) - mean).powi(2));
        (mean, (squares.sum::<f64>() / n).sqrt())
    };
    for channel in 0..picture.channels {
        let (mean, deviation) = statistics(like.plane(channel));
        let (own_mean, own_deviation) = statistics(picture.plane(channel));
        // A flat channel has no contrast to scale.
        let scale = match own_deviation > 0.0 {
            true => deviation / own_deviation,
            false => 1.0,
        };
        for value in picture.plane_mut(channel) {
            *value = ((f64::from(*value) - own_mean) * scale + mean) as f32;
        }
    }
}

/// `1 2 1` over 4, with `gap` pixels between, along both axes. `across` is as long as `plane` and overwritten.
fn smooth(plane: &mut [f32], across: &mut [f32], width: usize, gap: usize, edge: Edge) {
    let height = plane.len() / width;
    let neighbours = |i: usize, n: usize| {
        [i as isize - gap as isize, (i + gap) as isize].map(|i| edge.source(i, n))
    };
    // Within `inner` no neighbour is beyond the edge: plain slices there, for the vector unit.
    let inner = gap.min(width)..width.saturating_sub(gap).max(gap.min(width));
    let rows = across.par_chunks_exact_mut(width);
    let rows = rows.zip(plane.par_chunks_exact(width));
    rows.for_each(|(out, row)| {
        for x in (0..inner.start).chain(inner.end..width) {
            let [left, right] = neighbours(x, width).map(|x| row[x]);
            out[x] = mix(left, row[x], right);
        }
        let sides = row.iter().zip(row.get(2 * gap..).unwrap_or_default());
        let places = out[inner.clone()].iter_mut().zip(&row[inner.clone()]);
        for ((out, &here), (&left, &right)) in places.zip(sides) {
            *out = mix(left, here, right);
        }
    });
    let rows = plane.par_chunks_exact_mut(width).enumerate();
    rows.for_each(|(y, out)| {
        let row = |y: usize| &across[y * width..][..width];
        let [above, below] = neighbours(y, height).map(row);
        for ((out, &here), (&above, &below)) in
            out.iter_mut().zip(row(y)).zip(above.iter().zip(below))
        {
            *out = mix(above, here, below);
        }
    });
}

fn mix(before: f32, here: f32, after: f32) -> f32 {
    0.25 * (before + after) + 0.5 * here
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::unwatched;
    use proptest::prelude::*;

    fn corrected(
        plain: impl FnOnce() -> Planes,
        restored: Planes,
        fix: ColorFix,
        fidelity: f64,
        edge: Edge,
    ) -> Planes {
        unwatched(|watch| correct(plain, restored, fix, fidelity, edge, watch))
    }

    /// Noise over a slope, the same for the same `seed`.
    fn noise(width: usize, height: usize, seed: u32) -> Planes {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let data = (0..3 * width * height)
            .map(|i| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                0.3 + 0.4 * (i % width) as f32 / width as f32 + state as f32 / u32::MAX as f32 * 0.2
            })
            .collect();
        Planes::new(3, width, height, data)
    }

    fn distance(a: &Planes, b: &Planes) -> f64 {
        let squares = a
            .data
            .iter()
            .zip(&b.data)
            .map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    }

    fn mean(plane: &[f32]) -> f32 {
        plane.iter().sum::<f32>() / plane.len() as f32
    }

    #[test]
    fn the_ends_are_exact() {
        let (plain, restored) = (noise(40, 31, 1), noise(40, 31, 2));
        let at = |fidelity| {
            corrected(
                || plain.clone(),
                restored.clone(),
                ColorFix::None,
                fidelity,
                Edge::Reflect,
            )
        };
        assert_eq!(at(0.0), plain);
        assert_eq!(at(1.0), restored);
    }

    proptest! {
        /// More fidelity to the model is never nearer to the plain resize, and a small step of it is a small change.
        #[test]
        fn fidelity_is_monotone_and_continuous(
            width in 1..50_usize, height in 1..50_usize, low in 0.0..1.0_f64, step in 0.0..0.1_f64,
            fix in prop_oneof![Just(ColorFix::None), Just(ColorFix::Wavelet), Just(ColorFix::MeanStd)],
        ) {
            let (plain, restored) = (noise(width, height, 3), noise(width, height, 4));
            let high = (low + step).min(1.0);
            let at = |fidelity| corrected(|| plain.clone(), restored.clone(), fix, fidelity, Edge::Replicate);
            let (near, far, whole) = (at(low), at(high), at(1.0));
            let scale = distance(&plain, &whole);
            prop_assert!(distance(&plain, &near) <= distance(&plain, &far) + 1e-3 * scale);
            // The steepest weight is the sixth power's, at one.
            prop_assert!(distance(&near, &far) <= (6.0 * (high - low) + 1e-3) * (scale + 1e-3));
        }
    }

    /// A change of a large area is undone far more than one of single pixels.
    #[test]
    fn coarse_bands_are_held_more() {
        let plain = Planes::filled(1, 64, 64, 0.5);
        let moved = |change: &dyn Fn(usize, usize) -> f32| {
            let data = (0..64 * 64).map(|i| 0.5 + change(i % 64, i / 64)).collect();
            let restored = Planes::new(1, 64, 64, data);
            let whole = distance(&plain, &restored);
            let half = corrected(
                || plain.clone(),
                restored,
                ColorFix::None,
                0.5,
                Edge::Reflect,
            );
            distance(&plain, &half) / whole
        };
        let checkers = moved(&|x, y| if (x + y) % 2 == 0 { 0.1 } else { -0.1 });
        let flat = moved(&|_, _| 0.1);
        assert!((checkers - 0.5).abs() < 0.01, "{checkers}");
        assert!((flat - 0.5_f64.powi(6)).abs() < 1e-4, "{flat}");
    }

    #[test]
    fn the_fixes_undo_a_shift_of_colour() {
        let plain = noise(48, 40, 5);
        let mut shifted = plain.clone();
        for (channel, (gain, shift)) in [(1.1, 0.02), (0.9, -0.05), (1.0, 0.1)]
            .into_iter()
            .enumerate()
        {
            for value in shifted.plane_mut(channel) {
                *value = *value * gain + shift;
            }
        }
        let fixed = |fix| corrected(|| plain.clone(), shifted.clone(), fix, 1.0, Edge::Reflect);
        let statistics = fixed(ColorFix::MeanStd);
        assert!(distance(&plain, &statistics) < 1e-3);
        let wavelet = fixed(ColorFix::Wavelet);
        for channel in 0..3 {
            let means = [&plain, &wavelet].map(|picture| mean(picture.plane(channel)));
            assert!((means[0] - means[1]).abs() < 1e-3, "{means:?}");
        }
        let flat = Planes::filled(3, 5, 4, 0.5);
        let fixed = corrected(
            || plain.clone(),
            noise(48, 40, 5),
            ColorFix::MeanStd,
            1.0,
            Edge::Reflect,
        );
        assert!(distance(&fixed, &plain) < 1e-4);
        let same = corrected(
            || flat.clone(),
            flat.clone(),
            ColorFix::MeanStd,
            1.0,
            Edge::Reflect,
        );
        assert_eq!(same, flat);
    }

    /// Smoothing over edges that wrap around commutes with shifting the picture around.
    #[test]
    fn smoothing_wraps_around() {
        let picture = noise(20, 1, 6);
        let shifted: Vec<f32> = (0..20).map(|x| picture.data[(x + 7) % 20]).collect();
        let smoothed = |mut values: Vec<f32>| {
            smooth(&mut values, &mut [0.0; 20], 20, 4, Edge::Wrap);
            values
        };
        let (smoothed, other) = (smoothed(picture.plane(0).to_vec()), smoothed(shifted));
        for x in 0..20 {
            assert!((smoothed[(x + 7) % 20] - other[x]).abs() < 1e-6);
        }
    }
}
