//! The output of the encoder: a normal distribution for each value of the latent.

use crate::backend::Backend;
use burn::tensor::Tensor;

/// Bounds of the logarithm of the variance, as in diffusers' `DiagonalGaussianDistribution`.
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// Independent normal distributions, `[N, C, H, W]`.
#[derive(Clone, Debug)]
pub struct Gaussian<B: Backend> {
    mean: Tensor<B, 4>,
    log_variance: Tensor<B, 4>,
}

impl<B: Backend> Gaussian<B> {
    /// Creates the distributions from the encoder's output.
    ///
    /// # Shapes
    ///
    /// - moments: `[N, 2 * C, H, W]`, the means, then the logarithms of the variances, which are
    ///   clamped to -30..20
    #[must_use]
    pub fn from_moments(moments: Tensor<B, 4>) -> Self {
        let [_, channels, _, _] = moments.dims();
        let half = channels / 2;
        let [min, max] = LOG_VARIANCE;
        Self {
            mean: moments.clone().narrow(1, 0, half),
            log_variance: moments.narrow(1, half, half).clamp(min, max),
        }
    }

    /// Returns the mean, `[N, C, H, W]`, which is also the most likely value.
    pub fn mode(&self) -> Tensor<B, 4> {
        self.mean.clone()
    }

    /// Returns the logarithm of the variance, `[N, C, H, W]`.
    pub fn log_variance(&self) -> Tensor<B, 4> {
        self.log_variance.clone()
    }

    /// Returns the standard deviation, `[N, C, H, W]`.
    pub fn std(&self) -> Tensor<B, 4> {
        (self.log_variance() * 0.5).exp()
    }

    /// Draws a sample, from noise with the standard normal distribution.
    ///
    /// # Shapes
    ///
    /// - noise and output: `[N, C, H, W]`
    pub fn sample(&self, noise: Tensor<B, 4>) -> Tensor<B, 4> {
        self.mode() + self.std() * noise
    }
}
