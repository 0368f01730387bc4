//! Sixteen numbers at a time, or sixteen pairs of them: each f32 as the sum of two bf16 numbers, or as one.
//!
//! By instructions, not left to the compiler: whether it finds them itself changes with what is around, and products take
//! twice the time where it does not.

#[cfg(target_arch = "x86_64")]
pub(in super::super) use avx512::*;
#[cfg(not(target_arch = "x86_64"))]
pub(in super::super) use portable::*;

/// Pairs of a line: they follow each other along the inner dimension.
pub(in super::super) const LINE: usize = 16;

/// Of the polynomial nearest to `2^x` between 0 and 1, by Remez, the factors from that of `x^5` on: within 8e-8.
const POWER: [f32; 6] = [
    0.001_877_576,
    0.008_989_342,
    0.055_826_318,
    0.240_153_61,
    0.693_153_1,
    0.999_999_94,
];

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::super::tiles::Tiles;
    use super::{LINE, POWER};
    use half::bf16;
    use std::arch::x86_64::*;

    pub(in super::super::super) type Lanes = __m512;

    /// A bit for each of `count` numbers, of 32 at most.
    #[inline(always)]
    fn mask(count: usize) -> u32 {
        ((1u64 << count.min(32)) - 1) as u32
    }

    /// The first 16 of `values`, zeros where there are fewer.
    #[inline(always)]
    pub(in super::super::super) fn load(_: Tiles, values: &[f32]) -> Lanes {
        let mask = mask(values.len().min(LINE)) as __mmask16;
        // SAFETY: a CPU with tiles has AVX-512, and no value is read that is not there.
        unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
    }

    /// `a * factor + b`
    #[inline(always)]
    pub(in super::super::super) fn fma(_: Tiles, a: Lanes, factor: f32, b: Lanes) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(factor), b) }
    }

    #[inline(always)]
    pub(in super::super::super) fn add(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    pub(in super::super::super) fn sub(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    pub(in super::super::super) fn scale(_: Tiles, a: Lanes, factor: f32) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_mul_ps(a, _mm512_set1_ps(factor)) }
    }

    #[inline(always)]
    pub(in super::super::super) fn splat(_: Tiles, value: f32) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }

    /// The larger of each two; of a NaN and a number in `b`, the number.
    #[inline(always)]
    pub(in super::super::super) fn max(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }

    /// The largest of all.
    #[inline(always)]
    pub(in super::super::super) fn largest(_: Tiles, values: Lanes) -> f32 {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_reduce_max_ps(values) }
    }

    #[inline(always)]
    pub(in super::super::super) fn sum(_: Tiles, values: Lanes) -> f32 {
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe { _mm512_reduce_add_ps(values) }
    }

    /// `2^x` to about two units in the last place; zero where that is too small a number.
    #[inline(always)]
    pub(in super::super::super) fn exp2(_: Tiles, x: Lanes) -> Lanes {
        const DOWN: i32 = 0x09;
        // SAFETY: a CPU with tiles has AVX-512, with instructions for parts of a number.
        unsafe {
            let part = _mm512_reduce_ps::<DOWN>(x);
            let [last, rest @ ..] = POWER;
            let mut power = _mm512_set1_ps(last);
            for factor in rest {
                power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(factor));
            }
            _mm512_scalef_ps(power, x)
        }
    }

    #[inline(always)]
    pub(in super::super::super) fn bits(_: Tiles, values: Lanes) -> [u32; LINE] {
        // SAFETY: sixteen numbers of 32 bits are one of 512.
        unsafe { std::mem::transmute(values) }
    }

    #[inline(always)]
    pub(in super::super::super) fn from_bits(_: Tiles, bits: [u32; LINE]) -> Lanes {
        // SAFETY: sixteen numbers of 32 bits are one of 512.
        unsafe { std::mem::transmute(bits) }
    }

    /// The first of each pair, and the second, of 16 pairs; zeros where there are fewer.
    #[inline(always)]
    pub(in super::super::super) fn load_pairs(tiles: Tiles, values: &[f32]) -> [Lanes; 2] {
        let rest = values.get(LINE..).unwrap_or_default();
        let (low, high) = (load(tiles, values), load(tiles, rest));
        // SAFETY: a CPU with tiles has AVX-512.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [even, odd].map(|of| _mm512_permutex2var_ps(low, of, high))
        }
    }

    /// A line of high parts and, if there are two, one of low ones: of each pair `first` is in the lower half.
    #[inline(always)]
    pub(in super::super::super) fn split(
        tiles: Tiles,
        first: Lanes,
        second: Lanes,
    ) -> [[u32; LINE]; 2] {
        // SAFETY: a CPU with tiles has AVX-512, and sixteen numbers of 32 bits are one of 512.
        unsafe {
            /// For [`_mm512_fixupimm_ps`]: a NaN stays one, made quiet; what is none is as it was.
            const QUIET_NAN: i32 = 0x22;
            let up = |x| _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
            let cut = |x| _mm512_and_si512(x, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            // A NaN of all bits would become zero.
            let round = |x| {
                let table = _mm512_set1_epi32(QUIET_NAN);
                let up = _mm512_fixupimm_ps::<0>(_mm512_castsi512_ps(up(x)), x, table);
                cut(_mm512_castps_si512(up))
            };
            let pair = |first, second| {
                std::mem::transmute(_mm512_or_si512(_mm512_srli_epi32::<16>(first), second))
            };
            let high = [round(first), round(second)];
            if tiles.parts() == 1 {
                return [pair(high[0], high[1]), [0; LINE]];
            }
            let low = |x, high| cut(up(_mm512_sub_ps(x, _mm512_castsi512_ps(high))));
            let low = [low(first, high[0]), low(second, high[1])];
            [pair(high[0], high[1]), pair(low[0], low[1])]
        }
    }

    /// The first 32 of `values` as they are, zeros where there are fewer.
    #[inline(always)]
    pub(in super::super::super) fn load_bf16(_: Tiles, values: &[bf16]) -> [u32; LINE] {
        // SAFETY: a CPU with tiles has AVX-512, with instructions for 16 bits; no value is read that is not there.
        unsafe {
            let line = _mm512_maskz_loadu_epi16(mask(values.len()), values.as_ptr().cast());
            std::mem::transmute(line)
        }
    }

    /// Pairs of the first 16 of `first`, in the lower half, and of `second`; zeros where there are fewer.
    #[inline(always)]
    pub(in super::super::super) fn load_bf16_of(
        _: Tiles,
        first: &[bf16],
        second: &[bf16],
    ) -> [u32; LINE] {
        // SAFETY: as for `load_bf16`.
        unsafe {
            let [first, second] = [first, second].map(|values| {
                let mask = mask(values.len().min(LINE));
                let values = _mm512_maskz_loadu_epi16(mask, values.as_ptr().cast());
                _mm512_cvtepu16_epi32(_mm512_castsi512_si256(values))
            });
            std::mem::transmute(_mm512_or_si512(first, _mm512_slli_epi32::<16>(second)))
        }
    }

    /// Rows and columns exchanged: by pairs of numbers, pairs of pairs, and quarters of a line.
    #[inline(always)]
    pub(in super::super::super) fn transpose(_: Tiles, square: &mut [[u32; LINE]; LINE]) {
        // SAFETY: a CPU with tiles has AVX-512, and sixteen numbers of 32 bits are one of 512.
        unsafe {
            let rows: [__m512i; LINE] = square.map(|row| std::mem::transmute(row));
            let mut pairs = rows;
            for i in (0..LINE).step_by(2) {
                pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
                pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
            }
            // Of four rows each: a quarter of line `i` holds column `i` of its own four columns.
            let mut fours = pairs;
            for i in (0..LINE).step_by(4) {
                for k in 0..2 {
                    fours[i + 2 * k] = _mm512_unpacklo_epi64(pairs[i + k], pairs[i + k + 2]);
                    fours[i + 2 * k + 1] = _mm512_unpackhi_epi64(pairs[i + k], pairs[i + k + 2]);
                }
            }
            for i in 0..4 {
                let even = |a, b| _mm512_shuffle_i32x4::<0x88>(a, b);
                let odd = |a, b| _mm512_shuffle_i32x4::<0xdd>(a, b);
                let [a, b, c, d] = [0, 4, 8, 12].map(|k| fours[i + k]);
                let columns = [
                    even(even(a, b), even(c, d)),
                    even(odd(a, b), odd(c, d)),
                    odd(even(a, b), even(c, d)),
                    odd(odd(a, b), odd(c, d)),
                ];
                for (k, column) in columns.into_iter().enumerate() {
                    square[4 * k + i] = std::mem::transmute::<__m512i, [u32; LINE]>(column);
                }
            }
        }
    }
}

/// What the instructions do, for CPUs that never get here, and for the test.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::super::tiles::Tiles;
    use super::{LINE, POWER};
    use half::bf16;
    use std::array::from_fn;

    pub(in super::super::super) type Lanes = [f32; LINE];

    #[inline(always)]
    pub(in super::super::super) fn load(_: Tiles, values: &[f32]) -> Lanes {
        from_fn(|i| values.get(i).copied().unwrap_or_default())
    }

    #[inline(always)]
    pub(in super::super::super) fn fma(_: Tiles, a: Lanes, factor: f32, b: Lanes) -> Lanes {
        from_fn(|i| a[i].mul_add(factor, b[i]))
    }

    #[inline(always)]
    pub(in super::super::super) fn add(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    pub(in super::super::super) fn sub(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    pub(in super::super::super) fn scale(_: Tiles, a: Lanes, factor: f32) -> Lanes {
        a.map(|a| a * factor)
    }

    #[inline(always)]
    pub(in super::super::super) fn splat(_: Tiles, value: f32) -> Lanes {
        [value; LINE]
    }

    #[inline(always)]
    pub(in super::super::super) fn max(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    pub(in super::super::super) fn largest(_: Tiles, values: Lanes) -> f32 {
        values.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    pub(in super::super::super) fn sum(_: Tiles, values: Lanes) -> f32 {
        values.into_iter().sum()
    }

    #[inline(always)]
    pub(in super::super::super) fn exp2(_: Tiles, x: Lanes) -> Lanes {
        x.map(|x| {
            let part = if x.is_infinite() { 0.0 } else { x - x.floor() };
            let power = POWER
                .into_iter()
                .fold(0.0, |power: f32, factor| power.mul_add(part, factor));
            power * x.floor().exp2()
        })
    }

    #[inline(always)]
    pub(in super::super::super) fn bits(_: Tiles, values: Lanes) -> [u32; LINE] {
        values.map(f32::to_bits)
    }

    #[inline(always)]
    pub(in super::super::super) fn from_bits(_: Tiles, bits: [u32; LINE]) -> Lanes {
        bits.map(f32::from_bits)
    }

    #[inline(always)]
    pub(in super::super::super) fn load_pairs(_: Tiles, values: &[f32]) -> [Lanes; 2] {
        [0, 1].map(|k| from_fn(|i| values.get(2 * i + k).copied().unwrap_or_default()))
    }

    #[inline(always)]
    pub(in super::super::super) fn split(
        tiles: Tiles,
        first: Lanes,
        second: Lanes,
    ) -> [[u32; LINE]; 2] {
        let (first, second) = (first.map(parts), second.map(parts));
        let line = |part: usize| from_fn(|i| first[i][part] >> 16 | second[i][part]);
        match tiles.parts() {
            1 => [line(0), [0; LINE]],
            _ => [line(0), line(1)],
        }
    }

    #[inline(always)]
    pub(in super::super::super) fn load_bf16(_: Tiles, values: &[bf16]) -> [u32; LINE] {
        from_fn(|i| pair(values.get(2 * i), values.get(2 * i + 1)))
    }

    #[inline(always)]
    pub(in super::super::super) fn load_bf16_of(
        _: Tiles,
        first: &[bf16],
        second: &[bf16],
    ) -> [u32; LINE] {
        from_fn(|i| pair(first.get(i), second.get(i)))
    }

    #[inline(always)]
    pub(in super::super::super) fn transpose(_: Tiles, square: &mut [[u32; LINE]; LINE]) {
        let rows = *square;
        *square = from_fn(|i| from_fn(|j| rows[j][i]));
    }

    fn pair(first: Option<&bf16>, second: Option<&bf16>) -> u32 {
        let bits = |value: Option<&bf16>| u32::from(value.map_or(0, |value| value.to_bits()));
        bits(first) | bits(second) << 16
    }

    /// `x = high + low` to 17 bits, each a bf16 number in the upper half.
    pub(super) fn parts(x: f32) -> [u32; 2] {
        let high = if x.is_nan() {
            x.to_bits() | 0x40_0000
        } else {
            up(x)
        };
        let high = high & 0xffff_0000;
        [high, up(x - f32::from_bits(high)) & 0xffff_0000]
    }

    fn up(x: f32) -> u32 {
        x.to_bits().wrapping_add(0x8000)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiles::Tiles;
    use super::*;
    use half::bf16;

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
        for bits in [
            0x7fc0_0000,
            0x7fff_ffff,
            0xffff_ffff,
            0x7f80_0001,
            0x7fff_8000,
        ] {
            let [high, _] = portable::parts(f32::from_bits(bits));
            assert!(f32::from_bits(high).is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn exp2_is_right_to_its_last_places() {
        let Some(tiles) = Tiles::new::<bf16>() else {
            return eprintln!("skipped: no unit for bf16");
        };
        let of = |x: f32| f32::from_bits(bits(tiles, exp2(tiles, splat(tiles, x)))[0]);
        for i in 0..1_000_000 {
            let x = 127.0 - i as f32 * 253.0 / 1e6;
            let expected = f64::from(x).exp2();
            for found in [of(x), portable::exp2(tiles, portable::splat(tiles, x))[0]] {
                let error = (f64::from(found) / expected - 1.0).abs();
                assert!(error < 3e-7, "2^{x}: off by {error:e}");
            }
        }
        for (x, expected) in [
            (f32::NEG_INFINITY, 0.0),
            (-1e30, 0.0),
            (-200.0, 0.0),
            (0.0, 1.0),
        ] {
            for found in [of(x), portable::exp2(tiles, portable::splat(tiles, x))[0]] {
                assert!((found - expected).abs() < 2e-7, "2^{x}: {found}");
            }
        }
        assert!(of(f32::NAN).is_nan());
    }

    #[test]
    fn arithmetic_is_as_written() {
        let Some(tiles) = Tiles::new::<bf16>() else {
            return eprintln!("skipped: no unit for bf16");
        };
        let values: Vec<f32> = (0..2 * LINE).map(|i| ((i * i) as f32).sin()).collect();
        let (first, second) = values.split_at(LINE);
        let [a, b] = [first, second].map(|values| load(tiles, values));
        let [c, d] = [first, second].map(|values| portable::load(tiles, values));
        for (found, expected) in [
            (a, c),
            (fma(tiles, a, 0.3, b), portable::fma(tiles, c, 0.3, d)),
            (add(tiles, a, b), portable::add(tiles, c, d)),
            (sub(tiles, a, b), portable::sub(tiles, c, d)),
            (scale(tiles, a, 0.3), portable::scale(tiles, c, 0.3)),
            (max(tiles, a, b), portable::max(tiles, c, d)),
        ] {
            let found = bits(tiles, found);
            assert_eq!(found, portable::bits(tiles, expected));
            assert_eq!(bits(tiles, from_bits(tiles, found)), found);
            assert_eq!(portable::from_bits(tiles, found), expected);
        }
        assert_eq!(largest(tiles, a), portable::largest(tiles, c));
        let error = sum(tiles, a) - portable::sum(tiles, c);
        assert!(error.abs() < 1e-5, "off by {error:e}");
    }

    #[test]
    fn instructions_do_as_written() {
        let mut values: Vec<f32> = (0..100).map(|i| ((i * i) as f32).sin() * 1e3).collect();
        values[3] = f32::from_bits(0x7fff_ffff);
        let narrow: Vec<bf16> = values.iter().copied().map(bf16::from_f32).collect();
        for tiles in [Tiles::new::<f32>(), Tiles::new::<bf16>()] {
            let Some(tiles) = tiles else {
                return eprintln!("skipped: no matrix unit");
            };
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
                let (from, other) = (&narrow[..count], &narrow[50..]);
                let expected = [
                    portable::load_bf16(tiles, from),
                    portable::load_bf16_of(tiles, from, other),
                ];
                let found = [load_bf16(tiles, from), load_bf16_of(tiles, from, other)];
                assert_eq!(found, expected, "{count}");
            }
            let square = std::array::from_fn(|i| std::array::from_fn(|j| (LINE * i + j) as u32));
            let [mut found, mut expected] = [square; 2];
            transpose(tiles, &mut found);
            portable::transpose(tiles, &mut expected);
            assert_eq!(found, expected);
        }
    }
}
