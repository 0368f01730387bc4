//! Attention to one head's keys and values, packed once for all queries.

use super::super::element::Element;
use super::super::matrix::Matrix;
use super::super::simd::vectorised;
use super::lanes::{self, LINE, Lanes, fma};
use super::panel::{Line, STEP_DEPTH, pack_columns, pack_rows};
use super::tiles::{Block, Panels, SIDE, Tiles};
use super::{at_least, with_kept};
use std::cell::Cell;

/// Keys and values of a head, chunk after chunk.
pub(in super::super) struct Head {
    tiles: Tiles,
    chunks: Vec<Chunk>,
    size: usize,
}

struct Chunk {
    count: usize,
    /// Panels of keys.
    keys: Vec<Line>,
    /// Panels of channels.
    values: Vec<Line>,
}

impl Head {
    /// `keys` and `values` are `[T, D]`; a chunk has `most` of them.
    pub(in super::super) fn new<E: Element>(
        tiles: Tiles,
        keys: Matrix<E>,
        values: Matrix<E>,
        most: usize,
    ) -> Self {
        let (tokens, size) = (values.row_count(), values.column_count());
        let chunk = |start: usize| {
            let tokens = start..tokens.min(start + most);
            let values = values.part(tokens.clone(), 0..size);
            let panel = tiles.lines(tokens.len());
            let mut packed = vec![Line::ZERO; size.div_ceil(SIDE) * panel];
            pack_columns(tiles, &values, &mut packed, panel);
            Chunk {
                count: tokens.len(),
                keys: pack_keys(tiles, &keys.part(tokens, 0..size)),
                values: packed,
            }
        };
        Self {
            tiles,
            chunks: (0..tokens).step_by(most).map(chunk).collect(),
            size,
        }
    }

    /// The output for some queries, `[queries, D]`.
    pub(in super::super) fn attend<E: Element>(&self, query: Matrix<E>) -> Vec<f32> {
        let mut output = vec![0.0; query.row_count() * self.size];
        let rows = output.chunks_mut(SIDE * self.size);
        with_kept(&SCRATCH, |scratch| {
            for (row, output) in (0..).step_by(SIDE).zip(rows) {
                self.attend_panel(&query, row, scratch, output);
            }
        });
        output
    }

    /// The output for 32 queries from `row` on.
    fn attend_panel<E: Element>(
        &self,
        query: &Matrix<E>,
        row: usize,
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        let depth = self.tiles.lines(self.size);
        let step = self.tiles.step();
        let queries = at_least(&mut scratch.queries, depth, Line::ZERO);
        pack_rows(self.tiles, query, row, queries);
        let weighed = at_least(&mut scratch.output, self.size.div_ceil(SIDE), Block::ZERO);
        let mut softmax = Softmax::new(self.size);
        for (i, chunk) in self.chunks.iter().enumerate() {
            let panels = chunk.count.div_ceil(SIDE);
            let scores = at_least(&mut scratch.scores, panels, Block::ZERO);
            let weights = at_least(&mut scratch.weights, panels * step, Line::ZERO);
            self.tiles.multiply(
                Panels {
                    lines: queries,
                    stride: 0,
                },
                Panels {
                    lines: &chunk.keys,
                    stride: depth,
                },
                depth / step,
                scores,
                false,
            );
            vectorised(
                #[inline(always)]
                || {
                    let shrink = softmax.weigh(self.tiles, scores, chunk.count, weights);
                    if i > 0 {
                        for block in weighed.iter_mut() {
                            for (values, shrink) in block.0.iter_mut().zip(shrink) {
                                for value in values {
                                    *value *= shrink;
                                }
                            }
                        }
                    }
                },
            );
            self.tiles.multiply(
                Panels {
                    lines: weights,
                    stride: 0,
                },
                Panels {
                    lines: &chunk.values,
                    stride: panels * step,
                },
                panels,
                weighed,
                i > 0,
            );
        }
        for (i, output) in output.chunks_exact_mut(self.size).enumerate() {
            let scale = softmax.sum[i].recip();
            for (output, block) in output.chunks_mut(SIDE).zip(weighed.iter()) {
                for (output, value) in output.iter_mut().zip(&block.0[i]) {
                    *output = value * scale;
                }
            }
        }
    }
}

/// What a thread keeps from block to block.
#[derive(Default)]
struct Scratch {
    queries: Vec<Line>,
    scores: Vec<Block>,
    weights: Vec<Line>,
    output: Vec<Block>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Panels of 32 keys as columns: those of even number, then those of odd, so that of what is made of a panel's scores, each
/// key and the next lie at the same place of a half.
fn pack_keys<E: Element>(tiles: Tiles, keys: &Matrix<E>) -> Vec<Line> {
    let panel = tiles.lines(keys.column_count());
    let mut packed = vec![Line::ZERO; keys.row_count().div_ceil(SIDE) * panel];
    vectorised(
        #[inline(always)]
        || {
            for (first, panel) in (0..).step_by(SIDE).zip(packed.chunks_exact_mut(panel)) {
                let steps = panel.chunks_exact_mut(tiles.step());
                for (channel, step) in (0..).step_by(STEP_DEPTH).zip(steps) {
                    for k in 0..2 {
                        let mut squares = [[[0; LINE]; LINE]; 2];
                        for i in 0..LINE {
                            let key = keys.row(first + 2 * i + k).unwrap_or_default();
                            let values = key.get(channel..).unwrap_or_default();
                            let lines = E::pairs(tiles, values);
                            for (square, line) in squares.iter_mut().zip(lines) {
                                square[i] = line;
                            }
                        }
                        let parts = squares.iter_mut().zip(step.chunks_exact_mut(SIDE));
                        for (square, step) in parts {
                            lanes::transpose(tiles, square);
                            for (to, line) in step[k * LINE..].iter_mut().zip(square) {
                                *to = Line(*line);
                            }
                        }
                    }
                }
            }
        },
    );
    packed
}

/// The softmaxes of 32 queries over the scores seen so far.
struct Softmax {
    /// `log2(e) / sqrt(D)`: `e` to a score is two to so many times the product of query and key.
    scale: f32,
    /// Of the products.
    max: [f32; SIDE],
    /// Of `2^(scale (product - max))`.
    sum: [f32; SIDE],
}

impl Softmax {
    fn new(size: usize) -> Self {
        Self {
            scale: std::f32::consts::LOG2_E / (size as f32).sqrt(),
            max: [f32::NEG_INFINITY; SIDE],
            sum: [0.0; SIDE],
        }
    }

    /// Takes in the products with `count` keys and packs `2^(scale (product - max))`; what was weighed before is to be
    /// multiplied by the result.
    #[inline(always)]
    fn weigh(
        &mut self,
        tiles: Tiles,
        products: &mut [Block],
        count: usize,
        weights: &mut [Line],
    ) -> [f32; SIDE] {
        let inside = count - (products.len() - 1) * SIDE;
        let mut shrinks = [0.0; SIDE];
        for (i, shrink) in shrinks.iter_mut().enumerate() {
            if let Some(last) = products.last_mut() {
                let [even, odd] = [inside.div_ceil(2), inside / 2];
                last.0[i][even..LINE].fill(f32::NEG_INFINITY);
                last.0[i][LINE + odd..].fill(f32::NEG_INFINITY);
            }
            let mut max = lanes::splat(tiles, self.max[i]);
            for block in products.iter() {
                for half in block.0[i].as_chunks::<LINE>().0 {
                    // A NaN, which this leaves out, shows in the sum.
                    max = lanes::max(tiles, lanes::load(tiles, half), max);
                }
            }
            let max = lanes::largest(tiles, max);
            let offset = lanes::splat(tiles, -self.scale * max);
            let mut sum = lanes::splat(tiles, 0.0);
            let steps = weights.chunks_exact_mut(tiles.step());
            for (block, step) in products.iter().zip(steps) {
                let (first, second) = block.0[i].split_at(LINE);
                let first = power(tiles, first, self.scale, offset);
                let second = power(tiles, second, self.scale, offset);
                sum = lanes::add(tiles, sum, lanes::add(tiles, first, second));
                let split = lanes::split(tiles, first, second);
                let lines = &mut step[i * tiles.parts()..][..tiles.parts()];
                for (to, line) in lines.iter_mut().zip(split) {
                    *to = Line(line);
                }
            }
            let before = lanes::splat(tiles, self.max[i]);
            let before = fma(tiles, before, self.scale, offset);
            *shrink = f32::from_bits(lanes::bits(tiles, lanes::exp2(tiles, before))[0]);
            self.sum[i] = self.sum[i] * *shrink + lanes::sum(tiles, sum);
            self.max[i] = max;
        }
        shrinks
    }
}

/// `2^(scale product + offset)`
#[inline(always)]
fn power(tiles: Tiles, products: &[f32], scale: f32, offset: Lanes) -> Lanes {
    let products = lanes::load(tiles, products);
    lanes::exp2(tiles, fma(tiles, products, scale, offset))
}
