//! Initialises the ends of the UNet: the first layer responds to detail, and the last layer
//! predicts zero.

use crate::backend::Backend;
use crate::pixels::planes::Planes;
use crate::restore::shuffle::pixel_unshuffle;
use crate::unet::UNet;
use burn::tensor::{Tensor, TensorData};
use std::f64::consts::PI;

/// Standard deviation below which a frequency is not amplified further.
const FLOOR: f64 = 0.01;
/// Maps red, green and blue to lightness and two colour differences, before normalisation.
const OPPONENT: [[f64; 3]; 3] = [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]];

/// Sets the first convolution to cosines and the last one to zero.
///
/// The first convolution reads 3x3 cells, or 24x24 pixels. In these, the coarse brightness of a
/// picture is about a thousand times as strong as its detail, so a random initialisation needs
/// thousands of steps to find the detail. Here, the channels are the lowest frequencies of the
/// two-dimensional cosine transform of those pixels. Two thirds of them are of lightness. Each
/// channel is scaled to a standard deviation of one on `pictures`. This follows Mishkin and Matas,
/// "All you need is a good init", arXiv 1511.06422, with a basis in place of random filters.
///
/// `pictures` is `[N, 3, H, W]` in -1..1.
pub(super) fn init_ends<B: Backend>(unet: &mut UNet<B>, pictures: Tensor<B, 4>, factor: usize) {
    let device = pictures.device();
    let z = pixel_unshuffle(pictures, factor);
    let [channels, _, _, _] = unet.first_layer_dims();
    let field = 3 * factor;
    let filters: Vec<Planes> = frequencies(channels)
        .map(|(opponent, v, u)| cosine(opponent, v, u, field))
        .collect();
    let stack = |filters: &[Planes]| -> Tensor<B, 4> {
        let values: Vec<f32> = filters.iter().flat_map(|f| &f.data).copied().collect();
        let pixels = Tensor::from_data(
            TensorData::new(values, [channels, 3, field, field]),
            &device,
        );
        pixel_unshuffle(pixels, factor) // [C, 3 * factor^2, 3, 3]
    };
    unet.set_first_layer(stack(&filters), Tensor::zeros([channels], &device));
    let response = unet.first_layer(z); // [N, C, h, w]
    let [n, _, h, w] = response.dims();
    // The border is left out, since it depends on the zero padding.
    let response = response.slice([0..n, 0..channels, 1..h - 1, 1..w - 1]);
    let response = response
        .swap_dims(0, 1)
        .reshape([channels, n * (h - 2) * (w - 2)]);
    let mean = response.clone().mean_dim(1);
    let centred = response - mean.clone();
    let deviation = ((centred.clone() * centred).mean_dim(1) + FLOOR * FLOOR).sqrt(); // [C, 1]
    let weight = stack(&filters) / deviation.clone().reshape([channels, 1, 1, 1]);
    let bias = (mean / deviation).neg().reshape([channels]);
    unet.set_first_layer(weight, bias);
    unet.zero_output();
}

/// Returns `count` triples of opponent axis, vertical and horizontal frequency. Lightness comes
/// first.
fn frequencies(count: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    // Two thirds of the frequencies are of lightness, and a sixth of each colour difference. Each
    // set fills a square.
    let side = |share: usize| (share as f64).sqrt().ceil() as usize;
    let colour = count / 6;
    [count - 2 * colour, colour, colour]
        .into_iter()
        .enumerate()
        .flat_map(move |(opponent, share)| {
            let side = side(share);
            (0..side * side)
                .take(share)
                .map(move |i| (opponent, i / side, i % side))
        })
}

/// Returns a cosine over `field` x `field` pixels with Euclidean norm one.
fn cosine(opponent: usize, v: usize, u: usize, field: usize) -> Planes {
    let wave = |frequency: usize, i: usize| {
        let norm = if frequency == 0 { 1.0 } else { 2.0 } / field as f64;
        let phase = PI * frequency as f64 * (i as f64 + 0.5) / field as f64;
        norm.sqrt() * phase.cos()
    };
    let axis = OPPONENT[opponent];
    let norm = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
    let data = (0..3 * field * field)
        .map(|i| {
            let (c, y, x) = (i / (field * field), i / field % field, i % field);
            (axis[c] / norm * wave(v, y) * wave(u, x)) as f32
        })
        .collect();
    Planes::new(3, field, field, data)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::unet::UNetConfig;
    use burn::tensor::Distribution;

    #[test]
    fn filters_are_orthonormal() {
        let filters: Vec<Planes> = frequencies(96)
            .map(|(o, v, u)| cosine(o, v, u, 24))
            .collect();
        assert_eq!(filters.len(), 96);
        for (i, a) in filters.iter().enumerate() {
            for (j, b) in filters.iter().enumerate() {
                let product: f32 = a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum();
                assert!(
                    (product - f32::from(i == j)).abs() < 1e-4,
                    "{i} {j}: {product}"
                );
            }
        }
    }

    #[test]
    fn channels_start_with_a_deviation_of_one_and_the_output_is_zero() {
        let device = Default::default();
        let mut unet = UNetConfig::nano().init::<Flex>(&device).unwrap();
        let pictures = Tensor::random([2, 3, 64, 64], Distribution::Uniform(-1.0, 1.0), &device);
        init_ends(&mut unet, pictures.clone(), 8);
        let z = pixel_unshuffle(pictures, 8);
        let response = unet.first_layer(z.clone()).slice([0..2, 0..96, 1..7, 1..7]);
        let deviation = response.swap_dims(0, 1).reshape([96, 72]).var(1).sqrt();
        let [low, high]: [f32; 2] =
            [deviation.clone().min(), deviation.max()].map(Tensor::into_scalar);
        assert!(low > 0.9 && high < 1.1, "{low} to {high}");
        let prompt = Tensor::zeros([1, 4, 32], &device);
        let output = unet.forward(z, &unet.condition(500.0, prompt));
        assert_eq!(output.abs().max().into_scalar(), 0.0);
    }
}
