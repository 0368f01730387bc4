//! A convolution of stride one without its columns in memory: a pixel is kept as a line of 32 channels, and a place of the
//! kernel is a shift along the lines. So a pixel is packed once for all places, not once for each.
//!
//! The lines of a picture are those of its rows with zeros between: half a kernel of them before each row, which are the
//! zeros beyond the end of the row before, too.

use super::super::element::Element;
use super::super::simd::vectorised;
use super::lanes::{self, LINE};
use super::output::{Bias, Output, Place};
use super::panel::{Line, STEP_DEPTH};
use super::tiles::{Block, Panels, SIDE, Tiles};
use super::weights::Weights;
use super::{GROUP, STRIP, STRIP_LINES, at_least, share, with_kept};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Lines of a channel block that a thread packs at a time.
const SEGMENT: usize = 1024;
/// Steps that are multiplied at a time, of all parts: those of a weight panel stay in a core's innermost cache.
const STEPS: usize = 12;

/// A convolution, padded by half its odd kernel.
pub(in super::super) struct Sliding<'a, E> {
    pub(in super::super) tiles: Tiles,
    /// `[N, C, H, W]`
    pub(in super::super) x: &'a [E],
    pub(in super::super) shape: [usize; 4],
    /// `[C', C, K, K]`
    pub(in super::super) weight: &'a [E],
    pub(in super::super) kernel: usize,
    /// `[C']`
    pub(in super::super) bias: &'a [E],
}

/// The lines of some pixels, channel block after channel block.
struct Strip<'a> {
    lines: &'a [Line],
    picture: usize,
    /// The first of the pixels, and how many there are, those of the zeros included.
    start: usize,
    count: usize,
}

impl<E: Element> Sliding<'_, E> {
    /// Writes all of `output`, `[N, C', H, W]`.
    pub(in super::super) fn write(&self, output: &mut [MaybeUninit<E>]) {
        let [n, channels, h, w] = self.shape;
        let shape = [n, self.bias.len(), h * w];
        let output = Output::new(output, shape, Bias::Rows(self.bias));
        let weights = Weights {
            values: self.weight,
            channels_out: self.bias.len(),
            channels,
            places: self.kernel * self.kernel,
        };
        weights.for_ranges(
            self.tiles,
            weights.places * self.tiles.step(),
            |panel, range, lines| self.pack_weights(&weights, panel, range, lines),
            |range, packed| {
                for picture in 0..n {
                    self.write_picture(picture, range.clone(), packed, &output);
                }
            },
        );
    }

    /// Lines from a row of pixels to the next.
    fn row(&self) -> usize {
        self.shape[3] + self.half()
    }

    fn half(&self) -> usize {
        self.kernel / 2
    }

    /// Writes what a range of channel blocks gives, whose weights are packed.
    fn write_picture(
        &self,
        picture: usize,
        range: Range<usize>,
        weights: &[Line],
        output: &Output<E>,
    ) {
        let parts = self.tiles.parts();
        // The last pixel that a place of the kernel reaches from the first.
        let reach = 2 * self.half() * (self.row() + 1);
        let pixels = self.shape[2] * self.row();
        let most = STRIP / size_of::<Line>() / parts / range.len();
        let most = most.saturating_sub(reach).max(reach).max(SEGMENT);
        let count = pixels
            .div_ceil(pixels.div_ceil(most))
            .next_multiple_of(SIDE);
        let block = (count + reach) * parts;
        let places = 0..self.kernel * self.kernel;
        let steps: Vec<usize> = (0..range.len())
            .flat_map(|i| {
                let place = |place| place / self.kernel * self.row() + place % self.kernel;
                let places = places.clone().map(place);
                places.map(move |shift| i * block + shift * parts)
            })
            .collect();
        with_kept(&STRIP_LINES, |lines| {
            let lines = at_least(lines, range.len() * block, Line::ZERO);
            for start in (0..pixels).step_by(count) {
                let blocks = lines.par_chunks_mut(block).zip(range.clone());
                blocks.for_each(|(lines, block)| {
                    let segments = lines.par_chunks_mut(SEGMENT * parts).enumerate();
                    segments.for_each(|(i, lines)| {
                        self.pack_pixels(picture, block, start + i * SEGMENT, lines);
                    });
                });
                let strip = Strip {
                    lines,
                    picture,
                    start,
                    count: count.min(pixels - start),
                };
                strip.multiply(self, &steps, weights, range.start == 0, output);
            }
        });
    }

    /// A panel of 32 output channels over a range of channel blocks: of each, a step for each place of the kernel.
    fn pack_weights(
        &self,
        weights: &Weights<E>,
        panel: usize,
        range: Range<usize>,
        lines: &mut [Line],
    ) {
        let places = weights.places;
        let step = self.tiles.step();
        let mut rows = vec![[0.0; LINE]; STEP_DEPTH * places];
        vectorised(
            #[inline(always)]
            || {
                for (block, lines) in range.zip(lines.chunks_exact_mut(places * step)) {
                    for half in 0..2 {
                        let first = panel * SIDE + half * LINE;
                        weights.sort(self.tiles, first, block, &mut rows);
                        for (place, step) in lines.chunks_exact_mut(step).enumerate() {
                            for pair in 0..LINE {
                                let [first, second] = [0, 1].map(|k| {
                                    let row = (2 * pair + k) * places + place;
                                    lanes::load(self.tiles, &rows[row])
                                });
                                let split = lanes::split(self.tiles, first, second);
                                let parts = split.into_iter().enumerate();
                                for (part, line) in parts.take(self.tiles.parts()) {
                                    step[part * SIDE + half * LINE + pair] = Line(line);
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// The lines of a channel block from `first` on, of each pixel those of its parts.
    fn pack_pixels(&self, picture: usize, block: usize, first: usize, lines: &mut [Line]) {
        let parts = self.tiles.parts();
        let end = first + lines.len() / parts;
        let (row, half) = (self.row(), self.half());
        for y in first / row..end.div_ceil(row) {
            let columns = (y * row).max(first)..((y + 1) * row).min(end);
            let lines = &mut lines[(columns.start - first) * parts..(columns.end - first) * parts];
            let columns = columns.start - y * row..columns.end - y * row;
            if y < half || y >= self.shape[2] + half {
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

    /// The lines of pixels that follow each other in row `y`, from `x` on.
    fn pack_run(&self, picture: usize, block: usize, y: usize, x: usize, lines: &mut [Line]) {
        let [_, c_in, h, w] = self.shape;
        let parts = self.tiles.parts();
        let count = lines.len() / parts;
        let channels = block * STEP_DEPTH..c_in.min((block + 1) * STEP_DEPTH);
        let rows: [&[E]; STEP_DEPTH] = std::array::from_fn(|i| {
            let channel = channels.start + i;
            let start = ((picture * c_in + channel) * h + y) * w + x;
            match channels.contains(&channel) {
                true => &self.x[start..start + count],
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
                        let split = E::pairs_of(self.tiles, first, second);
                        for (square, line) in squares.iter_mut().zip(split) {
                            square[pair] = line;
                        }
                    }
                    for (part, square) in squares.iter_mut().enumerate().take(parts) {
                        lanes::transpose(self.tiles, square);
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

impl Strip<'_> {
    /// Multiplies the strip's pixels, panels of 32 of them, with all weights.
    fn multiply<E: Element>(
        &self,
        of: &Sliding<E>,
        steps: &[usize],
        weights: &[Line],
        first: bool,
        output: &Output<E>,
    ) {
        let parts = of.tiles.parts();
        let panels = self.count.div_ceil(SIDE);
        let group = share(panels);
        let groups = (0..panels).into_par_iter().step_by(group);
        groups.for_each(|start| {
            let panels = start..panels.min(start + group);
            let pixels = Panels {
                lines: &self.lines[start * SIDE * parts..],
                stride: SIDE * parts,
            };
            with_kept(&GROUP, |(_, blocks)| {
                let blocks = at_least(blocks, panels.len(), Block::ZERO);
                let weights = weights.chunks_exact(steps.len() * of.tiles.step());
                for (channel, weights) in (0..).step_by(SIDE).zip(weights) {
                    let weights = weights.chunks(STEPS / parts * of.tiles.step());
                    let chunks = steps.chunks(STEPS / parts).zip(weights);
                    for (i, (steps, lines)) in chunks.enumerate() {
                        let weights = Panels { lines, stride: 0 };
                        of.tiles.multiply_at(pixels, steps, weights, blocks, i > 0);
                    }
                    for (panel, block) in panels.clone().zip(blocks.iter()) {
                        self.write(of, panel * SIDE, channel, block, first, output);
                    }
                }
            });
        });
    }

    /// Writes a block of 32 pixels, from `pixel` of the strip on, and 32 channels.
    fn write<E: Element>(
        &self,
        of: &Sliding<E>,
        pixel: usize,
        channel: usize,
        block: &Block,
        first: bool,
        output: &Output<E>,
    ) {
        let [_, _, h, w] = of.shape;
        let block = block.transposed(of.tiles);
        let start = self.start + pixel;
        let channels = channel..of.bias.len().min(channel + SIDE);
        for y in start / of.row()..h.min((start + SIDE).div_ceil(of.row())) {
            // The row's pixels that are of the block.
            let begin = y * of.row();
            let from = start.max(begin);
            let to = (start + SIDE).min(begin + w);
            if from >= to {
                continue;
            }
            for (channel, row) in channels.clone().zip(&block.0) {
                let place = Place {
                    picture: self.picture,
                    row: channel,
                    column: y * w + from - begin,
                };
                // SAFETY: a pixel belongs to one panel, each panel to one thread. The first range of channels comes first.
                unsafe { output.write_row(place, &row[from - start..to - start], first) };
            }
        }
    }
}
