//! Gradients of a convolution by f32 arithmetic on im2col columns.

use super::convolution::ConvolutionKernel;
use super::matrix::{Matrix, multiply};
use rayon::prelude::*;
use std::ops::Range;

impl ConvolutionKernel {
    /// Gradient with respect to the input. It is a convolution, too: of the gradient, with zeros
    /// inserted for the stride, with the kernel rotated by 180 degrees and its input and output
    /// channels exchanged.
    pub(super) fn x_backward(&self, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
        let Self {
            c_in,
            c_out,
            kernel,
            ..
        } = *self;
        let taps = kernel * kernel;
        let mut rotated = vec![0.0; weight.len()];
        let rows = rotated.par_chunks_exact_mut(c_out * taps).enumerate();
        rows.for_each(|(input, row)| {
            for (output, values) in row.chunks_exact_mut(taps).enumerate() {
                let source = &weight[(output * c_in + input) * taps..][..taps];
                for (value, source) in values.iter_mut().zip(source.iter().rev()) {
                    *value = *source;
                }
            }
        });
        let dilated_shape = [self.n, c_out, self.h, self.w];
        let transposed = Self::new::<f32>(dilated_shape, [c_in, c_out, kernel, kernel], 1);
        let no_bias = vec![0.0; c_in];
        if self.stride == 1 {
            return transposed.forward(gradient, &rotated, &no_bias);
        }
        let [.., width] = self.output_shape();
        let mut dilated = vec![0.0; self.n * c_out * self.h * self.w];
        let planes = dilated
            .chunks_exact_mut(self.h * self.w)
            .zip(gradient.chunks_exact(self.plane()));
        for (dilated, gradient) in planes {
            for (i, value) in gradient.iter().enumerate() {
                let (y, x) = (i / width * self.stride, i % width * self.stride);
                dilated[y * self.w + x] = *value;
            }
        }
        transposed.forward(&dilated, &rotated, &no_bias)
    }

    /// Gradients with respect to weight and bias: the product of the gradient and the transposed
    /// im2col matrix, summed over the tiles.
    pub(super) fn weight_backward(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let tiles = self.tiles();
        let share = tiles.len().div_ceil(rayon::current_num_threads()).max(1);
        let plane = self.plane();
        let gradients_of_share = |tiles: &[Range<usize>]| {
            let mut columns = Vec::new();
            let mut weight = vec![0.0; self.c_out * self.column()];
            let mut bias = vec![0.0; self.c_out];
            for tile in tiles {
                self.im2col(x, 0..self.column(), tile.clone(), &mut columns);
                let pixels = tile.len();
                let mut rows = vec![0.0; self.c_out * pixels];
                for (channel, row) in rows.chunks_exact_mut(pixels).enumerate() {
                    for run in self.runs(tile.clone()) {
                        let [.., width] = self.output_shape();
                        let start =
                            (run.picture * self.c_out + channel) * plane + run.y * width + run.x;
                        row[run.start..run.start + run.len]
                            .copy_from_slice(&gradient[start..start + run.len]);
                    }
                    bias[channel] += row.iter().sum::<f32>();
                }
                multiply(
                    Matrix::rows(&rows, self.c_out, pixels),
                    Matrix::rows(&columns, self.column(), pixels).transposed(),
                    &mut weight,
                    true,
                );
            }
            (weight, bias)
        };
        let add = |mut a: Vec<f32>, b: Vec<f32>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        tiles
            .par_chunks(share)
            .map(gradients_of_share)
            .collect::<Vec<_>>()
            .into_iter()
            .reduce(|a, b| (add(a.0, b.0), add(a.1, b.1)))
            .expect("a picture has at least one pixel")
    }
}
