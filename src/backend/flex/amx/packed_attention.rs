//! Attention to the keys and values of one head, which are packed once for all queries.

use super::super::matrix::Matrix;
use super::super::vector_math::vectorised;
use super::lanes::{self, Lanes, fma};
use super::layout::{Block, LINE, Line, Panels, SIDE, STEP_DEPTH};
use super::panel::{pack_columns, pack_rows, store_by_row};
use super::scratch::{grown_to, with_scratch};
use super::tile_element::TileElement;
use super::tiles::Tiles;
use std::cell::Cell;

/// The packed keys and values of a head, in chunks.
pub(crate) struct PackedHead {
    tiles: Tiles,
    chunks: Vec<Chunk>,
    /// Channels of the head.
    size: usize,
}

struct Chunk {
    /// Number of keys.
    count: usize,
    /// Panels of keys.
    keys: Vec<Line>,
    /// Panels of channels.
    values: Vec<Line>,
}

impl PackedHead {
    /// Packs `keys` and `values`, both `[T, D]`, in chunks of `chunk_size`.
    pub(crate) fn new<E: TileElement>(
        tiles: Tiles,
        keys: Matrix<E>,
        values: Matrix<E>,
        chunk_size: usize,
    ) -> Self {
        let (tokens, size) = (values.row_count(), values.column_count());
        let chunk = |start: usize| {
            let tokens = start..tokens.min(start + chunk_size);
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
            chunks: (0..tokens).step_by(chunk_size).map(chunk).collect(),
            size,
        }
    }

    /// Attention for some queries, `[queries, D]`. Returns `[queries, D]`.
    pub(crate) fn attend<E: TileElement>(&self, query: Matrix<E>) -> Vec<f32> {
        let mut output = vec![0.0; query.row_count() * self.size];
        let rows = output.chunks_mut(SIDE * self.size);
        with_scratch(&SCRATCH, |scratch| {
            for (row, output) in (0..).step_by(SIDE).zip(rows) {
                self.attend_panel(&query, row, scratch, output);
            }
        });
        output
    }

    /// Attention for 32 queries from `row` on.
    fn attend_panel<E: TileElement>(
        &self,
        query: &Matrix<E>,
        row: usize,
        scratch: &mut AttentionScratch,
        output: &mut [f32],
    ) {
        let depth = self.tiles.lines(self.size);
        let step = self.tiles.step();
        let queries = grown_to(&mut scratch.queries, depth, Line::ZERO);
        pack_rows(self.tiles, query, row, queries);
        let weighted = grown_to(&mut scratch.output, self.size.div_ceil(SIDE), Block::ZERO);
        let mut softmax = PanelSoftmax::new(self.size);
        for (i, chunk) in self.chunks.iter().enumerate() {
            let panels = chunk.count.div_ceil(SIDE);
            let scores = grown_to(&mut scratch.scores, panels, Block::ZERO);
            let weights = grown_to(&mut scratch.weights, panels * step, Line::ZERO);
            self.tiles.multiply(
                Panels::single(queries),
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
                    let factors = softmax.update(self.tiles, scores, chunk.count, weights);
                    if i > 0 {
                        for block in weighted.iter_mut() {
                            for (values, factor) in block.0.iter_mut().zip(factors) {
                                for value in values {
                                    *value *= factor;
                                }
                            }
                        }
                    }
                },
            );
            self.tiles.multiply(
                Panels::single(weights),
                Panels {
                    lines: &chunk.values,
                    stride: panels * step,
                },
                panels,
                weighted,
                i > 0,
            );
        }
        for (i, output) in output.chunks_exact_mut(self.size).enumerate() {
            let scale = softmax.sum[i].recip();
            for (output, block) in output.chunks_mut(SIDE).zip(weighted.iter()) {
                for (output, value) in output.iter_mut().zip(&block.0[i]) {
                    *output = value * scale;
                }
            }
        }
    }
}

/// Scratch memory of a thread.
#[derive(Default)]
struct AttentionScratch {
    queries: Vec<Line>,
    scores: Vec<Block>,
    weights: Vec<Line>,
    output: Vec<Block>,
}

thread_local! {
    static SCRATCH: Cell<AttentionScratch> = Cell::default();
}

/// Packs keys as panels of 32 columns. The even keys precede the odd keys. The scores of two
/// adjacent keys are therefore at the same index of the two halves of a row, as [`lanes::split`]
/// requires.
fn pack_keys<E: TileElement>(tiles: Tiles, keys: &Matrix<E>) -> Vec<Line> {
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
                            let lines = E::pack_adjacent(tiles, values);
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

/// The online softmax of 32 queries over the scores of the chunks so far.
struct PanelSoftmax {
    /// `log2(e) / sqrt(D)`: the exponential of a score is `2^(scale product)` of the product of
    /// query and key.
    scale: f32,
    /// Maximum of the products.
    max: [f32; SIDE],
    /// Sum of `2^(scale (product - max))`.
    sum: [f32; SIDE],
}

impl PanelSoftmax {
    fn new(size: usize) -> Self {
        Self {
            scale: std::f32::consts::LOG2_E / (size as f32).sqrt(),
            max: [f32::NEG_INFINITY; SIDE],
            sum: [0.0; SIDE],
        }
    }

    /// Adds the products with `count` keys, and packs `2^(scale (product - max))` as weights.
    /// Returns the factors by which to multiply the weighted values of the previous chunks.
    #[inline(always)]
    fn update(
        &mut self,
        tiles: Tiles,
        products: &mut [Block],
        count: usize,
        weights: &mut [Line],
    ) -> [f32; SIDE] {
        let inside = count - (products.len() - 1) * SIDE;
        let mut factors = [0.0; SIDE];
        for (i, factor) in factors.iter_mut().enumerate() {
            if let Some(last) = products.last_mut() {
                let [even, odd] = [inside.div_ceil(2), inside / 2];
                last.0[i][even..LINE].fill(f32::NEG_INFINITY);
                last.0[i][LINE + odd..].fill(f32::NEG_INFINITY);
            }
            let mut max = lanes::splat(tiles, self.max[i]);
            for block in products.iter() {
                for half in block.0[i].as_chunks::<LINE>().0 {
                    // This ignores NaN, which shows in the sum.
                    max = lanes::max(tiles, lanes::load(tiles, half), max);
                }
            }
            let max = lanes::reduce_max(tiles, max);
            let offset = lanes::splat(tiles, -self.scale * max);
            let mut sum = lanes::splat(tiles, 0.0);
            let steps = weights.chunks_exact_mut(tiles.step());
            for (block, step) in products.iter().zip(steps) {
                let (first, second) = block.0[i].split_at(LINE);
                let first = power(tiles, first, self.scale, offset);
                let second = power(tiles, second, self.scale, offset);
                sum = lanes::add(tiles, sum, lanes::add(tiles, first, second));
                store_by_row(tiles, lanes::split(tiles, first, second), step, i);
            }
            let before = lanes::splat(tiles, self.max[i]);
            let before = fma(tiles, before, self.scale, offset);
            *factor = f32::from_bits(lanes::bits(tiles, lanes::exp2(tiles, before))[0]);
            self.sum[i] = self.sum[i] * *factor + lanes::reduce_sum(tiles, sum);
            self.max[i] = max;
        }
        factors
    }
}

/// `2^(scale product + offset)`
#[inline(always)]
fn power(tiles: Tiles, products: &[f32], scale: f32, offset: Lanes) -> Lanes {
    let products = lanes::load(tiles, products);
    lanes::exp2(tiles, fma(tiles, products, scale, offset))
}
