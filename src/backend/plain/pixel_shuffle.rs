//! Pixel unshuffle and pixel shuffle by reshapes, with padding and crop.

use crate::backend::Backend;
use crate::backend::pad::pad;
use crate::options::padding::{Edge, Padding};
use burn::tensor::Tensor;

pub(crate) fn pixel_unshuffle<B: Backend>(picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = picture.dims();
    picture
        .reshape([n, c, h / factor, factor, w / factor, factor]) // [N, C, y, i, x, j]
        .permute([0, 1, 3, 5, 2, 4]) // [N, C, i, j, y, x]
        .reshape([n, c * factor * factor, h / factor, w / factor])
}

pub(crate) fn pixel_shuffle<B: Backend>(features: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [n, c, h, w] = features.dims();
    let channels = c / (factor * factor);
    features
        .reshape([n, channels, factor, factor, h, w]) // [N, C, i, j, y, x]
        .permute([0, 1, 4, 2, 5, 3]) // [N, C, y, i, x, j]
        .reshape([n, channels, h * factor, w * factor])
}

pub(crate) fn pad_and_unshuffle<B: Backend>(
    picture: Tensor<B, 4>,
    factor: usize,
    padding: Padding,
    padded: [usize; 2],
    edge: Edge,
) -> Tensor<B, 4> {
    B::pixel_unshuffle(pad(picture, padding, edge, padded), factor)
}

pub(crate) fn shuffle_and_crop<B: Backend>(
    features: Tensor<B, 4>,
    factor: usize,
    padding: Padding,
    size: [usize; 2],
) -> Tensor<B, 4> {
    B::crop(
        B::pixel_shuffle(features, factor),
        [padding.top, padding.left],
        size,
    )
}
