//! Pixel-unshuffle and pixel-shuffle: the wrapper that takes the place of the VAE (paper, "The model").
//!
//! Channel order is PyTorch's: `unshuffled[n, c*r*r + i*r + j, y, x] = picture[n, c, r*y + i, r*x + j]`.

use crate::backend::Backend;
use burn::tensor::Tensor;

/// Picture planes: red, green and blue.
pub(crate) const PICTURE_CHANNELS: usize = 3;

/// Channels that a cell of `factor` x `factor` pixels is folded into.
pub(crate) fn cell_channels(factor: usize) -> usize {
    PICTURE_CHANNELS.saturating_mul(factor.saturating_mul(factor))
}

/// Folds each `factor` x `factor` cell of pixels into channels.
///
/// # Shapes
///
/// - input: `[N, C, H, W]`, `H` and `W` multiples of `factor`
/// - output: `[N, C * factor * factor, H / factor, W / factor]`
///
/// # Panics
///
/// When a side is not a multiple of `factor`.
pub fn pixel_unshuffle<B: Backend>(picture: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [_, _, h, w] = picture.dims();
    assert!(
        h % factor == 0 && w % factor == 0,
        "pixel_unshuffle: {h}x{w} is not a multiple of {factor}"
    );
    B::pixel_unshuffle(picture, factor)
}

/// The inverse of [`pixel_unshuffle`].
///
/// # Shapes
///
/// - input: `[N, C * factor * factor, h, w]`
/// - output: `[N, C, h * factor, w * factor]`
///
/// # Panics
///
/// When the channels are not a multiple of `factor * factor`.
pub fn pixel_shuffle<B: Backend>(features: Tensor<B, 4>, factor: usize) -> Tensor<B, 4> {
    let [_, c, _, _] = features.dims();
    let cell = factor * factor;
    assert!(
        c % cell == 0,
        "pixel_shuffle: {c} channels are not a multiple of {cell}"
    );
    B::pixel_shuffle(features, factor)
}
