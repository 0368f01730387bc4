//! Group norm with SiLU, and layer norm, in two passes over a group or token instead of a dozen over the picture.

use super::element::Element;
use super::memory::{written, zeros};
use super::simd::{sigmoid, sums, vectorised};
use crate::backend::GroupNormOptions;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// A group norm over pictures of one shape.
pub(super) struct GroupNorm<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    options: GroupNormOptions,
    /// Pixels of a channel.
    pixels: usize,
}

impl<'a> GroupNorm<'a> {
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

    /// Channels of a group.
    fn channels(&self) -> usize {
        self.weight.len() / self.options.groups
    }

    /// Values of a group: they lie together in `[N, C, H, W]`.
    fn group(&self) -> usize {
        self.channels() * self.pixels
    }

    /// First channel of the `i`-th group of a batch.
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
        // SAFETY: as many values as `x` has, in the same chunks, each of which is written.
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
                    let a = x.wide() * scale + shift;
                    y.write(Y::rounded(a * sigmoid(a)));
                }
            } else {
                for (y, x) in y.iter_mut().zip(x) {
                    y.write(Y::rounded(x.wide() * scale + shift));
                }
            }
        }
    }

    /// Gradients for input, weight and bias: see the plain body for the formula.
    pub(super) fn backward(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut dx = zeros(x.len());
        let groups = dx.par_chunks_mut(self.group());
        let inputs = x
            .par_chunks(self.group())
            .zip(gradient.par_chunks(self.group()));
        // Of each channel of each picture: the sums of dy and of dy * x^, the gradients of bias and weight.
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
        let mut of_channels = Vec::with_capacity(self.channels());
        let (mut mean_g, mut mean_gx) = (0.0, 0.0);
        let pixels = self.pixels;
        for (i, c) in (first..first + self.channels()).enumerate() {
            let at = i * pixels..(i + 1) * pixels;
            let (x, gradient, dy) = (&x[at.clone()], &gradient[at.clone()], &mut dx[at]);
            let (weight, bias) = (self.weight[c], self.bias[c]);
            // `dx` holds dy, the gradient before SiLU, until the group's means are known.
            if self.options.silu {
                for ((dy, x), g) in dy.iter_mut().zip(x).zip(gradient) {
                    let y = (x - mean) * inverse * weight + bias;
                    let gate = sigmoid(y);
                    *dy = g * gate * (1.0 + y * (1.0 - gate));
                }
            } else {
                dy.copy_from_slice(gradient);
            }
            let of_channel = sums(dy, x, |dy, x| [dy, dy * (x - mean) * inverse]);
            mean_g += of_channel[0] * f64::from(weight);
            mean_gx += of_channel[1] * f64::from(weight);
            of_channels.push(of_channel);
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
        of_channels
    }
}

/// Layer norm of tokens, `[.., C]`, that share a weight and a bias, `[C]`.
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
                        y.write(Y::rounded((x.wide() - mean) * inverse * weight + bias));
                    }
                },
            );
        });
    };
    // SAFETY: whole tokens by the assertion, each of which is written.
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
