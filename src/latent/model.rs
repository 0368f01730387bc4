//! A latent model:
//! `image -> tensor -> resize -> [input] -> UNet -> one step -> VAE decoder -> image`.
//!
//! GenDR and GenDR-Adc differ only in the input of the UNet: GenDR encodes the picture, and
//! GenDR-Adc unshuffles its pixels.

use super::model_config::LatentConfig;
use super::vae::{VaeDecoder, VaeEncoder};
use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::error::{Error, Result};
use crate::model::prompted::PromptedUNet;
use crate::options::Upscale;
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancellable, Phase, Watch};
use crate::options::restore::Restore;
use crate::options::tiling::Tiling;
use crate::restore::guidance::{blend, prompts};
use crate::restore::shuffle::pixel_unshuffle;
use crate::restore::tiles::CellTiling;
use crate::restore::{Geometry, check_shape};
use crate::upscale::enlarge;
use crate::weights::Weights;
use burn::tensor::{Tensor, read_sync};
use image::DynamicImage;
use std::fmt::Debug;

/// A model that works in the latent space of a VAE: [`GenDr`](super::GenDr) or
/// [`GenDrAdc`](super::GenDrAdc).
///
/// It supports the options of [`GenDrPix`](crate::GenDrPix) except for the memory budget. It uses
/// standard guidance: two passes of the UNet over the same latent. The picture is encoded and
/// decoded once for any guidance scale. A self-ensemble encodes and decodes once for each padding.
/// The default is one padding, which only completes the last cells.
#[derive(Debug)]
pub struct LatentModel<B: Backend, I> {
    config: LatentConfig,
    input: I,
    unet: PromptedUNet<B>,
    decoder: VaeDecoder<B>,
    /// The tiles of the VAE; `None` for the whole picture.
    vae_tiling: Option<Tiling>,
    device: B::Device,
}

/// The conversion of a picture to the input of the UNet.
pub trait LatentInput<B: Backend>: Debug {
    /// Returns the input of the UNet.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, 3, H, W]`, whole cells
    /// - output: `[N, in_channels, H / factor, W / factor]`
    fn unet_input(
        &self,
        picture: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>>;
}

/// The input of GenDR's UNet: the latent from the VAE's encoder.
impl<B: Backend> LatentInput<B> for VaeEncoder<B> {
    fn unet_input(
        &self,
        picture: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        self.to_latent_watched(picture, tiling, watch)
    }
}

/// The input of GenDR-Adc's UNet: cells of pixels, moved to channels.
#[derive(Clone, Copy, Debug)]
pub struct FoldedCells {
    /// The side of a cell in pixels.
    pub(super) factor: usize,
}

impl<B: Backend> LatentInput<B> for FoldedCells {
    fn unet_input(
        &self,
        picture: Tensor<B, 4>,
        _: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        watch.done()?;
        Ok(pixel_unshuffle(picture, self.factor))
    }
}

impl<B: Backend, I: LatentInput<B>> LatentModel<B, I> {
    /// Creates a model. `config` must be valid.
    pub(super) fn with_input(
        config: LatentConfig,
        input: I,
        weights: Weights<B>,
        decoder: VaeDecoder<B>,
        device: &B::Device,
    ) -> Result<Self> {
        Ok(Self {
            unet: PromptedUNet::new(&config.unet, config.timestep, weights)?,
            config,
            input,
            decoder,
            vae_tiling: None,
            device: device.clone(),
        })
    }

    /// Sets the tiles of the VAE. `None` runs it over the whole picture, which is the default.
    #[must_use]
    pub fn tiling(mut self, tiling: Option<Tiling>) -> Self {
        self.vae_tiling = tiling;
        self
    }

    /// Returns the config of the model.
    #[must_use]
    pub fn config(&self) -> &LatentConfig {
        &self.config
    }

    /// Enlarges a picture four times with the guidance and the paddings that the model recommends.
    ///
    /// # Errors
    ///
    /// The errors of [`upscale_with`](Self::upscale_with).
    pub fn upscale(&self, picture: &DynamicImage) -> Result<DynamicImage> {
        self.upscale_with(picture, &Upscale::new())
    }

    /// Enlarges a picture, as [`GenDrPix::upscale_with`](crate::GenDrPix::upscale_with) does.
    ///
    /// # Errors
    ///
    /// The errors of [`GenDrPix::upscale_with`](crate::GenDrPix::upscale_with), and
    /// [`Error::Option`] for a memory budget.
    pub fn upscale_with(&self, picture: &DynamicImage, options: &Upscale) -> Result<DynamicImage> {
        options.validate(self.config.vae.factor())?;
        let to = options.enlargement(picture.width(), picture.height())?;
        let restore = |x, watch: Watch| self.restore_watched(x, &options.restore, watch);
        read_sync(enlarge(picture, to, None, options, &self.device, restore))
    }

    /// Restores pictures that already have the size of the output: the whole method without the
    /// resize.
    ///
    /// # Shapes
    ///
    /// - input and output: `[N, 3, H, W]`, any size from 1x1, RGB, sRGB-encoded, -1 to 1 (the
    ///   output may exceed it)
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option out of range or a memory budget, [`Error::Shape`] for a
    /// tensor of another shape, [`Error::Cancelled`].
    pub fn restore(&self, x: Tensor<B, 4>, options: &Restore) -> Result<Tensor<B, 4>> {
        self.restore_watched(x, options, options.watch(Phase::Restore).as_whole())
    }

    fn restore_watched(
        &self,
        x: Tensor<B, 4>,
        options: &Restore,
        watch: Watch,
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
        let ensemble = options.ensemble.as_ref().unwrap_or(&self.config.ensemble);
        let share = 1.0 / ensemble.len() as f64;
        let geometry = Geometry {
            edge: options.edge,
            factor,
            tiling: options.tiling.map(|tiling| CellTiling::new(tiling, factor)),
        };
        let passes = ensemble.iter().map(|&padding| (padding, share));
        Ok(
            geometry.restore(x, passes, watch, |x, padding, edge, watch| {
                self.pass(x, padding, edge, options, watch)
            })?,
        )
    }

    /// Runs one padding: pads the picture, computes the UNet's input, takes the step with each
    /// prompt, blends the latents, decodes and crops.
    fn pass(
        &self,
        x: Tensor<B, 4>,
        padding: Padding,
        edge: Edge,
        options: &Restore,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        // The UNet's input, the step, and the decoder.
        let mut parts = watch.parts(3);
        let factor = self.config.vae.factor();
        let [_, _, h, w] = x.dims();
        // Unlike GenDR-Pix, the VAE leaves no pattern of cells, so the padding need not move cells.
        let padded = [h + padding.top, w + padding.left].map(|n| n.next_multiple_of(factor));
        let x = pad(x, padding, edge, padded);
        let z = self.input.unet_input(x, self.vae_tiling, parts.part())?;
        let guidance = options.guidance.unwrap_or(self.config.guidance);
        let x0 = blend(prompts(guidance), parts.part(), |prompt, watch| {
            let unet = &self.unet;
            let prediction = unet.predict(z.clone(), prompt, options.attention, watch)?;
            Ok(self.config.onestep.x0(z.clone(), prediction))
        })?;
        let decoder = &self.decoder;
        let picture = decoder.to_picture_watched(x0, self.vae_tiling, parts.part())?;
        Ok(crop(picture, padding, [h, w]))
    }
}
