//! Matrices as the tiles read them: each f32 as the sum of two bf16 numbers, each bf16 number as itself.

use super::super::element::Element;
use super::super::matrix::Matrix;
use super::super::simd::vectorised;
use super::lanes::LINE;
use super::tiles::{SIDE, Tiles};

/// A row of a tile: 16 pairs of bf16 numbers that follow each other along the inner dimension.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; LINE]);

impl Line {
    pub(super) const ZERO: Self = Self([0; LINE]);
}

/// Inner dimension of a step: that of a tile.
pub(super) const STEP_DEPTH: usize = 2 * LINE;

/// Rows between what is packed and what the CPU is told to read.
const AHEAD: usize = 4;

impl Tiles {
    /// Lines of a panel of 32 rows or columns.
    pub(super) fn lines(self, inner: usize) -> usize {
        inner.div_ceil(STEP_DEPTH) * self.step()
    }
}

/// 32 rows of `matrix` from `row` on; zeros beyond the matrix.
pub(super) fn pack_rows<E: Element>(
    tiles: Tiles,
    matrix: &Matrix<E>,
    row: usize,
    panel: &mut [Line],
) {
    vectorised(
        #[inline(always)]
        || {
            for i in 0..SIDE {
                // A row at a time: the rows may lie far apart in memory.
                let values = matrix.row(row + i).unwrap_or_default();
                if i + 1 < SIDE {
                    prefetch(matrix.row(row + i + 1).unwrap_or_default());
                }
                let steps = panel.chunks_exact_mut(tiles.step());
                for (start, step) in (0..).step_by(STEP_DEPTH).zip(steps) {
                    pack_pairs(tiles, values.get(start..).unwrap_or_default(), i, step);
                }
            }
        },
    );
}

/// All columns of `matrix`, 32 a panel, panels `stride` lines apart; zeros beyond the matrix.
pub(super) fn pack_columns<E: Element>(
    tiles: Tiles,
    matrix: &Matrix<E>,
    panels: &mut [Line],
    stride: usize,
) {
    vectorised(
        #[inline(always)]
        || {
            let used = tiles.lines(matrix.row_count());
            let starts = (0..used).step_by(tiles.step());
            for (start, row) in starts.zip((0..).step_by(STEP_DEPTH)) {
                for i in 0..LINE {
                    // Two rows at a time through all panels: they may lie far apart in memory.
                    for ahead in AHEAD..AHEAD + 2 {
                        prefetch(matrix.row(row + 2 * i + ahead).unwrap_or_default());
                    }
                    let [first, second] =
                        [0, 1].map(|k| matrix.row(row + 2 * i + k).unwrap_or_default());
                    let steps = panels.chunks_mut(stride).map(|panel| &mut panel[start..]);
                    for (step, column) in steps.zip((0..).step_by(SIDE)) {
                        for (column, line) in [(column, i), (column + LINE, LINE + i)] {
                            let [first, second] =
                                [first, second].map(|row| row.get(column..).unwrap_or_default());
                            let lines = E::pairs_of(tiles, first, second);
                            for (part, values) in lines.into_iter().enumerate().take(tiles.parts())
                            {
                                step[part * SIDE + line] = Line(values);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// Row `i` of a step of rows, from the first 32 of `values`, zeros where there are fewer: a line of each part.
#[inline(always)]
pub(super) fn pack_pairs<E: Element>(tiles: Tiles, values: &[E], i: usize, step: &mut [Line]) {
    let lines = &mut step[i * tiles.parts()..][..tiles.parts()];
    for (to, line) in lines.iter_mut().zip(E::pairs(tiles, values)) {
        *to = Line(line);
    }
}

/// Tells the CPU what is read next.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch<E>(values: &[E]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<E>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, which reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}
