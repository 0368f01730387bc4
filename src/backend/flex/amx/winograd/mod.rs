//! A convolution of 3x3 places and stride one with half the products: minimal filtering along the rows, F(4, 3).
//!
//! A quad, four pixels of a row, takes twelve products with a row of the kernel. Six do: six numbers are made of the six
//! pixels that the quad reaches, six of the row's three weights, and the four pixels of the six products, once these are
//! summed over channels and rows,
//!
//! `Y = A^T [(G g) . (B^T d)]`,
//!
//! with Toom and Cook's matrices for the points 0, ±3/4, ±3/2 and infinity, which keep the numbers more alike in size than
//! the usual 0, ±1, ±2: the error is about twice that of the products as they are.
//!
//! A quad's number at one of the six positions is a line of 32 channels, as a pixel is in [`Sliding`](super::Sliding); there
//! are six pictures of a quarter of the width, and the rows of the kernel are shifts along the lines.
//!
//! Source: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks", arXiv 1509.09308.

mod pack;
mod transforms;

use super::super::element::Element;
use super::super::simd::vectorised;
use super::lanes::{self, LINE};
use super::output::{Bias, Output, Place};
use super::panel::{Line, STEP_DEPTH};
use super::tiles::{Block, Panels, SIDE, Tiles};
use super::weights::Weights;
use super::{GROUP, STRIP, STRIP_LINES, at_least, with_kept};
use rayon::prelude::*;
use std::array::from_fn;
use std::mem::MaybeUninit;
use std::ops::Range;
use transforms::of_products;

/// Pixels of a quad.
const QUAD: usize = 4;
/// Places of the kernel in a row, and its rows.
const KERNEL: usize = 3;
/// Pixels that a quad reaches, and the numbers made of them.
const POSITIONS: usize = QUAD + KERNEL - 1;
/// Most bytes of lines that are packed as one, so that no weights are packed twice.
const WHOLE: usize = 16 << 20;
/// Steps that are multiplied at a time: those of a weight panel stay in a core's innermost cache.
const STEPS: usize = 6;
/// Most panels of quads that a thread multiplies with a panel of weights.
const GROUP_PANELS: usize = 10;
/// Panels of weights that are multiplied with a group's lines of one position before those of the next are read.
const PANELS: usize = 2;

/// A convolution padded by half its kernel.
pub(in super::super) struct Winograd<'a, E> {
    pub(in super::super) tiles: Tiles,
    /// `[N, C, H, W]`
    pub(in super::super) x: &'a [E],
    pub(in super::super) shape: [usize; 4],
    /// `[C', C, 3, 3]`
    pub(in super::super) weight: &'a [E],
    /// `[C']`
    pub(in super::super) bias: &'a [E],
}

/// The lines of some rows of quads: position after position, channel block after channel block.
struct Strip<'a> {
    lines: &'a [Line],
    /// Where the lines of a step start for the first quad: position after position, of each those of all channel blocks.
    steps: &'a [usize],
    picture: usize,
    /// The first of the quads, and how many there are.
    start: usize,
    count: usize,
}

/// Where a panel of weights comes from.
#[derive(Clone, Copy)]
enum Source<'a, E> {
    /// All panels are packed already, over the strip's channel blocks.
    Packed(&'a [Line]),
    /// What multiplies with one packs it: it does so once.
    Own(&'a Weights<'a, E>),
}

impl<E: Element> Winograd<'_, E> {
    /// Writes all of `output`, `[N, C', H, W]`.
    pub(in super::super) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let [n, channels, h, w] = self.shape;
        let output = Output::new(output, [n, self.bias.len(), h * w], Bias::Rows(self.bias));
        let weights = Weights {
            values: self.weight,
            channels_out: self.bias.len(),
            channels,
            places: KERNEL * KERNEL,
        };
        let blocks = 0..channels.div_ceil(STEP_DEPTH);
        let one_group = h * self.quads() <= SIDE * GROUP_PANELS;
        if n == 1 && one_group && h <= self.rows_in(WHOLE, blocks.len()) {
            return self.write_picture(0, blocks, h, Source::Own(&weights), &output);
        }
        weights.for_ranges(
            self.tiles,
            POSITIONS * KERNEL * self.tiles.step(),
            |panel, range, lines| self.pack_weights(&weights, panel, range, lines),
            |range, packed| {
                let weights = Source::Packed(packed);
                let strips = h.div_ceil(self.rows_in(STRIP, range.len()));
                for picture in 0..n {
                    let rows = h.div_ceil(strips);
                    self.write_picture(picture, range.clone(), rows, weights, &output);
                }
            },
        );
    }

    /// Quads of a row of pixels, the last of which may end in zeros.
    fn quads(&self) -> usize {
        self.shape[3].div_ceil(QUAD)
    }

    /// Lines of a row of quads.
    fn row(&self) -> usize {
        self.quads() * self.tiles.parts()
    }

    /// Rows of pixels whose lines, of so many channel blocks, take so many bytes; one at least.
    fn rows_in(&self, bytes: usize, blocks: usize) -> usize {
        let rows = bytes / size_of::<Line>() / (POSITIONS * blocks * self.row());
        rows.saturating_sub(KERNEL - 1).max(1)
    }

    /// Writes what a range of channel blocks gives, so many rows at a time.
    fn write_picture(
        &self,
        picture: usize,
        range: Range<usize>,
        rows: usize,
        weights: Source<E>,
        output: &Output<E>,
    ) {
        let (height, row) = (self.shape[2], self.row());
        let planes = POSITIONS * range.len();
        // What fills up the last panel is there, too, and the rows that it reaches.
        let panel = SIDE * self.tiles.parts();
        let plane = (rows * row).next_multiple_of(panel) + (KERNEL - 1) * row;
        let steps: Vec<usize> = (0..planes)
            .flat_map(|i| (0..KERNEL).map(move |ky| i * plane + ky * row))
            .collect();
        with_kept(&STRIP_LINES, |lines| {
            let lines = at_least(lines, planes * plane, Line::ZERO);
            for start in (0..height).step_by(rows) {
                let rows = start..height.min(start + rows);
                self.pack_rows(picture, range.clone(), rows.clone(), plane, lines);
                let strip = Strip {
                    lines,
                    steps: &steps,
                    picture,
                    start: start * self.quads(),
                    count: rows.len() * self.quads(),
                };
                strip.multiply(self, weights, range.start == 0, output);
            }
        });
    }
}

impl Strip<'_> {
    /// Multiplies the strip's quads, panels of 32 of them, with all weights.
    fn multiply<E: Element>(
        &self,
        of: &Winograd<E>,
        weights: Source<E>,
        first: bool,
        output: &Output<E>,
    ) {
        let panels = self.count.div_ceil(SIDE);
        let group = panels.div_ceil(panels.div_ceil(GROUP_PANELS));
        let channels = of.bias.len().div_ceil(SIDE);
        let few = panels.div_ceil(group) * channels < 4 * PANELS * rayon::current_num_threads();
        let share = if few { 1 } else { PANELS };
        let parts: Vec<(usize, usize)> = (0..panels)
            .step_by(group)
            .flat_map(|start| {
                (0..channels)
                    .step_by(share)
                    .map(move |channel| (start, channel))
            })
            .collect();
        parts.into_par_iter().for_each(|(start, channel)| {
            let panels = start..panels.min(start + group);
            let channels = channel..channels.min(channel + share);
            with_kept(&GROUP, |(lines, blocks)| {
                let size = channels.len() * POSITIONS * panels.len();
                let blocks = at_least(blocks, size, Block::ZERO);
                self.multiply_panels(of, panels.clone(), channels.clone(), weights, lines, blocks);
                for (channel, blocks) in channels.zip(blocks.chunks(POSITIONS * panels.len())) {
                    for (i, panel) in panels.clone().enumerate() {
                        let blocks = from_fn(|position| &blocks[position * panels.len() + i]);
                        self.write(of, panel * SIDE, channel * SIDE, blocks, first, output);
                    }
                }
            });
        });
    }

    /// The products of some panels of quads and some of weights: of each of these and each position, a block for each of
    /// those.
    fn multiply_panels<E: Element>(
        &self,
        of: &Winograd<E>,
        panels: Range<usize>,
        channels: Range<usize>,
        weights: Source<E>,
        own: &mut Vec<Line>,
        blocks: &mut [Block],
    ) {
        let panel = SIDE * of.tiles.parts();
        let quads = Panels {
            lines: &self.lines[panels.start * panel..],
            stride: panel,
        };
        let depth = self.steps.len() / POSITIONS;
        let most = match weights {
            Source::Packed(_) => depth,
            Source::Own(_) => STEPS,
        };
        for start in (0..depth).step_by(most) {
            let steps = start..depth.min(start + most);
            let lines = steps.len() * of.tiles.step();
            let weights = match weights {
                Source::Packed(lines) => {
                    &lines[channels.start * POSITIONS * depth * of.tiles.step()..]
                }
                Source::Own(weights) => {
                    let own = at_least(own, channels.len() * POSITIONS * lines, Line::ZERO);
                    let range = steps.start / KERNEL..steps.end / KERNEL;
                    for (panel, lines) in channels.clone().zip(own.chunks_mut(POSITIONS * lines)) {
                        of.pack_weights(weights, panel, range.clone(), lines);
                    }
                    &own[..]
                }
            };
            for position in 0..POSITIONS {
                let weights = weights.chunks(POSITIONS * lines);
                let blocks = blocks.chunks_mut(POSITIONS * panels.len());
                for (weights, blocks) in weights.zip(blocks) {
                    let weights =
                        weights[position * lines..][..lines].chunks(STEPS * of.tiles.step());
                    let blocks = &mut blocks[position * panels.len()..][..panels.len()];
                    let steps = &self.steps[position * depth..][steps.clone()];
                    for (i, (steps, lines)) in steps.chunks(STEPS).zip(weights).enumerate() {
                        let weights = Panels { lines, stride: 0 };
                        let add = start > 0 || i > 0;
                        of.tiles.multiply_at(quads, steps, weights, blocks, add);
                    }
                }
            }
        }
    }

    /// Writes the pixels of 32 quads, from `quad` of the strip on, in 32 channels.
    fn write<E: Element>(
        &self,
        of: &Winograd<E>,
        quad: usize,
        channel: usize,
        blocks: [&Block; POSITIONS],
        first: bool,
        output: &Output<E>,
    ) {
        let tiles = of.tiles;
        let mut pixels = [[0.0; QUAD * SIDE]; SIDE];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..SIDE).step_by(LINE / QUAD) {
                    for half in [0, LINE] {
                        let mut square = [[0; LINE]; LINE];
                        for (row, square) in (start..).zip(square.chunks_exact_mut(QUAD)) {
                            let y = of_products(tiles, blocks, row, half);
                            for (to, y) in square.iter_mut().zip(y) {
                                *to = lanes::bits(tiles, y);
                            }
                        }
                        lanes::transpose(tiles, &mut square);
                        for (to, from) in pixels[half..].iter_mut().zip(square) {
                            to[QUAD * start..][..LINE].copy_from_slice(&from.map(f32::from_bits));
                        }
                    }
                }
            },
        );
        // Of each row of the picture, what is of these quads.
        let (quads, width) = (of.quads(), of.shape[3]);
        let (start, end) = (self.start + quad, self.start + self.count.min(quad + SIDE));
        for y in start / quads..end.div_ceil(quads) {
            let from = start.max(y * quads);
            let to = end.min((y + 1) * quads);
            let x = QUAD * (from - y * quads);
            let count = (width - x).min(QUAD * (to - from));
            let inside = QUAD * (from - start)..QUAD * (from - start) + count;
            for (row, pixels) in (channel..of.bias.len()).zip(&pixels) {
                let place = Place {
                    picture: self.picture,
                    row,
                    column: y * width + x,
                };
                // SAFETY: a quad belongs to one panel, and it and a channel to one thread. The first range of channels comes
                // first.
                unsafe { output.write_row(place, &pixels[inside.clone()], first) };
            }
        }
    }
}
