//! The spatial transformer: self-attention, cross-attention to the prompt, feed-forward (diffusers'
//! `Transformer2DModel` with linear projections).

use super::attention::{KeyValue, MultiHeadAttention};
use super::linear::linear;
use super::norm::{GroupNorm, LayerNorm};
#[cfg(test)]
use super::recording;
use super::window::WindowedAttention;
use crate::backend::Backend;
use crate::backend::activations::{is_traced, traced};
use crate::backend::precision::widen;
use crate::options::progress::{Cancellable, Watch};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

/// Epsilon of the group norm before a transformer. As in diffusers, this is a constant and not the
/// config's `norm_eps`.
const GROUP_NORM_EPSILON: f64 = 1e-6;
/// Epsilon of the layer norms (PyTorch's default).
const LAYER_NORM_EPSILON: f64 = 1e-5;
/// Width of the feed-forward's hidden layer, divided by the width of the transformer.
pub(super) const FEED_FORWARD_RATIO: usize = 4;

/// `x + proj_out(block(proj_in(norm(x))))` over the pixels as tokens.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    pub(super) norm: GroupNorm<B>,
    proj_in: Linear<B>,
    /// One block, in a list because diffusers' key is `transformer_blocks.0`.
    pub(super) transformer_blocks: Vec<TransformerBlock<B>>,
    proj_out: Linear<B>,
}

impl<B: Backend> Transformer<B> {
    pub(crate) fn new(
        channels: usize,
        heads: usize,
        cross_attention_dim: usize,
        groups: usize,
        device: &B::Device,
    ) -> Self {
        let block = TransformerBlock::new(channels, heads, cross_attention_dim, device);
        Self {
            norm: GroupNorm::new(groups, channels, GROUP_NORM_EPSILON, device),
            proj_in: LinearConfig::new(channels, channels).init(device),
            transformer_blocks: vec![block],
            proj_out: LinearConfig::new(channels, channels).init(device),
        }
    }

    /// Computes the keys and values of a prompt, `[N, T, cross_attention_dim]`.
    pub fn fold_prompt(&self, prompt: Tensor<B, 3>) -> KeyValue<B> {
        self.transformer_blocks[0].attn2.key_value(prompt)
    }

    /// Applies the transformer. Can be cancelled between its parts.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    /// - prompt: from [`fold_prompt`](Self::fold_prompt)
    pub(super) fn forward(
        &self,
        x: Tensor<B, 4>,
        prompt: KeyValue<B>,
        attention: WindowedAttention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let [_, _, h, w] = x.dims();
        let tokens = B::to_tokens(self.norm.forward(x.clone()));
        let tokens = widen(linear(&self.proj_in, tokens));
        let tokens =
            self.transformer_blocks[0].forward(tokens, prompt, [h, w], attention, watch)?;
        let tokens = linear(&self.proj_out, tokens);
        let x = traced("sum", B::add_tokens(x, tokens));
        watch.done()?;
        Ok(x)
    }
}

/// A pre-norm residual block (diffusers' `BasicTransformerBlock`).
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    pub(super) norm1: LayerNorm<B>,
    attn1: MultiHeadAttention<B>,
    norm2: LayerNorm<B>,
    attn2: MultiHeadAttention<B>,
    norm3: LayerNorm<B>,
    ff: FeedForward<B>,
}

impl<B: Backend> TransformerBlock<B> {
    fn new(channels: usize, heads: usize, cross_attention_dim: usize, device: &B::Device) -> Self {
        let norm = || LayerNorm::new(channels, LAYER_NORM_EPSILON, device);
        Self {
            norm1: norm(),
            attn1: MultiHeadAttention::new(channels, channels, heads, device),
            norm2: norm(),
            attn2: MultiHeadAttention::new(channels, cross_attention_dim, heads, device),
            norm3: norm(),
            ff: FeedForward::new(channels, device),
        }
    }

    fn forward(
        &self,
        x: Tensor<B, 3>,
        prompt: KeyValue<B>,
        size: [usize; 2],
        attention: WindowedAttention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 3>> {
        let normed = self.norm1.forward(x.clone());
        let y = self.attn1.forward_self(normed, size, attention);
        let x = traced("sum", B::add(x, y));
        watch.check()?;
        let y = self.attn2.forward(self.norm2.forward(x.clone()), prompt);
        let x = traced("sum", B::add(x, y));
        watch.check()?;
        let y = self.ff.forward(self.norm3.forward(x.clone()));
        Ok(traced("sum", B::add(x, y)))
    }
}

/// `out(geglu(proj(x)))` (Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202).
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    proj: Linear<B>,
    out: Linear<B>,
}

impl<B: Backend> FeedForward<B> {
    fn new(channels: usize, device: &B::Device) -> Self {
        let hidden = FEED_FORWARD_RATIO * channels;
        Self {
            proj: LinearConfig::new(channels, 2 * hidden).init(device),
            out: LinearConfig::new(hidden, channels).init(device),
        }
    }

    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let layers = [&self.proj, &self.out];
        let biases = layers.map(|layer| layer.bias.as_ref().expect("the layers have biases").val());
        if is_traced() {
            // A backend may compute the hidden layer in chunks. Here it is computed as a whole,
            // only for the trace.
            let hidden = linear(&self.proj, x.clone());
            traced("GEGLU", B::geglu(hidden));
        }
        let weights = layers.map(|layer| layer.weight.val());
        #[cfg(test)]
        recording::feed_forward(&x, &weights);
        let y = B::feed_forward(x, weights, biases);
        traced("feed-forward", y)
    }
}
