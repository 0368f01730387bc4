//! Multi-head attention, over the picture itself or over a prompt (diffusers' `Attention`).

use super::linear::linear;
use super::window::Reach;
use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::Precision;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

/// `softmax(q k^T / sqrt(head size)) v` for each head, with linear maps before and after.
///
/// Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, section 3.2.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    to_q: Linear<B>,
    to_k: Linear<B>,
    to_v: Linear<B>,
    /// One layer; a list, as diffusers' key is `to_out.0`.
    to_out: Vec<Linear<B>>,
    heads: usize,
}

/// Keys and values of an attention, `[N, T, C]` each.
#[derive(Clone, Debug)]
pub struct KeyValue<B: Backend> {
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
}

impl<B: Backend> KeyValue<B> {
    pub(super) fn in_precision(self, precision: Precision) -> Self {
        Self {
            key: precision.cast_tensor(self.key),
            value: precision.cast_tensor(self.value),
        }
    }
}

impl<B: Backend> Attention<B> {
    /// `context` is the width of what is attended to.
    pub(crate) fn new(channels: usize, context: usize, heads: usize, device: &B::Device) -> Self {
        let linear = |input, bias| {
            LinearConfig::new(input, channels)
                .with_bias(bias)
                .init(device)
        };
        Self {
            to_q: linear(channels, false),
            to_k: linear(context, false),
            to_v: linear(context, false),
            to_out: vec![linear(channels, true)],
            heads,
        }
    }

    /// Keys and values of what is attended to, `[N, T, context]`.
    pub fn key_value(&self, context: Tensor<B, 3>) -> KeyValue<B> {
        KeyValue {
            key: linear(&self.to_k, context.clone()),
            value: linear(&self.to_v, context),
        }
    }

    /// Self-attention, as far as `reach` says.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, H * W, C]` with `[H, W] = size`
    pub(super) fn forward_self(
        &self,
        x: Tensor<B, 3>,
        size: [usize; 2],
        reach: Reach,
    ) -> Tensor<B, 3> {
        let KeyValue { key, value } = self.key_value(x.clone());
        let query = linear(&self.to_q, x);
        let values = reach.attend([query, key, value], self.heads, size);
        linear(&self.to_out[0], traced("attention", values))
    }

    /// # Shapes
    ///
    /// - input and output: `[N, T, C]`
    /// - keys and values: of `N` or of one batch entry, which then serves all
    pub fn forward(&self, x: Tensor<B, 3>, context: KeyValue<B>) -> Tensor<B, 3> {
        let query = linear(&self.to_q, x);
        let KeyValue { key, value } = context;
        let values = B::multi_head_attention(query, key, value, self.heads);
        linear(&self.to_out[0], traced("attention", values))
    }
}
