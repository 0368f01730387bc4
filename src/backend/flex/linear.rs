//! Linear maps, in parts that the cores share, and the feed-forward that is made of two.

use super::amx::{Bias, Product, Tiles};
use super::element::Element;
use super::geglu;
use super::matrix::{Matrix, multiply};
use super::memory::{rewritten, written, zeroed};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values of a feed-forward's hidden layer that are made at a time: they stay in the cores' caches.
pub(super) const HIDDEN: usize = 1 << 21;

/// `x weight + bias`, row after row.
#[derive(Clone, Copy)]
pub(super) struct Linear<'a, E = f32> {
    pub(super) weight: Matrix<'a, E>,
    pub(super) bias: Option<&'a [E]>,
}

impl<E: Element> Linear<'_, E> {
    pub(super) fn forward(&self, x: Matrix<E>, tiles: Option<Tiles>) -> Vec<E> {
        let size = x.row_count() * self.weight.column_count();
        // SAFETY: all of the output is written.
        unsafe { written(size, |output| self.write(x, tiles, output)) }
    }

    /// Writes all of `output`, by `tiles` if there are any.
    fn write(&self, x: Matrix<E>, tiles: Option<Tiles>, output: &mut [MaybeUninit<E>]) {
        let Self { weight, bias } = *self;
        assert!(
            bias.is_none_or(|bias| bias.len() == weight.column_count()),
            "shapes disagree"
        );
        if let Some(tiles) = tiles {
            let product = Product {
                tiles,
                rows: x,
                columns: &self.weight,
                bias: Bias::Columns(bias),
            };
            return product.write(output);
        }
        let bias = bias.map(E::widened);
        let [mut weight_in_f32, mut x_in_f32] = [const { Vec::new() }; 2];
        let of = Linear {
            weight: E::wide_matrix(weight, &mut weight_in_f32),
            bias: bias.as_deref(),
        };
        let x = E::wide_matrix(x, &mut x_in_f32);
        // SAFETY: all of the output is written.
        unsafe { E::write_in_f32(output, |output| of.write_by_vectors(x, output)) };
    }
}

impl Linear<'_> {
    fn write_by_vectors(&self, x: Matrix, output: &mut [MaybeUninit<f32>]) {
        /// Rows of a thread for which it may as well rearrange all of the weight.
        const MANY: usize = 64;
        let share = x.row_count().div_ceil(rayon::current_num_threads());
        if share >= MANY {
            self.write_rows(x, share, output);
        } else {
            self.write_columns(x, output);
        }
    }

    /// Each thread has `share` of the rows.
    fn write_rows(&self, x: Matrix, share: usize, output: &mut [MaybeUninit<f32>]) {
        let (rows, channels) = (x.row_count(), self.weight.column_count());
        let parts = output.par_chunks_mut(share * channels).enumerate();
        parts.for_each(|(i, output)| {
            let rows = i * share..rows.min((i + 1) * share);
            let output = zeroed(output);
            if let Some(bias) = self.bias {
                for row in output.chunks_exact_mut(channels) {
                    row.copy_from_slice(bias);
                }
            }
            let x = x.part(rows, 0..x.column_count());
            multiply(x, self.weight, output, self.bias.is_some());
        });
    }

    /// Few rows: each thread has some of the channels, else all would rearrange the whole weight.
    fn write_columns(&self, x: Matrix, output: &mut [MaybeUninit<f32>]) {
        let (rows, channels) = (x.row_count(), self.weight.column_count());
        let share = channels.div_ceil(rayon::current_num_threads());
        let parts: Vec<Vec<f32>> = (0..channels)
            .into_par_iter()
            .step_by(share)
            .map(|start| {
                let columns = start..channels.min(start + share);
                let mut part = vec![0.0; rows * columns.len()];
                let weight = self.weight.part(0..self.weight.row_count(), columns);
                multiply(x, weight, &mut part, false);
                part
            })
            .collect();
        let rows = output.par_chunks_exact_mut(channels).enumerate();
        rows.for_each(|(row, output)| {
            for (part, (i, output)) in parts.iter().zip(output.chunks_mut(share).enumerate()) {
                let values = &part[row * output.len()..][..output.len()];
                let bias = self.bias.map(|bias| &bias[i * share..][..output.len()]);
                for (j, (output, value)) in output.iter_mut().zip(values).enumerate() {
                    output.write(value + bias.map_or(0.0, |bias| bias[j]));
                }
            }
        });
    }
}

/// `down(geglu(up(x)))`, some tokens at a time.
pub(super) fn feed_forward<E: Element>(x: Matrix<E>, [up, down]: [Linear<E>; 2]) -> Vec<E> {
    let (tokens, wide) = (x.row_count(), up.weight.column_count());
    let (hidden_size, channels) = (wide / 2, down.weight.column_count());
    let share = tokens.div_ceil((tokens * wide).div_ceil(HIDDEN));
    let write = |output: &mut [MaybeUninit<E>]| {
        let mut hidden = Vec::new();
        let parts = output.chunks_mut(share * channels).enumerate();
        for (i, output) in parts {
            let rows = i * share..tokens.min((i + 1) * share);
            let count = rows.len();
            let x = x.part(rows, 0..x.column_count());
            let up_tiles = Tiles::repaid::<E>(count, wide);
            // SAFETY: all of the hidden layer is written.
            unsafe { rewritten(&mut hidden, count * wide, |to| up.write(x, up_tiles, to)) };
            geglu::in_place(&mut hidden, hidden_size);
            let hidden = Matrix::strided(&hidden, count, hidden_size, wide);
            down.write(hidden, Tiles::repaid::<E>(count, channels), output);
        }
    };
    // SAFETY: the parts make up the output, and all of each is written.
    unsafe { written(tokens * channels, write) }
}
