//! Small models and pictures for tests of complete models, and the distance between two results.

use burn::tensor::{Distribution, ElementConversion, Tensor};
use gendr_pix::Backend;
use gendr_pix::unet::UNetConfig;
use image::{DynamicImage, Rgb, RgbImage};

/// A UNet of two narrow stages, with the input, the output and the rest of `unet`.
pub fn small(unet: UNetConfig) -> UNetConfig {
    UNetConfig {
        block_out_channels: vec![16, 24],
        layers_per_block: vec![1, 1],
        down_attention: vec![false, true],
        up_attention: vec![true, false],
        num_heads: vec![2, 3],
        ..unet
    }
}

pub fn gradient(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 9) as u8, (y * 7) as u8, ((x + y) * 5) as u8])
    })
    .into()
}

/// Returns a batch of two pictures of noise, `[2, 3, height, width]`.
pub fn picture<B: Backend>(height: usize, width: usize) -> Tensor<B, 4> {
    Tensor::random(
        [2, 3, height, width],
        Distribution::Uniform(-1.0, 1.0),
        &Default::default(),
    )
}

pub fn largest_difference<B: Backend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> f32 {
    (a - b).abs().max().into_scalar().elem()
}
