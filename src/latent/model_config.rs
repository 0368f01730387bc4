//! The config of a latent model.

use super::config::VaeConfig;
use crate::config::{validate_channels, validate_run};
use crate::error::{Error, Result};
use crate::options::padding::Padding;
use crate::restore::onestep::{OneStep, Prediction};
use crate::restore::shuffle::cell_channels;
use crate::unet::UNetConfig;
use serde::{Deserialize, Serialize};

/// Config of a [`GenDr`](super::GenDr) or a [`GenDrAdc`](super::GenDrAdc).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentConfig {
    /// The UNet. Its output has the channels of the latent. The input of GenDR has the same, that of GenDR-Adc has
    /// `3 * factor^2` with the VAE's factor.
    pub unet: UNetConfig,
    /// The VAE.
    pub vae: VaeConfig,
    /// The fixed timestep, `0.0..=1000.0` in Stable Diffusion's training.
    pub timestep: f64,
    /// The step from the UNet's prediction to the latent. GenDR-Adc needs [`Prediction::Sample`], since its UNet reads no
    /// latent from which noise could be subtracted.
    pub onestep: OneStep,
    /// Recommended guidance scale, the default of the options; 1 is no guidance.
    pub guidance: f64,
    /// Recommended paddings of the self-ensemble, the default of the options; one padding is no ensemble.
    pub ensemble: Vec<Padding>,
}

impl LatentConfig {
    /// Returns the paper's GenDR on Stable Diffusion 2.1's UNet. For values that the paper leaves open see
    /// [`GenDrPixConfig::sd21`](crate::GenDrPixConfig::sd21).
    pub fn gendr_sd21() -> Self {
        Self::gendr(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// Returns the paper's GenDR-Adc on Stable Diffusion 2.1's UNet.
    pub fn adc_sd21() -> Self {
        Self::adc(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// Returns a GenDR for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    pub fn gendr_nano() -> Self {
        Self::gendr(UNetConfig::nano(), VaeConfig::nano())
    }

    /// Returns a GenDR-Adc for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    pub fn adc_nano() -> Self {
        Self::adc(UNetConfig::nano(), VaeConfig::nano())
    }

    /// Returns a GenDR of a UNet and a VAE. Sets the channels of the UNet.
    fn gendr(unet: UNetConfig, vae: VaeConfig) -> Self {
        Self {
            unet: UNetConfig {
                in_channels: vae.latent_channels,
                out_channels: vae.latent_channels,
                ..unet
            },
            vae,
            timestep: 500.0,
            onestep: OneStep::paper(Prediction::Noise),
            guidance: 1.0,
            ensemble: vec![Padding::new(0, 0)],
        }
    }

    /// Returns a GenDR-Adc of a UNet and a VAE. Sets the channels of the UNet.
    fn adc(unet: UNetConfig, vae: VaeConfig) -> Self {
        let in_channels = cell_channels(vae.factor());
        let gendr = Self::gendr(unet, vae);
        Self {
            unet: UNetConfig {
                in_channels,
                ..gendr.unet
            },
            onestep: OneStep::paper(Prediction::Sample),
            ..gendr
        }
    }

    /// Checks that the numbers fit each other in a GenDR.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the errors of [`UNetConfig::validate`], [`VaeConfig::validate`] and [`OneStep::validate`], UNet
    /// channels that differ from the latent's, a timestep or guidance that is negative or not finite, an empty ensemble, or
    /// a padding larger than the cell.
    pub fn validate_gendr(&self) -> Result<()> {
        self.validate(
            |config| config.vae.latent_channels,
            "it reads and writes the latent",
        )
    }

    /// Checks that the numbers fit each other in a GenDR-Adc.
    ///
    /// # Errors
    ///
    /// The errors of [`validate_gendr`](Self::validate_gendr), where the UNet's input must have `3 * factor^2` channels, and
    /// [`Error::Config`] if the prediction is not the sample.
    pub fn validate_adc(&self) -> Result<()> {
        let why = "it reads cells of pixels and writes the latent";
        self.validate(|config| cell_channels(config.vae.factor()), why)?;
        if self.onestep.prediction != Prediction::Sample {
            return Err(Error::Config {
                field: "onestep",
                reason: "the UNet reads no latent, so it must predict the sample itself".into(),
            });
        }
        Ok(())
    }

    fn validate(&self, in_channels: impl Fn(&Self) -> usize, why: &str) -> Result<()> {
        self.unet.validate()?;
        self.vae.validate()?;
        self.onestep.validate()?;
        let expected = [in_channels(self), self.vae.latent_channels];
        validate_channels(&self.unet, expected, why)?;
        let factor = self.vae.factor();
        validate_run(self.timestep, self.guidance, &self.ensemble, factor)
    }
}
