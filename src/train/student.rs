//! A UNet in training, with its two learnt prompts.

use crate::backend::Backend;
use crate::config::GenDrPixConfig;
use crate::error::Result;
use crate::latent::LatentConfig;
use crate::restore::guidance::Prompt;
use crate::restore::onestep::OneStep;
use crate::restore::shuffle::{pixel_shuffle, pixel_unshuffle};
use crate::unet::{UNet, UNetConfig};
use crate::weights::Weights;
use burn::module::{Module, Param};
use burn::tensor::{Distribution, Tensor};

/// A UNet and its two learnt prompts.
#[derive(Module, Debug)]
pub struct Student<B: Backend> {
    pub(super) unet: UNet<B>,
    pub(super) positive: Param<Tensor<B, 2>>,
    pub(super) negative: Param<Tensor<B, 2>>,
}

impl<B: Backend> Student<B> {
    /// Creates a student with random weights, and random prompts of `tokens` tokens.
    pub(super) fn new(config: &UNetConfig, tokens: usize, device: &B::Device) -> Result<Self> {
        let prompt = || {
            let shape = [tokens, config.cross_attention_dim];
            let values = Distribution::Normal(0.0, 1.0);
            Param::from_tensor(Tensor::random(shape, values, device))
        };
        Ok(Self {
            unet: config.init(device)?,
            positive: prompt(),
            negative: prompt(),
        })
    }

    /// Creates a student with the weights and prompts of a model.
    pub(super) fn from_weights(weights: Weights<B>) -> Self {
        let prompt = |embedding: Tensor<B, 2>| Param::from_tensor(embedding);
        Self {
            unet: weights.unet,
            positive: prompt(weights.positive),
            negative: prompt(weights.negative),
        }
    }

    /// Computes the one-step estimate `x0` with the UNet. Unlike inference, gradients pass through
    /// the conditioning.
    ///
    /// # Shapes
    ///
    /// - z: `[N, in_channels, H, W]`
    /// - output: `[N, out_channels, H, W]`
    fn one_step(
        &self,
        z: Tensor<B, 4>,
        timestep: f64,
        onestep: OneStep,
        prompt: Prompt,
    ) -> Tensor<B, 4> {
        let prompt = match prompt {
            Prompt::Positive => &self.positive,
            Prompt::Negative => &self.negative,
        };
        let conditioning = self.unet.condition(timestep, prompt.val().unsqueeze());
        let prediction = self.unet.forward(z.clone(), &conditioning);
        onestep.x0(z, prediction)
    }

    /// Computes the latent that a model with `config` predicts for its UNet's input `z`.
    ///
    /// # Shapes
    ///
    /// - z: `[N, in_channels, H, W]`
    /// - output: `[N, out_channels, H, W]`
    pub(super) fn latent(
        &self,
        config: &LatentConfig,
        z: Tensor<B, 4>,
        prompt: Prompt,
    ) -> Tensor<B, 4> {
        self.one_step(z, config.timestep, config.onestep, prompt)
    }

    /// Restores a picture with the pixel model of `config`, without padding.
    ///
    /// # Shapes
    ///
    /// - x and output: `[N, 3, H, W]`, with sides that are multiples of the model's factor
    pub(super) fn restore(
        &self,
        config: &GenDrPixConfig,
        x: Tensor<B, 4>,
        prompt: Prompt,
    ) -> Tensor<B, 4> {
        let z = pixel_unshuffle(x, config.factor); // [N, 3 * factor^2, h, w]
        let x0 = self.one_step(z, config.timestep, config.onestep, prompt);
        pixel_shuffle(x0, config.factor)
    }

    /// Returns a copy of the weights, to build a model from.
    pub(super) fn weights(&self) -> Weights<B> {
        Weights {
            unet: self.unet.clone(),
            positive: self.positive.val(),
            negative: self.negative.val(),
        }
    }
}
