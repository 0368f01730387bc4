//! The convolutions that the UNet is made of.

use crate::backend::Backend;
use crate::backend::activations::traced;
use crate::backend::precision::{to_dtype, widen};
use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{DType, Tensor};

/// A convolution padded by half its kernel: `[N, C, H, W]` -> `[N, C', ceil(H / stride), ceil(W / stride)]`.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    pub(super) weight: Param<Tensor<B, 4>>,
    pub(super) bias: Param<Tensor<B, 1>>,
    stride: usize,
}

impl<B: Backend> Convolution<B> {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &B::Device) -> Self {
        // Only for the weights: PyTorch's default initialisation.
        let layer = Conv2dConfig::new(channels, [kernel; 2])
            .with_padding(PaddingConfig2d::Valid)
            .init(device);
        Self {
            weight: layer.weight,
            bias: layer.bias.expect("burn's default is with a bias"),
            stride,
        }
    }

    /// The precision of the weights.
    pub(crate) fn dtype(&self) -> DType {
        self.weight.dtype()
    }

    /// # Shapes
    ///
    /// - input: `[N, C, H, W]`
    /// - output: `[N, C', ceil(H / stride), ceil(W / stride)]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward_biased(x, self.bias.val())
    }

    /// [`forward`](Self::forward) with its output as the start of residual sums: in f32.
    pub fn forward_wide(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        widen(self.forward(x))
    }

    /// With another bias, `[C']`, in place of the layer's own.
    pub fn forward_biased(&self, x: Tensor<B, 4>, bias: Tensor<B, 1>) -> Tensor<B, 4> {
        let x = to_dtype(x, self.dtype());
        let y = B::convolution(x, self.weight.val(), bias, self.stride);
        traced("convolution", y)
    }
}

/// 3x3.
pub(crate) fn conv3x3<B: Backend>(
    channels: [usize; 2],
    stride: usize,
    device: &B::Device,
) -> Convolution<B> {
    Convolution::new(channels, 3, stride, device)
}

/// 1x1: a linear map of each pixel's channels.
pub(crate) fn conv1x1<B: Backend>(channels: [usize; 2], device: &B::Device) -> Convolution<B> {
    Convolution::new(channels, 1, 1, device)
}
