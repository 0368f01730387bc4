//! The UNet of Stable Diffusion 2.1 (diffusers' `UNet2DConditionModel`), any size of it.
//!
//! Modules and fields are named as diffusers names them, so that a checkpoint's keys are the paths of the fields.

pub mod attention;
mod blocks;
mod config;
pub(crate) mod conv;
mod embed;
#[cfg(feature = "train")]
mod ends;
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
use conv::{Convolution, conv3x3};
use embed::{TimestepEmbedding, sinusoid};
use norm::GroupNorm;

/// The UNet. Should be created with [`UNetConfig::init`].
#[derive(Module, Debug)]
pub struct UNet<B: Backend> {
    conv_in: Convolution<B>,
    time_embedding: TimestepEmbedding<B>,
    down_blocks: Vec<DownBlock<B>>,
    mid_block: MidBlock<B>,
    up_blocks: Vec<UpBlock<B>>,
    conv_norm_out: GroupNorm<B>,
    conv_out: Convolution<B>,
}

/// All that a fixed timestep and one prompt leave to compute, computed: the time embedding folded into the ResNet
/// blocks' biases, the prompt into keys and values. Made by [`UNet::condition`].
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
    /// A UNet with random weights (PyTorch's default initialisation), allocated when first used.
    ///
    /// # Errors
    ///
    /// Those of [`UNetConfig::validate`].
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
    /// Number of parameters, counted from shapes: nothing is allocated.
    pub fn parameters(&self) -> usize {
        parameter_count(self)
    }

    /// Folds a timestep and a prompt.
    ///
    /// # Shapes
    ///
    /// - prompt: `[N, T, cross_attention_dim]`; `N = 1` serves any batch
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

    /// The embedding of a timestep, `[1, time_embed_dim]`.
    fn time_embedding(&self, timestep: f64) -> Tensor<B, 2> {
        let [widest, ..] = self.conv_in.weight.dims();
        let device = self.conv_in.weight.device();
        let sinusoid = to_dtype(sinusoid(timestep, widest, &device), self.conv_in.dtype());
        self.time_embedding.forward(sinusoid)
    }

    /// In the precision of the weights; the output has that of the sample.
    ///
    /// # Shapes
    ///
    /// - sample: `[N, in_channels, H, W]`, any `H` and `W` from 1
    /// - output: `[N, out_channels, H, W]`
    pub fn forward(&self, sample: Tensor<B, 4>, conditioning: &Conditioning<B>) -> Tensor<B, 4> {
        self.forward_attending(sample, conditioning, Attention::Global)
    }

    /// [`forward`](Self::forward) with another self-attention.
    pub fn forward_attending(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
    ) -> Tensor<B, 4> {
        unwatched(|watch| self.forward_watched(sample, conditioning, attention, watch))
    }

    /// [`forward_attending`](Self::forward_attending), which may be cancelled after each layer.
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

    /// What the last convolution reads, `[N, widest, H, W]`.
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

    /// A part for each end, each block of the way down and up, and the middle.
    fn parts<'a>(&self, watch: Watch<'a>) -> Parts<'a> {
        watch.parts(self.down_blocks.len() + self.up_blocks.len() + 3)
    }

    fn hidden_watched(
        &self,
        sample: Tensor<B, 4>,
        conditioning: &Conditioning<B>,
        attention: Attention,
        parts: &mut Parts,
    ) -> Cancellable<Tensor<B, 4>> {
        // 1. In.
        let mut x = self.conv_in.forward_wide(sample);
        parts.done()?;
        // 2. Down: each layer and downsampler leaves a skip.
        let mut skips = vec![x.clone()];
        for (block, conditioning) in self.down_blocks.iter().zip(&conditioning.down_blocks) {
            x = block.forward(x, conditioning, attention, &mut skips, parts.part())?;
        }
        // 3. Middle.
        x = self
            .mid_block
            .forward(x, &conditioning.mid_block, attention, parts.part())?;
        // 4. Up: each layer takes the last skip left.
        for (block, conditioning) in self.up_blocks.iter().zip(&conditioning.up_blocks) {
            x = block.forward(x, conditioning, attention, &mut skips, parts.part())?;
        }
        // 5. Out, but for the convolution.
        Ok(self.conv_norm_out.forward_silu(x))
    }
}
