//! How tensors lie in memory, and what a launch is told of it.

use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement, cubecl};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::{AddressType, ComputeClient, CubeCount, CubeDim};

/// A tensor whose last axis, a row, is in memory order, as are the rows, `pitch` values from start to start: CUDA's
/// convolutions and matrix products begin rows at round addresses.
pub(super) struct Rows<R: CubeRuntime> {
    pub(super) tensor: CubeTensor<R>,
    pub(super) pitch: usize,
}

impl<R: CubeRuntime> Rows<R> {
    /// Whether rows follow each other without a gap.
    pub(super) fn is_whole(&self) -> bool {
        self.tensor.is_contiguous()
    }
}

/// The distance of rows, where they are in memory order.
fn pitch(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let last = shape.len() - 1;
    let mut pitch = None;
    let mut next = 0;
    // Strides of axes of one mean nothing.
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

/// A tensor's rows, copied only if they are not in memory order.
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

/// A tensor's values in memory order without a gap, copied only if they are not so already.
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

/// Whether the channels, the second axis, lie side by side in memory, as in what burn's convolutions take and give.
pub(super) fn channels_last<R, F, I, T, const D: usize>(
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

/// Memory for values of `shape` in memory order, on the device of `x`.
pub(super) fn empty<R: CubeRuntime>(
    x: &CubeTensor<R>,
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor<R> {
    let shape = shape.into();
    let memory = x.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(x.client.clone(), x.device.clone(), shape, memory, dtype)
}

/// The precision of a sum.
pub(super) fn wider([a, b]: [DType; 2]) -> DType {
    if a == b { a } else { DType::F32 }
}

/// Most values of each of `dtypes` that can be read and written at a time, where all of `lengths` are multiples of it.
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

/// `count` cubes, or a few more, on as many axes as it takes: WebGPU has 65,535 on each.
pub(super) fn cubes<R: CubeRuntime>(client: &ComputeClient<R>, count: usize) -> CubeCount {
    calculate_cube_count_elemwise(client, count, CubeDim::new_single())
}

/// What counts the elements of the largest of the tensors: 32 bits, where they do.
pub(super) fn addresses<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> AddressType {
    let all = tensors.iter().map(|tensor| tensor.required_address_type());
    all.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::check::{Gpu, precisions, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;

    #[test]
    fn channels_that_lie_side_by_side_stay_so() {
        let dense = || random::<4>([2, 6, 5, 4], 1);
        let turned = || random::<4>([2, 5, 4, 6], 2).permute([0, 3, 1, 2]);
        for x in [dense(), turned()] {
            let last = channels_last(&x);
            let part = Gpu::crop(x.clone(), [1, 2], [3, 2]);
            assert_eq!(channels_last(&part), last);
            let expected = plain::crop(x.clone(), [1, 2], [3, 2]);
            assert_eq!(part.into_data(), expected.into_data());

            let both = Gpu::concatenate(x.clone(), dense());
            assert!(channels_last(&both));
            let expected = plain::concatenate(x.clone(), dense());
            assert_eq!(both.into_data(), expected.into_data());

            for dtype in precisions() {
                let cast = Gpu::cast(x.clone(), dtype.into());
                assert_eq!(channels_last(&cast), last);
                assert_eq!(cast.into_data(), x.clone().cast(dtype).into_data());
            }
        }
    }

    #[test]
    fn rows_are_in_order_or_not() {
        assert_eq!(pitch(&[2, 3, 4], &[12, 4, 1]), Some(4));
        assert_eq!(pitch(&[2, 3, 5], &[24, 8, 1]), Some(8));
        assert_eq!(pitch(&[2, 1, 5], &[8, 77, 1]), Some(8));
        assert_eq!(pitch(&[1, 1, 5], &[3, 2, 1]), Some(5));
        assert_eq!(pitch(&[2, 3, 4], &[12, 1, 3]), None);
        assert_eq!(pitch(&[2, 3, 4], &[16, 4, 1]), None);
        // The same row again and again.
        assert_eq!(pitch(&[2, 4], &[0, 1]), None);
    }
}
