//! Group norm and layer norm. Their statistics are in f32 for any precision of the activations.

#[cfg(test)]
use super::recording;
use crate::backend::activations::traced;
use crate::backend::{Backend, GroupNormOptions};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Group norm: `(x - mean) / sqrt(var + epsilon) * weight + bias`, with mean and variance over each
/// group of channels.
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

    /// Normalises `x`.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalise(x, false)
    }

    /// Like [`forward`](Self::forward), followed by SiLU, `y * sigmoid(y)`.
    pub fn forward_silu(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalise(x, true)
    }

    fn normalise(&self, x: Tensor<B, 4>, silu: bool) -> Tensor<B, 4> {
        #[cfg(test)]
        recording::group_norm(&x, silu);
        let options = GroupNormOptions {
            groups: self.groups,
            epsilon: self.epsilon,
            silu,
        };
        let y = B::group_norm(x, self.weight.val(), self.bias.val(), options);
        traced("group norm", y)
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

    /// Normalises each token.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, T, C]`
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        #[cfg(test)]
        recording::token_norm(&x);
        let y = B::token_norm(x, self.weight.val(), self.bias.val(), self.epsilon);
        traced("layer norm", y)
    }
}

/// Returns weight and bias before training: ones and zeros.
fn affine<B: Backend>(channels: usize, device: &B::Device) -> [Param<Tensor<B, 1>>; 2] {
    use burn::nn::Initializer::{Ones, Zeros};
    [
        Ones.init([channels], device),
        Zeros.init([channels], device),
    ]
}
