//! Weighted sums in one pass.

use super::layout::{Rows, addresses, cubes, empty, vector_size, wider};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;

/// `a * weights[0] + b * weights[1]` in the wider precision of the two.
pub(super) fn mix<R: CubeRuntime>(a: Rows<R>, b: Rows<R>, [of_a, of_b]: [f32; 2]) -> CubeTensor<R> {
    let shape = a.tensor.meta.shape().clone();
    let dtype = wider([a.tensor.dtype, b.tensor.dtype]);
    let in_place = |x: &Rows<R>| x.tensor.dtype == dtype && x.is_whole() && x.tensor.can_mut();
    if in_place(&b) && !in_place(&a) {
        return mix(b, a, [of_b, of_a]);
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
    // In place of the one that is in use nowhere else.
    let (output, place) = if in_place {
        (a.clone(), a.as_tensor_alias(0))
    } else {
        let output = empty(&a, shape, dtype);
        (output.clone(), output.into_tensor_arg())
    };
    weigh::launch(
        &client,
        cubes(&client, (values / size).div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        size,
        a.into_tensor_arg(),
        b.into_tensor_arg(),
        place,
        values / size,
        width / size,
        pitch_a / size,
        pitch_b / size,
        of_a,
        of_b,
        dtypes,
    );
    output
}

/// Of rows of `width` vectors.
#[cube(launch, address_type = "dynamic")]
fn weigh<A: Float, B: Float, O: Float, N: Size>(
    a: &Tensor<Vector<A, N>>,
    b: &Tensor<Vector<B, N>>,
    output: &mut Tensor<Vector<O, N>>,
    vectors: usize,
    width: usize,
    pitch_a: usize,
    pitch_b: usize,
    of_a: f32,
    of_b: f32,
    #[define(A, B, O)] _dtypes: [StorageType; 3],
) {
    if ABSOLUTE_POS < vectors {
        let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
        let a = Vector::<f32, N>::cast_from(a[row * pitch_a + column]) * Vector::new(of_a);
        let b = Vector::<f32, N>::cast_from(b[row * pitch_b + column]) * Vector::new(of_b);
        output[ABSOLUTE_POS] = Vector::cast_from(a + b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Gpu, assert_agree, cast, pairs, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::{DType, Tensor};

    #[test]
    fn agrees_with_the_plain_body() {
        for shape in [[1, 1, 1], [2, 3, 5], [1, 70, 96]] {
            let (a, b) = (random::<3>(shape, 1), random::<3>(shape, 2));
            for [of_a, of_b] in pairs() {
                let (a, b) = (cast(&a, of_a), cast(&b, of_b));
                let wider = wider([of_a, of_b]);
                for weights in [[1.5, -0.5], [1.0, 1.0]] {
                    let expected = plain::mix(cast(&a, DType::F32), cast(&b, DType::F32), weights);
                    // Into new memory, as both are in use; then in place of the one or the other.
                    let found = Gpu::mix(a.clone(), b.clone(), weights);
                    assert_eq!(found.dtype(), wider);
                    assert_agree(found, expected.clone(), wider);
                    let found = Gpu::mix(a.clone() * 1.0, b.clone(), weights);
                    assert_agree(found, expected.clone(), wider);
                    let found = Gpu::mix(a.clone(), b.clone() * 1.0, weights);
                    assert_agree(found, expected, wider);
                }
                assert_agree(a, random(shape, 1), of_a);
                assert_agree(b, random(shape, 2), of_b);
            }
        }
    }

    /// As convolutions leave them, and as all else does.
    #[test]
    fn layouts_may_differ() {
        let dense = || random::<4>([2, 6, 5, 4], 1);
        let turned = || random::<4>([2, 5, 4, 6], 2).permute([0, 3, 1, 2]);
        let pairs: [[fn() -> Tensor<Gpu, 4>; 2]; 4] = [
            [dense, dense],
            [dense, turned],
            [turned, dense],
            [turned, turned],
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
            let turned = random::<4>([n, h, w, c], 2).permute([0, 3, 1, 2]);
            for pixels in [pixels, turned] {
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
