//! The time embedding: sinusoids of the timestep, then two linear layers.

use crate::backend::Backend;
use crate::backend::precision::float_type;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Tensor, TensorData, activation::silu};

/// Returns `[cos(t f_0) .. cos(t f_{n-1}), sin(t f_0) .. sin(t f_{n-1})]` with `f_i = 10000^(-i/n)`
/// and `n = dim / 2`.
///
/// This is diffusers' `Timesteps` with `flip_sin_to_cos` and `freq_shift = 0`, the settings of
/// Stable Diffusion.
///
/// # Shapes
///
/// - output: `[1, dim]`
pub fn sinusoid<B: Backend>(timestep: f64, dim: usize, device: &B::Device) -> Tensor<B, 2> {
    let n = dim / 2;
    let phases = (0..n).map(|i| timestep * (-(10_000f64.ln()) * i as f64 / n as f64).exp());
    let values: Vec<f32> = phases
        .clone()
        .map(f64::cos)
        .chain(phases.map(f64::sin))
        .map(|v| v as f32)
        .collect();
    let kind = (device, float_type::<B>());
    Tensor::from_data(TensorData::new(values, [1, dim]), kind)
}

/// Two linear layers with a SiLU between them (diffusers' `TimestepEmbedding`).
#[derive(Module, Debug)]
pub struct TimestepEmbedding<B: Backend> {
    linear_1: Linear<B>,
    linear_2: Linear<B>,
}

impl<B: Backend> TimestepEmbedding<B> {
    pub(crate) fn new(input: usize, output: usize, device: &B::Device) -> Self {
        Self {
            linear_1: LinearConfig::new(input, output).init(device),
            linear_2: LinearConfig::new(output, output).init(device),
        }
    }

    /// Applies both layers.
    ///
    /// # Shapes
    ///
    /// - input: `[1, input]`, the [`sinusoid`]
    /// - output: `[1, output]`
    pub fn forward(&self, sinusoid: Tensor<B, 2>) -> Tensor<B, 2> {
        self.linear_2.forward(silu(self.linear_1.forward(sinusoid)))
    }
}
