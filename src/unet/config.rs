//! The configuration of a UNet.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Configuration of a [`UNet`](super::UNet): the variants of Stable Diffusion's
/// `UNet2DConditionModel` that this crate supports.
///
/// A stage is a down block and the up block of the same size. Lists have one entry for each stage,
/// from the widest to the deepest, except [`up_attention`](Self::up_attention). The widest stage
/// has the size of the sample; each deeper stage has half the size of the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Width (channels) of each stage.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks in the down block of each stage. The up block has one more.
    pub layers_per_block: Vec<usize>,
    /// Whether the down block of each stage has transformers: `CrossAttnDownBlock2D` if it has,
    /// `DownBlock2D` if not.
    pub down_attention: Vec<bool>,
    /// Whether each up block has transformers: `CrossAttnUpBlock2D` if it has, `UpBlock2D` if not.
    /// The order is diffusers', the deepest first.
    pub up_attention: Vec<bool>,
    /// Attention heads of each stage. The size of a head is the stage's width divided by this.
    pub num_heads: Vec<usize>,
    /// Width of the prompt embeddings.
    pub cross_attention_dim: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Epsilon of the ResNet blocks' group norms.
    pub norm_eps: f64,
    /// Width of the time embedding.
    pub time_embed_dim: usize,
}

impl UNetConfig {
    /// Returns Stable Diffusion 2.1's UNet with `8 * 8 * 3 = 192` input and output channels:
    /// 866,993,792 parameters.
    ///
    /// Source: `unet/config.json` of stabilityai/stable-diffusion-2-1, with the paper's channel
    /// counts.
    #[must_use]
    pub fn sd21() -> Self {
        Self {
            in_channels: 192,
            out_channels: 192,
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: vec![2; 4],
            down_attention: vec![true, true, true, false],
            up_attention: vec![false, true, true, true],
            num_heads: vec![5, 10, 20, 20],
            cross_attention_dim: 1024,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            time_embed_dim: 1280,
        }
    }

    /// Returns the bundled model's UNet, which is small enough for a CPU: three stages, with
    /// attention only at the deepest.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            in_channels: 192,
            out_channels: 192,
            block_out_channels: vec![96, 112, 96],
            layers_per_block: vec![1; 3],
            down_attention: vec![false, false, true],
            up_attention: vec![false; 3],
            num_heads: vec![3, 4, 3],
            cross_attention_dim: 32,
            norm_num_groups: 8,
            norm_eps: 1e-5,
            time_embed_dim: 32,
        }
    }

    /// Returns the number of stages.
    pub fn stages(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Checks that the fields agree with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a list is empty or the lists differ in length, if a count is zero, if a
    /// width is zero or not a multiple of the norm groups and of the heads, if the first width is
    /// odd, or if the epsilon is not a positive number.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let stages = self.stages();
        if stages == 0 {
            return fail("block_out_channels", "is empty".into());
        }
        for (field, len) in [
            ("layers_per_block", self.layers_per_block.len()),
            ("down_attention", self.down_attention.len()),
            ("up_attention", self.up_attention.len()),
            ("num_heads", self.num_heads.len()),
        ] {
            if len != stages {
                return fail(
                    field,
                    format!("has {len} entries, but block_out_channels has {stages}"),
                );
            }
        }
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("cross_attention_dim", self.cross_attention_dim),
            ("norm_num_groups", self.norm_num_groups),
            ("time_embed_dim", self.time_embed_dim),
        ] {
            if value == 0 {
                return fail(field, "is zero".into());
            }
        }
        if self.layers_per_block.contains(&0) {
            return fail("layers_per_block", "a stage has zero layers".into());
        }
        for (stage, (&width, &heads)) in self
            .block_out_channels
            .iter()
            .zip(&self.num_heads)
            .enumerate()
        {
            if width == 0 || width % self.norm_num_groups != 0 {
                return fail(
                    "block_out_channels",
                    format!(
                        "width {width} of stage {stage} is not a multiple of the {} norm groups",
                        self.norm_num_groups
                    ),
                );
            }
            if heads == 0 || width % heads != 0 {
                return fail(
                    "num_heads",
                    format!("width {width} of stage {stage} is not a multiple of {heads} heads"),
                );
            }
        }
        if !self.block_out_channels[0].is_multiple_of(2) {
            return fail(
                "block_out_channels",
                "the first width is odd: the time embedding needs an even one".into(),
            );
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return fail(
                "norm_eps",
                format!("{} is not a positive number", self.norm_eps),
            );
        }
        Ok(())
    }

    /// Returns the input and output widths of the ResNet blocks of the down block of `stage`, in
    /// order of execution.
    pub(crate) fn down_resnets(&self, stage: usize) -> Vec<[usize; 2]> {
        let output = self.block_out_channels[stage];
        let input = self.block_out_channels[stage.saturating_sub(1)];
        (0..self.layers_per_block[stage])
            .map(|layer| [if layer == 0 { input } else { output }, output])
            .collect()
    }

    /// Returns the input and output widths of the ResNet blocks of the up block of `stage`, in
    /// order of execution. The input is the concatenation of hidden state and skip.
    pub(crate) fn up_resnets(&self, stage: usize) -> Vec<[usize; 2]> {
        let output = self.block_out_channels[stage];
        let from_below = self.block_out_channels[(stage + 1).min(self.stages() - 1)];
        let last_skip = self.block_out_channels[stage.saturating_sub(1)];
        let layers = self.layers_per_block[stage] + 1;
        (0..layers)
            .map(|layer| {
                let hidden = if layer == 0 { from_below } else { output };
                let skip = if layer + 1 == layers {
                    last_skip
                } else {
                    output
                };
                [hidden + skip, output]
            })
            .collect()
    }

    /// Returns whether the up block of `stage` has transformers.
    pub(crate) fn has_up_attention(&self, stage: usize) -> bool {
        self.up_attention[self.stages() - 1 - stage]
    }
}
