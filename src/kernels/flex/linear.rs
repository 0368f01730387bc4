//! Linear maps, in parts that the cores share, and the feed-forward that is made of two.

use super::amx::{Bias, Product, Tiles};
use super::geglu;
use super::matrix::{Matrix, multiply};
use super::memory::{rewritten, written, zeroed};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values of a feed-forward's hidden layer that are made at a time: they stay in the cores' caches.
pub(super) const HIDDEN: usize = 1 << 21;

/// `x weight + bias`, row after row.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a> {
    pub(super) weight: Matrix<'a>,
    pub(super) bias: Option<&'a [f32]>,
}

impl Linear<'_> {
    pub(super) fn forward(&self, x: Matrix, tiles: Option<Tiles>) -> Vec<f32> {
        let size = x.row_count() * self.weight.column_count();
        // SAFETY: all of the output is written.
        unsafe { written(size, |output| self.write(x, tiles, output)) }
    }

    /// Writes all of `output`, by `tiles` if there are any.
    fn write(&self, x: Matrix, tiles: Option<Tiles>, output: &mut [MaybeUninit<f32>]) {
        match tiles {
            Some(tiles) => {
                let product = Product {
                    tiles,
                    rows: x,
                    columns: &self.weight,
                    bias: Bias::Columns(self.bias),
                };
                product.write(output);
            }
            None => self.add_to(x, zeroed(output)),
        }
    }

    /// Adds to zeros.
    fn add_to(&self, x: Matrix, output: &mut [f32]) {
        let Self { weight, bias } = *self;
        let (tokens, channels) = (x.row_count(), weight.column_count());
        if tokens >= channels {
            let share = tokens.div_ceil(rayon::current_num_threads());
            let parts = output.par_chunks_mut(share * channels).enumerate();
            parts.for_each(|(i, output)| {
                let rows = i * share..tokens.min((i + 1) * share);
                if let Some(bias) = bias {
                    for row in output.chunks_exact_mut(channels) {
                        row.copy_from_slice(bias);
                    }
                }
                let x = x.part(rows, 0..x.column_count());
                multiply(x, weight, output, bias.is_some());
            });
            return;
        }
        // Few tokens: each thread has some of the channels, else all would rearrange the whole weight.
        let share = channels.div_ceil(rayon::current_num_threads());
        let parts: Vec<Vec<f32>> = (0..channels)
            .into_par_iter()
            .step_by(share)
            .map(|start| {
                let columns = start..channels.min(start + share);
                let mut part = vec![0.0; tokens * columns.len()];
                let weight = weight.part(0..weight.row_count(), columns);
                multiply(x, weight, &mut part, false);
                part
            })
            .collect();
        for (part, start) in parts.iter().zip((0..).step_by(share)) {
            let width = part.len() / tokens;
            let rows = output.chunks_exact_mut(channels);
            for (row, part) in rows.zip(part.chunks_exact(width)) {
                row[start..start + width].copy_from_slice(part);
            }
        }
        if let Some(bias) = bias {
            for row in output.chunks_exact_mut(channels) {
                row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

/// `down(geglu(up(x)))`, some tokens at a time.
pub(super) fn feed_forward(x: Matrix, [up, down]: [Linear; 2]) -> Vec<f32> {
    let (tokens, wide) = (x.row_count(), up.weight.column_count());
    let (hidden_size, channels) = (wide / 2, down.weight.column_count());
    let share = tokens.div_ceil((tokens * wide).div_ceil(HIDDEN));
    let write = |output: &mut [MaybeUninit<f32>]| {
        let mut hidden = Vec::new();
        let parts = output.chunks_mut(share * channels).enumerate();
        for (i, output) in parts {
            let rows = i * share..tokens.min((i + 1) * share);
            let count = rows.len();
            let x = x.part(rows, 0..x.column_count());
            let up_tiles = Tiles::repaid(count, wide);
            // SAFETY: all of the hidden layer is written.
            unsafe { rewritten(&mut hidden, count * wide, |to| up.write(x, up_tiles, to)) };
            geglu::in_place(&mut hidden, hidden_size);
            let hidden = Matrix::strided(&hidden, count, hidden_size, wide);
            down.write(hidden, Tiles::repaid(count, channels), output);
        }
    };
    // SAFETY: the parts make up the output, and all of each is written.
    unsafe { written(tokens * channels, write) }
}
