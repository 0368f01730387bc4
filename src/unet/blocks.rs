//! The blocks of the UNet: down blocks, the middle block, up blocks.

use super::attention::KeyValue;
use super::config::UNetConfig;
use super::resnet::ResnetBlock;
use super::sample::{Downsample, Upsample};
use super::transformer::Transformer;
use super::window::WindowedAttention;
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::options::attention::Attention;
use crate::options::progress::{Cancellable, Parts, Watch};
use burn::module::Module;
use burn::tensor::Tensor;

/// A block's share of a [`Conditioning`](super::Conditioning).
#[derive(Clone, Debug)]
pub(super) struct BlockConditioning<B: Backend> {
    /// The bias of each ResNet block's first convolution, `[C]`.
    pub(super) biases: Vec<Tensor<B, 1>>,
    /// The keys and values of each transformer's cross-attention.
    pub(super) prompts: Vec<KeyValue<B>>,
}

impl<B: Backend> BlockConditioning<B> {
    pub(super) fn fold(
        resnets: &[ResnetBlock<B>],
        attentions: &[Transformer<B>],
        time_embedding: &Tensor<B, 2>,
        prompt: &Tensor<B, 3>,
    ) -> Self {
        Self {
            biases: resnets
                .iter()
                .map(|resnet| resnet.fold_time(time_embedding.clone()))
                .collect(),
            prompts: attentions
                .iter()
                .map(|attention| attention.fold_prompt(prompt.clone()))
                .collect(),
        }
    }

    pub(super) fn in_precision(self, precision: Precision) -> Self {
        let prompts = self.prompts.into_iter();
        let biases = self.biases.into_iter();
        Self {
            biases: biases.map(|bias| precision.cast_tensor(bias)).collect(),
            prompts: prompts
                .map(|prompt| prompt.in_precision(precision))
                .collect(),
        }
    }

    /// Applies ResNet block `i`, then transformer `i` if the block has one.
    fn layer(
        &self,
        i: usize,
        resnets: &[ResnetBlock<B>],
        attentions: &[Transformer<B>],
        x: Tensor<B, 4>,
        attention: WindowedAttention,
        parts: &mut Parts,
    ) -> Cancellable<Tensor<B, 4>> {
        let x = resnets[i].forward_watched(x, self.biases[i].clone(), parts.part())?;
        let Some(transformer) = attentions.get(i) else {
            return Ok(x);
        };
        transformer.forward(x, self.prompts[i].clone(), attention, parts.part())
    }
}

fn resnets<B: Backend>(
    config: &UNetConfig,
    widths: &[[usize; 2]],
    device: &B::Device,
) -> Vec<ResnetBlock<B>> {
    let UNetConfig {
        time_embed_dim,
        norm_num_groups,
        norm_eps,
        ..
    } = *config;
    widths
        .iter()
        .map(|&width| {
            let time = Some(time_embed_dim);
            ResnetBlock::new(width, time, norm_num_groups, norm_eps, device)
        })
        .collect()
}

fn transformers<B: Backend>(
    config: &UNetConfig,
    stage: usize,
    count: usize,
    device: &B::Device,
) -> Vec<Transformer<B>> {
    (0..count)
        .map(|_| {
            Transformer::new(
                config.block_out_channels[stage],
                config.num_heads[stage],
                config.cross_attention_dim,
                config.norm_num_groups,
                device,
            )
        })
        .collect()
}

/// ResNet blocks, either all or none of them followed by a transformer, then a downsampler except
/// in the deepest stage.
#[derive(Module, Debug)]
pub struct DownBlock<B: Backend> {
    pub(super) resnets: Vec<ResnetBlock<B>>,
    pub(super) attentions: Vec<Transformer<B>>,
    downsamplers: Vec<Downsample<B>>,
}

impl<B: Backend> DownBlock<B> {
    pub(super) fn new(config: &UNetConfig, stage: usize, device: &B::Device) -> Self {
        let widths = config.down_resnets(stage);
        let attentions = widths.len() * usize::from(config.down_attention[stage]);
        let deepest = stage + 1 == config.stages();
        Self {
            resnets: resnets(config, &widths, device),
            attentions: transformers(config, stage, attentions, device),
            downsamplers: (!deepest)
                .then(|| Downsample::new(config.block_out_channels[stage], device))
                .into_iter()
                .collect(),
        }
    }

    /// Applies the block and pushes the output of each layer and of the downsampler onto `skips`.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, ceil(H / 2), ceil(W / 2)]`, or `[N, C, H, W]` from the deepest stage
    pub(super) fn forward(
        &self,
        mut x: Tensor<B, 4>,
        conditioning: &BlockConditioning<B>,
        attention: Attention,
        skips: &mut Vec<Tensor<B, 4>>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let layers = self.resnets.len() + self.attentions.len() + self.downsamplers.len();
        let mut parts = watch.parts(layers);
        for i in 0..self.resnets.len() {
            let (resnets, attentions) = (&self.resnets, &self.attentions);
            let attention = WindowedAttention::in_down_block(attention, i);
            x = conditioning.layer(i, resnets, attentions, x, attention, &mut parts)?;
            skips.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            skips.push(x.clone());
            parts.done()?;
        }
        Ok(x)
    }
}

/// A ResNet block, a transformer and a ResNet block at the size of the deepest stage (diffusers'
/// `UNetMidBlock2DCrossAttn`).
#[derive(Module, Debug)]
pub struct MidBlock<B: Backend> {
    pub(super) resnets: Vec<ResnetBlock<B>>,
    pub(super) attentions: Vec<Transformer<B>>,
}

impl<B: Backend> MidBlock<B> {
    pub(super) fn new(config: &UNetConfig, device: &B::Device) -> Self {
        let stage = config.stages() - 1;
        let width = config.block_out_channels[stage];
        Self {
            resnets: resnets(config, &[[width, width]; 2], device),
            attentions: transformers(config, stage, 1, device),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, C, H, W]`
    pub(super) fn forward(
        &self,
        x: Tensor<B, 4>,
        conditioning: &BlockConditioning<B>,
        attention: Attention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let (resnets, attentions) = (&self.resnets, &self.attentions);
        let mut parts = watch.parts(resnets.len() + attentions.len());
        let attention = WindowedAttention::in_mid_block(attention);
        let x = conditioning.layer(0, resnets, attentions, x, attention, &mut parts)?;
        conditioning.layer(1, resnets, attentions, x, attention, &mut parts)
    }
}

/// ResNet blocks with a skip each, either all or none of them followed by a transformer, then an
/// upsampler except in the widest stage.
#[derive(Module, Debug)]
pub struct UpBlock<B: Backend> {
    pub(super) resnets: Vec<ResnetBlock<B>>,
    pub(super) attentions: Vec<Transformer<B>>,
    upsamplers: Vec<Upsample<B>>,
}

impl<B: Backend> UpBlock<B> {
    pub(super) fn new(config: &UNetConfig, stage: usize, device: &B::Device) -> Self {
        let widths = config.up_resnets(stage);
        let attentions = widths.len() * usize::from(config.has_up_attention(stage));
        Self {
            resnets: resnets(config, &widths, device),
            attentions: transformers(config, stage, attentions, device),
            upsamplers: (stage > 0)
                .then(|| Upsample::new(config.block_out_channels[stage], device))
                .into_iter()
                .collect(),
        }
    }

    /// Applies the block. Each layer pops a skip off `skips`. The upsampler's output has the size
    /// of the last remaining skip.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, H', W']` with the size of the next skip, or `[N, C, H, W]` from the widest
    ///   stage
    pub(super) fn forward(
        &self,
        mut x: Tensor<B, 4>,
        conditioning: &BlockConditioning<B>,
        attention: Attention,
        skips: &mut Vec<Tensor<B, 4>>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let (resnets, attentions) = (&self.resnets, &self.attentions);
        let mut parts = watch.parts(resnets.len() + attentions.len() + self.upsamplers.len());
        for i in 0..resnets.len() {
            let skip = skips.pop().expect("each layer has a skip");
            x = B::concatenate(x, skip);
            let attention = WindowedAttention::in_up_block(attention, i, resnets.len());
            x = conditioning.layer(i, resnets, attentions, x, attention, &mut parts)?;
        }
        for upsampler in &self.upsamplers {
            let next = skips.last().expect("the skips of wider stages are left");
            let [_, _, h, w] = next.dims();
            x = upsampler.forward(x, [h, w]);
            parts.done()?;
        }
        Ok(x)
    }
}
