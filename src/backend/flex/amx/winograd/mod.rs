//! A 3x3 convolution of stride one with half the products, by minimal filtering along the rows,
//! F(4, 3).
//!
//! A quad consists of four adjacent pixels of a row. The direct convolution of a quad with a row of
//! the kernel takes twelve products. Minimal filtering takes six:
//!
//! `Y = A^T [(G g) . (B^T d)]`
//!
//! The input transform `B^T` maps the six pixels `d` that contribute to the quad to six numbers.
//! The weight transform `G` maps the three weights `g` of the row to six numbers. Their products
//! are summed over channels and kernel rows. The output transform `A^T` maps the six sums to the
//! four pixels.
//!
//! The matrices are those of Toom and Cook for the points 0, ±3/4, ±3/2 and infinity. They keep the
//! numbers closer in size than the usual points 0, ±1, ±2. The error is about twice that of the
//! direct convolution.
//!
//! The transformed number of a quad at one of the six positions is a line of 32 channels, like a
//! pixel in [`Sliding`](super::Sliding). The positions form six pictures of a quarter of the width,
//! and the rows of the kernel are shifts along the lines.
//!
//! Source: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast
//! Algorithms for Convolutional Neural Networks", arXiv 1509.09308.

mod pack;
mod quads;
mod transforms;

pub(crate) use quads::Winograd;

use super::super::vector_math::vectorised;
use super::convolution_operands::STRIP_BYTES;
use super::lanes;
use super::layout::{Block, LINE, Line, Panels, SIDE, STEP_DEPTH};
use super::output::{Origin, Output};
use super::scratch::{GROUP, PIXEL_LINES, grown_to, with_scratch};
use super::tile_element::TileElement;
use rayon::prelude::*;
use std::array::from_fn;
use std::mem::MaybeUninit;
use std::ops::Range;
use transforms::{KERNEL, POSITIONS, QUAD, output_transform};

/// Upper bound in bytes on the lines of a picture that is packed as a whole, so that no weights are
/// packed twice.
const WHOLE_BYTES: usize = 16 << 20;
/// Steps that are multiplied at a time. The steps of a weight panel stay in the L1 cache of a core.
const STEPS: usize = 6;
/// Largest number of panels of quads that a thread multiplies with a panel of weights.
const MAX_GROUP: usize = 10;
/// Panels of weights that are multiplied with the lines of one position of a group before those of
/// the next position are read.
const WEIGHT_PANELS: usize = 2;

/// The packed lines of consecutive rows of quads, `[positions, channel blocks, quads]`.
struct PackedQuads<'a> {
    lines: &'a [Line],
    /// The first line of each step for the first quad, `[positions, channel blocks, kernel rows]`.
    steps: &'a [usize],
    picture: usize,
    /// Index of the first quad.
    start: usize,
    count: usize,
}

/// The source of the weight panels.
#[derive(Clone, Copy)]
enum WeightSource<'a> {
    /// All panels have been packed over the channel blocks of the quads.
    Packed(&'a [Line]),
    /// The thread that uses a panel packs it. Each panel is used once.
    OnDemand,
}

impl<E: TileElement> Winograd<'_, E> {
    /// Writes the convolution to `output`, `[N, C', H, W]`, completely.
    pub(crate) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let operands = &self.operands;
        let [n, channels, h, _] = operands.shape;
        assert_eq!(operands.kernel, KERNEL, "not a 3x3 convolution");
        let output = operands.output(output);
        let blocks = 0..channels.div_ceil(STEP_DEPTH);
        let one_group = h * self.quads() <= SIDE * MAX_GROUP;
        if n == 1 && one_group && h <= self.rows_in(WHOLE_BYTES, blocks.len()) {
            return self.write_picture(0, blocks, h, WeightSource::OnDemand, &output);
        }
        operands.for_channel_ranges(
            POSITIONS * KERNEL * operands.tiles.step(),
            |panel, range, lines| self.pack_weights(panel, range, lines),
            |range, packed| {
                let weights = WeightSource::Packed(packed);
                let strips = h.div_ceil(self.rows_in(STRIP_BYTES, range.len()));
                for picture in 0..n {
                    let rows = h.div_ceil(strips);
                    self.write_picture(picture, range.clone(), rows, weights, &output);
                }
            },
        );
    }

    /// Writes the contribution of a range of channel blocks to the output of a picture, `rows` rows
    /// at a time.
    fn write_picture(
        &self,
        picture: usize,
        range: Range<usize>,
        rows: usize,
        weights: WeightSource,
        output: &Output<E>,
    ) {
        let (height, row) = (self.operands.shape[2], self.row());
        let planes = POSITIONS * range.len();
        // Includes the lines that complete the last panel, and the rows below that contribute to
        // it.
        let panel = SIDE * self.operands.tiles.parts();
        let plane = (rows * row).next_multiple_of(panel) + (KERNEL - 1) * row;
        let steps: Vec<usize> = (0..planes)
            .flat_map(|i| (0..KERNEL).map(move |ky| i * plane + ky * row))
            .collect();
        with_scratch(&PIXEL_LINES, |lines| {
            let lines = grown_to(lines, planes * plane, Line::ZERO);
            for start in (0..height).step_by(rows) {
                let rows = start..height.min(start + rows);
                self.pack_rows(picture, range.clone(), rows.clone(), plane, lines);
                let quads = PackedQuads {
                    lines,
                    steps: &steps,
                    picture,
                    start: start * self.quads(),
                    count: rows.len() * self.quads(),
                };
                quads.multiply(self, weights, range.start == 0, output);
            }
        });
    }
}

impl PackedQuads<'_> {
    /// Multiplies the quads with all weights, in panels of 32 quads, and writes the pixels.
    fn multiply<E: TileElement>(
        &self,
        convolution: &Winograd<E>,
        weights: WeightSource,
        first: bool,
        output: &Output<E>,
    ) {
        let panels = self.count.div_ceil(SIDE);
        let group = panels.div_ceil(panels.div_ceil(MAX_GROUP));
        let channels = convolution.operands.channels_out().div_ceil(SIDE);
        let few =
            panels.div_ceil(group) * channels < 4 * WEIGHT_PANELS * rayon::current_num_threads();
        let share = if few { 1 } else { WEIGHT_PANELS };
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
            with_scratch(&GROUP, |(lines, blocks)| {
                let size = channels.len() * POSITIONS * panels.len();
                let blocks = grown_to(blocks, size, Block::ZERO);
                self.multiply_panels(
                    convolution,
                    panels.clone(),
                    channels.clone(),
                    weights,
                    lines,
                    blocks,
                );
                for (channel, blocks) in channels.zip(blocks.chunks(POSITIONS * panels.len())) {
                    for (i, panel) in panels.clone().enumerate() {
                        let blocks = from_fn(|position| &blocks[position * panels.len() + i]);
                        let (quad, channel) = (panel * SIDE, channel * SIDE);
                        self.write(convolution, quad, channel, blocks, first, output);
                    }
                }
            });
        });
    }

    /// Multiplies some panels of quads with some panels of weights. `blocks` is
    /// `[weight panels, positions, quad panels]`; the weight panels are given by their channels.
    /// `own` is memory for weights that are packed on demand.
    fn multiply_panels<E: TileElement>(
        &self,
        convolution: &Winograd<E>,
        panels: Range<usize>,
        channels: Range<usize>,
        weights: WeightSource,
        own: &mut Vec<Line>,
        blocks: &mut [Block],
    ) {
        let tiles = convolution.operands.tiles;
        let panel = SIDE * tiles.parts();
        let quads = Panels {
            lines: &self.lines[panels.start * panel..],
            stride: panel,
        };
        let depth = self.steps.len() / POSITIONS;
        let max_steps = match weights {
            WeightSource::Packed(_) => depth,
            WeightSource::OnDemand => STEPS,
        };
        for start in (0..depth).step_by(max_steps) {
            let steps = start..depth.min(start + max_steps);
            let lines = steps.len() * tiles.step();
            let weights = match weights {
                WeightSource::Packed(lines) => {
                    &lines[channels.start * POSITIONS * depth * tiles.step()..]
                }
                WeightSource::OnDemand => {
                    let own = grown_to(own, channels.len() * POSITIONS * lines, Line::ZERO);
                    let range = steps.start / KERNEL..steps.end / KERNEL;
                    for (panel, lines) in channels.clone().zip(own.chunks_mut(POSITIONS * lines)) {
                        convolution.pack_weights(panel, range.clone(), lines);
                    }
                    &own[..]
                }
            };
            for position in 0..POSITIONS {
                let weights = weights.chunks(POSITIONS * lines);
                let blocks = blocks.chunks_mut(POSITIONS * panels.len());
                for (weights, blocks) in weights.zip(blocks) {
                    let weights = weights[position * lines..][..lines].chunks(STEPS * tiles.step());
                    let blocks = &mut blocks[position * panels.len()..][..panels.len()];
                    let steps = &self.steps[position * depth..][steps.clone()];
                    for (i, (steps, lines)) in steps.chunks(STEPS).zip(weights).enumerate() {
                        let weights = Panels::single(lines);
                        let add = start > 0 || i > 0;
                        tiles.multiply_at(quads, steps, weights, blocks, add);
                    }
                }
            }
        }
    }

    /// Writes the pixels of 32 quads in 32 channels. `quad` is relative to the first packed quad.
    fn write<E: TileElement>(
        &self,
        convolution: &Winograd<E>,
        quad: usize,
        channel: usize,
        blocks: [&Block; POSITIONS],
        first: bool,
        output: &Output<E>,
    ) {
        let tiles = convolution.operands.tiles;
        let mut pixels = [[0.0; QUAD * SIDE]; SIDE];
        vectorised(
            #[inline(always)]
            || {
                for start in (0..SIDE).step_by(LINE / QUAD) {
                    for half in [0, LINE] {
                        let mut square = [[0; LINE]; LINE];
                        for (row, square) in (start..).zip(square.chunks_exact_mut(QUAD)) {
                            let y = output_transform(tiles, blocks, row, half);
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
        // The pixels of the quads in each row of the picture.
        let (quads, width) = (convolution.quads(), convolution.operands.shape[3]);
        let (start, end) = (self.start + quad, self.start + self.count.min(quad + SIDE));
        for y in start / quads..end.div_ceil(quads) {
            let from = start.max(y * quads);
            let to = end.min((y + 1) * quads);
            let x = QUAD * (from - y * quads);
            let count = (width - x).min(QUAD * (to - from));
            let inside = QUAD * (from - start)..QUAD * (from - start) + count;
            for (row, pixels) in (channel..convolution.operands.channels_out()).zip(&pixels) {
                let origin = Origin {
                    picture: self.picture,
                    row,
                    column: y * width + x,
                };
                // SAFETY: a quad belongs to one panel, and the pair of a quad and a channel to one
                // thread. `first` is set for the first range of channels, which comes first.
                unsafe { output.write_row(origin, &pixels[inside.clone()], first) };
            }
        }
    }
}
