//! Layer norm in one pass.

use super::layout::{Rows, addresses, cubes, empty, vector_size};
use super::moments::{Runs, inverse_deviation, joined_moments, vector_moments};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

/// Units per token.
const UNITS: usize = 32;
/// Tokens per cube.
const TOKENS: usize = 8;

/// Layer norm over the channels of each token.
///
/// # Shapes
///
/// - x and output: `[N, T, C]`
/// - weight and bias: `[C]`, of the output's precision
pub(super) fn token_norm<R: CubeRuntime>(
    x: Rows<R>,
    weight: CubeTensor<R>,
    bias: CubeTensor<R>,
    epsilon: f64,
) -> CubeTensor<R> {
    let Rows { tensor: x, pitch } = x;
    let shape = x.meta.shape().clone();
    let tokens = shape[0] * shape[1];
    let (width, dtype) = (shape[2], weight.dtype);
    let size = vector_size(&x.client, &[x.dtype, dtype], &[width, pitch]);
    let output = empty(&x, shape, dtype);
    let client = x.client.clone();
    let addresses = addresses(&[&x, &output]);
    let dtypes = [x.dtype.into(), dtype.into()];
    normalise::launch(
        &client,
        cubes(&client, tokens.div_ceil(TOKENS)),
        CubeDim::new_2d(UNITS as u32, TOKENS as u32),
        addresses,
        size,
        x.into_tensor_arg(),
        weight.into_array_arg(),
        bias.into_array_arg(),
        output.clone().into_tensor_arg(),
        tokens,
        pitch / size,
        epsilon as f32,
        dtypes,
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn normalise<I: Float, O: Float, N: Size>(
    x: &Tensor<Vector<I, N>>,
    weight: &Array<Vector<O, N>>,
    bias: &Array<Vector<O, N>>,
    output: &mut Tensor<Vector<O, N>>,
    tokens: usize,
    pitch: usize,
    epsilon: f32,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    let (unit, width) = (UNIT_POS_X as usize, weight.len());
    let token = CUBE_POS * TOKENS + UNIT_POS_Y as usize;
    // All units have to reach the barriers. Units beyond the last token therefore read the last
    // token too, but write nothing.
    let start = min(token, tokens - 1) * pitch;
    let runs = Runs {
        start,
        length: width,
        stride: 0,
    };
    let own = vector_moments::<I, N>(x, &runs, unit, width, UNITS);
    let all = joined_moments(&own, UNIT_POS as usize, TOKENS * UNITS, UNITS);
    let mean = Vector::<f32, N>::new(all.mean);
    let inverse = Vector::<f32, N>::new(inverse_deviation(&all, epsilon));
    if token < tokens {
        let mut i = unit;
        while i < width {
            let normed = (Vector::<f32, N>::cast_from(x[start + i]) - mean) * inverse;
            let y = normed * Vector::cast_from(weight[i]) + Vector::cast_from(bias[i]);
            output[token * width + i] = Vector::cast_from(y);
            i += UNITS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, assert_agree, cast, pairs, random};
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::DType;

    #[test]
    fn agrees_with_the_default_body() {
        for shape in [[1, 1, 1], [2, 5, 7], [1, 33, 96], [3, 4, 320]] {
            let x = random::<3>(shape, 1) + 3.0;
            let (weight, bias) = (random([shape[2]], 2), random([shape[2]], 3));
            for [input, output] in pairs() {
                let (x, weight, bias) =
                    (cast(&x, input), cast(&weight, output), cast(&bias, output));
                let expected = plain::token_norm(
                    cast(&x, DType::F32),
                    cast(&weight, DType::F32),
                    cast(&bias, DType::F32),
                    1e-5,
                );
                let found = Gpu::token_norm(x, weight, bias, 1e-5);
                assert_eq!(found.dtype(), output);
                assert_agree(found, expected, output);
            }
        }
    }
}
