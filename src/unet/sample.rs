//! Downsampling and upsampling between stages (diffusers' `Downsample2D` and `Upsample2D`).

use super::conv::{Conv2d, conv3x3};
use crate::backend::Backend;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// A 3x3 convolution of stride 2.
#[derive(Module, Debug)]
pub struct Downsample<B: Backend> {
    conv: Conv2d<B>,
}

impl<B: Backend> Downsample<B> {
    pub(crate) fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            conv: conv3x3([channels, channels], 2, device),
        }
    }

    /// Halves height and width.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C, H, W]`
    /// - output: `[N, C, ceil(H / 2), ceil(W / 2)]`
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        self.conv.forward_wide(x)
    }
}

/// Nearest-neighbour doubling, then a 3x3 convolution.
#[derive(Module, Debug)]
pub struct Upsample<B: Backend> {
    conv: Conv2d<B>,
}

impl<B: Backend> Upsample<B> {
    pub(crate) fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            conv: conv3x3([channels, channels], 1, device),
        }
    }

    /// Doubles height and width, then crops the last row or column if that side of the next skip's
    /// `size` is odd. The result equals that of diffusers' interpolation to `size`.
    ///
    /// # Shapes
    ///
    /// - input: `[N, C, ceil(H / 2), ceil(W / 2)]`
    /// - output: `[N, C, H, W]` with `[H, W] = size`
    pub fn forward(&self, x: Tensor<B, 4>, size: [usize; 2]) -> Tensor<B, 4> {
        let [_, _, h, w] = x.dims();
        let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false);
        let mut x = interpolate(x, [2 * h, 2 * w], nearest);
        if [2 * h, 2 * w] != size {
            x = B::crop(x, [0, 0], size);
        }
        self.conv.forward_wide(x)
    }
}
