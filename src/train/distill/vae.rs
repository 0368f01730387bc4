//! Trains a VAE that is small enough for a trial of the distillation.

use super::objective::{BatchLoss, LossTerm, Objective, Pair, StudentState};
use crate::backend::Backend;
use crate::latent::Vae;
use crate::train::losses::{PyramidLoss, l1};
use crate::train::random::normal;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// Weights of the VAE's loss terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeLossConfig {
    /// Weight of the substitute for the perceptual loss.
    pub perceptual: f64,
    /// Weight of the KL divergence from a standard normal distribution. It is small, since the term
    /// only keeps the latent from growing.
    pub divergence: f64,
}

/// `| y - Dec(z) |_1 + L_P + KL`, where `z` is drawn from `Enc(y)` (Rombach et al., arXiv
/// 2112.10752, appendix G, without the adversarial term).
#[derive(Debug)]
pub struct VaeObjective {
    /// Weights of the loss terms.
    pub config: VaeLossConfig,
    /// The substitute for the perceptual loss.
    pub perceptual: PyramidLoss,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Objective<B> for VaeObjective {
    type Model = Vae<B>;

    fn loss(
        &self,
        student: StudentState<'_, B, Vae<B>>,
        Pair { target, .. }: Pair<B>,
        rng: &mut SmallRng,
    ) -> BatchLoss<B> {
        let latent = student.model.encoder.encode(target.clone(), None);
        let mean = latent.mode();
        let values = (0..mean.dims().iter().product()).map(|_| normal(rng));
        let noise = TensorData::new(values.collect::<Vec<f32>>(), mean.dims());
        let noise = Tensor::from_data(noise, &target.device());
        let picture = student.model.decoder.decode(latent.sample(noise), None);
        let log_variance = latent.log_variance();
        let divergence = mean.clone() * mean + log_variance.clone().exp() - log_variance - 1.0;
        BatchLoss {
            terms: vec![
                LossTerm {
                    name: "L1",
                    weight: 1.0,
                    value: l1(picture.clone(), target.clone()),
                },
                LossTerm {
                    name: "L_P",
                    weight: self.config.perceptual,
                    value: self.perceptual.forward(picture, target),
                },
                LossTerm {
                    name: "divergence",
                    weight: self.config.divergence,
                    value: divergence.mean() * 0.5,
                },
            ],
            adversarial: None,
        }
    }

    /// Reconstructs the original.
    fn sample_output(
        &self,
        ema: &Vae<B::InnerBackend>,
        Pair { target, .. }: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let latent = ema.encoder.encode(target, None);
        ema.decoder.decode(latent.mode(), None)
    }
}
