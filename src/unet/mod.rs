//! The UNet of Stable Diffusion 2.1 (diffusers' `UNet2DConditionModel`), with configurable sizes.
//!
//! Modules and fields have diffusers' names, so that the paths of the fields are the keys of a
//! checkpoint.

pub mod attention;
mod blocks;
mod config;
pub(crate) mod conv;
mod embed;
#[cfg(feature = "train")]
mod ends;
pub(crate) mod events;
#[cfg(feature = "train")]
mod features;
#[cfg(all(test, feature = "flex", feature = "ndarray", feature = "train"))]
mod gradients;
pub(crate) mod keys;
pub(crate) mod linear;
mod macs;
mod memory;
pub(crate) mod norm;
pub(crate) mod parameters;
#[cfg(all(test, feature = "flex"))]
mod parity;
#[cfg(test)]
pub(crate) mod recording;
pub(crate) mod resnet;
pub(crate) mod sample;
mod transformer;
mod walk;
mod window;

pub use crate::backend::operation::Operation;
pub use crate::options::attention::Attention;
pub use config::UNetConfig;
#[cfg(feature = "train")]
pub use features::Feature;
pub use macs::Macs;
pub(crate) use memory::{Ledger, PassMemory};

use crate::backend::Backend;
use crate::backend::precision::{Precision, to_dtype};
use crate::error::Result;
use crate::options::progress::{Cancellable, Parts, Watch, unwatched};
use crate::unet::parameters::count as parameter_count;
use blocks::{BlockConditioning, DownBlock, MidBlock, UpBlock};
use burn::module::Module;
use burn::tensor::Tensor;
use conv::{Conv2d, conv3x3};
use embed::{TimestepEmbedding, sinusoid};
use norm::GroupNorm;

/// The UNet. [`UNetConfig::init`] creates it.
#[derive(Module, Debug)]
pub struct UNet<B: Backend> {
    conv_in: Conv2d<B>,
    time_embedding: TimestepEmbedding<B>,
    down_blocks: Vec<DownBlock<B>>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<UpBlock<B>>,
    conv_norm_out: GroupNorm<B>,
    conv_out: Conv2d<B>,
}

/// The outputs of the layers that depend only on the timestep or the prompt, computed in advance.
/// The time embedding is folded into biases of the ResNet blocks, and the prompt into keys and
/// values of the cross-attentions. [`UNet::condition`] creates it.
#[derive(Clone, Debug)]
pub struct Conditioning<B: Backend> {
    down_blocks: Vec<BlockConditioning<B>>,
    mid_block: BlockConditioning<B>,
    up_blocks: Vec<BlockConditioning<B>>,
}

impl<B: Backend> Conditioning<B> {
    pub(crate) fn in_precision(self, precision: Precision) -> Self {
        let all = |blocks: Vec<BlockConditioning<B>>| {
            let blocks = blocks.into_iter();
            blocks.map(|block| block.in_precision(precision)).collect()
        };
        Self {
            down_blocks: all(self.down_blocks),
            mid_block: self.mid_block.in_precision(precision),
            up_blocks: all(self.up_blocks),
        }
    }
}

impl UNetConfig {
    /// Creates a UNet with random weights (PyTorch's default initialisation). The weights are
    /// allocated on first use.
    ///
    /// # Errors
    ///
    /// The errors of [`UNetConfig::validate`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<UNet<B>> {
        self.validate()?;
        let stages = self.stages();
        let widest = self.block_out_channels[0];
        Ok(UNet {
            conv_in: conv3x3([self.in_channels, widest], 1, device),
            time_embedding: TimestepEmbedding::new(widest, self.time_embed_dim, device),
            down_blocks: (0..stages)
                .map(|stage| DownBlock::new(self, stage, device))
                .collect(),
            mid_block: MidBlock::new(self, device),
            up_blocks: (0..stages)
                .rev()
                .map(|stage| UpBlock::new(self, stage, device))
                .collect(),
            conv_norm_out: GroupNorm::new(self.norm_num_groups, widest, self.norm_eps, device),
            conv_out: conv3x3([widest, self.out_channels], 1, device),
        })
    }
}

impl<B: Backend> UNet<B> {
    /// Counts the parameters from their shapes. No weights are allocated.
    pub fn parameters(&self) -> usize {
        parameter_count(self)
    }

    /// Computes the layers that depend only on the timestep or the prompt.
    ///
    /// # Shapes
    ///
    /// - prompt: `[N, T, cross_attention_dim]`, or `[1, T, cross_attention_dim]` for a batch of any
    ///   size
    pub fn condition(&self, timestep: f64, prompt: Tensor<B, 3>) -> Conditioning<B> {
        let time_embedding = self.time_embedding(timestep);
        let fold = |resnets: &[_], attentions: &[_]| {
            BlockConditioning::fold(resnets, attentions, &time_embedding, &prompt)
        };
        let (down, mid, up) = (&self.down_blocks, &self.mid_block, &self.up_blocks);
        Conditioning {
            down_blocks: down
                .iter()
                .map(|block| fold(&block.resnets, &block.attentions))
                .collect(),
            mid_block: fold(&mid.resnets, &mid.attentions),
            up_blocks: up
                .iter()
                .map(|block| fold(&block.resnets, &block.attentions))
                .collect(),
        }
    }

    /// Computes the embedding of a timestep, `[1, time_embed_dim]`.
    fn time_embedding(&self, timestep: f64) -> Tensor<B, 2> {
        let [widest, ..] = self.conv_in.weight.dims();
        let device = self.conv_in.weight.device();
        let sinusoid = to_dtype(sinusoid(timestep, widest, &device), self.conv_in.dtype());
        self.time_embedding.forward(sinusoid)
    }

    /// Applies the UNet with global self-attention. It computes in the precision of the weights,
    /// and the output has the precision of the sample.
    ///
    /// # Shapes
    ///
    /// - sample: `[N, in_channels, H, W]`, with `H` and `W` of at least 1
    /// - output: `[N, out_channels, H, W]`
    pub fn forward(&self, sample: Tensor<B, 4>, conditioning: &Conditioning<B>) -> Tensor<B, 4> {
        self.forward_attending(sample, conditioning, Attention::Global)
    }

    /// Like [`forward`](Self::forward), with the given self-attention.
    pub fn forward_attending(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
    ) -> Tensor<B, 4> {
        unwatched(|watch| self.forward_watched(sample, conditioning, attention, watch))
    }

    /// Like [`forward_attending`](Self::forward_attending), but can be cancelled after each layer.
    pub(crate) fn forward_watched(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let mut parts = self.parts(watch);
        let dtype = sample.dtype();
        let x = self.hidden_watched(sample, conditioning, attention, &mut parts)?;
        let x = to_dtype(self.conv_out.forward(x), dtype);
        parts.done()?;
        Ok(x)
    }

    /// Computes the input of the last convolution, `[N, C, H, W]` with the width `C` of the widest
    /// stage.
    #[cfg(feature = "train")]
    pub(crate) fn hidden(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
    ) -> Tensor<B, 4> {
        unwatched(|watch| {
            self.hidden_watched(sample, conditioning, attention, &mut self.parts(watch))
        })
    }

    /// Divides `watch` into a part for each block and for each end.
    fn parts<'a>(&self, watch: Watch<'a>) -> Parts<'a> {
        watch.parts(self.down_blocks.len() + self.up_blocks.len() + 3)
    }

    /// Computes the input of the last convolution. Can be cancelled after each layer.
    fn hidden_watched(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
        parts: &mut Parts,
    ) -> Cancellable<Tensor<B, 4>> {
        // 1. First convolution.
        let mut x = self.conv_in.forward_wide(sample);
        parts.done()?;
        // 2. Down blocks: each layer and downsampler pushes a skip.
        let mut skips = vec![x.clone()];
        for (block, conditioning) in self.down_blocks.iter().zip(&conditioning.down_blocks) {
            x = block.forward(x, conditioning, attention, &mut skips, parts.part())?;
        }
        // 3. Middle block.
        x = self
            .mid_block
            .forward(x, &conditioning.mid_block, attention, parts.part())?;
        // 4. Up blocks: each layer pops a skip.
        for (block, conditioning) in self.up_blocks.iter().zip(&conditioning.up_blocks) {
            x = block.forward(x, conditioning, attention, &mut skips, parts.part())?;
        }
        // 5. Last norm.
        Ok(self.conv_norm_out.forward_silu(x))
    }
}
