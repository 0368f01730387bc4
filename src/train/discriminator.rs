//! The discriminator: small trained heads on the features of a frozen UNet from an earlier stage.
//!
//! In the paper's stage 1, the feature extractor is the GenDR UNet, which reads latents. In stage
//! 2, it is the UNet of stage 1, which reads pixel-unshuffled pictures.

use crate::backend::Backend;
use crate::backend::pad::pad;
use crate::error::{Error, Result};
use crate::options::padding::{Edge, Padding, padded_side};
use crate::unet::conv::{Conv2d, conv1x1, conv3x3};
use crate::unet::norm::GroupNorm;
use crate::unet::{Conditioning, Feature, UNet, UNetConfig};
use burn::module::Module;
use burn::tensor::Tensor;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Number of groups in a head's group norm.
const GROUPS: usize = 4;
/// Epsilon of a head's group norm.
const EPSILON: f64 = 1e-5;

/// Config of a discriminator's heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Where the features are taken from the frozen UNet. Each has a head.
    pub features: Vec<Feature>,
    /// Number of channels within a head, a multiple of 4.
    pub width: usize,
}

impl DiscriminatorConfig {
    /// Checks the config for a frozen UNet of config `unet`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the list of features is empty, names one twice or names one that the
    /// UNet does not have, or if the width is not a positive multiple of 4.
    pub fn validate(&self, unet: &UNetConfig) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        let stages = unet.block_out_channels.len();
        if self.features.is_empty() {
            return fail("features", "must name at least one".into());
        }
        for (i, feature) in self.features.iter().enumerate() {
            if matches!(feature, Feature::Down(stage) if *stage >= stages) {
                return fail(
                    "features",
                    format!("{feature:?}: the UNet has {stages} resolutions, counted from 0"),
                );
            }
            if self.features[..i].contains(feature) {
                return fail("features", format!("{feature:?} is named twice"));
            }
        }
        if self.width == 0 || !self.width.is_multiple_of(GROUPS) {
            let reason = format!("{} is not a positive multiple of {GROUPS}", self.width);
            return fail("width", reason);
        }
        Ok(())
    }

    /// Creates random heads for the features of a UNet of config `unet`.
    ///
    /// # Errors
    ///
    /// The errors of [`validate`](Self::validate).
    pub fn init<B: Backend>(
        &self,
        unet: &UNetConfig,
        device: &B::Device,
    ) -> Result<DiscriminatorHeads<B>> {
        self.validate(unet)?;
        let widths = &unet.block_out_channels;
        let mut features = self.features.clone();
        features.sort_unstable();
        let heads = features.iter().map(|feature| {
            let channels = match feature {
                Feature::Down(stage) => widths[*stage],
                Feature::Middle => widths[widths.len() - 1],
            };
            DiscriminatorHead {
                conv: conv3x3([channels, self.width], 1, device),
                norm: GroupNorm::new(GROUPS, self.width, EPSILON, device),
                out: conv1x1([self.width, 1], device),
            }
        });
        Ok(DiscriminatorHeads {
            heads: heads.collect(),
        })
    }
}

/// The trained part of a discriminator: a head for each feature.
#[derive(Module, Debug)]
pub struct DiscriminatorHeads<B: Backend> {
    heads: Vec<DiscriminatorHead<B>>,
}

/// `out(silu(norm(conv(x))))`: a logit for each position of a feature map.
#[derive(Module, Debug)]
pub struct DiscriminatorHead<B: Backend> {
    conv: Conv2d<B>,
    norm: GroupNorm<B>,
    out: Conv2d<B>,
}

/// The frozen part of a discriminator: a trained UNet with its conditioning.
#[derive(Clone, Debug)]
pub struct FeatureExtractor<B: Backend> {
    unet: UNet<B>,
    conditioning: Conditioning<B>,
    features: Vec<Feature>,
}

impl<B: Backend> FeatureExtractor<B> {
    /// Freezes `unet` with the conditioning for `timestep` and `prompt`,
    /// `[T, cross_attention_dim]`.
    pub fn new(
        unet: UNet<B>,
        timestep: f64,
        prompt: Tensor<B, 2>,
        config: &DiscriminatorConfig,
    ) -> Self {
        let unet = unet.no_grad();
        Self {
            conditioning: unet.condition(timestep, prompt.detach().unsqueeze()),
            unet,
            features: config.features.clone(),
        }
    }

    /// Computes the logits of all positions of all features. They are high where `sample` looks
    /// real.
    ///
    /// # Shapes
    ///
    /// - sample: `[N, in_channels, H, W]`
    /// - output: `[N, positions]`
    pub fn logits(&self, heads: &DiscriminatorHeads<B>, sample: Tensor<B, 4>) -> Tensor<B, 2> {
        let features = self
            .unet
            .features(sample, &self.conditioning, &self.features);
        let logits = heads.heads.iter().zip(features).map(|(head, feature)| {
            let h = head.norm.forward_silu(head.conv.forward(feature));
            head.out.forward(h).flatten(1, 3)
        });
        Tensor::cat(logits.collect(), 1)
    }
}

/// RandPad (paper, "RandPad"): `p_h` and `p_w` are drawn from `0..factor`, and a picture is padded
/// by `[p_h, factor - p_h, p_w, factor - p_w]`. The discriminator then cannot rely on the positions
/// of the pixel shuffle cells.
///
/// The same draw pads the student's and the real pictures of a batch.
#[derive(Clone, Copy, Debug)]
pub struct RandPad {
    padding: Padding,
    factor: usize,
}

impl RandPad {
    /// Draws a padding.
    pub fn draw(factor: usize, rng: &mut impl Rng) -> Self {
        let [top, left] = [(); 2].map(|()| rng.random_range(0..factor));
        Self {
            padding: Padding::new(top, left),
            factor,
        }
    }

    /// Pads a picture.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, C, H, W]`
    /// - output: `[N, C, H + factor, W + factor]` if both sides are multiples of `factor`
    pub fn apply<B: Backend>(self, picture: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, h, w] = picture.dims();
        let padded = [h, w].map(|n| padded_side(n, self.factor));
        pad(picture, self.padding, Edge::Reflect, padded)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use burn::backend::Autodiff;
    use burn::optim::{AdamConfig, GradientsParams, Optimizer};
    use burn::tensor::activation::softplus;
    use burn::tensor::{Distribution, ElementConversion};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    type B = Autodiff<Flex>;

    fn unet_config() -> UNetConfig {
        UNetConfig {
            in_channels: 12,
            out_channels: 12,
            block_out_channels: vec![16, 16],
            layers_per_block: vec![1; 2],
            down_attention: vec![false, true],
            up_attention: vec![false; 2],
            num_heads: vec![1, 2],
            ..UNetConfig::nano()
        }
    }

    fn config() -> DiscriminatorConfig {
        DiscriminatorConfig {
            features: vec![Feature::Middle, Feature::Down(0)],
            width: 8,
        }
    }

    fn extractor() -> (FeatureExtractor<B>, DiscriminatorHeads<B>) {
        let device = Default::default();
        let unet = unet_config().init(&device).unwrap();
        let prompt = Tensor::ones([2, unet_config().cross_attention_dim], &device);
        let heads = config().init(&unet_config(), &device).unwrap();
        (FeatureExtractor::new(unet, 500.0, prompt, &config()), heads)
    }

    fn sample() -> Tensor<B, 4> {
        let values = Distribution::Normal(0.0, 1.0);
        Tensor::random([4, 12, 8, 8], values, &Default::default())
    }

    /// Samples with the variance of [`sample`] whose rows are constant.
    fn striped() -> Tensor<B, 4> {
        sample().slice([0..4, 0..12, 0..8, 0..1]).repeat_dim(3, 8)
    }

    #[test]
    fn the_gradient_reaches_the_picture_and_the_heads_but_not_the_unet() {
        let (extractor, heads) = extractor();
        let sample = sample().require_grad();
        let logits = extractor.logits(&heads, sample.clone());
        assert_eq!(logits.dims(), [4, 8 * 8 + 4 * 4]);
        let gradients = softplus(-logits, 1.0).mean().backward();
        assert!(sample.grad(&gradients).unwrap().abs().max().into_scalar() > 0.0);
        assert_ne!(GradientsParams::from_grads(gradients, &heads).len(), 0);
        let gradients = extractor.logits(&heads, sample).mean().backward();
        let unet_gradients = GradientsParams::from_grads(gradients, &extractor.unet);
        assert_eq!(unet_gradients.len(), 0);
    }

    #[test]
    fn heads_learn_to_distinguish_two_kinds_of_samples() {
        let (extractor, mut heads) = extractor();
        let mut optimizer = AdamConfig::new().init();
        for _ in 0..200 {
            let loss = softplus(-extractor.logits(&heads, striped()), 1.0).mean()
                + softplus(extractor.logits(&heads, sample()), 1.0).mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &heads);
            heads = optimizer.step(1e-2, heads, gradients);
        }
        let score = |sample| -> f64 {
            let logits = extractor.logits(&heads, sample);
            logits.mean().into_scalar().elem()
        };
        let (real, fake) = (score(striped()), score(sample()));
        assert!(real > 0.5 && fake < -0.5, "{real} {fake}");
    }

    #[test]
    fn rand_pad_draws_all_offsets_and_keeps_the_picture() {
        let mut rng = SmallRng::seed_from_u64(1);
        let picture =
            Tensor::<Flex, 4>::random([1, 3, 16, 24], Distribution::Default, &Default::default());
        let mut offsets = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let rand_pad = RandPad::draw(8, &mut rng);
            let Padding { top, left } = rand_pad.padding;
            let padded = rand_pad.apply(picture.clone());
            assert_eq!(padded.dims(), [1, 3, 24, 32]);
            let inside = padded.slice([0..1, 0..3, top..top + 16, left..left + 24]);
            inside.into_data().assert_eq(&picture.to_data(), true);
            offsets.insert((top, left));
        }
        assert_eq!(offsets.len(), 64);
    }

    #[test]
    fn invalid_configs_are_refused() {
        for (config, field) in [
            (
                DiscriminatorConfig {
                    features: vec![],
                    ..config()
                },
                "features",
            ),
            (
                DiscriminatorConfig {
                    features: vec![Feature::Down(2)],
                    ..config()
                },
                "features",
            ),
            (
                DiscriminatorConfig {
                    features: vec![Feature::Middle; 2],
                    ..config()
                },
                "features",
            ),
            (
                DiscriminatorConfig {
                    width: 0,
                    ..config()
                },
                "width",
            ),
            (
                DiscriminatorConfig {
                    width: 6,
                    ..config()
                },
                "width",
            ),
        ] {
            let error = config.validate(&unet_config()).unwrap_err();
            assert!(
                matches!(error, Error::Config { field: f, .. } if f == field),
                "{error}"
            );
        }
    }
}
