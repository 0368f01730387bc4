//! Minima, maxima and non-finite flags of parts of each channel. The parts keep the whole GPU busy.

use super::layout::{addresses, empty};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;
/// Values per part. A cube processes a part.
const PART: usize = 16 << 10;

/// Minimum, maximum and non-finite flag of each part of each channel.
///
/// # Shapes
///
/// - x: `[1, C, H, W]` in f32
/// - output: `[C, parts, 3]`
pub(super) fn extremes<R: CubeRuntime>(x: CubeTensor<R>) -> CubeTensor<R> {
    let shape = x.meta.shape();
    let (c, values) = (shape[1], shape[2] * shape[3]);
    let parts = values.div_ceil(PART);
    let output = empty(&x, [c, parts, 3], x.dtype);
    let client = x.client.clone();
    let addresses = addresses(&[&x]);
    part_extremes::launch(
        &client,
        CubeCount::Static(parts as u32, c as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        x.into_array_arg(),
        output.clone().into_array_arg(),
        values,
    );
    output
}

/// The extremes of a part. The axes of the cubes are parts and channels. A channel has `values`
/// values.
#[cube(launch, address_type = "dynamic")]
fn part_extremes(x: &Array<f32>, output: &mut Array<f32>, values: usize) {
    let unit = UNIT_POS as usize;
    let (part, channel) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let start = channel * values + part * PART;
    let end = min(start + PART, (channel + 1) * values);
    // A unit without values of its own reads a value of another unit.
    let first = min(start + unit, end - 1);
    let mut minimum = x[first];
    let mut maximum = x[first];
    let mut non_finite = 0.0_f32;
    let mut i = first;
    while i < end {
        let value = x[i];
        minimum = min(minimum, value);
        maximum = max(maximum, value);
        // Tests the bits, because shader compilers may assume that no value is NaN or infinite.
        if u32::reinterpret(value) & 0x7f80_0000 == 0x7f80_0000 {
            non_finite = 1.0_f32;
        }
        i += UNITS;
    }
    let mut all_minima = SharedMemory::<f32>::new(UNITS);
    let mut all_maxima = SharedMemory::<f32>::new(UNITS);
    let mut all_non_finite = SharedMemory::<f32>::new(UNITS);
    all_minima[unit] = minimum;
    all_maxima[unit] = maximum;
    all_non_finite[unit] = non_finite;
    #[unroll]
    for halving in 0..comptime!(UNITS.ilog2()) {
        let step = comptime!(UNITS >> (halving as usize + 1));
        sync_cube();
        if unit < step {
            all_minima[unit] = min(all_minima[unit], all_minima[unit + step]);
            all_maxima[unit] = max(all_maxima[unit], all_maxima[unit + step]);
            all_non_finite[unit] = max(all_non_finite[unit], all_non_finite[unit + step]);
        }
    }
    if unit == 0 {
        let index = 3 * (channel * CUBE_COUNT_X as usize + part);
        output[index] = all_minima[0];
        output[index + 1] = all_maxima[0];
        output[index + 2] = all_non_finite[0];
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, random};
    use crate::backend::PictureOperations;
    use crate::backend::plain::picture_operations;
    use crate::upscale::extremes::Extremes;
    use burn::tensor::Tensor;

    /// Returns the extremes of each channel over all parts.
    fn joined(parts: Tensor<Gpu, 3>) -> Vec<f32> {
        let minimum = parts.clone().slice([0..3, 0..parts.dims()[1], 0..1]);
        let maxima = parts.clone().slice([0..3, 0..parts.dims()[1], 1..3]);
        let all = Tensor::cat(vec![minimum.min_dim(1), maxima.max_dim(1)], 2);
        all.into_data().into_vec().unwrap()
    }

    #[test]
    fn agrees_with_the_default_body() {
        for [h, w] in [[1, 1], [3, 70], [128, 128], [301, 257]] {
            let x = random::<4>([1, 3, h, w], 1) * 2.0;
            let found = joined(Gpu::extremes(x.clone()));
            assert_eq!(found, joined(picture_operations::extremes(x)), "{w}x{h}");
        }
    }

    #[test]
    fn non_finite_values_are_flagged() {
        let (h, w) = (130, 127);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for position in [0, 2 * h * w, 3 * h * w - 1] {
                let mut data = random::<4>([1, 3, h, w], 2).into_data();
                data.as_mut_slice::<f32>().unwrap()[position] = bad;
                let x = Tensor::<Gpu, 4>::from_data(data, &Default::default());
                for parts in [Gpu::extremes(x.clone()), picture_operations::extremes(x)] {
                    let parts: Vec<f32> = parts.into_data().into_vec().unwrap();
                    assert!(
                        Extremes::from_parts(&parts, 3).is_err(),
                        "{bad} at {position}"
                    );
                }
            }
        }
    }
}
