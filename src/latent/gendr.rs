//! GenDR: `image -> tensor -> resize -> VAE encoder -> UNet -> one step -> VAE decoder -> image`.

use super::model::LatentModel;
use super::model_config::LatentConfig;
use super::vae::{Vae, VaeEncoder};
use crate::backend::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::prompted::random_weights;
use crate::weights::{Weights, load_diffusers};
use std::path::Path;

/// A GenDR model (paper, "The model"; arXiv 2503.06790): one diffusion step in the latent space of
/// a VAE.
pub type GenDr<B> = LatentModel<B, VaeEncoder<B>>;

impl<B: Backend> GenDr<B> {
    /// Loads a diffusers pipeline folder: the UNet in `unet/`, the VAE in `vae/`, and
    /// `prompts.safetensors`.
    ///
    /// A folder stores neither the timestep nor the kind of prediction, so those of
    /// [`LatentConfig::gendr_sd21`] are used. Use [`from_parts`](Self::from_parts) for others.
    ///
    /// # Errors
    ///
    /// The errors of [`Vae::load_diffusers`], and [`Error::Config`] if UNet and VAE do not match.
    pub fn load(folder: impl AsRef<Path>, device: &B::Device) -> Result<Self> {
        let (unet, weights) = load_diffusers(folder.as_ref(), device)?;
        let (vae_config, vae) = Vae::load_diffusers(folder, device)?;
        let config = LatentConfig {
            unet,
            vae: vae_config,
            ..LatentConfig::gendr_sd21()
        };
        Self::from_parts(config, weights, vae, device)
    }

    /// Creates a model with random weights and random prompts of `tokens` tokens, for measurements
    /// or for training.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config contradicts itself or `tokens` is zero.
    pub fn new(config: LatentConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let weights = random_weights(&config.unet, tokens, device)?;
        let vae = config.vae.init(device)?;
        Self::from_parts(config, weights, vae, device)
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
        vae: Vae<B>,
        device: &B::Device,
    ) -> Result<Self> {
        config.validate_gendr()?;
        Self::with_input(config, vae.encoder, weights, vae.decoder, device)
    }
}
