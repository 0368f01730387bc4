//! GenDR-Adc: `image -> tensor -> resize -> unshuffle -> UNet -> one step -> VAE decoder -> image`.

use super::model::{FoldedCells, LatentModel};
use super::model_config::LatentConfig;
use super::vae::VaeDecoder;
use crate::backend::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::prompted::random_weights;
use crate::weights::{Weights, load_diffusers};
use std::path::Path;

/// A GenDR-Adc model (paper, stage 1): GenDR without its encoder. The UNet reads cells of pixels
/// and predicts a latent.
///
/// The input and the prediction of this UNet have different channels and meanings, so the diffusion
/// step cannot combine them. The UNet therefore predicts the latent itself.
pub type GenDrAdc<B> = LatentModel<B, FoldedCells>;

impl<B: Backend> GenDrAdc<B> {
    /// Loads a diffusers pipeline folder: the UNet in `unet/`, the VAE in `vae/`, and
    /// `prompts.safetensors`.
    ///
    /// The tensors of the encoder are checked, but not read. A folder does not store the timestep,
    /// so that of [`LatentConfig::adc_sd21`] is used. Use [`from_parts`](Self::from_parts) for
    /// others.
    ///
    /// # Errors
    ///
    /// The errors of [`VaeDecoder::load_diffusers`], and [`Error::Config`] if UNet and VAE do not
    /// match.
    pub fn load(folder: impl AsRef<Path>, device: &B::Device) -> Result<Self> {
        let (unet, weights) = load_diffusers(folder.as_ref(), device)?;
        let (vae, decoder) = VaeDecoder::load_diffusers(folder, device)?;
        let config = LatentConfig {
            unet,
            vae,
            ..LatentConfig::adc_sd21()
        };
        Self::from_parts(config, weights, decoder, device)
    }

    /// Creates a model with random weights and random prompts of `tokens` tokens, for measurements
    /// or for training.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config contradicts itself or `tokens` is zero.
    pub fn new(config: LatentConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let weights = random_weights(&config.unet, tokens, device)?;
        let decoder = config.vae.init_decoder(device)?;
        Self::from_parts(config, weights, decoder, device)
    }

    /// Creates a model from its parts. Computes the UNet's conditioning from the timestep and the
    /// prompts.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config contradicts itself, [`Error::Shape`] if a prompt is not
    /// `[tokens, cross_attention_dim]`.
    pub fn from_parts(
        config: LatentConfig,
        weights: Weights<B>,
        decoder: VaeDecoder<B>,
        device: &B::Device,
    ) -> Result<Self> {
        config.validate_adc()?;
        let input = FoldedCells {
            factor: config.vae.factor(),
        };
        Self::with_input(config, input, weights, decoder, device)
    }
}
