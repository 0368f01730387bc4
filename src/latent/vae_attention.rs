//! The self-attention at a VAE's deepest stage (diffusers' `Attention` as `UNetMidBlock2D` uses
//! it).

use super::NORM_EPSILON;
use crate::backend::Backend;
use crate::unet::attention::multi_head_attention;
use crate::unet::linear::linear;
use crate::unet::norm::GroupNorm;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

/// `x + to_out(softmax(q k^T / sqrt(C)) v)` over the pixels as tokens, with one head of all
/// channels.
#[derive(Module, Debug)]
pub struct VaeAttention<B: Backend> {
    group_norm: GroupNorm<B>,
    to_q: Linear<B>,
    pub(super) to_k: Linear<B>,
    to_v: Linear<B>,
    /// One layer, in a list because diffusers' key is `to_out.0`.
    to_out: Vec<Linear<B>>,
}

impl<B: Backend> VaeAttention<B> {
    pub(super) fn new(channels: usize, groups: usize, device: &B::Device) -> Self {
        let linear = || LinearConfig::new(channels, channels).init(device);
        Self {
            group_norm: GroupNorm::new(groups, channels, NORM_EPSILON, device),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![linear()],
        }
    }

    /// Applies the attention.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [n, c, h, w] = x.dims();
        let tokens = self.tokens(x.clone());
        let [query, key, value] =
            [&self.to_q, &self.to_k, &self.to_v].map(|layer| linear(layer, tokens.clone()));
        let out = multi_head_attention(query, key, value, 1); // [N, H * W, C]
        let out = linear(&self.to_out[0], out);
        B::add(x, out.swap_dims(1, 2).reshape([n, c, h, w]))
    }

    /// Computes the input of the linear maps: `[N, C, H, W]` -> `[N, H * W, C]`.
    pub(super) fn tokens(&self, x: Tensor<B, 4>) -> Tensor<B, 3> {
        let [n, c, h, w] = x.dims();
        let normed = self.group_norm.forward(x);
        normed.reshape([n, c, h * w]).swap_dims(1, 2)
    }
}
