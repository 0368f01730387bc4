//! Pixel unshuffle and pixel shuffle, which replace the VAE (paper, "The model").
//!
//! The order of channels is PyTorch's:
//! `unshuffled[n, c*r*r + i*r + j, y, x] = picture[n, c, r*y + i, r*x + j]`.

use crate::backend::Backend;
use burn::tensor::Tensor;

/// The number of channels of a picture: red, green and blue.
pub(crate) const PICTURE_CHANNELS: usize = 3;

/// Returns the number of channels that a cell of `factor` x `factor` pixels becomes.
pub(crate) fn cell_channels(factor: usize) -> usize {
    PICTURE_CHANNELS.saturating_mul(factor.saturating_mul(factor))
}

/// Moves the pixels of each `factor` x `factor` cell to channels.
///
/// # Shapes
///
/// - input: `[N, C, H, W]`, where `H` and `W` are multiples of `factor`
/// - output: `[N, C * factor * factor, H / factor, W / factor]`
///
/// # Panics
///
/// Panics if a side is not a multiple of `factor`.
pub fn pixel_unshuffle<B: Backend>(picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [_, _, h, w] = picture.dims();
    assert!(
        h % factor == 0 && w % factor == 0,
        "pixel_unshuffle: {h}x{w} is not a multiple of {factor}"
    );
    B::pixel_unshuffle(picture, factor)
}

/// Moves channels to the pixels of cells: the inverse of [`pixel_unshuffle`].
///
/// # Shapes
///
/// - input: `[N, C * factor * factor, H, W]`
/// - output: `[N, C, H * factor, W * factor]`
///
/// # Panics
///
/// Panics if the number of channels is not a multiple of `factor * factor`.
pub fn pixel_shuffle<B: Backend>(features: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [_, c, _, _] = features.dims();
    let cell = factor * factor;
    assert!(
        c % cell == 0,
        "pixel_shuffle: {c} channels are not a multiple of {cell}"
    );
    B::pixel_shuffle(features, factor)
}
