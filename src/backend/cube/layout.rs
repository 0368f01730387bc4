//! The memory layout of tensors, and the arguments of a launch that depend on it.

use burn::tensor::{DType, Shape, Tensor, TensorPrimitive};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement, cubecl};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::{AddressType, ComputeClient, CubeCount, CubeDim};

/// A tensor whose rows (the last axis) are contiguous and in memory order. The rows start `pitch`
/// values apart, because CUDA's convolutions and matrix products align rows.
pub(super) struct Rows<R: CubeRuntime> {
    pub(super) tensor: CubeTensor<R>,
    pub(super) pitch: usize,
}

impl<R: CubeRuntime> Rows<R> {
    /// Returns whether there are no gaps between the rows.
    pub(super) fn is_contiguous(&self) -> bool {
        self.tensor.is_contiguous()
    }
}

/// Returns the pitch of the rows, or `None` if they are not in memory order.
fn pitch(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let last = shape.len() - 1;
    let mut pitch = None;
    let mut next = 0;
    // The stride of an axis of length one has no meaning.
    let axes = (0..last).rev().filter(|&axis| shape[axis] != 1);
    for axis in axes {
        if pitch.is_some() && strides[axis] != next {
            return None;
        }
        pitch.get_or_insert(strides[axis]);
        next = strides[axis] * shape[axis];
    }
    let pitch = pitch.unwrap_or(shape[last]);
    (strides[last] == 1 && pitch >= shape[last]).then_some(pitch)
}

/// Returns the rows of a tensor, copied only if they are not in memory order.
pub(super) fn rows<R, F, I, T, const D: usize>(x: Tensor<CubeBackend<R, F, I, T>, D>) -> Rows<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    let tensor = x.into_primitive().tensor();
    match pitch(tensor.meta.shape(), tensor.meta.strides()) {
        Some(pitch) => Rows { tensor, pitch },
        None => {
            let tensor = into_contiguous(tensor);
            let pitch = tensor.meta.shape()[D - 1];
            Rows { tensor, pitch }
        }
    }
}

/// Returns the values of a tensor, contiguous and in memory order. They are copied only if the
/// tensor has another layout.
pub(super) fn values<R, F, I, T, const D: usize>(
    x: Tensor<CubeBackend<R, F, I, T>, D>,
) -> CubeTensor<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    into_contiguous(x.into_primitive().tensor())
}

/// Returns whether the channels (the second axis) of a `[N, C, H, W]` tensor are contiguous in
/// memory, as burn's convolutions require and return them.
pub(super) fn is_channels_last<R, F, I, T, const D: usize>(
    x: &Tensor<CubeBackend<R, F, I, T>, D>,
) -> bool
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    let tensor = x.clone().into_primitive().tensor();
    D == 4 && tensor.meta.shape()[1] > 1 && tensor.meta.strides()[1] == 1
}

/// Returns an uninitialised contiguous tensor of `shape` on the device of `x`.
pub(super) fn empty<R: CubeRuntime>(
    x: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = shape.into();
    let memory = x.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(x.client.clone(), x.device.clone(), shape, memory, dtype)
}

/// Returns the precision of the sum of two tensors.
pub(super) fn wider([a, b]: [DType; 2]) -> DType {
    if a == b { a } else { DType::F32 }
}

/// Returns the largest vector size that can be read and written in all of `dtypes` and that divides
/// all of `lengths`.
pub(super) fn vector_size<R: CubeRuntime>(
    client: &ComputeClient<R>,
    dtypes: &[DType],
    lengths: &[usize],
) -> usize {
    let largest = dtypes.iter().map(|dtype| dtype.size()).max();
    client
        .io_optimized_vector_sizes(largest.unwrap_or(1))
        .find(|&size| lengths.iter().all(|length| length.is_multiple_of(size)))
        .unwrap_or(1)
}

/// At least `count` cubes, spread over several axes if needed. WebGPU allows 65,535 per axis.
pub(super) fn cubes<R: CubeRuntime>(client: &ComputeClient<R>, count: usize) -> CubeCount {
    calculate_cube_count_elemwise(client, count, CubeDim::new_single())
}

/// Returns the address type for the largest of the tensors: 32 bits if they suffice.
pub(super) fn addresses<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> AddressType {
    let all = tensors.iter().map(|tensor| tensor.required_address_type());
    all.max().unwrap_or_default()
}

/// Returns whether there are kernels for the precision of the tensor.
pub(super) fn has_kernels<R, F, I, T, const D: usize>(
    x: &Tensor<CubeBackend<R, F, I, T>, D>,
) -> bool
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

/// Returns a burn tensor from a float primitive.
pub(super) fn tensor<R, F, I, T, const D: usize>(
    x: CubeTensor<R>,
) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

/// `[N, C, H, W]` -> `[N, H, W, C]`
pub(super) fn to_channels_last<R, F, I, T, const D: usize>(
    x: Tensor<CubeBackend<R, F, I, T>, D>,
) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    x.swap_dims(1, 2).swap_dims(2, 3)
}

/// `[N, H, W, C]` -> `[N, C, H, W]`
pub(super) fn to_channels_first<R, F, I, T, const D: usize>(
    x: Tensor<CubeBackend<R, F, I, T>, D>,
) -> Tensor<CubeBackend<R, F, I, T>, D>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    x.swap_dims(2, 3).swap_dims(1, 2)
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, precisions, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;

    #[test]
    fn channels_last_layout_is_preserved() {
        let contiguous = || random::<4>([2, 6, 5, 4], 1);
        let channels_last = || random::<4>([2, 5, 4, 6], 2).permute([0, 3, 1, 2]);
        for x in [contiguous(), channels_last()] {
            let last = is_channels_last(&x);
            let part = Gpu::crop(x.clone(), [1, 2], [3, 2]);
            assert_eq!(is_channels_last(&part), last);
            let expected = plain::crop(x.clone(), [1, 2], [3, 2]);
            assert_eq!(part.into_data(), expected.into_data());

            let both = Gpu::concatenate(x.clone(), contiguous());
            assert!(is_channels_last(&both));
            let expected = plain::concatenate(x.clone(), contiguous());
            assert_eq!(both.into_data(), expected.into_data());

            for dtype in precisions() {
                let cast = Gpu::cast(x.clone(), dtype.into());
                assert_eq!(is_channels_last(&cast), last);
                assert_eq!(cast.into_data(), x.clone().cast(dtype).into_data());
            }
        }
    }

    #[test]
    fn pitch_is_known_for_rows_in_memory_order() {
        assert_eq!(pitch(&[2, 3, 4], &[12, 4, 1]), Some(4));
        assert_eq!(pitch(&[2, 3, 5], &[24, 8, 1]), Some(8));
        assert_eq!(pitch(&[2, 1, 5], &[8, 77, 1]), Some(8));
        assert_eq!(pitch(&[1, 1, 5], &[3, 2, 1]), Some(5));
        assert_eq!(pitch(&[2, 3, 4], &[12, 1, 3]), None);
        assert_eq!(pitch(&[2, 3, 4], &[16, 4, 1]), None);
        // A row that is repeated by broadcasting.
        assert_eq!(pitch(&[2, 4], &[0, 1]), None);
    }
}
