//! What GenDR and GenDR-Adc share: all but the way from the picture to the UNet.

use super::config::VaeConfig;
use super::vae::VaeDecoder;
use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::config::{validate_channels, validate_run};
use crate::error::{Error, Result};
use crate::model::prompted::PromptedUNet;
use crate::options::Upscale;
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use crate::options::progress::{Cancellable, Watch};
use crate::options::tiling::Tiling;
use crate::restore::check_shape;
use crate::restore::guidance::blend;
use crate::restore::guidance::prompts;
use crate::restore::onestep::{OneStep, Prediction};
use crate::restore::shuffle::cell_channels;
use crate::restore::tiles::in_tiles;
use crate::restore::wrap::wrapped;
use crate::unet::UNetConfig;
use crate::weights::Weights;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Config of a [`GenDr`](super::GenDr) or a [`GenDrAdc`](super::GenDrAdc).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentConfig {
    /// The UNet: its output has the latent's channels, and so has GenDR's input; GenDR-Adc's input has
    /// `3 * factor^2`, with the VAE's factor.
    pub unet: UNetConfig,
    /// The VAE.
    pub vae: VaeConfig,
    /// The fixed timestep, `0.0..=1000.0` in Stable Diffusion's training.
    pub timestep: f64,
    /// From the UNet's prediction to the latent. GenDR-Adc's is [`Prediction::Sample`]: its UNet's input is no latent
    /// that noise could be taken from.
    pub onestep: OneStep,
    /// Recommended guidance scale, used where the caller sets none; 1 is no guidance.
    pub guidance: f64,
    /// Recommended paddings of the self-ensemble, used where the caller sets none; one is no ensemble.
    pub ensemble: Vec<Padding>,
}

impl LatentConfig {
    /// The paper's GenDR on Stable Diffusion 2.1's UNet. What the paper leaves open is as in
    /// [`GenDrPixConfig::sd21`](crate::GenDrPixConfig::sd21).
    pub fn gendr_sd21() -> Self {
        Self::gendr(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// The paper's GenDR-Adc on Stable Diffusion 2.1's UNet.
    pub fn adc_sd21() -> Self {
        Self::adc(UNetConfig::sd21(), VaeConfig::vae16())
    }

    /// GenDR made for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    pub fn gendr_nano() -> Self {
        Self::gendr(UNetConfig::nano(), VaeConfig::nano())
    }

    /// GenDR-Adc made for a CPU: see [`UNetConfig::nano`] and [`VaeConfig::nano`].
    pub fn adc_nano() -> Self {
        Self::adc(UNetConfig::nano(), VaeConfig::nano())
    }

    /// GenDR of a UNet, whatever its channels, and a VAE.
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

    /// The same of GenDR-Adc.
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

    /// Checks that the numbers agree with each other as those of a GenDR.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for those of [`UNetConfig::validate`], [`VaeConfig::validate`] and [`OneStep::validate`], UNet
    /// channels other than the latent's, a timestep or guidance that is negative or not finite, an empty ensemble, or a
    /// padding beyond the cell.
    pub fn validate_gendr(&self) -> Result<()> {
        self.validate(
            |config| config.vae.latent_channels,
            "both ends are the latent's",
        )
    }

    /// Checks that the numbers agree with each other as those of a GenDR-Adc.
    ///
    /// # Errors
    ///
    /// Those of [`validate_gendr`](Self::validate_gendr), but for the UNet's input, which has `3 * factor^2` channels;
    /// and [`Error::Config`] when the prediction is not the sample.
    pub fn validate_adc(&self) -> Result<()> {
        let why = "cells of pixels become its input and the latent is its output";
        self.validate(|config| cell_channels(config.vae.factor()), why)?;
        if self.onestep.prediction != Prediction::Sample {
            return Err(Error::Config {
                field: "onestep",
                reason: "the UNet's input is no latent: it must predict the sample itself".into(),
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

/// UNet and decoder; the way into the UNet is told them with each picture.
#[derive(Debug)]
pub(super) struct LatentModel<B: Backend> {
    pub(super) config: LatentConfig,
    unet: PromptedUNet<B>,
    decoder: VaeDecoder<B>,
    /// How the VAE's halves are tiled, if they are.
    pub(super) tiling: Option<Tiling>,
    pub(super) device: B::Device,
}

impl<B: Backend> LatentModel<B> {
    /// `config` is valid.
    pub(super) fn new(
        config: LatentConfig,
        weights: Weights<B>,
        decoder: VaeDecoder<B>,
        device: &B::Device,
    ) -> Result<Self> {
        Ok(Self {
            unet: PromptedUNet::new(&config.unet, config.timestep, weights)?,
            config,
            decoder,
            tiling: None,
            device: device.clone(),
        })
    }

    /// Pads, enters the latent, takes the step with each prompt, blends in the latent, decodes, and crops; then blends
    /// over the paddings. `enter` gives the UNet's input of `[N, 3, H, W]`, whole cells.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::Shape`] for a tensor of another shape, [`Error::Cancelled`].
    pub(super) fn restore(
        &self,
        x: Tensor<B, 4>,
        options: &Upscale,
        watch: Watch,
        enter: impl Fn(Tensor<B, 4>, Watch) -> Cancellable<Tensor<B, 4>>,
    ) -> Result<Tensor<B, 4>> {
        let factor = self.config.vae.factor();
        options.validate(factor)?;
        if options.memory_budget.is_some() {
            return Err(Error::Option {
                option: "memory_budget",
                reason: "models with a VAE have no memory plan: set `tiling`".into(),
            });
        }
        check_shape(&x)?;
        let guidance = options.guidance.unwrap_or(self.config.guidance);
        let ensemble = options.ensemble.as_ref().unwrap_or(&self.config.ensemble);
        let share = 1.0 / ensemble.len() as f64;
        let pass = |x: Tensor<B, 4>, padding: Padding, edge: Edge, watch: Watch| {
            // Into the latent, the step, out of it.
            let mut parts = watch.parts(3);
            let [_, _, h, w] = x.dims();
            // Without a padding, whole cells are left as they are: there are no seams of cells to move.
            let padded = [h + padding.top, w + padding.left].map(|n| n.next_multiple_of(factor));
            let z = enter(pad(x, padding, edge, padded), parts.part())?;
            let x0 = blend(prompts(guidance), parts.part(), |prompt, watch| {
                let prediction = self
                    .unet
                    .predict(z.clone(), prompt, options.attention, watch)?;
                Ok(self.config.onestep.x0(z.clone(), prediction))
            })?;
            let decoder = &self.decoder;
            let picture = decoder.to_picture_watched(x0, self.tiling, parts.part())?;
            Ok(crop(picture, padding, [h, w]))
        };
        Ok(wrapped(x, options.edge, factor, |x, edge| {
            in_tiles(x, options.tiling, factor, edge, watch, |x, watch| {
                let paddings = ensemble.iter().map(|&padding| (padding, share));
                blend(paddings, watch, |padding, watch| {
                    pass(x.clone(), padding, edge, watch)
                })
            })
        })?)
    }
}
