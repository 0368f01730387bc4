//! Vectorisable functions for the loops of the kernels: exp, erf, sums.

use super::element::Element;
pub(super) use crate::simd::vectorised;

/// `e^x` to about two units in the last place. It has no branch and no table, so it can be
/// vectorised.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`. `e^r` is computed by its series, and `2^n` by the bits
/// of the exponent.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding this number rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 0.693_359_375; // has few bits, so n * LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let series = 1.0 / 5040.0 * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    series * power
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, with an error below 5e-7, by the rational approximation of Eigen
/// (`generic_fast_erf_float`). It is odd, and within rounding of one from 4 on.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(super) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let numerator = -2.726_142_258_013_06e-10;
    let numerator = numerator * s + 2.770_681_424_959_02e-8;
    let numerator = numerator * s - 2.101_024_020_825_08e-6;
    let numerator = numerator * s - 5.692_506_394_623_46e-5;
    let numerator = numerator * s - 7.349_906_303_268_55e-4;
    let numerator = numerator * s - 2.954_599_808_540_25e-3;
    let numerator = numerator * s - 1.609_603_332_624_15e-2;
    let denominator = -1.456_607_184_649_96e-5;
    let denominator = denominator * s - 2.133_740_552_789_05e-4;
    let denominator = denominator * s - 1.682_826_974_382_03e-3;
    let denominator = denominator * s - 7.373_329_167_204_68e-3;
    let denominator = denominator * s - 1.426_473_905_141_89e-2;
    x * numerator / denominator
}

/// Sums of `f` over the pairs of two slices of the same length. It sums blocks in f32 lanes, and
/// the blocks in f64.
#[inline(always)]
pub(super) fn sums<A: Element, B: Element, const K: usize>(
    a: &[A],
    b: &[B],
    f: impl Fn(f32, f32) -> [f32; K],
) -> [f64; K] {
    const LANES: usize = 16;
    const BLOCK: usize = 64 * LANES;
    let mut total = [0.0; K];
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [[0.0f32; LANES]; K];
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                let value = f(a[lane].into_f32(), b[lane].into_f32());
                for k in 0..K {
                    lanes[k][lane] += value[k];
                }
            }
        }
        for (&a, &b) in a_rest.iter().zip(b_rest) {
            let value = f(a.into_f32(), b.into_f32());
            for k in 0..K {
                lanes[k][0] += value[k];
            }
        }
        for k in 0..K {
            total[k] += f64::from(lanes[k].iter().sum::<f32>());
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_to_the_last_places() {
        for i in -80_000..=80_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(relative < 4e-7, "exp({x}): off by {relative:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e4) >= 0.0 && exp(-1e4) < 1e-30);
        assert!(exp(1e4).is_finite() && exp(1e4) > 1e30);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_accurate_to_six_places() {
        /// `2 / sqrt(pi) (x - x^3 / 3 + x^5 / (2! 5) - ...)`
        fn series(x: f64) -> f64 {
            let (mut sum, mut power) = (0.0, x);
            for n in 0..200 {
                sum += power / f64::from(2 * n + 1);
                power *= -x * x / f64::from(n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        }
        for i in -4_000..=4_000 {
            let x = i as f32 * 1e-3;
            let error = (f64::from(erf(x)) - series(x.into())).abs();
            assert!(error < 6e-7, "erf({x}): off by {error:e}");
        }
        assert!((erf(1e4) - 1.0).abs() < 1e-6 && (erf(-1e4) + 1.0).abs() < 1e-6);
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn sums_are_accurate_over_many_values() {
        let ones = vec![0.1f32; 3_000_001];
        let [sum] = sums(&ones, &ones, |a, _| [a]);
        let expected = f64::from(0.1f32) * 3_000_001.0;
        assert!((sum / expected - 1.0).abs() < 1e-6, "{sum}");
    }
}
