//! The stages: a block of the way down, the middle, a block of the way up.

use super::attention::KeyValue;
use super::config::UNetConfig;
use super::resnet::ResnetBlock;
use super::sample::{Downsample, Upsample};
use super::transformer::Transformer;
use super::window::Reach;
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::options::attention::Attention;
use crate::options::progress::{Cancellable, Parts, Watch};
use burn::module::Module;
use burn::tensor::Tensor;

/// Layers before the middle's one transformer, as far as its windows go: they are shifted.
pub(super) const MIDDLE: usize = 1;

/// What a fixed timestep and one prompt leave to a block: see [`Conditioning`](super::Conditioning).
#[derive(Clone, Debug)]
pub(super) struct BlockConditioning<B: Backend> {
    /// Bias of each ResNet block's first convolution, `[C]`.
    pub(super) biases: Vec<Tensor<B, 1>>,
    /// Keys and values of each transformer's cross-attention.
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

    /// Layer `i`: the ResNet block, then its transformer if the block has any.
    fn layer(
        &self,
        i: usize,
        resnets: &[ResnetBlock<B>],
        attentions: &[Transformer<B>],
        x: Tensor<B, 4>,
        reach: Reach,
        parts: &mut Parts,
    ) -> Cancellable<Tensor<B, 4>> {
        let x = resnets[i].forward_watched(x, self.biases[i].clone(), parts.part())?;
        let Some(transformer) = attentions.get(i) else {
            return Ok(x);
        };
        transformer.forward(x, self.prompts[i].clone(), reach, parts.part())
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

/// ResNet blocks, with a transformer after each or none, then a downsampler but in the deepest stage.
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

    /// Pushes each layer's and the downsampler's output onto `skips`.
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
            let layer = i;
            let reach = Reach { attention, layer };
            x = conditioning.layer(i, resnets, attentions, x, reach, &mut parts)?;
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

/// ResNet block, transformer, ResNet block at the deepest stage's size (diffusers' `UNetMidBlock2DCrossAttn`).
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
        let layer = MIDDLE;
        let reach = Reach { attention, layer };
        let x = conditioning.layer(0, resnets, attentions, x, reach, &mut parts)?;
        conditioning.layer(1, resnets, attentions, x, reach, &mut parts)
    }
}

/// ResNet blocks that each take in a skip, with a transformer after each or none, then an upsampler but in the widest
/// stage.
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

    /// Takes the last skips off `skips`, one a layer; the upsampler aims at the size of the one then last.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C_in, H, W]`
    /// - output: `[N, C, H', W']`, the size of the next skip, or `[N, C, H, W]` from the widest stage
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
        // The way down had one layer less.
        let before = resnets.len() - 1;
        for i in 0..resnets.len() {
            let skip = skips.pop().expect("the way down left a skip a layer");
            x = B::concatenate(x, skip);
            let layer = before + i;
            let reach = Reach { attention, layer };
            x = conditioning.layer(i, resnets, attentions, x, reach, &mut parts)?;
        }
        for upsampler in &self.upsamplers {
            let next = skips.last().expect("a wider stage's skips are left");
            let [_, _, h, w] = next.dims();
            x = upsampler.forward(x, [h, w]);
            parts.done()?;
        }
        Ok(x)
    }
}
