//! GEGLU in one pass.

use super::layout::{addresses, cubes, empty, vector_size};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;
use std::f32::consts::FRAC_1_SQRT_2;

const UNITS: usize = 256;

/// GEGLU.
///
/// # Shapes
///
/// - x: `[N, T, 2 C]`
/// - output: `[N, T, C]`
pub(super) fn geglu<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let mut shape = x.meta.shape().clone();
    shape[2] /= 2;
    let width = shape[2];
    let size = vector_size(&x.client, &[x.dtype], &[width]);
    let vectors = shape.num_elements() / size;
    let output = empty(&x, shape, x.dtype);
    let client = x.client.clone();
    let (addresses, dtype) = (addresses(&[&x]), x.dtype.into());
    gate::launch(
        &client,
        cubes(&client, vectors.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        size,
        x.into_array_arg(),
        output.clone().into_array_arg(),
        width / size,
        dtype,
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn gate<F: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    output: &mut Array<Vector<F, N>>,
    width: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < output.len() {
        let token = ABSOLUTE_POS / width;
        let i = ABSOLUTE_POS + token * width;
        let value = Vector::<f32, N>::cast_from(x[i]);
        let gate = Vector::<f32, N>::cast_from(x[i + width]);
        let (one, half) = (
            Vector::<f32, N>::new(1.0_f32),
            Vector::<f32, N>::new(0.5_f32),
        );
        let cdf = half * (one + (gate * Vector::new(FRAC_1_SQRT_2)).erf());
        output[ABSOLUTE_POS] = Vector::cast_from(value * gate * cdf);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, assert_agree, cast, precisions, random};
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::DType;

    #[test]
    fn agrees_with_the_default_body() {
        for shape in [[1, 1, 2], [2, 5, 14], [1, 33, 192], [1, 300, 256]] {
            let x = random::<3>(shape, 1) * 3.0;
            for dtype in precisions() {
                let x = cast(&x, dtype);
                let expected = plain::geglu(cast(&x, DType::F32));
                let found = Gpu::geglu(x);
                assert_eq!(found.dtype(), dtype);
                assert_agree(found, expected, dtype);
            }
        }
    }
}
