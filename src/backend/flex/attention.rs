//! Attention in tiles of queries and keys. The scores of a tile stay in the L2 cache of a core. The
//! maximum and the sum of the softmax are carried from tile to tile.
//!
//! Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867;
//! Dao et al., "FlashAttention", arXiv 2205.14135.

use super::amx::{PackedHead, TileElement, Tiles};
use super::matrix::{Matrix, multiply};
use super::memory::written;
use super::vector_math::{exp, vectorised};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Queries per tile: enough for the two products to run at full speed, and few enough to keep the
/// cores evenly busy.
const QUERIES: usize = 128;
/// Keys per tile. The scores of a tile, 256 KB, leave room in the cache of a core for keys and
/// values.
const KEYS: usize = 512;

/// The kernel of a multi-head attention. The heads occupy consecutive channels of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttentionKernel {
    /// Batch size of the queries.
    n: usize,
    /// Batch size of keys and values: `n`, or one for the whole batch.
    contexts: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Channels per head.
    size: usize,
    /// The matrix unit; `None` to use the vector unit.
    tiles: Option<Tiles>,
}

impl AttentionKernel {
    /// Returns the kernel for tokens of type `E`.
    ///
    /// # Panics
    ///
    /// Panics if the shapes of query and key disagree.
    pub(super) fn new<E: TileElement>(
        [n, queries, channels]: [usize; 3],
        [contexts, keys, width]: [usize; 3],
        heads: usize,
    ) -> Self {
        assert_eq!((channels, channels % heads), (width, 0), "shapes disagree");
        assert!(contexts == n || contexts == 1, "shapes disagree");
        Self {
            n,
            contexts,
            queries,
            keys,
            heads,
            size: channels / heads,
            tiles: Tiles::if_worthwhile::<E>(queries, keys),
        }
    }

    #[cfg(test)]
    pub(super) fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    fn channels(&self) -> usize {
        self.heads * self.size
    }

    /// Computes the attention.
    ///
    /// # Shapes
    ///
    /// - query: `[N, T, C]`, key and value: `[N or 1, T', C]`
    /// - output: `[N, T, C]`
    pub(super) fn forward<E: TileElement>(&self, query: &[E], key: &[E], value: &[E]) -> Vec<E> {
        let (channels, size) = (self.channels(), self.size);
        let packed = self.tiles.map(|tiles| self.packed_heads(tiles, key, value));
        let transposed_keys = match packed {
            Some(_) => Vec::new(),
            None => self.transposed_keys(key),
        };
        let blocks_of_head = self.queries.div_ceil(QUERIES);
        let blocks: Vec<Vec<f32>> = (0..self.n * self.heads * blocks_of_head)
            .into_par_iter()
            .map_init(Vec::new, |scores, i| {
                let (head, block) = (i / blocks_of_head, i % blocks_of_head);
                let (picture, head) = (head / self.heads, head % self.heads);
                let context = picture % self.contexts;
                let first = block * QUERIES;
                let rows = QUERIES.min(self.queries - first);
                let query = &query[(picture * self.queries + first) * channels + head * size..];
                let query = Matrix::strided(query, rows, size, channels);
                if let Some(heads) = &packed {
                    return heads[context * self.heads + head].attend(query);
                }
                let (mut query_in_f32, mut value_in_f32) = (Vec::new(), Vec::new());
                let value = &value[context * self.keys * channels + head * size..];
                let value = Matrix::strided(value, self.keys, size, channels);
                self.block(
                    E::matrix_in_f32(query, &mut query_in_f32),
                    &transposed_keys[context * self.heads + head],
                    E::matrix_in_f32(value, &mut value_in_f32),
                    scores,
                )
            })
            .collect();
        let write = |output: &mut [MaybeUninit<E>]| {
            let tokens = output.par_chunks_mut(channels).enumerate();
            tokens.for_each(|(token, output)| {
                let (picture, token) = (token / self.queries, token % self.queries);
                for (head, output) in output.chunks_exact_mut(size).enumerate() {
                    let block = (picture * self.heads + head) * blocks_of_head + token / QUERIES;
                    let row = &blocks[block][token % QUERIES * size..];
                    for (output, value) in output.iter_mut().zip(&row[..size]) {
                        output.write(E::round_from_f32(*value));
                    }
                }
            });
        };
        // SAFETY: the output consists of whole tokens, and the channels of each head are written.
        unsafe { written(self.n * self.queries * channels, write) }
    }

    /// Returns the scaled and transposed keys of each head of each context, tile by tile. They are
    /// transposed only once. Otherwise, the product would rearrange them for each block of queries.
    fn transposed_keys<E: TileElement>(&self, key: &[E]) -> Vec<Vec<f32>> {
        let (channels, size) = (self.channels(), self.size);
        let scale = (size as f32).sqrt().recip();
        let transpose = |i: usize| {
            let (context, head) = (i / self.heads, i % self.heads);
            let key = &key[context * self.keys * channels + head * size..];
            let mut transposed = vec![0.0; self.keys * size];
            for (tile, values) in transposed.chunks_mut(KEYS * size).enumerate() {
                let keys = values.len() / size;
                for token in 0..keys {
                    let key = &key[(tile * KEYS + token) * channels..][..size];
                    for (channel, key) in key.iter().enumerate() {
                        values[channel * keys + token] = key.into_f32() * scale;
                    }
                }
            }
            transposed
        };
        (0..self.contexts * self.heads)
            .into_par_iter()
            .map(transpose)
            .collect()
    }

    /// Packs the keys and values of each head of each context for the matrix unit.
    fn packed_heads<E: TileElement>(
        &self,
        tiles: Tiles,
        key: &[E],
        value: &[E],
    ) -> Vec<PackedHead> {
        let channels = self.channels();
        let pack = |i: usize| {
            let (context, head) = (i / self.heads, i % self.heads);
            let [keys, values] = [key, value].map(|tokens| {
                let tokens = &tokens[context * self.keys * channels + head * self.size..];
                Matrix::strided(tokens, self.keys, self.size, channels)
            });
            PackedHead::new(tiles, keys, values, KEYS)
        };
        let heads = (0..self.contexts * self.heads).into_par_iter();
        heads.map(pack).collect()
    }

    /// Attention for a block of queries of one head. Returns `[queries, D]`.
    fn block(
        &self,
        query: Matrix,
        transposed_keys: &[f32],
        value: Matrix,
        scores: &mut Vec<f32>,
    ) -> Vec<f32> {
        let (size, queries) = (self.size, query.row_count());
        let mut output = vec![0.0; queries * size];
        let mut softmax = vec![Softmax::default(); queries];
        for (tile, keys) in transposed_keys.chunks(KEYS * size).enumerate() {
            let count = keys.len() / size;
            let first = tile * KEYS;
            scores.resize(queries * count, 0.0);
            multiply(query, Matrix::rows(keys, size, count), scores, false);
            let rows = scores.chunks_exact_mut(count);
            let rows = rows.zip(output.chunks_exact_mut(size)).zip(&mut softmax);
            vectorised(
                #[inline(always)]
                || {
                    // `for_each` would be compiled separately, without the vector instructions of
                    // this CPU.
                    for ((scores, output), softmax) in rows {
                        softmax.update(scores, output);
                    }
                },
            );
            multiply(
                Matrix::rows(scores, queries, count),
                value.part(first..first + count, 0..size),
                &mut output,
                true,
            );
        }
        for (output, softmax) in output.chunks_exact_mut(size).zip(softmax) {
            output.iter_mut().for_each(|value| *value /= softmax.sum);
        }
        output
    }
}

/// The online softmax of a query over the scores of the tiles so far.
#[derive(Clone, Copy)]
struct Softmax {
    max: f32,
    /// Sum of `e^(score - max)`.
    sum: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            max: f32::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl Softmax {
    /// Adds the scores of a tile, and replaces them by weights, `e^(score - max)`. Rescales
    /// `output`, the weighted values of the previous tiles, to the new maximum.
    #[inline(always)]
    fn update(&mut self, scores: &mut [f32], output: &mut [f32]) {
        let max = max(self.max, scores);
        let factor = exp(self.max - max);
        let sum = exponentiate(scores, max);
        output.iter_mut().for_each(|value| *value *= factor);
        *self = Self {
            max,
            sum: self.sum * factor + sum,
        };
    }
}

const LANES: usize = 16;

/// Returns the maximum of `start` and `values`.
#[inline(always)]
fn max(start: f32, values: &[f32]) -> f32 {
    // `f32::max` takes two more instructions for NaN. A NaN shows in the sum in any case.
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*value, *lane);
        }
    }
    lanes.iter().chain(rest).copied().fold(start, larger)
}

/// Replaces scores by `e^(score - max)` and returns their sum.
#[inline(always)]
fn exponentiate(scores: &mut [f32], max: f32) -> f32 {
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *score = exp(*score - max);
            *lane += *score;
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for score in rest {
        *score = exp(*score - max);
        sum += *score;
    }
    sum
}
