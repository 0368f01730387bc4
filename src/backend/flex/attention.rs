//! Attention in tiles: the scores of some queries by some keys at a time, which stay in a core's own cache, with the
//! softmax's maximum and sum carried from tile to tile.
//!
//! Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867; Dao et al.,
//! "FlashAttention", arXiv 2205.14135.

use super::amx::{Head, Tiles};
use super::element::Element;
use super::matrix::{Matrix, multiply};
use super::memory::written;
use super::simd::{exp, vectorised};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Queries of a tile: enough that its two products run at full speed, no more than keeps the cores evenly busy.
const QUERIES: usize = 128;
/// Keys of a tile: its scores, 256 KB, leave room in a core's cache for keys and values.
const KEYS: usize = 512;

/// An attention over heads that lie side by side in a token's channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    /// Batch entries of the queries.
    n: usize,
    /// Batch entries of keys and values: as many, or one for all.
    contexts: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Channels of a head.
    size: usize,
    /// The CPU's matrix unit, where it is to be used.
    tiles: Option<Tiles>,
}

impl Attention {
    /// For tokens of type `E`.
    pub(super) fn new<E: Element>(
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
            tiles: Tiles::repaid::<E>(queries, keys),
        }
    }

    #[cfg(test)]
    pub(super) fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    fn channels(&self) -> usize {
        self.heads * self.size
    }

    /// # Shapes
    ///
    /// - query: `[N, T, C]`, key and value: `[N or 1, T', C]`
    /// - output: `[N, T, C]`
    pub(super) fn forward<E: Element>(&self, query: &[E], key: &[E], value: &[E]) -> Vec<E> {
        let (channels, size) = (self.channels(), self.size);
        let packed = self.tiles.map(|tiles| self.packed_heads(tiles, key, value));
        let turned_keys = match packed {
            Some(_) => Vec::new(),
            None => self.turned_keys(key),
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
                    E::wide_matrix(query, &mut query_in_f32),
                    &turned_keys[context * self.heads + head],
                    E::wide_matrix(value, &mut value_in_f32),
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
                        output.write(E::rounded(*value));
                    }
                }
            });
        };
        // SAFETY: whole tokens, of which each head's channels are written.
        unsafe { written(self.n * self.queries * channels, write) }
    }

    /// The keys of each head of each context, scaled, tile after tile as the matrix that queries are multiplied with.
    /// Done once, or the product would rearrange them for each block of queries.
    fn turned_keys<E: Element>(&self, key: &[E]) -> Vec<Vec<f32>> {
        let (channels, size) = (self.channels(), self.size);
        let scale = (size as f32).sqrt().recip();
        let turned = |i: usize| {
            let (context, head) = (i / self.heads, i % self.heads);
            let key = &key[context * self.keys * channels + head * size..];
            let mut turned = vec![0.0; self.keys * size];
            for (tile, values) in turned.chunks_mut(KEYS * size).enumerate() {
                let keys = values.len() / size;
                for token in 0..keys {
                    let key = &key[(tile * KEYS + token) * channels..][..size];
                    for (channel, key) in key.iter().enumerate() {
                        values[channel * keys + token] = key.wide() * scale;
                    }
                }
            }
            turned
        };
        (0..self.contexts * self.heads)
            .into_par_iter()
            .map(turned)
            .collect()
    }

    /// The heads of each context as the matrix unit takes them.
    fn packed_heads<E: Element>(&self, tiles: Tiles, key: &[E], value: &[E]) -> Vec<Head> {
        let channels = self.channels();
        let packed = |i: usize| {
            let (context, head) = (i / self.heads, i % self.heads);
            let [keys, values] = [key, value].map(|of| {
                let of = &of[context * self.keys * channels + head * self.size..];
                Matrix::strided(of, self.keys, self.size, channels)
            });
            Head::new(tiles, keys, values, KEYS)
        };
        let heads = (0..self.contexts * self.heads).into_par_iter();
        heads.map(packed).collect()
    }

    /// The output of a block of queries of one head: `[queries, D]`.
    fn block(
        &self,
        query: Matrix,
        turned_keys: &[f32],
        value: Matrix,
        scores: &mut Vec<f32>,
    ) -> Vec<f32> {
        let (size, queries) = (self.size, query.row_count());
        let mut output = vec![0.0; queries * size];
        let mut softmax = vec![Softmax::default(); queries];
        for (tile, keys) in turned_keys.chunks(KEYS * size).enumerate() {
            let count = keys.len() / size;
            let first = tile * KEYS;
            scores.resize(queries * count, 0.0);
            multiply(query, Matrix::rows(keys, size, count), scores, false);
            let rows = scores.chunks_exact_mut(count);
            let rows = rows.zip(output.chunks_exact_mut(size)).zip(&mut softmax);
            vectorised(
                #[inline(always)]
                || {
                    // Not `for_each`, which is compiled apart and not vectorised for this CPU.
                    for ((scores, output), softmax) in rows {
                        softmax.weigh(scores, output);
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

/// A softmax over the scores seen so far.
#[derive(Clone, Copy)]
struct Softmax {
    max: f32,
    /// Of `e^(score - max)`.
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
    /// Takes in scores and makes them weights, `e^(score - max)`; `output`, the values weighed so far, follows the new
    /// maximum.
    #[inline(always)]
    fn weigh(&mut self, scores: &mut [f32], output: &mut [f32]) {
        let max = max(self.max, scores);
        let shrink = exp(self.max - max);
        let sum = weights(scores, max);
        output.iter_mut().for_each(|value| *value *= shrink);
        *self = Self {
            max,
            sum: self.sum * shrink + sum,
        };
    }
}

const LANES: usize = 16;

#[inline(always)]
fn max(start: f32, values: &[f32]) -> f32 {
    // Not `f32::max`, whose care for NaN costs two more instructions: a NaN shows in the sum.
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

/// Makes scores `e^(score - max)` and sums those.
#[inline(always)]
fn weights(scores: &mut [f32], max: f32) -> f32 {
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
