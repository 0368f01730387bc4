//! The blocks of a VAE: encoder blocks, the middle block of both halves, decoder blocks.

use super::NORM_EPSILON;
use super::config::VaeConfig;
use super::vae_attention::VaeAttention;
use crate::backend::Backend;
use crate::options::progress::{Cancellable, Parts, Watch};
use crate::unet::conv::{Conv2d, conv3x3};
use crate::unet::resnet::ResnetBlock;
use crate::unet::sample::Upsample;
use burn::module::Module;
use burn::tensor::Tensor;

fn resnets<B: Backend>(
    widths: &[[usize; 2]],
    groups: usize,
    device: &B::Device,
) -> Vec<ResnetBlock<B>> {
    widths
        .iter()
        .map(|&width| ResnetBlock::new(width, None, groups, NORM_EPSILON, device))
        .collect()
}

fn forward_all<B: Backend>(
    resnets: &[ResnetBlock<B>],
    mut x: Tensor<B, 4>,
    parts: &mut Parts,
) -> Cancellable<Tensor<B, 4>> {
    for resnet in resnets {
        x = resnet.forward_timeless(x);
        parts.done()?;
    }
    Ok(x)
}

/// A 3x3 convolution of stride 2 with zero padding to the right and below only (diffusers'
/// `Downsample2D` with a padding of 0, which pads by `(0, 1, 0, 1)`).
#[derive(Module, Debug)]
pub struct EncoderDownsample<B: Backend> {
    conv: Conv2d<B>,
}

impl<B: Backend> EncoderDownsample<B> {
    fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            conv: conv3x3([channels, channels], 2, device),
        }
    }

    /// Halves height and width.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C, H, W]`, with `H` and `W` of at least 2
    /// - output: `[N, C, floor(H / 2), floor(W / 2)]`
    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // The backends' convolutions pad with zeros on all sides, so their outputs are centred on
        // the pixels 0, 2, 4, ... This layer needs the centres 1, 3, 5, ... An additional row above
        // and column to the left move the centres there. The outputs for this row and column are
        // dropped.
        let [n, c, h, w] = x.dims();
        // `Tensor::pad` of burn 0.21 returns the device's default type instead of the type of `x`.
        let padded = Tensor::zeros([n, c, h + 1, w + 1], (&x.device(), x.dtype()));
        let padded = padded.slice_assign([0..n, 0..c, 1..h + 1, 1..w + 1], x);
        let y = self.conv.forward_wide(padded);
        let [n, c, h, w] = y.dims();
        y.slice([0..n, 0..c, 1..h, 1..w])
    }
}

/// ResNet blocks, then a downsampler except in the deepest stage (diffusers' `DownEncoderBlock2D`).
#[derive(Module, Debug)]
pub struct EncoderBlock<B: Backend> {
    pub(super) resnets: Vec<ResnetBlock<B>>,
    downsamplers: Vec<EncoderDownsample<B>>,
}

impl<B: Backend> EncoderBlock<B> {
    pub(super) fn new(config: &VaeConfig, stage: usize, device: &B::Device) -> Self {
        let deepest = stage + 1 == config.stages();
        Self {
            resnets: resnets(&config.down_resnets(stage), config.norm_num_groups, device),
            downsamplers: (!deepest)
                .then(|| EncoderDownsample::new(config.block_out_channels[stage], device))
                .into_iter()
                .collect(),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, floor(H / 2), floor(W / 2)]`, or `[N, C, H, W]` from the deepest stage
    pub(super) fn forward(&self, x: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(self.resnets.len() + self.downsamplers.len());
        let mut x = forward_all(&self.resnets, x, &mut parts)?;
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            parts.done()?;
        }
        Ok(x)
    }
}

/// A ResNet block, an attention and a ResNet block at the size of the deepest stage (diffusers'
/// `UNetMidBlock2D`).
#[derive(Module, Debug)]
pub struct VaeMidBlock<B: Backend> {
    resnets: Vec<ResnetBlock<B>>,
    pub(super) attentions: Vec<VaeAttention<B>>,
}

impl<B: Backend> VaeMidBlock<B> {
    pub(super) fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let (width, groups) = (config.deepest(), config.norm_num_groups);
        Self {
            resnets: resnets(&[[width, width]; 2], groups, device),
            attentions: vec![VaeAttention::new(width, groups, device)],
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    pub(super) fn forward(&self, x: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(3);
        let x = self.before_attention(x);
        parts.done()?;
        let x = self.attentions[0].forward(x);
        parts.done()?;
        let x = self.resnets[1].forward_timeless(x);
        parts.done()?;
        Ok(x)
    }

    /// Applies the first ResNet block alone.
    pub(super) fn before_attention(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.resnets[0].forward_timeless(x)
    }
}

/// ResNet blocks, then an upsampler except in the widest stage (diffusers' `UpDecoderBlock2D`).
#[derive(Module, Debug)]
pub struct DecoderBlock<B: Backend> {
    resnets: Vec<ResnetBlock<B>>,
    upsamplers: Vec<Upsample<B>>,
}

impl<B: Backend> DecoderBlock<B> {
    pub(super) fn new(config: &VaeConfig, stage: usize, device: &B::Device) -> Self {
        Self {
            resnets: resnets(&config.up_resnets(stage), config.norm_num_groups, device),
            upsamplers: (stage > 0)
                .then(|| Upsample::new(config.block_out_channels[stage], device))
                .into_iter()
                .collect(),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, 2 * H, 2 * W]`, or `[N, C, H, W]` from the widest stage
    pub(super) fn forward(&self, x: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(self.resnets.len() + self.upsamplers.len());
        let [_, _, h, w] = x.dims();
        let mut x = forward_all(&self.resnets, x, &mut parts)?;
        for upsampler in &self.upsamplers {
            x = upsampler.forward(x, [2 * h, 2 * w]);
            parts.done()?;
        }
        Ok(x)
    }
}
