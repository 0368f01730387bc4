//! The single diffusion step, which computes the picture from the UNet's prediction (paper, "The
//! model").

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The kind of the UNet's prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prediction {
    /// The noise `eps`: `x0 = (z - sigma * eps) / alpha`.
    Noise,
    /// The velocity `v = alpha * eps - sigma * x0`: `x0 = alpha * z - sigma * v`, for
    /// `alpha^2 + sigma^2 = 1`.
    Velocity,
    /// The picture itself: `x0`.
    Sample,
}

/// One step at a fixed noise level, without a scheduler.
///
/// The paper sets `alpha^2 = sigma^2 = 0.5`. With noise prediction and `alpha = 1`, the step is a
/// residual, `x0 = z - sigma * eps`. The bundled nano model uses this.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneStep {
    /// The kind of the UNet's prediction.
    pub prediction: Prediction,
    /// Weight of the picture in `z`, the square root of the paper's `alpha_bar`.
    pub alpha: f64,
    /// Weight of the noise in `z`, the square root of the paper's `beta_bar`.
    pub sigma: f64,
}

impl OneStep {
    /// Returns the step at the paper's noise level, `alpha_bar = beta_bar = 0.5`.
    #[must_use]
    pub fn paper(prediction: Prediction) -> Self {
        Self {
            prediction,
            alpha: 0.5_f64.sqrt(),
            sigma: 0.5_f64.sqrt(),
        }
    }

    /// Returns a scaled residual: `x0 = z - sigma * eps`.
    #[must_use]
    pub fn residual(sigma: f64) -> Self {
        Self {
            prediction: Prediction::Noise,
            alpha: 1.0,
            sigma,
        }
    }

    /// Checks the weights.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a weight is not finite, if `alpha` is not positive, or if the
    /// prediction is a velocity and `alpha^2 + sigma^2` is not 1.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| {
            Err(Error::Config {
                field: "onestep",
                reason,
            })
        };
        let Self { alpha, sigma, .. } = *self;
        if !(alpha.is_finite() && sigma.is_finite() && alpha > 0.0) {
            return fail(format!(
                "alpha is {alpha} and sigma is {sigma}: alpha must be positive, and both must be finite"
            ));
        }
        let norm = alpha * alpha + sigma * sigma;
        if self.prediction == Prediction::Velocity && (norm - 1.0).abs() > 1e-6 {
            return fail(format!(
                "alpha^2 + sigma^2 is {norm}, but prediction `velocity` needs 1"
            ));
        }
        Ok(())
    }

    /// Computes `x0` from the UNet's input `z` and its prediction. All three tensors are
    /// `[N, C, H, W]`.
    pub fn x0<B: Backend>(&self, z: Tensor<B, 4>, prediction: Tensor<B, 4>) -> Tensor<B, 4> {
        match self.prediction {
            Prediction::Noise => B::mix(z, prediction, [1.0, -self.sigma].map(|w| w / self.alpha)),
            Prediction::Velocity => B::mix(z, prediction, [self.alpha, -self.sigma]),
            Prediction::Sample => prediction,
        }
    }

    /// Computes the prediction for which [`x0`](Self::x0) returns `x0`. It is not finite if the
    /// computation divides by a `sigma` of zero.
    #[cfg(feature = "train")]
    pub(crate) fn prediction_of<B: Backend>(
        &self,
        z: Tensor<B, 4>,
        x0: Tensor<B, 4>,
    ) -> Tensor<B, 4> {
        match self.prediction {
            Prediction::Noise => (z - x0 * self.alpha) / self.sigma,
            Prediction::Velocity => (z * self.alpha - x0) / self.sigma,
            Prediction::Sample => x0,
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;

    /// For `z = alpha x0 + sigma eps`, the step returns `x0` with each kind of prediction.
    #[test]
    fn every_prediction_inverts_the_forward_process() {
        let device = Default::default();
        let x0 = Tensor::<Flex, 4>::from_data([[[[0.25, -0.75]]]], &device);
        let eps = Tensor::<Flex, 4>::from_data([[[[-1.5, 0.5]]]], &device);
        for (prediction, step) in [
            (Prediction::Noise, OneStep::paper(Prediction::Noise)),
            (Prediction::Noise, OneStep::residual(0.1)),
            (Prediction::Velocity, OneStep::paper(Prediction::Velocity)),
            (Prediction::Sample, OneStep::paper(Prediction::Sample)),
        ] {
            step.validate().unwrap();
            let z = x0.clone() * step.alpha + eps.clone() * step.sigma;
            let predicted = match prediction {
                Prediction::Noise => eps.clone(),
                Prediction::Velocity => eps.clone() * step.alpha - x0.clone() * step.sigma,
                Prediction::Sample => x0.clone(),
            };
            let back = step.x0(z.clone(), predicted.clone());
            let error: f32 = (back - x0.clone()).abs().max().into_scalar();
            assert!(error < 1e-6, "{step:?}: {error}");
            #[cfg(feature = "train")]
            {
                let again = step.prediction_of(z, x0.clone());
                let error: f32 = (again - predicted).abs().max().into_scalar();
                assert!(error < 1e-5, "{step:?}: {error}");
            }
        }
    }

    #[test]
    fn weights_off_the_unit_circle_are_refused() {
        let mut step = OneStep::residual(0.1);
        step.prediction = Prediction::Velocity;
        assert!(step.validate().is_err());
        step.prediction = Prediction::Noise;
        step.alpha = 0.0;
        assert!(step.validate().is_err());
        step.alpha = f64::NAN;
        assert!(step.validate().is_err());
    }
}
