//! The convolutions of the UNet.

#[cfg(test)]
use super::recording;
use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::{to_dtype, widen};
use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{DType, Tensor};

/// A convolution with zero padding of half its kernel: `[N, C, H, W]` ->
/// `[N, C', ceil(H / stride), ceil(W / stride)]`.
#[derive(Module, Debug)]
pub struct Conv2d<B: Backend> {
    pub(super) weight: Param<Tensor<B, 4>>,
    pub(super) bias: Param<Tensor<B, 1>>,
    stride: usize,
}

impl<B: Backend> Conv2d<B> {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &B::Device) -> Self {
        // burn's layer only supplies the weights, with PyTorch's default initialisation.
        let layer = Conv2dConfig::new(channels, [kernel; 2])
            .with_padding(PaddingConfig2d::Valid)
            .init(device);
        Self {
            weight: layer.weight,
            bias: layer.bias.expect("burn's layer has a bias by default"),
            stride,
        }
    }

    /// Returns the precision of the weights.
    pub(crate) fn dtype(&self) -> DType {
        self.weight.dtype()
    }

    /// Applies the convolution in the precision of its weights.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C, H, W]`
    /// - output: `[N, C', ceil(H / stride), ceil(W / stride)]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward_biased(x, self.bias.val())
    }

    /// Like [`forward`](Self::forward), with an output for residual sums, in f32 or wider.
    pub fn forward_wide(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        widen(self.forward(x))
    }

    /// Like [`forward`](Self::forward), with `bias`, `[C']`, instead of the layer's own bias.
    pub fn forward_biased(&self, x: Tensor<B, 4>, bias: Tensor<B, 1>) -> Tensor<B, 4> {
        let x = to_dtype(x, self.dtype());
        let weight = self.weight.val();
        #[cfg(test)]
        recording::convolution(&x, &weight, self.stride);
        let y = B::convolution(x, weight, bias, self.stride);
        traced("convolution", y)
    }
}

/// Creates a 3x3 convolution.
pub(crate) fn conv3x3<B: Backend>(
    channels: [usize; 2],
    stride: usize,
    device: &B::Device,
) -> Conv2d<B> {
    Conv2d::new(channels, 3, stride, device)
}

/// Creates a 1x1 convolution: a linear map of each pixel's channels.
pub(crate) fn conv1x1<B: Backend>(channels: [usize; 2], device: &B::Device) -> Conv2d<B> {
    Conv2d::new(channels, 1, 1, device)
}
