//! The configuration of a VAE.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Maximum number of stages. With 17 stages, a pixel of the latent covers 2^16 x 2^16 pixels of the
/// picture, which is more than any model needs and far from an overflow.
const MAX_STAGES: usize = 17;

/// Configuration of a [`Vae`](super::Vae): diffusers' `AutoencoderKL` for RGB pictures.
///
/// A stage consists of a block of the encoder and the block of the decoder with the same size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Width (channels) of each stage, from the size of the picture to that of the latent.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks in each block of the encoder. The blocks of the decoder have one more.
    pub layers_per_block: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Scale of the UNet's latent, which is `(latent - shift_factor) * scaling_factor` for the
    /// encoder's `latent`.
    pub scaling_factor: f64,
    /// Shift of the UNet's latent: see [`scaling_factor`](Self::scaling_factor). Zero where
    /// diffusers has `null`.
    pub shift_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
}

impl VaeConfig {
    /// Returns the paper's VAE16: 57,266,643 parameters.
    ///
    /// Source: `config.json` of ostris/vae-kl-f8-d16, with its author's correction of the scaling
    /// factor.
    #[must_use]
    pub fn vae16() -> Self {
        Self {
            latent_channels: 16,
            block_out_channels: vec![128, 128, 256, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.2614,
            shift_factor: 0.0,
            use_quant_conv: true,
            use_post_quant_conv: true,
        }
    }

    /// Returns VAE16 with an eighth of its width, which is small enough for a CPU. It is untrained,
    /// so its latent is not scaled.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            block_out_channels: vec![16, 16, 32, 64],
            norm_num_groups: 4,
            scaling_factor: 1.0,
            ..Self::vae16()
        }
    }

    /// Returns the number of stages.
    pub fn stages(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Returns the side of the cell of pixels that one pixel of the latent covers. Each stage
    /// except the deepest halves the sides.
    pub fn factor(&self) -> usize {
        1 << self.stages().saturating_sub(1)
    }

    /// Checks that the fields agree with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there are no stages or more than 17, if a width is zero or not a
    /// multiple of the groups, if another count is zero, if the scale is not a positive number, or
    /// if the shift is not a finite number.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let stages = self.stages();
        if stages == 0 || stages > MAX_STAGES {
            return fail(
                "block_out_channels",
                format!("has {stages} entries: expected 1 to {MAX_STAGES}"),
            );
        }
        for (field, value) in [
            ("latent_channels", self.latent_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
        ] {
            if value == 0 {
                return fail(field, "is zero".into());
            }
        }
        for (stage, &width) in self.block_out_channels.iter().enumerate() {
            if width == 0 || width % self.norm_num_groups != 0 {
                return fail(
                    "block_out_channels",
                    format!(
                        "width {width} of stage {stage} is not a multiple of the {} norm groups",
                        self.norm_num_groups
                    ),
                );
            }
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            return fail(
                "scaling_factor",
                format!("{} is not a positive number", self.scaling_factor),
            );
        }
        if !self.shift_factor.is_finite() {
            return fail(
                "shift_factor",
                format!("{} is not a finite number", self.shift_factor),
            );
        }
        Ok(())
    }

    /// Returns the width of the widest stage, which has the size of the picture.
    pub(super) fn widest(&self) -> usize {
        self.block_out_channels[0]
    }

    /// Returns the width of the deepest stage, which has the size of the latent.
    pub(super) fn deepest(&self) -> usize {
        self.block_out_channels[self.stages() - 1]
    }

    /// Returns the number of channels of the encoder's output: means and logarithms of the
    /// variances.
    pub(super) fn moments(&self) -> usize {
        2 * self.latent_channels
    }

    /// Returns the input and output widths of the ResNet blocks of the encoder at `stage`, in order
    /// of execution.
    pub(super) fn down_resnets(&self, stage: usize) -> Vec<[usize; 2]> {
        let input = self.block_out_channels[stage.saturating_sub(1)];
        self.resnets(input, stage, self.layers_per_block)
    }

    /// Returns the input and output widths of the ResNet blocks of the decoder at `stage`, in order
    /// of execution.
    pub(super) fn up_resnets(&self, stage: usize) -> Vec<[usize; 2]> {
        let input = self.block_out_channels[(stage + 1).min(self.stages() - 1)];
        self.resnets(input, stage, self.layers_per_block + 1)
    }

    fn resnets(&self, input: usize, stage: usize, layers: usize) -> Vec<[usize; 2]> {
        let output = self.block_out_channels[stage];
        (0..layers)
            .map(|layer| [if layer == 0 { input } else { output }, output])
            .collect()
    }
}
