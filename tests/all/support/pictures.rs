//! Pictures for tests of complete models, and the distance between two results.

use burn::tensor::{Distribution, ElementConversion, Tensor};
use gendr_pix::Backend;
use image::{DynamicImage, Rgb, RgbImage};

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
