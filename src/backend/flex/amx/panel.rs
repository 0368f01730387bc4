//! Packing of matrices into panels.

use super::super::matrix::Matrix;
use super::super::vector_math::vectorised;
use super::layout::{LINE, Line, SIDE, STEP_DEPTH};
use super::tile_element::TileElement;
use super::tiles::Tiles;

/// Upper bound on the panels of the operand that all threads share at a time, in bytes.
pub(crate) const SHARED_BYTES: usize = 16 << 20;
/// Largest number of panels that a thread packs for itself. They stay in the L2 cache of its core.
const MAX_GROUP: usize = 8;
/// Number of rows between the row that is packed and the row that is prefetched.
const AHEAD: usize = 4;

/// Returns the number of panels per group when `panels` are divided among all threads: at most
/// [`MAX_GROUP`], and such that all threads get the same number of groups.
pub(crate) fn panels_per_group(panels: usize) -> usize {
    let threads = rayon::current_num_threads();
    let groups = panels.div_ceil(MAX_GROUP).next_multiple_of(2 * threads);
    panels.div_ceil(groups)
}

/// Stores the line of each part as line `i` of the part's tiles. The tiles of a part are adjacent,
/// as in a step of columns.
#[inline(always)]
pub(crate) fn store_by_tile(tiles: Tiles, parts: [[u32; LINE]; 2], step: &mut [Line], i: usize) {
    for (part, line) in parts.into_iter().enumerate().take(tiles.parts()) {
        step[part * SIDE + i] = Line(line);
    }
}

/// Stores the lines of all parts as row `i`. The parts of a row are adjacent, as in a step of rows.
#[inline(always)]
pub(crate) fn store_by_row(tiles: Tiles, parts: [[u32; LINE]; 2], step: &mut [Line], i: usize) {
    let lines = &mut step[i * tiles.parts()..][..tiles.parts()];
    for (to, line) in lines.iter_mut().zip(parts) {
        *to = Line(line);
    }
}

/// Packs 32 rows of `matrix` from `row` on, with zeros beyond the matrix.
pub(crate) fn pack_rows<E: TileElement>(
    tiles: Tiles,
    matrix: &Matrix<E>,
    row: usize,
    panel: &mut [Line],
) {
    vectorised(
        #[inline(always)]
        || {
            for i in 0..SIDE {
                // One row at a time, because rows may be far apart in memory.
                let values = matrix.row(row + i).unwrap_or_default();
                if i + 1 < SIDE {
                    prefetch(matrix.row(row + i + 1).unwrap_or_default());
                }
                let steps = panel.chunks_exact_mut(tiles.step());
                for (start, step) in (0..).step_by(STEP_DEPTH).zip(steps) {
                    let values = values.get(start..).unwrap_or_default();
                    store_by_row(tiles, E::pack_adjacent(tiles, values), step, i);
                }
            }
        },
    );
}

/// Packs all columns of `matrix`, 32 per panel, with zeros beyond the matrix. The panels are
/// `stride` lines apart.
pub(crate) fn pack_columns<E: TileElement>(
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
                    // Two rows at a time through all panels, because rows may be far apart in
                    // memory.
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
                            let parts = E::pack_interleaved(tiles, first, second);
                            store_by_tile(tiles, parts, step, line);
                        }
                    }
                }
            }
        },
    );
}

/// Prefetches `values` into the L1 cache.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch<E>(values: &[E]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<E>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction, and it has no effect that the program can
        // observe.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}
