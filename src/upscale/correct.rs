//! Corrects a restored picture towards its input: limits the change in each band of frequencies,
//! and fixes the colours.
//!
//! The change that the model has made is divided into octaves by the à trous transform, as in the
//! wavelet colour fix of StableSR. It is smoothed by `1 2 1` with gaps of 1, 2, 4, 8 and 16 pixels.
//! The part that a smoothing removes is one band. The bands add up to the whole change.

use crate::options::color_fix::ColorFix;
use crate::options::padding::Edge;
use crate::pixels::planes::Planes;
use crate::pixels::resize::Enlarger;
use crate::simd::vectorised;
use crate::upscale::strip::Strip;
use fast_image_resize::pixels::F32;
use std::ops::Range;

/// The number of smoothings. There is one more band, which contains what remains after the last
/// smoothing.
pub(crate) const LEVELS: usize = 5;

/// The total radius of all smoothings in pixels.
pub(crate) const REACH: usize = (1 << LEVELS) - 1;
/// The number of columns that are corrected at a time, so small that their inputs stay in the cache
/// of a core.
const COLUMNS: usize = 1024;

/// Returns the share of each band of the change that is kept, from the finest band to the remainder
/// after the last smoothing.
pub(crate) fn band_weights(fix: ColorFix, fidelity: f64) -> [f32; LEVELS + 1] {
    let mut weights = std::array::from_fn(|band| fidelity.powi(band as i32 + 1) as f32);
    if fix == ColorFix::Wavelet {
        weights[LEVELS] = 0.0;
    }
    weights
}

/// Moves a restored picture towards the plain resize. A fidelity of 0 gives the plain resize, and 1
/// the restored picture with its colours fixed. For a fidelity `f` in between, the finest band of
/// the change keeps the share `f`, the next one `f^2`, and so on.
pub(crate) struct Correction<'a> {
    plain: &'a Enlarger,
    /// The share of each band that is kept.
    weights: [f32; LEVELS + 1],
    edge: Edge,
}

impl<'a> Correction<'a> {
    /// Creates a correction. Returns `None` if it would change nothing.
    pub(crate) fn new(
        plain: &'a Enlarger,
        fix: ColorFix,
        fidelity: f64,
        edge: Edge,
    ) -> Option<Self> {
        let weights = band_weights(fix, fidelity);
        weights.iter().any(|&weight| weight != 1.0).then_some(Self {
            plain,
            weights,
            edge,
        })
    }

    /// Returns `rows` of the corrected picture. `restored` must contain these rows and [`REACH`]
    /// more on each side.
    pub(crate) fn rows(&self, restored: &Strip, rows: Range<usize>) -> Planes {
        let (width, _) = self.plain.size();
        let channels = self.plain.channels();
        let mut corrected = Planes::filled(channels, width, rows.len(), 0.0);
        for channel in 0..channels {
            let plane = corrected.plane_mut(channel);
            for start in (0..width).step_by(COLUMNS) {
                let columns = start..width.min(start + COLUMNS);
                let block = self.block(channel, restored, &rows, &columns);
                let lines = plane.chunks_exact_mut(width);
                for (line, values) in lines.zip(block.chunks_exact(columns.len())) {
                    line[columns.clone()].copy_from_slice(values);
                }
            }
        }
        corrected
    }

    /// Corrects a rectangle of one channel, row by row.
    fn block(
        &self,
        channel: usize,
        restored: &Strip,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Vec<f32> {
        let (width, height) = self.plain.size();
        let ys = ExtendedRange::new(rows, height, self.edge);
        let xs = ExtendedRange::new(columns, width, self.edge);
        let plain = self.plain.area(channel, ys.span.clone(), xs.span.clone());
        let plain: Vec<&[F32]> = plain.pixels().chunks_exact(xs.span.len()).collect();
        vectorised(
            #[inline(always)]
            || self.corrected(channel, restored, [rows, columns], [&ys, &xs], &plain),
        )
    }

    #[inline(always)]
    fn corrected(
        &self,
        channel: usize,
        restored: &Strip,
        [rows, columns]: [&Range<usize>; 2],
        [ys, xs]: [&ExtendedRange; 2],
        plain: &[&[F32]],
    ) -> Vec<f32> {
        let stride = xs.sources.len();
        let mut change = Vec::with_capacity(ys.sources.len() * stride);
        for &y in &ys.sources {
            let (plain, row) = (plain[y - ys.span.start], restored.row(channel, y));
            let difference = |&x: &usize| row[x] - plain[x - xs.span.start].0;
            let inside = xs.inside.clone();
            change.extend(xs.sources[..inside.start].iter().map(difference));
            let columns = xs.sources[inside.start]..xs.sources[inside.end - 1] + 1;
            let start = columns.start - xs.span.start;
            let pairs = row[columns].iter().zip(&plain[start..]);
            change.extend(pairs.map(|(restored, plain)| restored - plain.0));
            change.extend(xs.sources[inside.end..].iter().map(difference));
        }

        let mut out = Vec::with_capacity(rows.len() * columns.len());
        for (y, change) in rows.clone().zip(change.chunks_exact(stride).skip(REACH)) {
            let plain = &plain[y - ys.span.start][columns.start - xs.span.start..];
            let pairs = change[REACH..][..columns.len()].iter().zip(plain);
            out.extend(pairs.map(|(change, plain)| plain.0 + self.weights[0] * change));
        }
        // A band is the difference of two smoothings. The weight of a smoothing is therefore the
        // difference of the weights of two bands.
        for level in 1..=LEVELS {
            let step = self.weights[level] - self.weights[level - 1];
            if step != 0.0 {
                add_smoothed(&mut out, columns.len(), &change, stride, level, step);
            }
        }
        out
    }
}

/// Positions along an axis, extended by [`REACH`] on each side.
struct ExtendedRange {
    /// The pixel of the picture at each position.
    sources: Vec<usize>,
    /// The positions that lie within the picture. Their sources are consecutive.
    inside: Range<usize>,
    /// The range from the smallest source to the largest.
    span: Range<usize>,
}

impl ExtendedRange {
    fn new(positions: &Range<usize>, n: usize, edge: Edge) -> Self {
        let place = |i: usize| i as isize - REACH as isize;
        let sources: Vec<usize> = (positions.start..positions.end + 2 * REACH)
            .map(|i| edge.source(place(i), n))
            .collect();
        let first = REACH.saturating_sub(positions.start);
        let beyond = (positions.end + REACH).saturating_sub(n);
        let (min, max) = sources.iter().fold((n, 0), |(min, max), &source| {
            (min.min(source), max.max(source))
        });
        Self {
            inside: first..sources.len() - beyond,
            span: min..max + 1,
            sources,
        }
    }
}

/// Smooths `change` `level` times and adds `weight` times the result to `out`. `out` has rows of
/// `width` values. `change` has rows of `stride` values and extends [`REACH`] values beyond `out`
/// on each side.
///
/// Together, the smoothings `1 2 1` with gaps of 1, 2, 4 up to n / 2 are a convolution with a tent,
/// which equals two running sums over n values. Along a column, each running sum follows from the
/// previous one: the value that enters is added, and the value that leaves is subtracted.
#[inline(always)]
fn add_smoothed(
    out: &mut [f32],
    width: usize,
    change: &[f32],
    stride: usize,
    level: usize,
    weight: f32,
) {
    let n = 1 << level;
    let margin = REACH - (n - 1);
    let rows = out.len() / width + 2 * (n - 1);
    let change = &change[margin * stride..][..rows * stride];
    let zeros = vec![0.0; stride];
    // Running sums over the last n rows. Values before the first row are zero.
    let (mut once, mut twice) = (vec![0.0; stride], vec![0.0; stride]);
    let mut sums = vec![0.0; n * stride];
    let (mut row, mut spare) = (vec![0.0; stride], vec![0.0; stride]);
    let weight = weight / (n * n * n * n) as f32;
    let mut lines = out.chunks_exact_mut(width);
    for (y, enters) in change.chunks_exact(stride).enumerate() {
        let leaves = match y.checked_sub(n) {
            Some(before) => &change[before * stride..][..stride],
            None => &zeros,
        };
        let sums = &mut sums[y % n * stride..][..stride];
        let running = once.iter_mut().zip(&mut twice).zip(sums);
        for (((once, twice), sum), (enters, leaves)) in running.zip(enters.iter().zip(leaves)) {
            *once += enters - leaves;
            *twice += *once - *sum;
            *sum = *once;
        }
        if y < 2 * (n - 1) {
            continue;
        }
        let mut left = width + 2 * (n - 1);
        let mut source = &twice[margin..][..left];
        for gap in (0..level).map(|smoothing| 1 << smoothing) {
            left -= 2 * gap;
            let sides = source.iter().zip(&source[2 * gap..]);
            let places = spare[..left].iter_mut().zip(&source[gap..]);
            for ((place, here), (before, after)) in places.zip(sides) {
                *place = before + here + here + after;
            }
            std::mem::swap(&mut row, &mut spare);
            source = &row[..left];
        }
        let line = lines
            .next()
            .expect("one line for each row within the margins");
        for (out, smoothed) in line.iter_mut().zip(source) {
            *out += weight * smoothed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::target::Enlargement;
    use crate::upscale::statistics::match_statistics;
    use proptest::prelude::*;

    fn corrected(
        plain: &Planes,
        mut restored: Planes,
        fix: ColorFix,
        fidelity: f64,
        edge: Edge,
    ) -> Planes {
        let to = Enlargement {
            width: plain.width,
            height: plain.height,
            steps: (1.0, 1.0),
        };
        let plain = Enlarger::cubic(plain, to, edge);
        if fix == ColorFix::MeanStd {
            match_statistics(&plain, &mut restored);
        }
        let rows = 0..restored.height;
        let strip = Strip {
            planes: restored,
            top: 0,
        };
        match Correction::new(&plain, fix, fidelity, edge) {
            Some(correction) => correction.rows(&strip, rows),
            None => strip.planes,
        }
    }

    /// Returns noise on a slope, determined by `seed`.
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
    fn fidelities_of_zero_and_one_are_exact() {
        let (plain, restored) = (noise(40, 31, 1), noise(40, 31, 2));
        let at = |fidelity| {
            corrected(
                &plain,
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
        /// A higher fidelity never moves the result closer to the plain resize, and a small step of
        /// it causes a small change.
        #[test]
        fn fidelity_is_monotone_and_continuous(
            width in 1..50_usize, height in 1..50_usize, low in 0.0..1.0_f64, step in 0.0..0.1_f64,
            fix in prop_oneof![Just(ColorFix::None), Just(ColorFix::Wavelet), Just(ColorFix::MeanStd)],
        ) {
            let (plain, restored) = (noise(width, height, 3), noise(width, height, 4));
            let high = (low + step).min(1.0);
            let at = |fidelity| corrected(&plain, restored.clone(), fix, fidelity, Edge::Replicate);
            let (near, far, whole) = (at(low), at(high), at(1.0));
            let scale = distance(&plain, &whole);
            prop_assert!(distance(&plain, &near) <= distance(&plain, &far) + 1e-3 * scale);
            // The sixth power at one is the steepest weight.
            prop_assert!(distance(&near, &far) <= (6.0 * (high - low) + 1e-3) * (scale + 1e-3));
        }
    }

    /// A change of a large area is undone far more than a change of single pixels.
    #[test]
    fn coarse_bands_are_corrected_more() {
        let plain = Planes::filled(1, 64, 64, 0.5);
        let moved = |change: &dyn Fn(usize, usize) -> f32| {
            let data = (0..64 * 64).map(|i| 0.5 + change(i % 64, i / 64)).collect();
            let restored = Planes::new(1, 64, 64, data);
            let whole = distance(&plain, &restored);
            let half = corrected(&plain, restored, ColorFix::None, 0.5, Edge::Reflect);
            distance(&plain, &half) / whole
        };
        let checkers = moved(&|x, y| if (x + y) % 2 == 0 { 0.1 } else { -0.1 });
        let flat = moved(&|_, _| 0.1);
        assert!((checkers - 0.5).abs() < 0.01, "{checkers}");
        assert!((flat - 0.5_f64.powi(6)).abs() < 1e-4, "{flat}");
    }

    #[test]
    fn the_colour_fixes_undo_a_colour_shift() {
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
        let fixed = |fix| corrected(&plain, shifted.clone(), fix, 1.0, Edge::Reflect);
        let statistics = fixed(ColorFix::MeanStd);
        assert!(distance(&plain, &statistics) < 1e-3);
        let wavelet = fixed(ColorFix::Wavelet);
        for channel in 0..3 {
            let means = [&plain, &wavelet].map(|picture| mean(picture.plane(channel)));
            assert!((means[0] - means[1]).abs() < 1e-3, "{means:?}");
        }
        let flat = Planes::filled(3, 5, 4, 0.5);
        let fixed = corrected(
            &plain,
            noise(48, 40, 5),
            ColorFix::MeanStd,
            1.0,
            Edge::Reflect,
        );
        assert!(distance(&fixed, &plain) < 1e-4);
        let same = corrected(&flat, flat.clone(), ColorFix::MeanStd, 1.0, Edge::Reflect);
        assert_eq!(same, flat);
    }

    /// The five smoothings together are a convolution with a tent of 64 pixels, for every edge
    /// mode.
    #[test]
    fn the_coarsest_band_is_the_mean_under_a_tent() {
        let (width, height) = (COLUMNS + 40, 70);
        let (plain, restored) = (noise(width, height, 6), noise(width, height, 7));
        let tent: Vec<f64> = (-31..32_i32)
            .map(|i| f64::from(32 - i.abs()) / 1024.0)
            .collect();
        for edge in [Edge::Reflect, Edge::Replicate, Edge::Wrap] {
            let fixed = corrected(&plain, restored.clone(), ColorFix::Wavelet, 1.0, edge);
            for (x, y) in [
                (0, 0),
                (5, 69),
                (COLUMNS - 1, 30),
                (COLUMNS, 0),
                (width - 1, 44),
            ] {
                for channel in 0..3 {
                    let at =
                        |planes: &Planes, x, y| f64::from(planes.plane(channel)[y * width + x]);
                    let around =
                        |weights: &dyn Fn(usize) -> f64| -> f64 { (0..63).map(weights).sum() };
                    let coarse = around(&|i| {
                        let y = edge.source(y as isize + i as isize - 31, height);
                        tent[i]
                            * around(&|j| {
                                let x = edge.source(x as isize + j as isize - 31, width);
                                tent[j] * (at(&restored, x, y) - at(&plain, x, y))
                            })
                    });
                    let expected = at(&restored, x, y) - coarse;
                    let error = (at(&fixed, x, y) - expected).abs();
                    assert!(error < 1e-5, "{edge:?}, {x}, {y}: {error}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn parts_equal_the_same_rows_of_the_whole(
            width in 1..80_usize, height in 1..120_usize, from in 0.0..1.0_f64, part in 0.0..1.0_f64,
            edge in prop_oneof![Just(Edge::Reflect), Just(Edge::Replicate), Just(Edge::Wrap)],
        ) {
            let (plain, restored) = (noise(width, height, 8), noise(width, height, 9));
            let start = (from * height as f64) as usize;
            let rows = start..start + 1 + (part * (height - start - 1) as f64) as usize;
            let whole = corrected(&plain, restored.clone(), ColorFix::Wavelet, 0.7, edge);
            let to = Enlargement { width, height, steps: (1.0, 1.0) };
            let plain = Enlarger::cubic(&plain, to, edge);
            let correction = Correction::new(&plain, ColorFix::Wavelet, 0.7, edge).unwrap();
            let part = correction.rows(&Strip { planes: restored, top: 0 }, rows.clone());
            prop_assert!(distance(&part, &whole.rows(rows)) < 1e-4);
        }
    }
}
