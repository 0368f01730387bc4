//! Group norm with SiLU, and layer norm. They take two passes over a group or token instead of a
//! dozen passes over the picture.

use super::element::Element;
use super::memory::{written, zeros};
use super::vector_math::{sigmoid, sums, vectorised};
use crate::backend::GroupNormOptions;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// The kernel of a group norm over pictures of a given shape.
pub(super) struct GroupNormKernel<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    options: GroupNormOptions,
    /// Pixels per channel.
    pixels: usize,
}

impl<'a> GroupNormKernel<'a> {
    pub(super) fn new(
        [_, _, h, w]: [usize; 4],
        weight: &'a [f32],
        bias: &'a [f32],
        options: GroupNormOptions,
    ) -> Self {
        Self {
            weight,
            bias,
            options,
            pixels: h * w,
        }
    }

    /// Channels per group.
    fn channels(&self) -> usize {
        self.weight.len() / self.options.groups
    }

    /// Values per group. They are contiguous in `[N, C, H, W]`.
    fn group(&self) -> usize {
        self.channels() * self.pixels
    }

    /// Returns the first channel of group `i` of a batch.
    fn first_channel(&self, i: usize) -> usize {
        i % self.options.groups * self.channels()
    }

    pub(super) fn forward<X: Element, Y: Element>(&self, x: &[X]) -> Vec<Y> {
        let write = |output: &mut [MaybeUninit<Y>]| {
            let groups = output
                .par_chunks_mut(self.group())
                .zip(x.par_chunks(self.group()));
            groups.enumerate().for_each(|(i, (y, x))| {
                vectorised(
                    #[inline(always)]
                    || self.group_forward(self.first_channel(i), x, y),
                );
            });
        };
        // SAFETY: the output has the length and the chunks of `x`, and each value is written.
        unsafe { written(x.len(), write) }
    }

    #[inline(always)]
    fn group_forward<X: Element, Y: Element>(
        &self,
        first: usize,
        x: &[X],
        output: &mut [MaybeUninit<Y>],
    ) {
        let Statistics { mean, inverse } = statistics(x, self.options.epsilon);
        let channels = output.chunks_mut(self.pixels).zip(x.chunks(self.pixels));
        for (c, (y, x)) in (first..).zip(channels) {
            let scale = self.weight[c] * inverse;
            let shift = self.bias[c] - mean * scale;
            if self.options.silu {
                for (y, x) in y.iter_mut().zip(x) {
                    let a = x.into_f32() * scale + shift;
                    y.write(Y::round_from_f32(a * sigmoid(a)));
                }
            } else {
                for (y, x) in y.iter_mut().zip(x) {
                    y.write(Y::round_from_f32(x.into_f32() * scale + shift));
                }
            }
        }
    }

    /// Gradients with respect to input, weight and bias. The default body contains the formula.
    pub(super) fn backward(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut dx = zeros(x.len());
        let groups = dx.par_chunks_mut(self.group());
        let inputs = x
            .par_chunks(self.group())
            .zip(gradient.par_chunks(self.group()));
        // For each channel of each picture: the sums of dy and of dy * x^, which are the gradients
        // of bias and weight.
        let sums: Vec<[f64; 2]> = groups
            .zip(inputs)
            .enumerate()
            .flat_map_iter(|(i, (dx, (x, dy)))| {
                vectorised(
                    #[inline(always)]
                    || self.group_backward(self.first_channel(i), x, dy, dx),
                )
            })
            .collect();
        let c = self.weight.len();
        let mut weight = vec![0.0; c];
        let mut bias = vec![0.0; c];
        for picture in sums.chunks(c) {
            for (c, [dy, dyx]) in picture.iter().enumerate() {
                bias[c] += *dy as f32;
                weight[c] += *dyx as f32;
            }
        }
        (dx, weight, bias)
    }

    #[inline(always)]
    fn group_backward(
        &self,
        first: usize,
        x: &[f32],
        gradient: &[f32],
        dx: &mut [f32],
    ) -> Vec<[f64; 2]> {
        let Statistics { mean, inverse } = statistics(x, self.options.epsilon);
        let mut channel_sums = Vec::with_capacity(self.channels());
        let (mut mean_g, mut mean_gx) = (0.0, 0.0);
        let pixels = self.pixels;
        for (i, c) in (first..first + self.channels()).enumerate() {
            let range = i * pixels..(i + 1) * pixels;
            let (x, gradient, dy) = (&x[range.clone()], &gradient[range.clone()], &mut dx[range]);
            let (weight, bias) = (self.weight[c], self.bias[c]);
            // `dx` holds dy, the gradient of the input of SiLU, until the means of the group are
            // known.
            if self.options.silu {
                for ((dy, x), g) in dy.iter_mut().zip(x).zip(gradient) {
                    let y = (x - mean) * inverse * weight + bias;
                    let gate = sigmoid(y);
                    *dy = g * gate * (1.0 + y * (1.0 - gate));
                }
            } else {
                dy.copy_from_slice(gradient);
            }
            let channel_sum = sums(dy, x, |dy, x| [dy, dy * (x - mean) * inverse]);
            mean_g += channel_sum[0] * f64::from(weight);
            mean_gx += channel_sum[1] * f64::from(weight);
            channel_sums.push(channel_sum);
        }
        let mean_g = (mean_g / x.len() as f64) as f32;
        let mean_gx = (mean_gx / x.len() as f64) as f32;
        let channels = dx.chunks_mut(pixels).zip(x.chunks(pixels));
        for (c, (dx, x)) in (first..).zip(channels) {
            let weight = self.weight[c];
            for (dx, x) in dx.iter_mut().zip(x) {
                let normed = (x - mean) * inverse;
                *dx = (*dx * weight - mean_g - normed * mean_gx) * inverse;
            }
        }
        channel_sums
    }
}

/// Layer norm of tokens, `[.., C]`. Weight and bias are `[C]`.
pub(super) fn token_norm<X: Element, Y: Element>(
    x: &[X],
    weight: &[f32],
    bias: &[f32],
    epsilon: f64,
) -> Vec<Y> {
    let channels = weight.len();
    assert_eq!((bias.len(), x.len() % channels), (channels, 0));
    let write = |output: &mut [MaybeUninit<Y>]| {
        let tokens = output.par_chunks_mut(channels).zip(x.par_chunks(channels));
        tokens.for_each(|(y, x)| {
            vectorised(
                #[inline(always)]
                || {
                    let Statistics { mean, inverse } = statistics(x, epsilon);
                    let affine = weight.iter().zip(bias);
                    for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(affine) {
                        y.write(Y::round_from_f32(
                            (x.into_f32() - mean) * inverse * weight + bias,
                        ));
                    }
                },
            );
        });
    };
    // SAFETY: the tokens are complete by the assertion, and each of them is written.
    unsafe { written(x.len(), write) }
}

struct Statistics {
    mean: f32,
    /// `1 / sqrt(var + epsilon)`
    inverse: f32,
}

#[inline(always)]
fn statistics<X: Element>(x: &[X], epsilon: f64) -> Statistics {
    let n = x.len() as f64;
    let [sum] = sums(x, x, |x, _| [x]);
    let mean = (sum / n) as f32;
    let [squares] = sums(x, x, |x, _| [(x - mean) * (x - mean)]);
    Statistics {
        mean,
        inverse: (1.0 / (squares / n + epsilon).sqrt()) as f32,
    }
}
