//! A UNet with a fixed timestep and two prompts.

use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::backend::precision::check_precision;
use crate::backend::precision::float_type;
use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::progress::{Cancellable, Watch};
use crate::restore::guidance::Prompt;
use crate::unet::{Conditioning, UNetConfig};
use crate::weights::Weights;
use burn::tensor::{Distribution, Tensor};

/// A UNet with its weights, and with the conditioning that is computed from the fixed timestep and
/// each prompt.
#[derive(Debug)]
pub(crate) struct PromptedUNet<B: Backend> {
    pub(crate) weights: Weights<B>,
    positive: Conditioning<B>,
    negative: Conditioning<B>,
}

impl<B: Backend> PromptedUNet<B> {
    /// Folds the timestep and the prompts into the UNet's conditioning.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if a prompt is not `[tokens, cross_attention_dim]`.
    pub(crate) fn new(config: &UNetConfig, timestep: f64, weights: Weights<B>) -> Result<Self> {
        let width = config.cross_attention_dim;
        for (what, prompt) in [
            ("positive prompt", &weights.positive),
            ("negative prompt", &weights.negative),
        ] {
            let [tokens, found] = prompt.dims();
            if tokens == 0 || found != width {
                return Err(Error::Shape {
                    what,
                    expected: format!("[tokens, {width}]"),
                    found: vec![tokens, found],
                });
            }
        }
        let fold = |prompt: &Tensor<B, 2>| {
            let prompt = prompt.clone().unsqueeze();
            weights.unet.condition(timestep, prompt)
        };
        Ok(Self {
            positive: fold(&weights.positive),
            negative: fold(&weights.negative),
            weights,
        })
    }

    /// Converts to another precision. The conditioning is not computed again, but rounded from the
    /// original precision.
    pub(crate) fn in_precision(self, precision: Precision) -> Self {
        let weights = self.weights;
        Self {
            weights: Weights {
                unet: precision.cast_module(weights.unet),
                positive: precision.cast_tensor(weights.positive),
                negative: precision.cast_tensor(weights.negative),
            },
            positive: self.positive.in_precision(precision),
            negative: self.negative.in_precision(precision),
        }
    }

    /// Computes the UNet's prediction.
    ///
    /// # Shapes
    ///
    /// - z: `[N, in_channels, H, W]`
    /// - output: `[N, out_channels, H, W]`
    pub(crate) fn predict(
        &self,
        z: Tensor<B, 4>,
        prompt: Prompt,
        attention: Attention,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        let conditioning = match prompt {
            Prompt::Positive => &self.positive,
            Prompt::Negative => &self.negative,
        };
        let unet = &self.weights.unet;
        unet.forward_watched(z, conditioning, attention, watch)
    }
}

/// Creates random weights, and prompts of `tokens` tokens.
///
/// # Errors
///
/// [`Error::Config`] if the config contradicts itself or `tokens` is zero, [`Error::Precision`] if
/// the device does not compute in the backend's precision.
pub(crate) fn random_weights<B: Backend>(
    config: &UNetConfig,
    tokens: usize,
    device: &B::Device,
) -> Result<Weights<B>> {
    if tokens == 0 {
        return Err(Error::Config {
            field: "tokens",
            reason: "is zero".into(),
        });
    }
    check_precision::<B>(device, float_type::<B>())?;
    let width = config.cross_attention_dim;
    let normal = Distribution::Normal(0.0, 1.0);
    let prompt = || Tensor::random([tokens, width], normal, (device, float_type::<B>()));
    Ok(Weights {
        unet: Precision::Full.cast_module(config.init(device)?),
        positive: prompt(),
        negative: prompt(),
    })
}
