//! The two convolutions that the UNet is made of.

use crate::backend::Backend;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};

/// 3x3 with a padding of one on all sides: `[N, C, H, W]` -> `[N, C', ceil(H / stride), ceil(W / stride)]`.
pub(crate) fn conv3x3<B: Backend>(
    channels: [usize; 2],
    stride: usize,
    device: &B::Device,
) -> Conv2d<B> {
    Conv2dConfig::new(channels, [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(device)
}

/// 1x1: a linear map of each pixel's channels.
pub(crate) fn conv1x1<B: Backend>(channels: [usize; 2], device: &B::Device) -> Conv2d<B> {
    Conv2dConfig::new(channels, [1, 1]).init(device)
}
