//! The operations by AVX-512 instructions.

use super::super::layout::LINE;
use super::super::tiles::Tiles;
use super::polynomial::EXP2;
use half::bf16;
use std::arch::x86_64::*;

pub(crate) type Lanes = __m512;

/// Returns a mask with the lowest `count` bits set, at most 32.
#[inline(always)]
fn mask(count: usize) -> u32 {
    ((1u64 << count.min(32)) - 1) as u32
}

/// Loads the first 16 of `values`, with zeros for missing values.
#[inline(always)]
pub(crate) fn load(_: Tiles, values: &[f32]) -> Lanes {
    let mask = mask(values.len().min(LINE)) as __mmask16;
    // SAFETY: `Tiles` proves that the CPU has AVX-512, and the mask keeps the load inside `values`.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
}

/// `a * factor + b`
#[inline(always)]
pub(crate) fn fma(_: Tiles, a: Lanes, factor: f32, b: Lanes) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(factor), b) }
}

#[inline(always)]
pub(crate) fn add(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_add_ps(a, b) }
}

#[inline(always)]
pub(crate) fn sub(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_sub_ps(a, b) }
}

#[inline(always)]
pub(crate) fn scale(_: Tiles, a: Lanes, factor: f32) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_mul_ps(a, _mm512_set1_ps(factor)) }
}

#[inline(always)]
pub(crate) fn splat(_: Tiles, value: f32) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_set1_ps(value) }
}

/// Returns the larger number of each lane. If `a` is NaN, the result is `b`.
#[inline(always)]
pub(crate) fn max(_: Tiles, a: Lanes, b: Lanes) -> Lanes {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_max_ps(a, b) }
}

/// The largest number of all lanes.
#[inline(always)]
pub(crate) fn reduce_max(_: Tiles, values: Lanes) -> f32 {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_reduce_max_ps(values) }
}

#[inline(always)]
pub(crate) fn reduce_sum(_: Tiles, values: Lanes) -> f32 {
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe { _mm512_reduce_add_ps(values) }
}

/// `2^x` to about two units in the last place, and zero where the result underflows.
#[inline(always)]
pub(crate) fn exp2(_: Tiles, x: Lanes) -> Lanes {
    const DOWN: i32 = 0x09;
    // SAFETY: `Tiles` proves that the CPU has AVX-512, including AVX512DQ.
    unsafe {
        let part = _mm512_reduce_ps::<DOWN>(x);
        let [last, rest @ ..] = EXP2;
        let mut power = _mm512_set1_ps(last);
        for factor in rest {
            power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(factor));
        }
        _mm512_scalef_ps(power, x)
    }
}

#[inline(always)]
pub(crate) fn bits(_: Tiles, values: Lanes) -> [u32; LINE] {
    // SAFETY: `[u32; 16]` has the size of `__m512`.
    unsafe { std::mem::transmute(values) }
}

#[inline(always)]
pub(crate) fn from_bits(_: Tiles, bits: [u32; LINE]) -> Lanes {
    // SAFETY: `[u32; 16]` has the size of `__m512`.
    unsafe { std::mem::transmute(bits) }
}

/// Loads 16 pairs and returns their first and their second numbers, with zeros for missing values.
#[inline(always)]
pub(crate) fn load_pairs(tiles: Tiles, values: &[f32]) -> [Lanes; 2] {
    let rest = values.get(LINE..).unwrap_or_default();
    let (low, high) = (load(tiles, values), load(tiles, rest));
    // SAFETY: `Tiles` proves that the CPU has AVX-512.
    unsafe {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
        [even, odd].map(|indices| _mm512_permutex2var_ps(low, indices, high))
    }
}

/// Splits numbers into a line of high parts and, if [`Tiles::parts`] is two, a line of low parts.
/// `first` is in the lower half of each pair.
#[inline(always)]
pub(crate) fn split(tiles: Tiles, first: Lanes, second: Lanes) -> [[u32; LINE]; 2] {
    // SAFETY: `Tiles` proves that the CPU has AVX-512, and `[u32; 16]` has the size of `__m512i`.
    unsafe {
        /// Table for [`_mm512_fixupimm_ps`]: NaN becomes a quiet NaN, and everything else stays as
        /// it is.
        const QUIET_NAN: i32 = 0x22;
        let up = |x| _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
        let cut = |x| _mm512_and_si512(x, _mm512_set1_epi32(0xffff_0000_u32 as i32));
        // A NaN with all bits set would otherwise round to zero.
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

/// Loads the first 32 of `values` unchanged, with zeros for missing values.
#[inline(always)]
pub(crate) fn load_bf16(_: Tiles, values: &[bf16]) -> [u32; LINE] {
    // SAFETY: `Tiles` proves that the CPU has AVX-512, including AVX512BW. The mask keeps the load
    // inside `values`.
    unsafe {
        let line = _mm512_maskz_loadu_epi16(mask(values.len()), values.as_ptr().cast());
        std::mem::transmute(line)
    }
}

/// Pairs of the first 16 of `first`, in the lower half, and the first 16 of `second`, with zeros
/// for missing values.
#[inline(always)]
pub(crate) fn interleave_bf16(_: Tiles, first: &[bf16], second: &[bf16]) -> [u32; LINE] {
    // SAFETY: as in `load_bf16`.
    unsafe {
        let [first, second] = [first, second].map(|values| {
            let mask = mask(values.len().min(LINE));
            let values = _mm512_maskz_loadu_epi16(mask, values.as_ptr().cast());
            _mm512_cvtepu16_epi32(_mm512_castsi512_si256(values))
        });
        std::mem::transmute(_mm512_or_si512(first, _mm512_slli_epi32::<16>(second)))
    }
}

/// Exchanges rows and columns: by pairs of numbers, then pairs of pairs, then quarters of a line.
#[inline(always)]
pub(crate) fn transpose(_: Tiles, square: &mut [[u32; LINE]; LINE]) {
    // SAFETY: `Tiles` proves that the CPU has AVX-512, and `[u32; 16]` has the size of `__m512i`.
    unsafe {
        let rows: [__m512i; LINE] = square.map(|row| std::mem::transmute(row));
        let mut pairs = rows;
        for i in (0..LINE).step_by(2) {
            pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        // Groups of four rows. A quarter of line `i` of a group holds column `i` of the quarter's
        // four columns.
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
