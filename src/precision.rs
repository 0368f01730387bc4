//! What is computed in which precision, in one place.
//!
//! Weights and activations have the backend's float type. Statistics of normalisations are taken in f32: a group
//! of a 4K picture holds more elements than f16 can count (65,504), and sums of squares overflow long before.

use crate::backend::Backend;
use burn::tensor::{DType, FloatDType, Tensor};

/// `tensor` in f32, for statistics; nothing happens to f32 and wider.
pub(crate) fn widen<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::Flex32 => tensor.cast(FloatDType::F32),
        _ => tensor,
    }
}

/// `tensor` back in the precision `dtype`.
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
