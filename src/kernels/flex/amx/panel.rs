//! Matrices as the tiles read them: each f32 as the sum of two bf16 numbers.

use super::super::matrix::Matrix;
use super::super::simd::vectorised;
use super::tiles::SIDE;

/// A row of a tile: 16 pairs of bf16 numbers that follow each other along the inner dimension.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line([u32; LINE]);

impl Line {
    pub(super) const ZERO: Self = Self([0; LINE]);
}

const LINE: usize = 16;
/// Inner dimension of a step: that of a tile.
pub(super) const STEP_DEPTH: usize = 2 * LINE;
/// Parts of a number.
const PARTS: usize = 2;
/// Lines of a panel's step: of each part two tiles.
pub(super) const STEP: usize = PARTS * SIDE;

/// Rows between what is packed and what the CPU is told to read.
const AHEAD: usize = 4;

/// Lines of a panel of 32 rows or columns.
pub(super) fn lines(inner: usize) -> usize {
    inner.div_ceil(STEP_DEPTH) * STEP
}

/// 32 rows of `matrix` from `row` on; zeros beyond the matrix.
pub(super) fn pack_rows(matrix: &Matrix, row: usize, panel: &mut [Line]) {
    vectorised(
        #[inline(always)]
        || {
            for i in 0..SIDE {
                // A row at a time: the rows may lie far apart in memory.
                let values = matrix.row(row + i).unwrap_or_default();
                if i + 1 < SIDE {
                    prefetch(matrix.row(row + i + 1).unwrap_or_default());
                }
                let (chunks, rest) = values.as_chunks::<STEP_DEPTH>();
                let mut steps = panel.chunks_exact_mut(STEP);
                for (values, step) in chunks.iter().zip(&mut steps) {
                    let (pairs, _) = values.as_chunks::<2>();
                    pack_line(|j| pairs[j], i, step);
                }
                for step in steps {
                    pack_line(
                        |j| [2 * j, 2 * j + 1].map(|at| rest.get(at).copied().unwrap_or_default()),
                        i,
                        step,
                    );
                }
            }
        },
    );
}

/// All columns of `matrix`, 32 a panel, panels `stride` lines apart; zeros beyond the matrix.
pub(super) fn pack_columns(matrix: &Matrix, panels: &mut [Line], stride: usize) {
    vectorised(
        #[inline(always)]
        || {
            let used = lines(matrix.row_count());
            for (start, row) in (0..used).step_by(STEP).zip((0..).step_by(STEP_DEPTH)) {
                for i in 0..LINE {
                    // Two rows at a time through all panels: they may lie far apart in memory.
                    for ahead in AHEAD..AHEAD + 2 {
                        prefetch(matrix.row(row + 2 * i + ahead).unwrap_or_default());
                    }
                    let steps = panels.chunks_mut(stride).map(|panel| &mut panel[start..]);
                    for (step, column) in steps.zip((0..).step_by(SIDE)) {
                        let [first, second] =
                            [0, 1].map(|k| matrix.row_part::<SIDE>(row + 2 * i + k, column));
                        pack_line(|j| [first[j], second[j]], i, step);
                        pack_line(|j| [first[LINE + j], second[LINE + j]], LINE + i, step);
                    }
                }
            }
        },
    );
}

/// Tells the CPU what is read next.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, which reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Line `i` of each part's two tiles.
#[inline(always)]
pub(super) fn pack_line(pair: impl Fn(usize) -> [f32; 2], i: usize, step: &mut [Line]) {
    let mut lines = [Line::ZERO; PARTS];
    for j in 0..LINE {
        let [first, second] = pair(j).map(parts);
        for part in 0..PARTS {
            lines[part].0[j] = first[part] >> 16 | second[part];
        }
    }
    for (part, line) in lines.into_iter().enumerate() {
        step[part * SIDE + i] = line;
    }
}

/// `x = high + low` to 17 bits, each a bf16 number in the upper half.
#[inline(always)]
fn parts(x: f32) -> [u32; PARTS] {
    let high = round(x);
    let low = round(x - f32::from_bits(high));
    [high, low]
}

/// Rounded to bf16, its bits in the upper half.
#[inline(always)]
fn round(x: f32) -> u32 {
    x.to_bits().wrapping_add(0x8000) & 0xffff_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_hold_seventeen_bits() {
        for i in 0..200_000u32 {
            let x = f32::from_bits(0x2000_0000 + i * 4093);
            for x in [x, -x] {
                let [high, low] = parts(x).map(|part| f64::from(f32::from_bits(part)));
                let error = (high + low - f64::from(x)) / f64::from(x);
                assert!(error.abs() <= 2f64.powi(-17), "{x:e}: off by {error:e}");
            }
        }
        let nan = parts(f32::NAN).map(f32::from_bits);
        assert!(nan.iter().any(|part| part.is_nan()));
    }
}
