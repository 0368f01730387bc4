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
    /// The UNet. Its output has the channels of the latent. Its input has the same channels in a
    /// GenDR, and `3 * factor^2` channels, with the VAE's factor, in a GenDR-Adc.
    pub unet: UNetConfig,
    /// The VAE.
    pub vae: VaeConfig,
    /// The fixed timestep. Stable Diffusion was trained with `0.0..=1000.0`.
    pub timestep: f64,
    /// The diffusion step, which computes the latent from the UNet's prediction. GenDR-Adc needs
    /// [`Prediction::Sample`], since its UNet does not read a latent from which noise could be
    /// subtracted.
    pub onestep: OneStep,
    /// Recommended guidance scale, for callers that set none. 1 means no guidance.
    pub guidance: f64,
    /// Recommended paddings of the self-ensemble, for callers that set none. A single padding means
    /// no ensemble.
    pub ensemble: Vec<Padding>,
}

impl LatentConfig {
    /// Returns the paper's GenDR on Stable Diffusion 2.1's UNet. For values that the paper leaves
    /// open see [`GenDrPixConfig::sd21`](crate::GenDrPixConfig::sd21).
    #[must_use]
    pub fn gendr_sd21() -> Self {
        Self::gendr(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// Returns the paper's GenDR-Adc on Stable Diffusion 2.1's UNet.
    #[must_use]
    pub fn adc_sd21() -> Self {
        Self::adc(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// Returns a GenDR for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    #[must_use]
    pub fn gendr_nano() -> Self {
        Self::gendr(UNetConfig::nano(), VaeConfig::nano())
    }

    /// Returns a GenDR-Adc for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    #[must_use]
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

    /// Checks that the fields agree with each other in a GenDR.
    ///
    /// # Errors
    ///
    /// The errors of [`UNetConfig::validate`], [`VaeConfig::validate`] and [`OneStep::validate`],
    /// and [`Error::Config`] if the UNet's channels differ from the latent's, if the timestep or
    /// the guidance is negative or not finite, if the ensemble is empty, or if a padding is wider
    /// than a cell.
    pub fn validate_gendr(&self) -> Result<()> {
        self.validate(
            |config| config.vae.latent_channels,
            "it reads and writes the latent",
        )
    }

    /// Checks that the fields agree with each other in a GenDR-Adc.
    ///
    /// # Errors
    ///
    /// The errors of [`validate_gendr`](Self::validate_gendr), with `3 * factor^2` channels for the
    /// UNet's input, and [`Error::Config`] if the prediction is not the sample.
    pub fn validate_adc(&self) -> Result<()> {
        let why = "it reads cells of pixels and writes the latent";
        self.validate(|config| cell_channels(config.vae.factor()), why)?;
        if self.onestep.prediction != Prediction::Sample {
            return Err(Error::Config {
                field: "onestep",
                reason: "must be `sample`, because the UNet does not read a latent".into(),
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
