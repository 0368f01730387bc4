//! Group norm with SiLU in two passes: the moments of parts of each group, then the normalisation.

use super::layout::{Rows, addresses, empty, vector_size};
use super::moments::{
    Moments, Runs, empty_moments, index_of, inverse_deviation, join, joined_moments, vector_moments,
};
use crate::backend::GroupNormOptions;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;
/// Values per part. A cube processes a part. At 4K a group has many parts, which keeps the whole
/// GPU busy.
const PART: usize = 16 << 10;

/// Group norm, followed by SiLU if the options ask for it.
///
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
    // Groups are the first axis, because adjacent groups share cache lines.
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

/// Returns the vectors of the cube's group. A pixel has `pitch` vectors, `run` of them in each
/// group.
#[cube]
fn group_runs(pixels: usize, pitch: usize, run: usize) -> Runs {
    Runs {
        start: CUBE_POS_Z as usize * pixels * pitch + CUBE_POS_X as usize * run,
        length: run,
        stride: pitch,
    }
}

/// Returns the index of the moments of a part of the cube's group.
#[cube]
fn moments_index(part: usize) -> usize {
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
    let runs = group_runs(pixels, pitch, run);
    let own = vector_moments::<I, N>(x, &runs, start + unit, end, UNITS);
    let all = joined_moments(&own, unit, UNITS, UNITS);
    if unit == 0 {
        let index = moments_index(CUBE_POS_Y as usize);
        moments[index] = all.count;
        moments[index + 1] = all.mean;
        moments[index + 2] = all.squares;
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
    let mut own = empty_moments();
    let mut i = unit;
    while i < CUBE_COUNT_Y as usize {
        let index = moments_index(i);
        let part_moments = Moments {
            count: moments[index],
            mean: moments[index + 1],
            squares: moments[index + 2],
        };
        join(&mut own, &part_moments);
        i += UNITS;
    }
    let all = joined_moments(&own, unit, UNITS, UNITS);
    let mean = Vector::<f32, N>::new(all.mean);
    let inverse = Vector::<f32, N>::new(inverse_deviation(&all, epsilon));

    let from = group_runs(pixels, pitch, run);
    let to = group_runs(pixels, weight.len(), run);
    let start = CUBE_POS_Y as usize * part;
    let end = min(start + part, pixels * run);
    let mut i = start + unit;
    while i < end {
        let channel = CUBE_POS_X as usize * run + i % run;
        let normed = (Vector::<f32, N>::cast_from(x[index_of(&from, i)]) - mean) * inverse;
        let mut y = normed * Vector::cast_from(weight[channel]) + Vector::cast_from(bias[channel]);
        if silu {
            y *= sigmoid::<N>(y);
        }
        output[index_of(&to, i)] = Vector::cast_from(y);
        i += UNITS;
    }
}

/// The sigmoid by exponentials that do not overflow, because WGSL does not define the behaviour of
/// infinity.
#[cube]
fn sigmoid<N: Size>(y: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0_f32);
    let power = (-y.abs()).exp();
    let above = select_many(y.less_than(Vector::new(0.0_f32)), power, one);
    above / (one + power)
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, assert_agree, cast, pairs, random};
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

    fn check(x: Tensor<Gpu, 4>, options: GroupNormOptions) {
        let c = x.dims()[1];
        let (weight, bias) = (random([c], 2), random([c], 3));
        for [input, output] in pairs() {
            let (x, weight, bias) = (cast(&x, input), cast(&weight, output), cast(&bias, output));
            let expected = plain::group_norm(
                cast(&x, DType::F32),
                cast(&weight, DType::F32),
                cast(&bias, DType::F32),
                options,
            );
            let found = Gpu::group_norm(x, weight, bias, options);
            assert_eq!(found.dtype(), output);
            assert_agree(found, expected, output);
        }
    }

    #[test]
    fn agrees_with_the_default_body() {
        check(random([2, 6, 5, 7], 1), options(3, true));
        check(random([1, 8, 4, 4], 1), options(8, false));
        check(random([1, 96, 12, 9], 1), options(8, true));
        // Channels last, as convolutions return them.
        check(
            random([2, 9, 7, 64], 1).permute([0, 3, 1, 2]),
            options(32, true),
        );
        // The parts are not full, and a group has more values than f16 can count.
        check(random([1, 4, 150, 231], 1), options(2, true));
    }

    /// In f32, the difference of sums of squares would lose this variance.
    #[test]
    fn values_far_from_zero_keep_their_variance() {
        let x = random::<4>([1, 2, 100, 100], 1);
        let weight = || Tensor::ones([2], &Default::default());
        let bias = || Tensor::zeros([2], &Default::default());
        let expected = Gpu::group_norm(x.clone() / 8.0, weight(), bias(), options(1, false));
        let found = Gpu::group_norm(x / 8.0 + 1024.0, weight(), bias(), options(1, false));
        let error: f32 = (found - expected).abs().max().into_scalar();
        assert!(error < 1e-2, "{error:e}");
    }
}
