//! The default bodies of the operations, composed of burn's own operations. They are correct on any
//! backend, and the kernels are tested against them.

mod chunked_attention;
mod conv2d;
mod feed_forward;
mod norm;
pub(crate) mod picture_operations;
mod pixel_shuffle;
mod workspace;

pub(crate) use chunked_attention::multi_head_attention;
pub(crate) use conv2d::{convolution, convolution_weight_backward, convolution_x_backward};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub(crate) use feed_forward::{HIDDEN_BYTES, feed_forward_within};
pub(crate) use feed_forward::{feed_forward, geglu, geglu_backward};
pub(crate) use norm::{group_norm, group_norm_backward, token_norm};
pub(crate) use pixel_shuffle::{
    pad_and_unshuffle, pixel_shuffle, pixel_unshuffle, shuffle_and_crop,
};
pub(crate) use workspace::workspace;

use crate::backend::Backend;
use crate::backend::precision::widen;
use burn::tensor::{Tensor, module};

pub(crate) fn mix<B: Backend, const D: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, D>,
    weights: [f64; 2],
) -> Tensor<B, D> {
    let weighted = |x: Tensor<B, D>, weight| match weight {
        1.0 => x,
        weight => x * weight,
    };
    let (a, b) = to_common_precision(a, b);
    weighted(a, weights[0]) + weighted(b, weights[1])
}

/// Converts both tensors to the wider of their precisions.
fn to_common_precision<B: Backend, const D: usize, const E: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, E>,
) -> (Tensor<B, D>, Tensor<B, E>) {
    match a.dtype() == b.dtype() {
        true => (a, b),
        false => (widen(a), widen(b)),
    }
}

pub(crate) fn token_linear<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 3> {
    module::linear(x, weight, bias)
}

pub(crate) fn concatenate<B: Backend>(a: Tensor<B, 4>, b: Tensor<B, 4>) -> Tensor<B, 4> {
    Tensor::cat(vec![a, b], 1)
}

pub(crate) fn crop<B: Backend>(
    x: Tensor<B, 4>,
    [top, left]: [usize; 2],
    [h, w]: [usize; 2],
) -> Tensor<B, 4> {
    let [n, c, ..] = x.dims();
    x.slice([0..n, 0..c, top..top + h, left..left + w])
}

pub(crate) fn add_at<B: Backend>(
    whole: Tensor<B, 4>,
    part: Tensor<B, 4>,
    [top, left]: [usize; 2],
) -> Tensor<B, 4> {
    let [n, c, h, w] = part.dims();
    let region = [0..n, 0..c, top..top + h, left..left + w];
    let values = whole.clone().slice(region.clone());
    whole.slice_assign(region, values + part)
}

pub(crate) fn to_tokens<B: Backend>(pixels: Tensor<B, 4>) -> Tensor<B, 3> {
    let [n, c, h, w] = pixels.dims();
    pixels.reshape([n, c, h * w]).swap_dims(1, 2)
}

pub(crate) fn add_tokens<B: Backend>(pixels: Tensor<B, 4>, tokens: Tensor<B, 3>) -> Tensor<B, 4> {
    let shape = pixels.dims();
    let (pixels, tokens) = to_common_precision(pixels, tokens);
    pixels + tokens.swap_dims(1, 2).reshape(shape)
}
