//! GenDR: image -> tensor -> resize -> VAE encoder -> UNet -> one step -> VAE decoder -> image.

use super::model::{LatentConfig, LatentModel};
use super::vae::{Vae, VaeEncoder};
use crate::backend::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::prompted::random_weights;
use crate::options::Upscale;
use crate::options::progress::{Phase, Watch};
use crate::options::tiling::Tiling;
use crate::upscale::enlarge;
use crate::upscale::strip::Bands;
use crate::weights::{Weights, load_diffusers};
use burn::tensor::{Tensor, read_sync};
use image::DynamicImage;
use std::path::Path;

/// A GenDR model (paper, "The model"; arXiv 2503.06790): one step in the latent of a VAE.
///
/// It takes the options of [`GenDrPix`](crate::GenDrPix). Guidance is the plain one, two passes of the UNet over one
/// latent: the picture is encoded and decoded once, whatever the guidance scale. A self-ensemble encodes and decodes
/// once a padding; by default there is one, of nothing but what fills up the last cells.
#[derive(Debug)]
pub struct GenDr<B: Backend> {
    model: LatentModel<B>,
    encoder: VaeEncoder<B>,
}

impl<B: Backend> GenDr<B> {
    /// Loads a diffusers pipeline folder: the UNet in `unet/`, the VAE in `vae/`, and `prompts.safetensors`.
    ///
    /// A folder says nothing of the timestep and the prediction: it gets those of [`LatentConfig::gendr_sd21`]; use
    /// [`from_parts`](Self::from_parts) for others.
    ///
    /// # Errors
    ///
    /// Those of [`Vae::load_diffusers`], and [`Error::Config`] when UNet and VAE do not fit each other.
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

    /// A model with random weights and prompts of `tokens` tokens, to measure or to train.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself or `tokens` is zero.
    pub fn new(config: LatentConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let weights = random_weights(&config.unet, tokens, device)?;
        let vae = config.vae.init(device)?;
        Self::from_parts(config, weights, vae, device)
    }

    /// Puts a model together: folds the timestep and the prompts into the UNet's conditioning.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the config contradicts itself, [`Error::Shape`] when a prompt is not
    /// `[tokens, cross_attention_dim]`.
    pub fn from_parts(
        config: LatentConfig,
        weights: Weights<B>,
        vae: Vae<B>,
        device: &B::Device,
    ) -> Result<Self> {
        config.validate_gendr()?;
        Ok(Self {
            model: LatentModel::new(config, weights, vae.decoder, device)?,
            encoder: vae.encoder,
        })
    }

    /// The same model with its VAE in tiles, or not. Default: none.
    pub fn tiling(mut self, tiling: Option<Tiling>) -> Self {
        self.model.tiling = tiling;
        self
    }

    /// The model's numbers.
    pub fn config(&self) -> &LatentConfig {
        &self.model.config
    }

    /// Enlarges a picture four times with the model's recommended guidance.
    ///
    /// # Errors
    ///
    /// Those of [`upscale_with`](Self::upscale_with).
    pub fn upscale(&self, picture: &DynamicImage) -> Result<DynamicImage> {
        self.upscale_with(picture, &Upscale::new())
    }

    /// Enlarges a picture, as [`GenDrPix::upscale_with`](crate::GenDrPix::upscale_with) does.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPix::upscale_with`](crate::GenDrPix::upscale_with).
    pub fn upscale_with(&self, picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        options.validate(self.model.config.vae.factor())?;
        read_sync(enlarge(
            picture,
            options,
            Bands::ONE,
            &self.model.device,
            |x, watch| self.restore_watched(x, options, watch),
        ))
    }

    /// Restores pictures that have their output size already: the whole method but for the resize.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, 3, H, W]`, any size from 1x1, RGB, sRGB-encoded, -1 to 1 (the output may pass it)
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range, [`Error::Shape`] for a tensor of another shape, [`Error::Cancelled`].
    pub fn restore(&self, x: Tensor<B, 4>, options: &Upscale) -> Result<Tensor<B, 4>> {
        self.restore_watched(x, options, options.watch(Phase::Restore).alone())
    }

    fn restore_watched(
        &self,
        x: Tensor<B, 4>,
        options: &Upscale,
        watch: Watch,
    ) -> Result<Tensor<B, 4>> {
        let tiling = self.model.tiling;
        let encode = |x, watch: Watch| self.encoder.to_latent_watched(x, tiling, watch);
        self.model.restore(x, options, watch, encode)
    }
}
