//! Attention to one head's keys and values, packed once for all queries.

use super::super::element::Element;
use super::super::matrix::Matrix;
use super::super::simd::{exp_fused, vectorised};
use super::panel::{Line, pack_columns, pack_pairs, pack_rows};
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
    /// `keys` are `[D, tokens]` for some tokens at a time, `values` `[T, D]`.
    pub(in super::super) fn new<'a, E: Element>(
        tiles: Tiles,
        keys: impl Iterator<Item = &'a [f32]>,
        values: Matrix<E>,
    ) -> Self {
        fn pack<E: Element>(tiles: Tiles, matrix: Matrix<E>) -> Vec<Line> {
            let panel = tiles.lines(matrix.row_count());
            let panels = matrix.column_count().div_ceil(SIDE);
            let mut packed = vec![Line::ZERO; panels * panel];
            pack_columns(tiles, &matrix, &mut packed, panel);
            packed
        }
        let size = values.column_count();
        let mut start = 0;
        let chunk = |keys: &[f32]| {
            let count = keys.len() / size;
            let tokens = start..start + count;
            start = tokens.end;
            Chunk {
                count,
                keys: pack(tiles, Matrix::rows(keys, size, count)),
                values: pack(tiles, values.part(tokens, 0..size)),
            }
        };
        Self {
            tiles,
            chunks: keys.map(chunk).collect(),
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
        let mut softmax = Softmax::default();
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

/// The softmaxes of 32 queries over the scores seen so far.
struct Softmax {
    max: [f32; SIDE],
    /// Of `e^(score - max)`.
    sum: [f32; SIDE],
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            max: [f32::NEG_INFINITY; SIDE],
            sum: [0.0; SIDE],
        }
    }
}

impl Softmax {
    /// Takes in the scores by `count` keys and packs `e^(score - max)`; what was weighed before is to be multiplied by
    /// the result.
    #[inline(always)]
    fn weigh(
        &mut self,
        tiles: Tiles,
        scores: &mut [Block],
        count: usize,
        weights: &mut [Line],
    ) -> [f32; SIDE] {
        const LANES: usize = 16;
        // Not `f32::max`, whose care for NaN costs two more instructions: a NaN shows in the sum.
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let inside = count - (scores.len() - 1) * SIDE;
        let mut shrinks = [0.0; SIDE];
        for (i, shrink) in shrinks.iter_mut().enumerate() {
            if let Some(last) = scores.last_mut() {
                last.0[i][inside..].fill(f32::NEG_INFINITY);
            }
            let mut lanes = [self.max[i]; LANES];
            for block in scores.iter() {
                for chunk in block.0[i].as_chunks::<LANES>().0 {
                    for (lane, score) in lanes.iter_mut().zip(chunk) {
                        *lane = larger(*score, *lane);
                    }
                }
            }
            let max = lanes.into_iter().fold(self.max[i], larger);
            let mut lanes = [0.0; LANES];
            for (block, step) in scores
                .iter_mut()
                .zip(weights.chunks_exact_mut(tiles.step()))
            {
                for chunk in block.0[i].as_chunks_mut::<LANES>().0 {
                    for (lane, score) in lanes.iter_mut().zip(chunk) {
                        *score = exp_fused(*score - max);
                        *lane += *score;
                    }
                }
                pack_pairs(tiles, &block.0[i], i, step);
            }
            *shrink = exp_fused(self.max[i] - max);
            self.sum[i] = self.sum[i] * *shrink + lanes.iter().sum::<f32>();
            self.max[i] = max;
        }
        shrinks
    }
}
