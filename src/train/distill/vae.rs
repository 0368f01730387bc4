//! Before all stages: a VAE small enough for the trial.

use super::stage::{Examined, Pair, Pupil, Stage, Term};
use crate::backend::Backend;
use crate::latent::Vae;
use crate::train::degrade::normal;
use crate::train::losses::{PyramidLoss, l1};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// Weights of the VAE's loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeLossConfig {
    /// Of the stand-in for the perceptual loss.
    pub perceptual: f64,
    /// Of the divergence from a standard normal distribution, small: it only keeps the latent from growing.
    pub divergence: f64,
}

/// `| y - Dec(z) |_1 + L_P + KL`, with `z` drawn from `Enc(y)` (Rombach et al., arXiv 2112.10752, appendix G, without
/// its adversary).
pub struct VaeStage {
    /// Weights of the loss.
    pub config: VaeLossConfig,
    /// The stand-in for the perceptual loss.
    pub perceptual: PyramidLoss,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage<B> for VaeStage {
    type Student = Vae<B>;

    fn examine(
        &self,
        pupil: Pupil<'_, B, Vae<B>>,
        Pair { target, .. }: Pair<B>,
        rng: &mut SmallRng,
    ) -> Examined<B> {
        let latent = pupil.model.encoder.encode(target.clone(), None);
        let mean = latent.mode();
        let values = (0..mean.dims().iter().product()).map(|_| normal(rng));
        let noise = TensorData::new(values.collect::<Vec<f32>>(), mean.dims());
        let noise = Tensor::from_data(noise, &target.device());
        let picture = pupil.model.decoder.decode(latent.sample(noise), None);
        let log_variance = latent.log_variance();
        let divergence = mean.clone() * mean + log_variance.clone().exp() - log_variance - 1.0;
        Examined {
            terms: vec![
                Term {
                    name: "L1",
                    weight: 1.0,
                    value: l1(picture.clone(), target.clone()),
                },
                Term {
                    name: "L_P",
                    weight: self.config.perceptual,
                    value: self.perceptual.forward(picture, target),
                },
                Term {
                    name: "divergence",
                    weight: self.config.divergence,
                    value: divergence.mean() * 0.5,
                },
            ],
            samples: None,
        }
    }
    /// Of the original, which is what it learns to keep.
    fn sample(
        &self,
        average: &Vae<B::InnerBackend>,
        Pair { target, .. }: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let latent = average.encoder.encode(target, None);
        average.decoder.decode(latent.mode(), None)
    }
}
