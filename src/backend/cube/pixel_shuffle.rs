//! Pixel unshuffle with padding, and pixel shuffle with cropping, in one pass each.

use super::layout::{Rows, addresses, cubes, empty};
use crate::options::padding::{Edge, Padding};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeRuntime, cubecl};
use cubecl::prelude::*;

const UNITS: usize = 256;

/// Pads a picture and moves its cells to the channels.
///
/// # Shapes
///
/// - picture: `[N, C, H, W]`
/// - output: `[N, H' / side, W' / side, C * side * side]` with `[H', W'] = padded`
pub(super) fn unshuffle<R: CubeRuntime>(
    picture: CubeTensor<R>,
    side: usize,
    padding: Padding,
    padded: [usize; 2],
    edge: Edge,
) -> CubeTensor<R> {
    let shape = picture.meta.shape();
    let [n, c, h, w] = [shape[0], shape[1], shape[2], shape[3]];
    let [rows, columns] = padded.map(|length| length / side);
    let output = empty(&picture, [n, rows, columns, c * side * side], picture.dtype);
    let client = picture.client.clone();
    let (addresses, dtype) = (addresses(&[&picture, &output]), picture.dtype.into());
    pixel_unshuffle::launch(
        &client,
        cubes(&client, output.meta.num_elements().div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        picture.into_array_arg(),
        output.clone().into_array_arg(),
        c,
        h,
        w,
        rows,
        columns,
        lift(edge, padding.top, h),
        lift(edge, padding.left, w),
        side,
        edge,
        dtype,
    );
    output
}

/// Returns the number that [`source`] adds to a position in the padded picture. It makes all
/// operands of remainders non-negative, because positions are unsigned.
fn lift(edge: Edge, before: usize, length: usize) -> usize {
    match edge {
        Edge::Replicate => before,
        Edge::Wrap => length - before % length,
        Edge::Reflect => {
            let period = (2 * (length - 1)).max(1);
            period - before % period
        }
    }
}

/// [`Edge::source`] on an axis of `length`.
#[cube]
fn source(position: usize, lift: usize, length: usize, #[comptime] edge: Edge) -> usize {
    match edge {
        Edge::Replicate => min(max(position, lift) - lift, length - 1),
        Edge::Wrap => (position + lift) % length,
        Edge::Reflect => {
            let period = max(2 * (length - 1), 1);
            let folded = (position + lift) % period;
            min(folded, period - folded)
        }
    }
}

#[cube(launch, address_type = "dynamic")]
fn pixel_unshuffle<F: Float>(
    picture: &Array<F>,
    output: &mut Array<F>,
    c: usize,
    h: usize,
    w: usize,
    rows: usize,
    columns: usize,
    lift_y: usize,
    lift_x: usize,
    #[comptime] side: usize,
    #[comptime] edge: Edge,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < output.len() {
        let channels = c * side * side;
        let channel = ABSOLUTE_POS % channels;
        let cell = ABSOLUTE_POS / channels;
        let x = cell % columns * side + channel % side;
        let y = cell / columns % rows * side + channel / side % side;
        let plane = cell / (columns * rows) * c + channel / (side * side);
        let x = source(x, lift_x, w, edge);
        let y = source(y, lift_y, h, edge);
        output[ABSOLUTE_POS] = picture[(plane * h + y) * w + x];
    }
}

/// Moves channels to cells and crops the padding.
///
/// # Shapes
///
/// - features: `[N, rows, columns, C * side * side]`
/// - output: `[N, C, H, W]` with `[H, W] = size`
pub(super) fn shuffle<R: CubeRuntime>(
    features: Rows<R>,
    side: usize,
    padding: Padding,
    [h, w]: [usize; 2],
) -> CubeTensor<R> {
    let Rows {
        tensor: features,
        pitch,
    } = features;
    let shape = features.meta.shape();
    let [n, rows, columns] = [shape[0], shape[1], shape[2]];
    let c = shape[3] / (side * side);
    let output = empty(&features, [n, c, h, w], features.dtype);
    let client = features.client.clone();
    let (addresses, dtype) = (addresses(&[&features, &output]), features.dtype.into());
    pixel_shuffle::launch(
        &client,
        cubes(&client, output.meta.num_elements().div_ceil(UNITS)),
        CubeDim::new_1d(UNITS as u32),
        addresses,
        features.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        c,
        h,
        w,
        rows,
        columns,
        pitch,
        padding.top,
        padding.left,
        side,
        dtype,
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn pixel_shuffle<F: Float>(
    features: &Tensor<F>,
    output: &mut Tensor<F>,
    c: usize,
    h: usize,
    w: usize,
    rows: usize,
    columns: usize,
    pitch: usize,
    top: usize,
    left: usize,
    #[comptime] side: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < output.len() {
        let x = ABSOLUTE_POS % w + left;
        let y = ABSOLUTE_POS / w % h + top;
        let plane = ABSOLUTE_POS / (w * h);
        let channel = (plane % c * side + y % side) * side + x % side;
        let cell = (plane / c * rows + y / side) * columns + x / side;
        output[ABSOLUTE_POS] = features[cell * pitch + channel];
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{Gpu, cast, precisions, random};
    use super::*;
    use crate::backend::Backend;
    use crate::backend::plain;
    use crate::options::padding::padded_side;

    #[test]
    fn agrees_with_the_default_body() {
        let edges = [Edge::Reflect, Edge::Replicate, Edge::Wrap];
        // Includes sizes smaller than the padding.
        for size @ [h, w] in [[1, 1], [2, 3], [17, 30], [40, 24]] {
            for (edge, padding) in edges
                .into_iter()
                .flat_map(|edge| [(4, 4), (0, 0), (3, 8)].map(|p| (edge, p)))
            {
                let padding = Padding::new(padding.0, padding.1);
                let padded = size.map(|n| padded_side(n, 8));
                for dtype in precisions() {
                    let picture = cast(&random::<4>([2, 3, h, w], 1), dtype);
                    let expected =
                        plain::pad_and_unshuffle(picture.clone(), 8, padding, padded, edge);
                    let found = Gpu::pad_and_unshuffle(picture.clone(), 8, padding, padded, edge);
                    assert_eq!(found.to_data(), expected.into_data());
                    let back = Gpu::shuffle_and_crop(found, 8, padding, size);
                    assert_eq!(back.into_data(), picture.into_data());
                }
            }
        }
    }
}
