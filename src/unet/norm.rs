//! Group norm and layer norm, with statistics in f32 whatever the precision of the activations.
//!
//! burn 0.21's own group norm sums in the input's type, which overflows in f16 at the sizes used here (burn#5382).

use crate::backend::Backend;
use crate::precision::{narrow, widen};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Group norm: `(x - mean) / sqrt(var + epsilon) * weight + bias`, mean and variance over each group of channels.
///
/// Source: Wu and He, "Group Normalization", arXiv 1803.08494.
#[derive(Module, Debug)]
pub struct GroupNorm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    groups: usize,
    epsilon: f64,
}

impl<B: Backend> GroupNorm<B> {
    pub(crate) fn new(groups: usize, channels: usize, epsilon: f64, device: &B::Device) -> Self {
        let [weight, bias] = affine(channels, device);
        Self {
            weight,
            bias,
            groups,
            epsilon,
        }
    }

    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let dtype = x.dtype();
        let [n, c, h, w] = x.dims();
        let x = widen(x);
        let grouped = x.clone().reshape([n, self.groups, c / self.groups * h * w]);
        let mean = grouped.clone().mean_dim(2); // [N, G, 1]
        let centred = grouped - mean.clone();
        let variance = (centred.clone() * centred).mean_dim(2);
        let per_channel = |t: Tensor<B, 3>| -> Tensor<B, 3> {
            t.expand([n, self.groups, c / self.groups])
                .reshape([n, c, 1])
        };
        // One multiply-add an element: y = x * scale + shift. (Divided by the deviation, not multiplied by its
        // `recip`: burn's ndarray backend approximates that to five digits.)
        let deviation = per_channel((variance + self.epsilon).sqrt());
        let weight = widen(self.weight.val()).reshape([1, c, 1]);
        let bias = widen(self.bias.val()).reshape([1, c, 1]);
        let scale = weight / deviation;
        let shift = bias - per_channel(mean) * scale.clone();
        let y = x * scale.reshape([n, c, 1, 1]) + shift.reshape([n, c, 1, 1]);
        narrow(y, dtype)
    }
}

/// Layer norm over the last dimension: `(x - mean) / sqrt(var + epsilon) * weight + bias`.
///
/// Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    pub(crate) fn new(channels: usize, epsilon: f64, device: &B::Device) -> Self {
        let [weight, bias] = affine(channels, device);
        Self {
            weight,
            bias,
            epsilon,
        }
    }

    /// # Shapes
    ///
    /// - input and output: `[N, T, C]`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let dtype = x.dtype();
        let x = widen(x);
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let normed = centred / (variance + self.epsilon).sqrt();
        let weight = widen(self.weight.val()).unsqueeze();
        let bias = widen(self.bias.val()).unsqueeze();
        narrow(normed * weight + bias, dtype)
    }
}

fn affine<B: Backend>(channels: usize, device: &B::Device) -> [Param<Tensor<B, 1>>; 2] {
    use burn::nn::Initializer::{Ones, Zeros};
    [
        Ones.init([channels], device),
        Zeros.init([channels], device),
    ]
}
