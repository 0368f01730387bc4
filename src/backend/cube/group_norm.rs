//! Group norm and SiLU: the moments of parts of each group, then all else in one pass.

use super::layout::{Rows, addresses, empty, vector_size};
use super::moments::{
    Moments, Runs, inverse_deviation, join, of_neighbours, of_none, of_vectors, place,
};
use crate::backend::GroupNormOptions;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;
/// Values of a part, what a cube takes: a group has many at 4K, so that all of a GPU has a share in each.
const PART: usize = 16 << 10;

/// # Shapes
///
/// - x and output: `[N, H, W, C]`
/// - weight and bias: `[C]`, of the output's precision
pub(super) fn group_norm<R: CubeRuntime>(
    x: Rows<R>,
    weight: CubeTensor<R>,
    bias: CubeTensor<R>,
    options: GroupNormOptions,
) -> CubeTensor<R> {
    let Rows { tensor: x, pitch } = x;
    let shape = x.meta.shape().clone();
    let (n, pixels, c) = (shape[0], shape[1] * shape[2], shape[3]);
    let (groups, dtype) = (options.groups, weight.dtype);
    let size = vector_size(&x.client, &[x.dtype, dtype], &[c / groups, pitch]);
    let run = c / groups / size;
    let part = PART / size;
    let parts = (pixels * run).div_ceil(part);

    let moments = empty(&x, [n, groups, parts, 3], DType::F32);
    let output = empty(&x, shape, dtype);
    let client = x.client.clone();
    // Groups first: those side by side share what is read from memory.
    let count = CubeCount::Static(groups as u32, parts as u32, n as u32);
    let units = CubeDim::new_1d(UNITS as u32);
    let addresses = addresses(&[&x, &output]);
    part_moments::launch(
        &client,
        count.clone(),
        units,
        addresses,
        size,
        x.clone().into_tensor_arg(),
        moments.clone().into_tensor_arg(),
        pixels,
        pitch / size,
        run,
        part,
        x.dtype.into(),
    );
    let dtypes = [x.dtype.into(), dtype.into()];
    normalise::launch(
        &client,
        count,
        units,
        addresses,
        size,
        x.into_tensor_arg(),
        moments.into_tensor_arg(),
        weight.into_array_arg(),
        bias.into_array_arg(),
        output.clone().into_tensor_arg(),
        pixels,
        pitch / size,
        run,
        part,
        options.epsilon as f32,
        options.silu,
        dtypes,
    );
    output
}

/// Group x of picture z among pixels of `pitch` vectors, of which each group has `run`.
#[cube]
fn of_group(pixels: usize, pitch: usize, run: usize) -> Runs {
    Runs {
        start: CUBE_POS_Z as usize * pixels * pitch + CUBE_POS_X as usize * run,
        length: run,
        stride: pitch,
    }
}

/// Where the moments of part y of group x of picture z are.
#[cube]
fn of_part(part: usize) -> usize {
    let group = CUBE_POS_Z * CUBE_COUNT_X + CUBE_POS_X;
    3 * (group as usize * CUBE_COUNT_Y as usize + part)
}

#[cube(launch, address_type = "dynamic")]
fn part_moments<I: Float, N: Size>(
    x: &Tensor<Vector<I, N>>,
    moments: &mut Tensor<f32>,
    pixels: usize,
    pitch: usize,
    run: usize,
    part: usize,
    #[define(I)] _dtype: StorageType,
) {
    let unit = UNIT_POS as usize;
    let start = CUBE_POS_Y as usize * part;
    let end = min(start + part, pixels * run);
    let runs = of_group(pixels, pitch, run);
    let own = of_vectors::<I, N>(x, &runs, start + unit, end, UNITS);
    let all = of_neighbours(&own, unit, UNITS, UNITS);
    if unit == 0 {
        let at = of_part(CUBE_POS_Y as usize);
        moments[at] = all.count;
        moments[at + 1] = all.mean;
        moments[at + 2] = all.squares;
    }
}

#[cube(launch, address_type = "dynamic")]
fn normalise<I: Float, O: Float, N: Size>(
    x: &Tensor<Vector<I, N>>,
    moments: &Tensor<f32>,
    weight: &Array<Vector<O, N>>,
    bias: &Array<Vector<O, N>>,
    output: &mut Tensor<Vector<O, N>>,
    pixels: usize,
    pitch: usize,
    run: usize,
    part: usize,
    epsilon: f32,
    #[comptime] silu: bool,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    let unit = UNIT_POS as usize;
    let mut own = of_none();
    let mut i = unit;
    while i < CUBE_COUNT_Y as usize {
        let at = of_part(i);
        let of_part = Moments {
            count: moments[at],
            mean: moments[at + 1],
            squares: moments[at + 2],
        };
        join(&mut own, &of_part);
        i += UNITS;
    }
    let all = of_neighbours(&own, unit, UNITS, UNITS);
    let mean = Vector::<f32, N>::new(all.mean);
    let inverse = Vector::<f32, N>::new(inverse_deviation(&all, epsilon));

    let from = of_group(pixels, pitch, run);
    let to = of_group(pixels, weight.len(), run);
    let start = CUBE_POS_Y as usize * part;
    let end = min(start + part, pixels * run);
    let mut i = start + unit;
    while i < end {
        let channel = CUBE_POS_X as usize * run + i % run;
        let normed = (Vector::<f32, N>::cast_from(x[place(&from, i)]) - mean) * inverse;
        let mut y = normed * Vector::cast_from(weight[channel]) + Vector::cast_from(bias[channel]);
        if silu {
            y *= sigmoid::<N>(y);
        }
        output[place(&to, i)] = Vector::cast_from(y);
        i += UNITS;
    }
}

/// Of powers that do not overflow: WGSL leaves open what infinity is.
#[cube]
fn sigmoid<N: Size>(y: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0_f32);
    let power = (-y.abs()).exp();
    let above = select_many(y.less_than(Vector::new(0.0_f32)), power, one);
    above / (one + power)
}

#[cfg(test)]
mod tests {
    use super::super::check::{Gpu, assert_agree, cast, pairs, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;
    use burn::tensor::Tensor;

    fn options(groups: usize, silu: bool) -> GroupNormOptions {
        GroupNormOptions {
            groups,
            epsilon: 1e-5,
            silu,
        }
    }

    fn check(x: Tensor<Gpu, 4>, of: GroupNormOptions) {
        let c = x.dims()[1];
        let (weight, bias) = (random([c], 2), random([c], 3));
        for [input, output] in pairs() {
            let (x, weight, bias) = (cast(&x, input), cast(&weight, output), cast(&bias, output));
            let expected = plain::group_norm(
                cast(&x, DType::F32),
                cast(&weight, DType::F32),
                cast(&bias, DType::F32),
                of,
            );
            let found = Gpu::group_norm(x, weight, bias, of);
            assert_eq!(found.dtype(), output);
            assert_agree(found, expected, output);
        }
    }

    #[test]
    fn agrees_with_the_plain_body() {
        check(random([2, 6, 5, 7], 1), options(3, true));
        check(random([1, 8, 4, 4], 1), options(8, false));
        check(random([1, 96, 12, 9], 1), options(8, true));
        // As convolutions leave them.
        check(
            random([2, 9, 7, 64], 1).permute([0, 3, 1, 2]),
            options(32, true),
        );
        // Parts that are not full, of a group of more values than f16 can count.
        check(random([1, 4, 150, 231], 1), options(2, true));
    }

    /// Sums of squares leave nothing of this variance in f32.
    #[test]
    fn values_may_be_far_from_zero() {
        let x = random::<4>([1, 2, 100, 100], 1);
        let of = options(1, false);
        let weight = || Tensor::ones([2], &Default::default());
        let bias = || Tensor::zeros([2], &Default::default());
        let expected = Gpu::group_norm(x.clone() / 8.0, weight(), bias(), options(1, false));
        let found = Gpu::group_norm(x / 8.0 + 1024.0, weight(), bias(), of);
        let error: f32 = (found - expected).abs().max().into_scalar();
        assert!(error < 1e-2, "{error:e}");
    }
}
