//! What the loops over pixels share: vector width by CPU, exp, exact sums.

/// Runs `work` compiled for the best vector instructions of this CPU: what is inlined into it is vectorised for them.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `e^x` to about two units in the last place, without a branch or a table, so that it is vectorised.
///
/// `x = n ln 2 + r` with `|r| <= ln(2) / 2`; `e^r` by its series; `2^n` by the exponent's bits.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding this rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 0.693_359_375; // few bits: n * LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
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

/// Sums of `f` over the pairs of two slices of one length: in f32 lanes over blocks, in f64 over those.
#[inline(always)]
pub(super) fn sums<const K: usize>(
    a: &[f32],
    b: &[f32],
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
                let value = f(a[lane], b[lane]);
                for k in 0..K {
                    lanes[k][lane] += value[k];
                }
            }
        }
        for (&a, &b) in a_rest.iter().zip(b_rest) {
            let value = f(a, b);
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
    fn exp_is_right_to_its_last_places() {
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
    fn sums_lose_nothing_over_many_values() {
        let ones = vec![0.1f32; 3_000_001];
        let [sum] = sums(&ones, &ones, |a, _| [a]);
        let expected = f64::from(0.1f32) * 3_000_001.0;
        assert!((sum / expected - 1.0).abs() < 1e-6, "{sum}");
    }
}
