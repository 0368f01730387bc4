//! The spatial transformer: self-attention, cross-attention to the prompt, feed-forward (diffusers'
//! `Transformer2DModel` with linear projections).

use super::attention::{Attention, KeyValue};
use super::linear::linear;
use super::norm::{GroupNorm, LayerNorm};
use super::window::Reach;
use crate::backend::Backend;
use crate::backend::activations::{is_traced, traced};
use crate::backend::precision::widen;
use crate::options::progress::{Cancellable, Watch};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;

/// Epsilon of the group norm at a transformer's entry; diffusers fixes it apart from the config's `norm_eps`.
const ENTRY_NORM_EPSILON: f64 = 1e-6;
/// Epsilon of the layer norms (PyTorch's default).
const LAYER_NORM_EPSILON: f64 = 1e-5;
/// Width of the feed-forward's hidden layer over the transformer's.
pub(super) const FEED_FORWARD_RATIO: usize = 4;

/// `x + proj_out(block(proj_in(norm(x))))` over the pixels as tokens.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    pub(super) norm: GroupNorm<B>,
    proj_in: Linear<B>,
    /// One block; a list, as in diffusers' keys.
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
            norm: GroupNorm::new(groups, channels, ENTRY_NORM_EPSILON, device),
            proj_in: LinearConfig::new(channels, channels).init(device),
            transformer_blocks: vec![block],
            proj_out: LinearConfig::new(channels, channels).init(device),
        }
    }

    /// The prompt's keys and values: all that a fixed prompt, `[N, T, cross_attention_dim]`, leaves of it.
    pub fn fold_prompt(&self, prompt: Tensor<B, 3>) -> KeyValue<B> {
        self.transformer_blocks[0].attn2.key_value(prompt)
    }

    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    /// - prompt: from [`fold_prompt`](Self::fold_prompt)
    pub(super) fn forward(
        &self,
        x: Tensor<B, 4>,
        prompt: KeyValue<B>,
        reach: Reach,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let [_, _, h, w] = x.dims();
        let tokens = B::to_tokens(self.norm.forward(x.clone()));
        let tokens = widen(linear(&self.proj_in, tokens));
        let tokens = self.transformer_blocks[0].forward(tokens, prompt, [h, w], reach, watch)?;
        let tokens = linear(&self.proj_out, tokens);
        let x = traced("sum", B::add_tokens(x, tokens));
        watch.done()?;
        Ok(x)
    }
}

/// Pre-norm residual block (diffusers' `BasicTransformerBlock`).
#[derive(Module, Debug)]
pub struct TransformerBlock<B: Backend> {
    pub(super) norm1: LayerNorm<B>,
    attn1: Attention<B>,
    norm2: LayerNorm<B>,
    attn2: Attention<B>,
    norm3: LayerNorm<B>,
    ff: FeedForward<B>,
}

impl<B: Backend> TransformerBlock<B> {
    fn new(channels: usize, heads: usize, cross_attention_dim: usize, device: &B::Device) -> Self {
        let norm = || LayerNorm::new(channels, LAYER_NORM_EPSILON, device);
        Self {
            norm1: norm(),
            attn1: Attention::new(channels, channels, heads, device),
            norm2: norm(),
            attn2: Attention::new(channels, cross_attention_dim, heads, device),
            norm3: norm(),
            ff: FeedForward::new(channels, device),
        }
    }

    fn forward(
        &self,
        x: Tensor<B, 3>,
        prompt: KeyValue<B>,
        size: [usize; 2],
        reach: Reach,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 3>> {
        let normed = self.norm1.forward(x.clone());
        let y = self.attn1.forward_self(normed, size, reach);
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
        let biases = layers.map(|layer| layer.bias.as_ref().expect("made with a bias").val());
        if is_traced() {
            // Within, which backends may never hold whole.
            let hidden = linear(&self.proj, x.clone());
            traced("GEGLU", B::geglu(hidden));
        }
        let y = B::feed_forward(x, layers.map(|layer| layer.weight.val()), biases);
        traced("feed-forward", y)
    }
}
