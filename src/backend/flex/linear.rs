//! Linear layers on all cores, and the feed-forward network, which contains two of them.

use super::amx::{Bias, Product, TileElement, Tiles};
use super::geglu;
use super::matrix::{Matrix, multiply};
use super::memory::{rewritten, written, zeroed};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values of a feed-forward's hidden layer that are computed at a time. They stay in the caches of
/// the cores.
pub(super) const HIDDEN_VALUES: usize = 1 << 21;

/// The kernel of a linear layer, `x weight + bias`.
#[derive(Clone, Copy)]
pub(super) struct LinearKernel<'a, E = f32> {
    pub(super) weight: Matrix<'a, E>,
    pub(super) bias: Option<&'a [E]>,
}

impl<E: TileElement> LinearKernel<'_, E> {
    /// Returns `x weight + bias` in row-major order, computed by `tiles` if given.
    pub(super) fn forward(&self, x: Matrix<E>, tiles: Option<Tiles>) -> Vec<E> {
        let size = x.row_count() * self.weight.column_count();
        // SAFETY: `write` initialises the whole output.
        unsafe { written(size, |output| self.write(x, tiles, output)) }
    }

    /// Writes `x weight + bias` to `output` completely, by `tiles` if given.
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
        let bias = bias.map(E::values_in_f32);
        let [mut weight_in_f32, mut x_in_f32] = [const { Vec::new() }; 2];
        let layer = LinearKernel {
            weight: E::matrix_in_f32(weight, &mut weight_in_f32),
            bias: bias.as_deref(),
        };
        let x = E::matrix_in_f32(x, &mut x_in_f32);
        // SAFETY: `write` initialises the whole output.
        unsafe { E::write_in_f32(output, |output| layer.write_by_vectors(x, output)) };
    }
}

impl LinearKernel<'_> {
    fn write_by_vectors(&self, x: Matrix, output: &mut [MaybeUninit<f32>]) {
        /// Rows per thread from which it is worthwhile for each thread to rearrange the whole
        /// weight.
        const MANY: usize = 64;
        let share = x.row_count().div_ceil(rayon::current_num_threads());
        if share >= MANY {
            self.write_rows(x, share, output);
        } else {
            self.write_columns(x, output);
        }
    }

    /// Divides the rows among the threads, `share` rows each.
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

    /// Divides the output channels among the threads. This is for few rows, where each thread would
    /// otherwise rearrange the whole weight.
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

/// `down(geglu(up(x)))`, in chunks of tokens.
pub(super) fn feed_forward<E: TileElement>(
    x: Matrix<E>,
    [up, down]: [LinearKernel<E>; 2],
) -> Vec<E> {
    let (tokens, up_channels) = (x.row_count(), up.weight.column_count());
    let (hidden_size, channels) = (up_channels / 2, down.weight.column_count());
    let share = tokens.div_ceil((tokens * up_channels).div_ceil(HIDDEN_VALUES));
    let write = |output: &mut [MaybeUninit<E>]| {
        let mut hidden = Vec::new();
        let parts = output.chunks_mut(share * channels).enumerate();
        for (i, output) in parts {
            let rows = i * share..tokens.min((i + 1) * share);
            let count = rows.len();
            let x = x.part(rows, 0..x.column_count());
            let up_tiles = Tiles::if_worthwhile::<E>(count, up_channels);
            // SAFETY: `write` initialises the whole hidden layer.
            unsafe {
                rewritten(&mut hidden, count * up_channels, |to| {
                    up.write(x, up_tiles, to)
                })
            };
            geglu::in_place(&mut hidden, hidden_size);
            let hidden = Matrix::strided(&hidden, count, hidden_size, up_channels);
            down.write(hidden, Tiles::if_worthwhile::<E>(count, channels), output);
        }
    };
    // SAFETY: the parts cover the output, and each is written completely.
    unsafe { written(tokens * channels, write) }
}
