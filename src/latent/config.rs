//! The numbers of a VAE.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most stages taken: a latent pixel of 2^16 picture pixels a side is beyond any use, and far from overflow.
const MAX_STAGES: usize = 17;

/// Sizes of a [`Vae`](super::Vae): diffusers' `AutoencoderKL` for RGB pictures.
///
/// A stage is a block of the encoder together with its counterpart of the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Width (channels) of each stage, from the widest picture to the deepest.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks of each stage of the encoder; the decoder's have one more.
    pub layers_per_block: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// From the encoder's latent to the UNet's: `(latent - shift_factor) * scaling_factor`.
    pub scaling_factor: f64,
    /// See [`scaling_factor`](Self::scaling_factor); zero where diffusers has `null`.
    pub shift_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
}

impl VaeConfig {
    /// The paper's VAE16: 57,266,643 parameters.
    ///
    /// Source: `config.json` of ostris/vae-kl-f8-d16, with the scaling factor that its author corrected.
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

    /// VAE16 with an eighth of its width: made for a CPU, and untrained, so that its latent is taken as it is.
    pub fn nano() -> Self {
        Self {
            block_out_channels: vec![16, 16, 32, 64],
            norm_num_groups: 4,
            scaling_factor: 1.0,
            ..Self::vae16()
        }
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Side of the picture's cell that becomes one pixel of the latent: each stage but the last halves.
    pub fn factor(&self) -> usize {
        1 << self.stages().saturating_sub(1)
    }

    /// Checks that the numbers agree with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there are no stages or over 17, when a width is zero or not a multiple of the groups,
    /// when another count is zero, or when the scale is not a positive or the shift not a finite number.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let stages = self.stages();
        if stages == 0 || stages > MAX_STAGES {
            return fail(
                "block_out_channels",
                format!("has {stages} entries, not 1 to {MAX_STAGES}"),
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

    /// Width of the stage with the widest picture.
    pub(super) fn widest(&self) -> usize {
        self.block_out_channels[0]
    }

    /// Width of the stage with the smallest picture.
    pub(super) fn deepest(&self) -> usize {
        self.block_out_channels[self.stages() - 1]
    }

    /// Channels of the encoder's output: mean and logarithm of the variance.
    pub(super) fn moments(&self) -> usize {
        2 * self.latent_channels
    }

    /// Input and output widths of the ResNet blocks of the encoder's `stage`, in order of execution.
    pub(super) fn down_resnets(&self, stage: usize) -> Vec<[usize; 2]> {
        let input = self.block_out_channels[stage.saturating_sub(1)];
        self.resnets(input, stage, self.layers_per_block)
    }

    /// The same of the decoder's `stage`.
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
