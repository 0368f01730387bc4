//! Weighted sums in one pass.

use super::layout::{Rows, addresses, cubes, empty, vector_size, wider};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;

/// `a * weights[0] + b * weights[1]` in the wider precision of the two.
pub(super) fn mix<R: CubeRuntime>(
    a: Rows<R>,
    b: Rows<R>,
    [weight_a, weight_b]: [f32; 2],
) -> CubeTensor<R> {
    let shape = a.tensor.meta.shape().clone();
    let dtype = wider([a.tensor.dtype, b.tensor.dtype]);
    let in_place = |x: &Rows<R>| x.tensor.dtype == dtype && x.is_contiguous() && x.tensor.can_mut();
    if in_place(&b) && !in_place(&a) {
        return mix(b, a, [weight_b, weight_a]);
    }
    let in_place = in_place(&a);
    let width = shape[shape.num_dims() - 1];
    let values = shape.num_elements();
    let (
        Rows {
            tensor: a,
            pitch: pitch_a,
        },
        Rows {
            tensor: b,
            pitch: pitch_b,
        },
    ) = (a, b);
    let client = a.client.clone();
    let size = vector_size(&client, &[a.dtype, b.dtype], &[width, pitch_a, pitch_b]);
    let dtypes = [a.dtype, b.dtype, dtype].map(Into::into);
    let addresses = addresses(&[&a, &b]);
    // The sum replaces an operand that no other tensor shares.
    let (output, output_arg) = if in_place {
        (a.clone(), a.as_tensor_alias(0))
    } else {
        let output = empty(&a, shape, dtype);
        (output.clone(), output.into_tensor_arg())
    };
    weighted_sum::launch(
        &client,
        cubes(&client, (values / size).div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        size,
        a.into_tensor_arg(),
        b.into_tensor_arg(),
        output_arg,
        values / size,
        width / size,
        pitch_a / size,
        pitch_b / size,
        weight_a,
        weight_b,
        dtypes,
    );
    output
}

/// The weighted sum of rows of `width` vectors.
#[cube(launch, address_type = "dynamic")]
fn weighted_sum<A: Float, B: Float, O: Float, N: Size>(
    a: &Tensor<Vector<A, N>>,
    b: &Tensor<Vector<B, N>>,
    output: &mut Tensor<Vector<O, N>>,
    vectors: usize,
    width: usize,
    pitch_a: usize,
    pitch_b: usize,
    weight_a: f32,
    weight_b: f32,
    #[define(A, B, O)] _dtypes: [StorageType; 3],
) {
    if ABSOLUTE_POS < vectors {
        let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
        let a = Vector::<f32, N>::cast_from(a[row * pitch_a + column]) * Vector::new(weight_a);
        let b = Vector::<f32, N>::cast_from(b[row * pitch_b + column]) * Vector::new(weight_b);
        output[ABSOLUTE_POS] = Vector::cast_from(a + b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, assert_agree, cast, pairs, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::{DType, Tensor};

    #[test]
    fn agrees_with_the_default_body() {
        for shape in [[1, 1, 1], [2, 3, 5], [1, 70, 96]] {
            let (a, b) = (random::<3>(shape, 1), random::<3>(shape, 2));
            for [dtype_a, dtype_b] in pairs() {
                let (a, b) = (cast(&a, dtype_a), cast(&b, dtype_b));
                let wider = wider([dtype_a, dtype_b]);
                for weights in [[1.5, -0.5], [1.0, 1.0]] {
                    let expected = plain::mix(cast(&a, DType::F32), cast(&b, DType::F32), weights);
                    // The output is new memory while both operands are shared, then replaces one or
                    // the other.
                    let found = Gpu::mix(a.clone(), b.clone(), weights);
                    assert_eq!(found.dtype(), wider);
                    assert_agree(found, expected.clone(), wider);
                    let found = Gpu::mix(a.clone() * 1.0, b.clone(), weights);
                    assert_agree(found, expected.clone(), wider);
                    let found = Gpu::mix(a.clone(), b.clone() * 1.0, weights);
                    assert_agree(found, expected, wider);
                }
                assert_agree(a, random(shape, 1), dtype_a);
                assert_agree(b, random(shape, 2), dtype_b);
            }
        }
    }

    /// Channels last, as convolutions return them, and contiguous.
    #[test]
    fn layouts_may_differ() {
        let contiguous = || random::<4>([2, 6, 5, 4], 1);
        let channels_last = || random::<4>([2, 5, 4, 6], 2).permute([0, 3, 1, 2]);
        let pairs: [[fn() -> Tensor<Gpu, 4>; 2]; 4] = [
            [contiguous, contiguous],
            [contiguous, channels_last],
            [channels_last, contiguous],
            [channels_last, channels_last],
        ];
        for [a, b] in pairs {
            let expected = plain::mix(a(), b(), [0.5, 2.0]);
            assert_agree(Gpu::mix(a(), b(), [0.5, 2.0]), expected, DType::F32);
        }
    }

    #[test]
    fn tokens_are_added_to_pixels() {
        for [n, c, h, w] in [[1, 1, 1, 1], [2, 5, 7, 3], [1, 96, 9, 11]] {
            let pixels = random::<4>([n, c, h, w], 1);
            let channels_last = random::<4>([n, h, w, c], 2).permute([0, 3, 1, 2]);
            for pixels in [pixels, channels_last] {
                let tokens = Gpu::to_tokens(pixels.clone());
                let expected = plain::to_tokens(pixels.clone());
                assert_eq!(tokens.to_data(), expected.into_data());
                let tokens = tokens * 3.0;
                let expected = plain::add_tokens(pixels.clone(), tokens.clone());
                assert_agree(Gpu::add_tokens(pixels, tokens), expected, DType::F32);
            }
        }
    }
}
