//! The product of a matrix and the matrix of each picture, with a bias.

use super::super::matrix::Matrix;
use super::layout::{Block, Line, Panels, SIDE, STEP_DEPTH};
use super::output::{Bias, Origin, Output};
use super::panel::{SHARED_BYTES, pack_columns, pack_rows, panels_per_group};
use super::scratch::{GROUP, SHARED_LINES, grown_to, with_scratch};
use super::tile_element::TileElement;
use super::tiles::Tiles;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Inner dimension that is packed at a time, over all parts.
const DEPTH: usize = 768;
/// Steps that are multiplied at a time, over all parts. The steps of a shared panel, 16 KB, stay in
/// the L1 cache of a core.
const STEPS: usize = 8;

/// The right operand of a [`Product`]: a matrix for each picture.
pub(crate) trait Columns<E>: Sync {
    /// Returns the number of pictures.
    fn pictures(&self) -> usize;

    /// Returns the number of columns per picture.
    fn column_count(&self) -> usize;

    /// Returns a part of the matrix of a picture. If the part is not in memory, it is computed in
    /// `scratch`.
    fn part<'a>(
        &'a self,
        picture: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<E>,
    ) -> Matrix<'a, E>;
}

impl<E: TileElement> Columns<E> for Matrix<'_, E> {
    fn pictures(&self) -> usize {
        1
    }

    fn column_count(&self) -> usize {
        Matrix::column_count(self)
    }

    fn part<'a>(
        &'a self,
        _: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        _: &'a mut Vec<E>,
    ) -> Matrix<'a, E> {
        Matrix::part(self, rows, columns)
    }
}

/// The product `rows columns + bias` for each picture.
pub(crate) struct Product<'a, E, C> {
    pub(crate) tiles: Tiles,
    pub(crate) rows: Matrix<'a, E>,
    pub(crate) columns: &'a C,
    pub(crate) bias: Bias<'a, E>,
}

/// The left or the right operand.
#[derive(Clone, Copy)]
enum Operand {
    Rows,
    Columns,
}

/// Consecutive panels of the rows, or of the columns of a picture.
struct PanelGroup {
    operand: Operand,
    picture: usize,
    panels: Range<usize>,
}

impl<E: TileElement, C: Columns<E>> Product<'_, E, C> {
    /// Writes the product to `output`, `[pictures, rows, columns]`, completely.
    pub(crate) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let shape = [
            self.columns.pictures(),
            self.rows.row_count(),
            self.columns.column_count(),
        ];
        let output = Output::new(output, shape, self.bias);
        // The operand with fewer panels is packed once and shared. Each thread packs its own groups
        // of the other operand.
        let [shared, own] = match self.panels(Operand::Rows) <= self.panels(Operand::Columns) {
            true => [Operand::Rows, Operand::Columns],
            false => [Operand::Columns, Operand::Rows],
        };
        let own = self.groups(own, panels_per_group(self.panels(own)));
        let shared = self.groups(shared, 1);

        let ranges = self.ranges();
        let panel = self.tiles.lines(ranges[0].len());
        let slab = panel * shared.len();
        let slabs = match self.tiles.parts() {
            // The output in bf16 is rounded, so the sum has to be complete before it is written.
            1 => ranges.len(),
            _ => (SHARED_BYTES / size_of::<Line>() / slab).clamp(1, ranges.len()),
        };
        with_scratch(&SHARED_LINES, |packed| {
            let packed = grown_to(packed, slabs * slab, Line::ZERO);
            for ranges in ranges.chunks(slabs) {
                packed
                    .par_chunks_mut(panel)
                    .enumerate()
                    .for_each(|(i, lines)| {
                        if let Some(range) = ranges.get(i / shared.len()) {
                            self.pack(&shared[i % shared.len()], range, lines);
                        }
                    });
                own.par_iter().for_each(|own| {
                    let slabs = ranges.iter().zip(packed.chunks(slab));
                    self.multiply(own, &shared, slabs, panel, &output);
                });
            }
        });
    }

    /// Panels of an operand over all pictures.
    fn panels(&self, operand: Operand) -> usize {
        match operand {
            Operand::Rows => self.rows.row_count().div_ceil(SIDE),
            Operand::Columns => {
                self.columns.pictures() * self.columns.column_count().div_ceil(SIDE)
            }
        }
    }

    /// Divides an operand into groups of up to `share` panels.
    fn groups(&self, operand: Operand, share: usize) -> Vec<PanelGroup> {
        let pictures = match operand {
            Operand::Rows => 1,
            Operand::Columns => self.columns.pictures(),
        };
        let panels = self.panels(operand) / pictures;
        let groups_of_picture = |picture| {
            let starts = (0..panels).step_by(share);
            starts.map(move |start| PanelGroup {
                operand,
                picture,
                panels: start..panels.min(start + share),
            })
        };
        (0..pictures).flat_map(groups_of_picture).collect()
    }

    /// Divides the inner dimension into ranges of equal length. The last range may be shorter.
    fn ranges(&self) -> Vec<Range<usize>> {
        let inner = self.rows.column_count();
        let depth = inner.div_ceil(inner.div_ceil(DEPTH / self.tiles.parts()));
        let depth = depth.next_multiple_of(STEP_DEPTH);
        (0..inner)
            .step_by(depth)
            .map(|start| start..inner.min(start + depth))
            .collect()
    }

    /// Packs the panels of a group over a range of the inner dimension.
    fn pack(&self, group: &PanelGroup, range: &Range<usize>, packed: &mut [Line]) {
        let stride = packed.len() / group.panels.len();
        let first = SIDE * group.panels.start;
        match group.operand {
            Operand::Rows => {
                let part = self.rows.part(0..self.rows.row_count(), range.clone());
                let panels = packed.chunks_mut(stride);
                for (row, panel) in (first..).step_by(SIDE).zip(panels) {
                    pack_rows(
                        self.tiles,
                        &part,
                        row,
                        &mut panel[..self.tiles.lines(range.len())],
                    );
                }
            }
            Operand::Columns => with_scratch(E::column_scratch(), |values| {
                let end = (SIDE * group.panels.end).min(self.columns.column_count());
                let part = self
                    .columns
                    .part(group.picture, range.clone(), first..end, values);
                pack_columns(self.tiles, &part, packed, stride);
            }),
        }
    }

    /// Multiplies a group with the packed shared operand over ranges of the inner dimension, and
    /// writes the blocks.
    fn multiply<'p>(
        &self,
        own: &PanelGroup,
        shared: &[PanelGroup],
        slabs: impl Iterator<Item = (&'p Range<usize>, &'p [Line])>,
        panel: usize,
        output: &Output<E>,
    ) {
        with_scratch(&GROUP, |(packed, blocks)| {
            let step = self.tiles.step();
            let max_steps = STEPS / self.tiles.parts();
            let count = own.panels.len();
            let packed = grown_to(packed, count * panel, Line::ZERO);
            let blocks = grown_to(blocks, count * shared.len(), Block::ZERO);
            let mut start = None;
            for (i, (range, slab)) in slabs.enumerate() {
                start.get_or_insert(range.start);
                self.pack(own, range, packed);
                let used = self.tiles.lines(range.len());
                for (shared, blocks) in slab.chunks(panel).zip(blocks.chunks_mut(count)) {
                    for start in (0..used).step_by(max_steps * step) {
                        let steps = max_steps.min((used - start) / step);
                        let moving = Panels {
                            lines: &packed[start..],
                            stride: panel,
                        };
                        let fixed = Panels::single(&shared[start..]);
                        let [rows, columns] = own.operand.order(moving, fixed);
                        let add = i > 0 || start > 0;
                        self.tiles.multiply(rows, columns, steps, blocks, add);
                    }
                }
            }
            let first = start == Some(0);
            for (shared, blocks) in shared.iter().zip(blocks.chunks(count)) {
                for (i, block) in own.panels.clone().zip(blocks) {
                    let [row, column] = own.operand.order(i, shared.panels.start);
                    let origin = Origin {
                        picture: own.picture + shared.picture,
                        row: SIDE * row,
                        column: SIDE * column,
                    };
                    // SAFETY: a block of the output belongs to one group of the operand that is not
                    // shared, and each of these groups to one thread. `first` is set for the first
                    // range of the inner dimension, which comes first.
                    unsafe { output.write(origin, block, first) };
                }
            }
        });
    }
}

impl Operand {
    /// Orders the values for this operand and the other as [rows, columns].
    fn order<T>(self, own: T, other: T) -> [T; 2] {
        match self {
            Self::Rows => [own, other],
            Self::Columns => [other, own],
        }
    }
}
