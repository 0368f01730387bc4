//! Multi-head attention, over the picture itself or over a prompt (diffusers' `Attention`).

use super::linear::linear;
#[cfg(test)]
use super::recording;
use super::window::WindowedAttention;
use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::Precision;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

/// `softmax(q k^T / sqrt(head size)) v` for each head, between linear maps.
///
/// Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, section 3.2.
#[derive(Module, Debug)]
pub struct MultiHeadAttention<B: Backend> {
    to_q: Linear<B>,
    to_k: Linear<B>,
    to_v: Linear<B>,
    /// One layer, in a list because diffusers' key is `to_out.0`.
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

impl<B: Backend> MultiHeadAttention<B> {
    /// Creates an attention with random weights. `context` is the width of the tokens that supply
    /// keys and values.
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

    /// Computes keys and values from `context`, `[N, T, context]`.
    pub fn key_value(&self, context: Tensor<B, 3>) -> KeyValue<B> {
        KeyValue {
            key: linear(&self.to_k, context.clone()),
            value: linear(&self.to_v, context),
        }
    }

    /// Self-attention, over the whole picture or over windows.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, H * W, C]` with `[H, W] = size`
    pub(super) fn forward_self(
        &self,
        x: Tensor<B, 3>,
        size: [usize; 2],
        attention: WindowedAttention,
    ) -> Tensor<B, 3> {
        let KeyValue { key, value } = self.key_value(x.clone());
        let query = linear(&self.to_q, x);
        let values = attention.attend([query, key, value], self.heads, size);
        linear(&self.to_out[0], traced("attention", values))
    }

    /// Attention of `x` to keys and values from elsewhere.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, T, C]`
    /// - keys and values: `[N, T', C]`, or `[1, T', C]` for all batch entries
    pub fn forward(&self, x: Tensor<B, 3>, context: KeyValue<B>) -> Tensor<B, 3> {
        let query = linear(&self.to_q, x);
        let KeyValue { key, value } = context;
        let values = multi_head_attention(query, key, value, self.heads);
        linear(&self.to_out[0], traced("attention", values))
    }
}

/// Applies [`Backend::multi_head_attention`].
pub(crate) fn multi_head_attention<B: Backend>(
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    heads: usize,
) -> Tensor<B, 3> {
    #[cfg(test)]
    recording::multi_head_attention(&query, &key, heads);
    B::multi_head_attention(query, key, value, heads)
}
