//! Conversion of 8-bit pictures to enlarged tensors, and of tensors to 8-bit pictures, in one pass
//! each. WGSL has no 8-bit type, so the bytes are in 32-bit integers, four in each.

use super::layout::{addresses, cubes, empty};
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;
/// Rows and columns of the picture that contribute to a pixel of the enlarged picture.
const TAPS: usize = 4;

/// Converts bytes to a tensor and enlarges it.
///
/// # Shapes
///
/// - bytes: `[ceil(H w 3 / 4)]`, a picture of `w` columns
/// - sources and weights: `[H', 4]` of rows, `[W', 4]` of columns
/// - output: `[1, 3, H', W']` in f32, -1..1
pub(super) fn from_bytes<R: CubeRuntime>(
    bytes: CubeTensor<R>,
    w: usize,
    [rows, columns]: [CubeTensor<R>; 2],
    [row_weights, column_weights]: [CubeTensor<R>; 2],
) -> CubeTensor<R> {
    let [height, width] = [&rows, &columns].map(|sources| sources.meta.shape()[0]);
    let output = empty(&bytes, [1, 3, height, width], DType::F32);
    let client = bytes.client.clone();
    let addresses = addresses(&[&bytes, &rows, &columns, &output]);
    enlarge::launch(
        &client,
        cubes(&client, output.meta.num_elements().div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        bytes.into_array_arg(),
        rows.into_array_arg(),
        columns.into_array_arg(),
        row_weights.into_array_arg(),
        column_weights.into_array_arg(),
        output.clone().into_array_arg(),
        w,
        height,
        width,
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn enlarge(
    bytes: &Array<u32>,
    rows: &Array<u32>,
    columns: &Array<u32>,
    row_weights: &Array<f32>,
    column_weights: &Array<f32>,
    output: &mut Array<f32>,
    w: usize,
    height: usize,
    width: usize,
) {
    if ABSOLUTE_POS < output.len() {
        let x = TAPS * (ABSOLUTE_POS % width);
        let y = TAPS * (ABSOLUTE_POS / width % height);
        let channel = ABSOLUTE_POS / (width * height);
        let mut sum = 0.0_f32;
        #[unroll]
        for i in 0..TAPS {
            let start = rows[y + i] as usize * w;
            let mut row_sum = 0.0_f32;
            #[unroll]
            for j in 0..TAPS {
                let sample = (start + columns[x + j] as usize) * 3 + channel;
                let shift = (sample % 4) as u32 * 8;
                let byte = (bytes[sample / 4] >> shift) & 255;
                row_sum += column_weights[x + j] * f32::cast_from(byte);
            }
            sum += row_weights[y + i] * row_sum;
        }
        output[ABSOLUTE_POS] = sum * (2.0_f32 / 255.0_f32) - 1.0_f32;
    }
}

/// Converts a tensor to bytes.
///
/// # Shapes
///
/// - picture: `[1, 3, H, W]` in f32, -1..1
/// - output: `[ceil(H W 3 / 4)]`
pub(super) fn to_bytes<R: CubeRuntime>(picture: CubeTensor<R>) -> CubeTensor<R> {
    let samples = picture.meta.num_elements();
    let words = samples.div_ceil(4);
    let output = empty(&picture, [words], DType::I32);
    let client = picture.client.clone();
    let addresses = addresses(&[&picture]);
    pack::launch(
        &client,
        cubes(&client, words.div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        picture.into_array_arg(),
        output.clone().into_array_arg(),
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn pack(picture: &Array<f32>, output: &mut Array<u32>) {
    if ABSOLUTE_POS < output.len() {
        let samples = picture.len();
        let pixels = samples / 3;
        let mut word = 0_u32;
        #[unroll]
        for i in 0..4_usize {
            // The padding bytes of the last word may have any value.
            let sample = min(ABSOLUTE_POS * 4 + i, samples - 1);
            let value = (picture[sample % 3 * pixels + sample / 3] + 1.0_f32) * 0.5_f32;
            let level = clamp(value, 0.0_f32, 1.0_f32) * 255.0_f32 + 0.5_f32;
            word |= u32::cast_from(level) << (8 * i) as u32;
        }
        output[ABSOLUTE_POS] = word;
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, random};
    use crate::backend::PictureOperations;
    use crate::backend::plain::picture_operations;
    use crate::options::Upscale;
    use crate::options::color_fix::ColorFix;
    use crate::pixels::from_planes;
    use crate::pixels::planes::Planes;
    use crate::upscale::on_device;
    use crate::upscale::on_device::levels_apart;
    use burn::tensor::Tensor;
    use image::{ColorType, DynamicImage};

    #[test]
    fn bytes_agree_with_the_default_body_and_the_host() {
        for [h, w] in [[1, 1], [1, 2], [33, 70], [101, 65]] {
            let x = random::<4>([1, 3, h, w], 1) * 1.2;
            let bytes =
                |words: Tensor<Gpu, 1, _>| words.into_data().as_bytes()[..3 * h * w].to_vec();
            let found = bytes(Gpu::to_bytes(x.clone()));
            let plain = bytes(picture_operations::to_bytes(x.clone()));
            let values = ((x + 1.0) * 0.5).into_data().into_vec().unwrap();
            let host = from_planes(&Planes::new(3, w, h, values), None, ColorType::Rgb8);
            for expected in [&plain[..], host.as_bytes()] {
                let (worst, others) = levels_apart(&found, expected);
                println!("{w}x{h}: {others} of {} differ, by {worst}", found.len());
                assert!(worst <= 1 && others <= found.len() / 1000);
            }
        }
    }

    #[test]
    fn only_8_bit_colour_is_processed_on_the_device() {
        let takes = |picture: DynamicImage, options: &Upscale| {
            on_device::pixels::<Gpu>(&picture, options).is_some()
        };
        let options = Upscale::new();
        assert!(takes(DynamicImage::new_rgb8(3, 2), &options));
        assert!(!takes(DynamicImage::new_rgba8(3, 2), &options));
        assert!(!takes(DynamicImage::new_rgb16(3, 2), &options));
        for options in [
            options.clone().fidelity(0.0),
            options.color_fix(ColorFix::MeanStd),
        ] {
            assert!(!takes(DynamicImage::new_rgb8(3, 2), &options));
        }
    }

    /// Compares the conversion and the whole enlargement with the host.
    #[cfg(feature = "flex")]
    #[test]
    fn pictures_agree_with_the_host() {
        use crate::upscale::on_device::tests;
        tests::resize_agrees_with_the_host::<Gpu>();
        tests::result_agrees_with_the_host::<Gpu>();
        tests::errors_agree_with_the_host::<Gpu>();
    }

    #[cfg(all(feature = "flex", feature = "wgpu"))]
    #[test]
    fn a_model_in_half_precision_agrees_with_the_host() {
        use crate::backend::Wgpu;
        use burn::tensor::DType;
        if !super::super::test_support::precisions().contains(&DType::F16) {
            return println!("skipped: the device does not support f16");
        }
        on_device::tests::result_agrees_with_the_host::<Wgpu<half::f16>>();
    }
}
