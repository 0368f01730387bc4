//! A convolution of stride one without im2col. A pixel is a line of 32 channels, and a tap of the
//! kernel is a shift along the lines. A pixel is therefore packed once for all taps instead of once
//! per tap.
//!
//! The lines of a picture are its rows of pixels with zeros between them. Half a kernel of zeros
//! precedes each row and also serves as the padding at the end of the previous row.

use super::super::vector_math::vectorised;
use super::convolution_operands::{ConvolutionOperands, STRIP_BYTES};
use super::lanes;
use super::layout::{Block, LINE, Line, Panels, SIDE, STEP_DEPTH};
use super::output::{Origin, Output};
use super::panel::{panels_per_group, store_by_tile};
use super::scratch::{GROUP, PIXEL_LINES, grown_to, with_scratch};
use super::tile_element::TileElement;
use super::tiles::Tiles;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Lines of a channel block that a thread packs at a time.
const SEGMENT: usize = 1024;
/// Steps that are multiplied at a time, over all parts. The steps of a weight panel stay in the L1
/// cache of a core.
const STEPS: usize = 12;

/// A convolution that slides along the lines.
pub(crate) struct Sliding<'a, E> {
    pub(crate) operands: ConvolutionOperands<'a, E>,
}

/// The packed lines of consecutive pixels, `[channel blocks, pixels]`.
struct PackedPixels<'a> {
    lines: &'a [Line],
    picture: usize,
    /// Index of the first pixel. The zeros between the rows count as pixels.
    start: usize,
    count: usize,
}

impl<E: TileElement> Sliding<'_, E> {
    /// Writes the convolution to `output`, `[N, C', H, W]`, completely.
    pub(crate) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let operands = &self.operands;
        let output = operands.output(output);
        operands.for_channel_ranges(
            operands.taps() * operands.tiles.step(),
            |panel, range, lines| self.pack_weights(panel, range, lines),
            |range, packed| {
                for picture in 0..operands.shape[0] {
                    self.write_picture(picture, range.clone(), packed, &output);
                }
            },
        );
    }

    /// Returns the distance between the starts of two rows of pixels, in lines of one part.
    fn row(&self) -> usize {
        self.operands.shape[3] + self.half()
    }

    /// Half the kernel size.
    fn half(&self) -> usize {
        self.operands.kernel / 2
    }

    /// Writes the contribution of a range of channel blocks to the output of a picture. `weights`
    /// are packed.
    fn write_picture(
        &self,
        picture: usize,
        range: Range<usize>,
        weights: &[Line],
        output: &Output<E>,
    ) {
        let parts = self.operands.tiles.parts();
        // Distance from the first to the last tap of the kernel, in pixels.
        let reach = 2 * self.half() * (self.row() + 1);
        let pixels = self.operands.shape[2] * self.row();
        let max_pixels = STRIP_BYTES / size_of::<Line>() / parts / range.len();
        let max_pixels = max_pixels.saturating_sub(reach).max(reach).max(SEGMENT);
        let count = pixels
            .div_ceil(pixels.div_ceil(max_pixels))
            .next_multiple_of(SIDE);
        let block = (count + reach) * parts;
        let taps = 0..self.operands.taps();
        let steps: Vec<usize> = (0..range.len())
            .flat_map(|i| {
                let kernel = self.operands.kernel;
                let shift = move |tap| tap / kernel * self.row() + tap % kernel;
                let shifts = taps.clone().map(shift);
                shifts.map(move |shift| i * block + shift * parts)
            })
            .collect();
        with_scratch(&PIXEL_LINES, |lines| {
            let lines = grown_to(lines, range.len() * block, Line::ZERO);
            for start in (0..pixels).step_by(count) {
                let blocks = lines.par_chunks_mut(block).zip(range.clone());
                blocks.for_each(|(lines, block)| {
                    let segments = lines.par_chunks_mut(SEGMENT * parts).enumerate();
                    segments.for_each(|(i, lines)| {
                        self.pack_pixels(picture, block, start + i * SEGMENT, lines);
                    });
                });
                let pixels = PackedPixels {
                    lines,
                    picture,
                    start,
                    count: count.min(pixels - start),
                };
                pixels.multiply(self, &steps, weights, range.start == 0, output);
            }
        });
    }

    /// Packs the weights of 32 output channels over a range of channel blocks. A block has a step
    /// for each tap of the kernel.
    fn pack_weights(&self, panel: usize, range: Range<usize>, lines: &mut [Line]) {
        let tiles = self.operands.tiles;
        let taps = self.operands.taps();
        let step = tiles.step();
        let mut rows = vec![[0.0; LINE]; STEP_DEPTH * taps];
        vectorised(
            #[inline(always)]
            || {
                for (block, lines) in range.zip(lines.chunks_exact_mut(taps * step)) {
                    for half in 0..2 {
                        let first = panel * SIDE + half * LINE;
                        self.operands.transpose_weights(first, block, &mut rows);
                        for (tap, step) in lines.chunks_exact_mut(step).enumerate() {
                            for pair in 0..LINE {
                                let [first, second] = [0, 1].map(|k| {
                                    let row = (2 * pair + k) * taps + tap;
                                    lanes::load(tiles, &rows[row])
                                });
                                let parts = lanes::split(tiles, first, second);
                                store_by_tile(tiles, parts, step, half * LINE + pair);
                            }
                        }
                    }
                }
            },
        );
    }

    /// Packs the pixels of a channel block from `first` on. The lines of a pixel's parts are
    /// adjacent.
    fn pack_pixels(&self, picture: usize, block: usize, first: usize, lines: &mut [Line]) {
        let parts = self.operands.tiles.parts();
        let end = first + lines.len() / parts;
        let (row, half) = (self.row(), self.half());
        for y in first / row..end.div_ceil(row) {
            let columns = (y * row).max(first)..((y + 1) * row).min(end);
            let lines = &mut lines[(columns.start - first) * parts..(columns.end - first) * parts];
            let columns = columns.start - y * row..columns.end - y * row;
            if y < half || y >= self.operands.shape[2] + half {
                lines.fill(Line::ZERO);
                continue;
            }
            let zeros = half.saturating_sub(columns.start).min(columns.len());
            let (zeros, lines) = lines.split_at_mut(zeros * parts);
            zeros.fill(Line::ZERO);
            if !lines.is_empty() {
                let start = columns.end - lines.len() / parts - half;
                self.pack_run(picture, block, y - half, start, lines);
            }
        }
    }

    /// Packs consecutive pixels of row `y`, starting at column `x`.
    fn pack_run(&self, picture: usize, block: usize, y: usize, x: usize, lines: &mut [Line]) {
        let [_, c_in, h, w] = self.operands.shape;
        let parts = self.operands.tiles.parts();
        let count = lines.len() / parts;
        let channels = block * STEP_DEPTH..c_in.min((block + 1) * STEP_DEPTH);
        let rows: [&[E]; STEP_DEPTH] = std::array::from_fn(|i| {
            let channel = channels.start + i;
            let start = ((picture * c_in + channel) * h + y) * w + x;
            match channels.contains(&channel) {
                true => &self.operands.x[start..start + count],
                false => &[],
            }
        });
        vectorised(
            #[inline(always)]
            || {
                for (i, lines) in lines.chunks_mut(LINE * parts).enumerate() {
                    let mut squares = [[[0; LINE]; LINE]; 2];
                    for pair in 0..LINE {
                        let [first, second] =
                            [0, 1].map(|k| rows[2 * pair + k].get(i * LINE..).unwrap_or_default());
                        let split = E::pack_interleaved(self.operands.tiles, first, second);
                        for (square, line) in squares.iter_mut().zip(split) {
                            square[pair] = line;
                        }
                    }
                    for (part, square) in squares.iter_mut().enumerate().take(parts) {
                        lanes::transpose(self.operands.tiles, square);
                        let lines = lines[part..].iter_mut().step_by(parts);
                        for (to, line) in lines.zip(square) {
                            *to = Line(*line);
                        }
                    }
                }
            },
        );
    }
}

impl PackedPixels<'_> {
    /// Multiplies the pixels with all packed weights, in panels of 32 pixels, and writes the
    /// blocks.
    fn multiply<E: TileElement>(
        &self,
        convolution: &Sliding<E>,
        steps: &[usize],
        weights: &[Line],
        first: bool,
        output: &Output<E>,
    ) {
        let tiles = convolution.operands.tiles;
        let parts = tiles.parts();
        let panels = self.count.div_ceil(SIDE);
        let group = panels_per_group(panels);
        let groups = (0..panels).into_par_iter().step_by(group);
        groups.for_each(|start| {
            let panels = start..panels.min(start + group);
            let pixels = Panels {
                lines: &self.lines[start * SIDE * parts..],
                stride: SIDE * parts,
            };
            with_scratch(&GROUP, |(_, blocks)| {
                let blocks = grown_to(blocks, panels.len(), Block::ZERO);
                let weights = weights.chunks_exact(steps.len() * tiles.step());
                for (channel, weights) in (0..).step_by(SIDE).zip(weights) {
                    let weights = weights.chunks(STEPS / parts * tiles.step());
                    let chunks = steps.chunks(STEPS / parts).zip(weights);
                    for (i, (steps, lines)) in chunks.enumerate() {
                        let weights = Panels::single(lines);
                        tiles.multiply_at(pixels, steps, weights, blocks, i > 0);
                    }
                    for (panel, block) in panels.clone().zip(blocks.iter()) {
                        self.write(convolution, panel * SIDE, channel, block, first, output);
                    }
                }
            });
        });
    }

    /// Writes a block of 32 pixels and 32 output channels. `pixel` is relative to the first packed
    /// pixel.
    fn write<E: TileElement>(
        &self,
        convolution: &Sliding<E>,
        pixel: usize,
        channel: usize,
        block: &Block,
        first: bool,
        output: &Output<E>,
    ) {
        let ConvolutionOperands { tiles, shape, .. } = convolution.operands;
        let [_, _, h, w] = shape;
        let row_length = convolution.row();
        let block = transposed(tiles, block);
        let start = self.start + pixel;
        let channels = channel..convolution.operands.channels_out().min(channel + SIDE);
        for y in start / row_length..h.min((start + SIDE).div_ceil(row_length)) {
            // The pixels of the row that are in the block.
            let begin = y * row_length;
            let from = start.max(begin);
            let to = (start + SIDE).min(begin + w);
            if from >= to {
                continue;
            }
            for (channel, row) in channels.clone().zip(&block.0) {
                let origin = Origin {
                    picture: self.picture,
                    row: channel,
                    column: y * w + from - begin,
                };
                // SAFETY: a pixel belongs to one panel, and a panel to one thread. `first` is set
                // for the first range of channels, which comes first.
                unsafe { output.write_row(origin, &row[from - start..to - start], first) };
            }
        }
    }
}

/// Exchanges the rows and columns of a block.
fn transposed(tiles: Tiles, block: &Block) -> Block {
    let mut output = Block::ZERO;
    vectorised(
        #[inline(always)]
        || {
            for (row, column) in [(0, 0), (0, LINE), (LINE, 0), (LINE, LINE)] {
                let rows = &block.0[row..row + LINE];
                let mut square: [[u32; LINE]; LINE] =
                    std::array::from_fn(|i| std::array::from_fn(|j| rows[i][column + j].to_bits()));
                lanes::transpose(tiles, &mut square);
                for (to, from) in output.0[column..].iter_mut().zip(square) {
                    to[row..row + LINE].copy_from_slice(&from.map(f32::from_bits));
                }
            }
        },
    );
    output
}
