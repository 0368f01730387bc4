//! Matrix products on the CPU's matrix unit, on all cores; of bf16 on the vector unit, where that has instructions for them
//! and there is no matrix unit.
//!
//! The unit multiplies bf16 numbers and adds up in f32: what is kept in bf16 is taken as it is. Two bf16 numbers hold 17
//! bits of an f32; of the four products of two such sums all but that of the low parts are taken. The error is about ten times
//! that of f32 arithmetic: 5e-6 of the largest number of a product. (PyTorch calls this the precision "high" of f32
//! products.) Convolutions that take half the products, [`Winograd`], are off by about twice that.
//!
//! Source: Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//! Computations", arXiv 1904.06376.

mod attention;
mod dot;
pub(super) mod lanes;
mod output;
mod panel;
mod sliding;
mod tiles;
mod weights;
mod winograd;

pub(super) use attention::Head;
pub(super) use lanes::LINE;
pub(super) use output::Bias;
pub(super) use sliding::Sliding;
pub(super) use tiles::Tiles;
pub(super) use winograd::Winograd;

use super::element::Element;
use super::matrix::Matrix;
use output::{Output, Place};
use panel::{Line, STEP_DEPTH, pack_columns, pack_rows};
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::thread::LocalKey;
use tiles::{Block, Panels, SIDE};

/// Inner dimension that is packed at a time, of all parts.
const DEPTH: usize = 768;
/// Steps that are multiplied at a time, of all parts: those of a shared panel, 16 KB, stay in a core's innermost cache.
const STEPS: usize = 8;
/// Bytes of the operand that all threads share, in panels, at a time.
const SHARED: usize = 16 << 20;
/// Bytes of a convolution's pixels that are packed at a time.
const STRIP: usize = 8 << 20;
/// Most panels that a thread packs for itself: they stay in its core's own cache.
const OWN: usize = 8;

/// The right operand, a matrix for each picture.
pub(super) trait Columns<E>: Sync {
    fn pictures(&self) -> usize;

    /// Columns of a picture.
    fn column_count(&self) -> usize;

    /// A part of a picture's matrix, made in `scratch` where it is not in memory.
    fn part<'a>(
        &'a self,
        picture: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<E>,
    ) -> Matrix<'a, E>;
}

impl<E: Element> Columns<E> for Matrix<'_, E> {
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

/// A product `rows columns + bias`, of one matrix and each picture's.
pub(super) struct Product<'a, E, C> {
    pub(super) tiles: Tiles,
    pub(super) rows: Matrix<'a, E>,
    pub(super) columns: &'a C,
    pub(super) bias: Bias<'a, E>,
}

/// One of the two operands.
#[derive(Clone, Copy)]
enum Side {
    Rows,
    Columns,
}

/// Panels that follow each other: of the rows, or of one picture's columns.
struct Group {
    side: Side,
    picture: usize,
    panels: Range<usize>,
}

impl<E: Element, C: Columns<E>> Product<'_, E, C> {
    /// Writes the product to all of `output`, `[pictures, rows, columns]`.
    pub(super) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let shape = [
            self.columns.pictures(),
            self.rows.row_count(),
            self.columns.column_count(),
        ];
        let output = Output::new(output, shape, self.bias);
        // The operand with fewer panels is packed once and shared; of the other, each thread packs its own.
        let [shared, own] = match self.panels(Side::Rows) <= self.panels(Side::Columns) {
            true => [Side::Rows, Side::Columns],
            false => [Side::Columns, Side::Rows],
        };
        let own = self.groups(own, share(self.panels(own)));
        let shared = self.groups(shared, 1);

        let ranges = self.ranges();
        let panel = self.tiles.lines(ranges[0].len());
        let slab = panel * shared.len();
        let slabs = match self.tiles.parts() {
            // What is rounded is to be summed up before.
            1 => ranges.len(),
            _ => (SHARED / size_of::<Line>() / slab).clamp(1, ranges.len()),
        };
        with_kept(&SHARED_LINES, |packed| {
            let packed = at_least(packed, slabs * slab, Line::ZERO);
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

    /// Panels of an operand, of all pictures.
    fn panels(&self, side: Side) -> usize {
        match side {
            Side::Rows => self.rows.row_count().div_ceil(SIDE),
            Side::Columns => self.columns.pictures() * self.columns.column_count().div_ceil(SIDE),
        }
    }

    /// An operand in groups of up to `share` panels.
    fn groups(&self, side: Side, share: usize) -> Vec<Group> {
        let pictures = match side {
            Side::Rows => 1,
            Side::Columns => self.columns.pictures(),
        };
        let panels = self.panels(side) / pictures;
        let of_picture = |picture| {
            let starts = (0..panels).step_by(share);
            starts.map(move |start| Group {
                side,
                picture,
                panels: start..panels.min(start + share),
            })
        };
        (0..pictures).flat_map(of_picture).collect()
    }

    /// The inner dimension in ranges of one length, but for the last.
    fn ranges(&self) -> Vec<Range<usize>> {
        let inner = self.rows.column_count();
        let depth = inner.div_ceil(inner.div_ceil(DEPTH / self.tiles.parts()));
        let depth = depth.next_multiple_of(STEP_DEPTH);
        (0..inner)
            .step_by(depth)
            .map(|start| start..inner.min(start + depth))
            .collect()
    }

    /// The panels of a group over a range of the inner dimension.
    fn pack(&self, group: &Group, range: &Range<usize>, packed: &mut [Line]) {
        let stride = packed.len() / group.panels.len();
        let first = SIDE * group.panels.start;
        match group.side {
            Side::Rows => {
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
            Side::Columns => with_kept(E::gathered(), |values| {
                let end = (SIDE * group.panels.end).min(self.columns.column_count());
                let part = self
                    .columns
                    .part(group.picture, range.clone(), first..end, values);
                pack_columns(self.tiles, &part, packed, stride);
            }),
        }
    }

    /// Multiplies a group with all of the other operand, packed, over ranges of the inner dimension.
    fn multiply<'p>(
        &self,
        own: &Group,
        shared: &[Group],
        slabs: impl Iterator<Item = (&'p Range<usize>, &'p [Line])>,
        panel: usize,
        output: &Output<E>,
    ) {
        with_kept(&GROUP, |(packed, blocks)| {
            let step = self.tiles.step();
            let most = STEPS / self.tiles.parts();
            let count = own.panels.len();
            let packed = at_least(packed, count * panel, Line::ZERO);
            let blocks = at_least(blocks, count * shared.len(), Block::ZERO);
            let mut start = None;
            for (i, (range, slab)) in slabs.enumerate() {
                start.get_or_insert(range.start);
                self.pack(own, range, packed);
                let used = self.tiles.lines(range.len());
                for (shared, blocks) in slab.chunks(panel).zip(blocks.chunks_mut(count)) {
                    for start in (0..used).step_by(most * step) {
                        let steps = most.min((used - start) / step);
                        let moving = Panels {
                            lines: &packed[start..],
                            stride: panel,
                        };
                        let fixed = Panels {
                            lines: &shared[start..],
                            stride: 0,
                        };
                        let [rows, columns] = own.side.order(moving, fixed);
                        let add = i > 0 || start > 0;
                        self.tiles.multiply(rows, columns, steps, blocks, add);
                    }
                }
            }
            let first = start == Some(0);
            for (shared, blocks) in shared.iter().zip(blocks.chunks(count)) {
                for (i, block) in own.panels.clone().zip(blocks) {
                    let [row, column] = own.side.order(i, shared.panels.start);
                    let place = Place {
                        picture: own.picture + shared.picture,
                        row: SIDE * row,
                        column: SIDE * column,
                    };
                    // SAFETY: a block of the output belongs to one group of the operand that is not shared, and each
                    // of these groups to one thread. The first range of the inner dimension comes first.
                    unsafe { output.write(place, block, first) };
                }
            }
        });
    }
}

/// Panels of a group, of `panels` in all: at most [`OWN`], and so many that all threads get as much to do.
fn share(panels: usize) -> usize {
    let threads = rayon::current_num_threads();
    let groups = panels.div_ceil(OWN).next_multiple_of(2 * threads);
    panels.div_ceil(groups)
}

impl Side {
    /// The value for the rows, then that for the columns, when this operand's and the other's are given.
    fn order<T>(self, own: T, other: T) -> [T; 2] {
        match self {
            Self::Rows => [own, other],
            Self::Columns => [other, own],
        }
    }
}

/// Memory that a thread keeps from product to product: fresh pages would cost more than what is written to them.
type Kept<T> = LocalKey<Cell<T>>;

thread_local! {
    /// The shared operand, in panels.
    static SHARED_LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// Pixels of a convolution that are multiplied at a time.
    static STRIP_LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// A group's panels, and its blocks of the output.
    static GROUP: Cell<(Vec<Line>, Vec<Block>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Lends what is kept, with whatever is in it; taken out meanwhile, as a thread that waits for others may begin another
/// product.
fn with_kept<T: Default, R>(kept: &'static Kept<T>, work: impl FnOnce(&mut T) -> R) -> R {
    let mut value = kept.take();
    let result = work(&mut value);
    kept.set(value);
    result
}

fn at_least<T: Clone>(values: &mut Vec<T>, count: usize, fill: T) -> &mut [T] {
    if values.len() < count {
        values.resize(count, fill);
    }
    &mut values[..count]
}
