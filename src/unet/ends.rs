//! Access to the first and the last convolution. Training replaces them, because their shapes
//! depend on the UNet's input and output.

use super::UNet;
use crate::backend::Backend;
use burn::module::Param;
use burn::tensor::Tensor;

impl<B: Backend> UNet<B> {
    /// Returns the shape of the first convolution's weight.
    pub(crate) fn first_layer_dims(&self) -> [usize; 4] {
        self.conv_in.weight.dims()
    }

    /// Applies the first convolution alone.
    pub(crate) fn first_layer(&self, sample: Tensor<B, 4>) -> Tensor<B, 4> {
        self.conv_in.forward(sample)
    }

    /// Replaces the first convolution's weight and bias.
    pub(crate) fn set_first_layer(&mut self, weight: Tensor<B, 4>, bias: Tensor<B, 1>) {
        self.conv_in.weight = trainable(&self.conv_in.weight, weight);
        self.conv_in.bias = trainable(&self.conv_in.bias, bias);
    }

    /// Replaces the last convolution's weight and bias.
    pub(crate) fn set_last_layer(&mut self, weight: Tensor<B, 4>, bias: Tensor<B, 1>) {
        self.conv_out.weight = trainable(&self.conv_out.weight, weight);
        self.conv_out.bias = trainable(&self.conv_out.bias, bias);
    }

    /// Sets the last convolution to zero, so that training starts from a prediction of zero.
    pub(crate) fn zero_output(&mut self) {
        let (weight, bias) = (self.conv_out.weight.val(), self.conv_out.bias.val());
        self.set_last_layer(weight.zeros_like(), bias.zeros_like());
    }

    /// Replaces the first and the last convolution by those of `other`, each only if the shapes
    /// differ.
    pub(crate) fn with_ends_from(mut self, other: &Self) -> Self {
        for (own, other) in [
            (&mut self.conv_in, &other.conv_in),
            (&mut self.conv_out, &other.conv_out),
        ] {
            if own.weight.dims() != other.weight.dims() {
                *own = other.clone();
            }
        }
        self
    }
}

/// Returns `param` with another value, which requires a gradient so that training updates it.
fn trainable<B: Backend, const D: usize>(
    param: &Param<Tensor<B, D>>,
    value: Tensor<B, D>,
) -> Param<Tensor<B, D>> {
    param.clone().map(|_| value.detach().require_grad())
}
