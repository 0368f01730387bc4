//! The VAE (diffusers' `AutoencoderKL`), in two halves, because some models need only one.
//!
//! Modules and fields have diffusers' names, so that the paths of the fields in [`VaeEncoder`] and
//! [`VaeDecoder`] are the keys of a checkpoint.

use super::NORM_EPSILON;
use super::blocks::{DecoderBlock, EncoderBlock, VaeMidBlock};
use super::config::VaeConfig;
use super::gaussian::Gaussian;
use crate::backend::Backend;
use crate::backend::precision::computed_in;
use crate::error::Result;
use crate::options::progress::{Cancellable, Watch, unwatched};
use crate::options::tiling::Tiling;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::restore::tiles::{CellTiling, Units, tiled};
use crate::unet::conv::{Conv2d, conv1x1, conv3x3};
use crate::unet::norm::GroupNorm;
use crate::unet::parameters::count as parameter_count;
use burn::module::Module;
use burn::tensor::Tensor;

/// The VAE: encoder and decoder. [`VaeConfig::init`] creates it.
#[derive(Module, Debug)]
pub struct Vae<B: Backend> {
    /// Maps a picture to its latent.
    pub encoder: VaeEncoder<B>,
    /// Maps a latent to its picture.
    pub decoder: VaeDecoder<B>,
}

/// The half of a VAE that maps a picture to its latent.
#[derive(Module, Debug)]
pub struct VaeEncoder<B: Backend> {
    pub(super) encoder: Encoder<B>,
    quant_conv: Option<Conv2d<B>>,
    factor: usize,
    scaling_factor: f64,
    shift_factor: f64,
}

/// The half of a VAE that maps a latent to its picture.
#[derive(Module, Debug)]
pub struct VaeDecoder<B: Backend> {
    pub(super) decoder: Decoder<B>,
    pub(super) post_quant_conv: Option<Conv2d<B>>,
    factor: usize,
    scaling_factor: f64,
    shift_factor: f64,
}

impl VaeConfig {
    /// Creates a VAE with random weights (PyTorch's default initialisation). The weights are
    /// allocated on first use.
    ///
    /// # Errors
    ///
    /// The errors of [`VaeConfig::validate`].
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<Vae<B>> {
        Ok(Vae {
            encoder: self.init_encoder(device)?,
            decoder: self.init_decoder(device)?,
        })
    }

    /// Creates the encoder alone: see [`init`](Self::init).
    ///
    /// # Errors
    ///
    /// The errors of [`VaeConfig::validate`].
    pub fn init_encoder<B: Backend>(&self, device: &B::Device) -> Result<VaeEncoder<B>> {
        self.validate()?;
        let quant_conv = || conv1x1([self.moments(); 2], device);
        Ok(VaeEncoder {
            encoder: Encoder::new(self, device),
            quant_conv: self.use_quant_conv.then(quant_conv),
            factor: self.factor(),
            scaling_factor: self.scaling_factor,
            shift_factor: self.shift_factor,
        })
    }

    /// Creates the decoder alone: see [`init`](Self::init).
    ///
    /// # Errors
    ///
    /// The errors of [`VaeConfig::validate`].
    pub fn init_decoder<B: Backend>(&self, device: &B::Device) -> Result<VaeDecoder<B>> {
        self.validate()?;
        let post_quant_conv = || conv1x1([self.latent_channels; 2], device);
        Ok(VaeDecoder {
            decoder: Decoder::new(self, device),
            post_quant_conv: self.use_post_quant_conv.then(post_quant_conv),
            factor: self.factor(),
            scaling_factor: self.scaling_factor,
            shift_factor: self.shift_factor,
        })
    }
}

impl<B: Backend> Vae<B> {
    /// Counts the parameters from their shapes. No weights are allocated.
    pub fn parameters(&self) -> usize {
        parameter_count(self)
    }
}

impl<B: Backend> VaeEncoder<B> {
    /// Counts the parameters from their shapes. No weights are allocated.
    pub fn parameters(&self) -> usize {
        parameter_count(self)
    }

    /// Computes the distribution of the latent, neither shifted nor scaled, in tiles if `tiling` is
    /// given.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, 3, H, W]`, -1 to 1, with `H` and `W` of at least the config's factor `f`
    /// - output: `[N, latent_channels, floor(H / f), floor(W / f)]`
    pub fn encode(&self, picture: Tensor<B, 4>, tiling: Option<Tiling>) -> Gaussian<B> {
        unwatched(|watch| self.encode_watched(picture, tiling, watch))
    }

    fn encode_watched(
        &self,
        picture: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Gaussian<B>> {
        let units = Units {
            input: self.factor,
            output: 1,
        };
        let tiling = tiling.map(|tiling| CellTiling::new(tiling, self.factor));
        let moments = tiled(picture, tiling, units, watch, |x, watch| {
            self.moments(x, watch)
        })?;
        Ok(Gaussian::from_moments(moments))
    }

    /// Computes the latent for a UNet: the [mode](Gaussian::mode), shifted and scaled.
    ///
    /// # Shapes
    ///
    /// The shapes of [`encode`](Self::encode).
    pub fn to_latent(&self, picture: Tensor<B, 4>, tiling: Option<Tiling>) -> Tensor<B, 4> {
        unwatched(|watch| self.to_latent_watched(picture, tiling, watch))
    }

    /// Like [`to_latent`](Self::to_latent), but can be cancelled after each layer.
    pub(super) fn to_latent_watched(
        &self,
        picture: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let latent = self.encode_watched(picture, tiling, watch)?.mode();
        Ok((latent - self.shift_factor) * self.scaling_factor)
    }

    /// Computes means and logarithms of variances: `[N, 3, H, W]` ->
    /// `[N, 2 * latent_channels, h, w]`.
    pub(super) fn moments(&self, picture: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        computed_in(self.encoder.conv_in.dtype(), picture, |picture| {
            let x = self.encoder.forward(picture, watch)?;
            Ok(match &self.quant_conv {
                Some(conv) => conv.forward(x),
                None => x,
            })
        })
    }
}

impl<B: Backend> VaeDecoder<B> {
    /// Counts the parameters from their shapes. No weights are allocated.
    pub fn parameters(&self) -> usize {
        parameter_count(self)
    }

    /// Computes the picture of a latent that is neither shifted nor scaled, in tiles if `tiling` is
    /// given.
    ///
    /// # Shapes
    ///
    /// - latent: `[N, latent_channels, h, w]`
    /// - output: `[N, 3, f * h, f * w]` with the config's factor `f`, approximately -1 to 1
    pub fn decode(&self, latent: Tensor<B, 4>, tiling: Option<Tiling>) -> Tensor<B, 4> {
        unwatched(|watch| self.decode_watched(latent, tiling, watch))
    }

    fn decode_watched(
        &self,
        latent: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let units = Units {
            input: 1,
            output: self.factor,
        };
        let tiling = tiling.map(|tiling| CellTiling::new(tiling, self.factor));
        tiled(latent, tiling, units, watch, |tile, watch| {
            computed_in(self.decoder.conv_in.dtype(), tile, |z| {
                let z = match &self.post_quant_conv {
                    Some(conv) => conv.forward(z),
                    None => z,
                };
                self.decoder.forward(z, watch)
            })
        })
    }

    /// Computes the picture of a UNet's latent. Scale and shift are undone first.
    ///
    /// # Shapes
    ///
    /// The shapes of [`decode`](Self::decode).
    pub fn to_picture(&self, latent: Tensor<B, 4>, tiling: Option<Tiling>) -> Tensor<B, 4> {
        unwatched(|watch| self.to_picture_watched(latent, tiling, watch))
    }

    /// Like [`to_picture`](Self::to_picture), but can be cancelled after each layer.
    pub(super) fn to_picture_watched(
        &self,
        latent: Tensor<B, 4>,
        tiling: Option<Tiling>,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let latent = latent / self.scaling_factor + self.shift_factor;
        self.decode_watched(latent, tiling, watch)
    }
}

/// The encoder without `quant_conv`.
#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    pub(super) conv_in: Conv2d<B>,
    pub(super) down_blocks: Vec<EncoderBlock<B>>,
    pub(super) mid_block: VaeMidBlock<B>,
    pub(super) conv_norm_out: GroupNorm<B>,
    pub(super) conv_out: Conv2d<B>,
}

impl<B: Backend> Encoder<B> {
    fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let (deepest, groups) = (config.deepest(), config.norm_num_groups);
        Self {
            conv_in: conv3x3([PICTURE_CHANNELS, config.widest()], 1, device),
            down_blocks: (0..config.stages())
                .map(|stage| EncoderBlock::new(config, stage, device))
                .collect(),
            mid_block: VaeMidBlock::new(config, device),
            conv_norm_out: GroupNorm::new(groups, deepest, NORM_EPSILON, device),
            conv_out: conv3x3([deepest, config.moments()], 1, device),
        }
    }

    fn forward(&self, x: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(self.down_blocks.len() + 3);
        let mut x = self.conv_in.forward_wide(x);
        parts.done()?;
        for block in &self.down_blocks {
            x = block.forward(x, parts.part())?;
        }
        let x = self.mid_block.forward(x, parts.part())?;
        let x = self.conv_out.forward(self.conv_norm_out.forward_silu(x));
        parts.done()?;
        Ok(x)
    }
}

/// The decoder without `post_quant_conv`.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    pub(super) conv_in: Conv2d<B>,
    pub(super) mid_block: VaeMidBlock<B>,
    pub(super) up_blocks: Vec<DecoderBlock<B>>,
    pub(super) conv_norm_out: GroupNorm<B>,
    conv_out: Conv2d<B>,
}

impl<B: Backend> Decoder<B> {
    fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let (widest, groups) = (config.widest(), config.norm_num_groups);
        Self {
            conv_in: conv3x3([config.latent_channels, config.deepest()], 1, device),
            mid_block: VaeMidBlock::new(config, device),
            up_blocks: (0..config.stages())
                .rev()
                .map(|stage| DecoderBlock::new(config, stage, device))
                .collect(),
            conv_norm_out: GroupNorm::new(groups, widest, NORM_EPSILON, device),
            conv_out: conv3x3([widest, PICTURE_CHANNELS], 1, device),
        }
    }

    fn forward(&self, z: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let mut parts = watch.parts(self.up_blocks.len() + 3);
        let x = self.conv_in.forward_wide(z);
        parts.done()?;
        let mut x = self.mid_block.forward(x, parts.part())?;
        for block in &self.up_blocks {
            x = block.forward(x, parts.part())?;
        }
        let x = self.conv_out.forward(self.conv_norm_out.forward_silu(x));
        parts.done()?;
        Ok(x)
    }
}
