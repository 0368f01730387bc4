//! What is computed in which precision, in one place.
//!
//! Weights and activations have the backend's float type, but in a training of mixed precision. Statistics of
//! normalisations are taken in f32: a group of a 4K picture holds more elements than f16 can count (65,504), and sums of
//! squares overflow long before.

use crate::backend::Backend;
use crate::progress::Watched;
use burn::tensor::{DType, FloatDType, Tensor};

/// `tensor` in f32, for statistics; nothing happens to f32 and wider.
pub(crate) fn widen<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::Flex32 => tensor.cast(FloatDType::F32),
        _ => tensor,
    }
}

/// What `compute` makes of `x` in the precision `dtype`, back in that of `x`.
pub(crate) fn computed_in<B: Backend, const D: usize>(
    dtype: DType,
    x: Tensor<B, D>,
    compute: impl FnOnce(Tensor<B, D>) -> Watched<Tensor<B, D>>,
) -> Watched<Tensor<B, D>> {
    let own = x.dtype();
    Ok(narrow(compute(narrow(x, dtype))?, own))
}

/// `tensor` in the precision `dtype`.
pub(crate) fn narrow<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    dtype: DType,
) -> Tensor<B, D> {
    if tensor.dtype() == dtype {
        tensor
    } else {
        tensor.cast(dtype)
    }
}
