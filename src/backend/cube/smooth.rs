//! Smooths a difference and adds it. Together, the smoothings up to a level are a convolution along
//! each axis with a tent that is `n = 2^level` high and `2 n - 1` wide.

use super::layout::{addresses, cubes, empty};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;

/// Returns `sum + weight * smooth(a - b)`.
///
/// # Shapes
///
/// - sum, a, b and output: `[1, C, H, W]` in f32
/// - sources: `[H + 2 reach]` rows and `[W + 2 reach]` columns, the positions that replace those
///   beyond the edges
pub(super) fn add_smoothed<R: CubeRuntime>(
    sum: CubeTensor<R>,
    [a, b]: [CubeTensor<R>; 2],
    [rows, columns]: [CubeTensor<R>; 2],
    reach: usize,
    weight: f32,
) -> CubeTensor<R> {
    let shape = sum.meta.shape().clone();
    let [h, w] = [shape[2], shape[3]];
    let smoothed_rows = empty(&sum, shape.clone(), sum.dtype);
    let output = empty(&sum, shape, sum.dtype);
    let client = sum.client.clone();
    let count = cubes(&client, output.meta.num_elements().div_ceil(UNITS));
    let units = CubeDim::new_1d(UNITS as u32);
    let addresses = addresses(&[&sum, &rows, &columns]);
    smooth_rows::launch(
        &client,
        count.clone(),
        units,
        addresses,
        a.into_array_arg(),
        b.into_array_arg(),
        columns.into_array_arg(),
        smoothed_rows.clone().into_array_arg(),
        w,
        reach,
    );
    smooth_columns::launch(
        &client,
        count,
        units,
        addresses,
        sum.into_array_arg(),
        smoothed_rows.into_array_arg(),
        rows.into_array_arg(),
        output.clone().into_array_arg(),
        h,
        w,
        reach,
        weight,
    );
    output
}

/// Returns the `i`-th weight of a tent. The weights add up to one.
#[cube]
fn tent(i: usize, reach: usize) -> f32 {
    let height = f32::cast_from(reach + 1);
    f32::cast_from(min(i, 2 * reach - i) + 1) / (height * height)
}

#[cube(launch, address_type = "dynamic")]
fn smooth_rows(
    a: &Array<f32>,
    b: &Array<f32>,
    columns: &Array<u32>,
    output: &mut Array<f32>,
    w: usize,
    reach: usize,
) {
    if ABSOLUTE_POS < output.len() {
        let x = ABSOLUTE_POS % w;
        let start = ABSOLUTE_POS - x;
        let mut smooth = 0.0_f32;
        for i in 0..2 * reach + 1 {
            let index = start + columns[x + i] as usize;
            smooth += tent(i, reach) * (a[index] - b[index]);
        }
        output[ABSOLUTE_POS] = smooth;
    }
}

#[cube(launch, address_type = "dynamic")]
fn smooth_columns(
    sum: &Array<f32>,
    smoothed_rows: &Array<f32>,
    rows: &Array<u32>,
    output: &mut Array<f32>,
    h: usize,
    w: usize,
    reach: usize,
    weight: f32,
) {
    if ABSOLUTE_POS < output.len() {
        let y = ABSOLUTE_POS / w % h;
        let top = ABSOLUTE_POS - y * w;
        let mut smooth = 0.0_f32;
        for i in 0..2 * reach + 1 {
            smooth += tent(i, reach) * smoothed_rows[top + rows[y + i] as usize * w];
        }
        output[ABSOLUTE_POS] = sum[ABSOLUTE_POS] + weight * smooth;
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, assert_agree, random};
    use crate::backend::PictureOperations;
    use crate::backend::plain::picture_operations;
    use crate::options::padding::Edge;
    use crate::upscale::correct::LEVELS;
    use burn::tensor::DType;

    #[test]
    fn agrees_with_the_default_body() {
        // Includes sizes smaller than the reach of a smoothing.
        for [h, w] in [[1, 1], [2, 5], [33, 70], [101, 64]] {
            let random = |seed| random::<4>([1, 3, h, w], seed);
            for edge in [Edge::Reflect, Edge::Replicate, Edge::Wrap] {
                for level in 1..=LEVELS {
                    let change = || [random(2), random(3)];
                    let found = Gpu::add_smoothed(random(1), change(), level, -0.7, edge);
                    let expected =
                        picture_operations::add_smoothed(random(1), change(), level, -0.7, edge);
                    assert_agree(found, expected, DType::F32);
                }
            }
        }
    }
}
