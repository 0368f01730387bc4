//! Sixteen numbers at a time: each f32 as the sum of two bf16 numbers.
//!
//! By instructions, not left to the compiler: whether it finds them itself changes with what is around, and products take
//! twice the time where it does not.

#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{Lanes, load, load_pairs, split};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::{Lanes, load, load_pairs, split};

/// Numbers of a line: pairs that follow each other along the inner dimension.
pub(super) const LINE: usize = 16;
/// Parts of a number.
pub(super) const PARTS: usize = 2;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::super::tiles::Tiles;
    use super::{LINE, PARTS};
    use std::arch::x86_64::*;

    pub(in super::super) type Lanes = __m512;

    /// The first 16 of `values`, zeros where there are fewer.
    #[inline(always)]
    pub(in super::super) fn load(_: Tiles, values: &[f32]) -> Lanes {
        let count = values.len().min(LINE);
        let mask = ((1u32 << count) - 1) as __mmask16;
        // SAFETY: a CPU with tiles has AVX-512, and no value is read that is not there.
        unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
    }

    /// The first of each pair, and the second, of 16 pairs; zeros where there are fewer.
    #[inline(always)]
    pub(in super::super) fn load_pairs(tiles: Tiles, values: &[f32]) -> [Lanes; 2] {
        let rest = values.get(LINE..).unwrap_or_default();
        let (low, high) = (load(tiles, values), load(tiles, rest));
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [even, odd].map(|of| _mm512_permutex2var_ps(low, of, high))
        }
    }

    /// A line of high parts and one of low ones: of each pair `first` is in the lower half.
    #[inline(always)]
    pub(in super::super) fn split(_: Tiles, first: Lanes, second: Lanes) -> [[u32; LINE]; PARTS] {
        // SAFETY: a CPU with tiles has AVX-512, and sixteen numbers of 32 bits are one of 512.
        unsafe {
            let round = |x: __m512| {
                let half = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
                _mm512_and_si512(half, _mm512_set1_epi32(0xffff_0000_u32 as i32))
            };
            let parts = |x: __m512| {
                let high = round(x);
                [high, round(_mm512_sub_ps(x, _mm512_castsi512_ps(high)))]
            };
            let ([high, low], [second_high, second_low]) = (parts(first), parts(second));
            let pair = |first, second| _mm512_or_si512(_mm512_srli_epi32::<16>(first), second);
            [pair(high, second_high), pair(low, second_low)].map(|line| std::mem::transmute(line))
        }
    }
}

/// What the instructions do, for CPUs that never get here, and for the test.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::super::tiles::Tiles;
    use super::{LINE, PARTS};
    use std::array::from_fn;

    pub(in super::super) type Lanes = [f32; LINE];

    #[inline(always)]
    pub(in super::super) fn load(_: Tiles, values: &[f32]) -> Lanes {
        from_fn(|i| values.get(i).copied().unwrap_or_default())
    }

    #[inline(always)]
    pub(in super::super) fn load_pairs(_: Tiles, values: &[f32]) -> [Lanes; 2] {
        [0, 1].map(|k| from_fn(|i| values.get(2 * i + k).copied().unwrap_or_default()))
    }

    #[inline(always)]
    pub(in super::super) fn split(_: Tiles, first: Lanes, second: Lanes) -> [[u32; LINE]; PARTS] {
        let (first, second) = (first.map(parts), second.map(parts));
        [0, 1].map(|part| from_fn(|i| first[i][part] >> 16 | second[i][part]))
    }

    /// `x = high + low` to 17 bits, each a bf16 number in the upper half.
    pub(super) fn parts(x: f32) -> [u32; PARTS] {
        let high = round(x);
        let low = round(x - f32::from_bits(high));
        [high, low]
    }

    /// Rounded to bf16, its bits in the upper half.
    fn round(x: f32) -> u32 {
        x.to_bits().wrapping_add(0x8000) & 0xffff_0000
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiles::Tiles;
    use super::*;

    #[test]
    fn two_parts_hold_seventeen_bits() {
        for i in 0..200_000u32 {
            let x = f32::from_bits(0x2000_0000 + i * 4093);
            for x in [x, -x] {
                let [high, low] = portable::parts(x).map(|part| f64::from(f32::from_bits(part)));
                let error = (high + low - f64::from(x)) / f64::from(x);
                assert!(error.abs() <= 2f64.powi(-17), "{x:e}: off by {error:e}");
            }
        }
        let nan = portable::parts(f32::NAN).map(f32::from_bits);
        assert!(nan.iter().any(|part| part.is_nan()));
    }

    #[test]
    fn instructions_do_as_written() {
        let Some(tiles) = Tiles::new() else {
            return eprintln!("skipped: no matrix unit");
        };
        let values: Vec<f32> = (0..100).map(|i| ((i * i) as f32).sin() * 1e3).collect();
        for count in [0, 1, 15, 16, 17, 31, 32, 40] {
            let (from, other) = (&values[..count], &values[50..]);
            let expected = [
                portable::split(
                    tiles,
                    portable::load(tiles, from),
                    portable::load(tiles, other),
                ),
                {
                    let [first, second] = portable::load_pairs(tiles, from);
                    portable::split(tiles, first, second)
                },
            ];
            let found = [split(tiles, load(tiles, from), load(tiles, other)), {
                let [first, second] = load_pairs(tiles, from);
                split(tiles, first, second)
            }];
            assert_eq!(found, expected, "{count}");
        }
    }
}
