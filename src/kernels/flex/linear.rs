//! Linear maps, in parts that the cores share.

use super::amx::{Bias, Product, Tiles};
use super::matrix::{Matrix, multiply};
use super::memory::{written, zeros};
use rayon::prelude::*;

/// `x weight + bias`, row after row; by `tiles` if there are any.
pub(super) fn forward(
    x: Matrix,
    weight: Matrix,
    bias: Option<&[f32]>,
    tiles: Option<Tiles>,
) -> Vec<f32> {
    let (tokens, channels) = (x.row_count(), weight.column_count());
    if let Some(tiles) = tiles {
        let product = Product {
            tiles,
            rows: x,
            columns: &weight,
            bias: Bias::Columns(bias),
        };
        // SAFETY: a product writes all of its output.
        return unsafe { written(tokens * channels, |output| product.write(output)) };
    }
    let mut output = zeros(tokens * channels);
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
    } else {
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
    output
}
