//! Intra coding, as in the still pictures of video codecs, simplified to what produces its
//! artefacts.
//!
//! Each block of 4x4 values is predicted from its decoded neighbours above and on the left. The
//! residual is transformed by a cosine transform and quantised coarsely. This is the core of intra
//! coding in H.264 (Wiegand et al. 2003) and WebP. Its artefacts differ from those of JPEG. JPEG
//! rings within 8x8 blocks. Here, blocks continue a wrong edge, edges smear, and textures become
//! flat.
//!
//! Only the steps that change pixels are implemented. Entropy coding, which is lossless, is left
//! out. So are larger blocks, diagonal prediction modes, rate-based choice of modes, and the
//! deblocking filter.

use super::chroma::{downsample_2x, upsample_2x};
use super::jpeg::quantised;
use crate::pixels::planes::Planes;
use std::f32::consts::PI;

/// Side of a block.
const SIDE: usize = 4;
/// The values of a block, row-major.
type Block4x4 = [f32; SIDE * SIDE];

/// Largest quantiser parameter, as in H.264.
pub(super) const MAX_QUANTISER: u8 = 51;

/// Intra-codes `picture` with H.264's quantiser parameter, with chroma at half size. The loss at 18
/// is hardly visible; 51 is the coarsest.
pub(super) fn intra_coded(picture: &Planes, quantiser: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let [luma, blue, red] = to_ycc(picture);
    // H.264's step size doubles with every six parameters. Its unit is 1/255.
    let step = 0.625 * (f32::from(quantiser) / 6.0).exp2() / 255.0;
    let coded = |plane: &Planes| {
        let mut coded = plane.clone();
        encode_plane(&mut coded, step);
        coded
    };
    let small = |plane: &Planes| upsample_2x(&coded(&downsample_2x(plane)), width, height);
    quantised(to_rgb(&coded(&luma), &small(&blue), &small(&red)))
}

/// Converts RGB to luma and the differences of blue and red from it, around zero (BT.601, full
/// range).
fn to_ycc(picture: &Planes) -> [Planes; 3] {
    let rows = [
        [0.299, 0.587, 0.114],
        [-0.168_736, -0.331_264, 0.5],
        [0.5, -0.418_688, -0.081_312],
    ];
    rows.map(|weights: [f32; 3]| {
        let value = |i: usize| (0..3).map(|c| weights[c] * picture.plane(c)[i]).sum();
        let data = (0..picture.width * picture.height).map(value).collect();
        Planes::new(1, picture.width, picture.height, data)
    })
}

/// The inverse of [`to_ycc`].
fn to_rgb(luma: &Planes, blue: &Planes, red: &Planes) -> Planes {
    let mut rgb = Planes::filled(3, luma.width, luma.height, 0.0);
    for (c, [b, r]) in [[0.0, 1.402], [-0.344_136, -0.714_136], [1.772, 0.0]]
        .into_iter()
        .enumerate()
    {
        for (i, value) in rgb.plane_mut(c).iter_mut().enumerate() {
            *value = luma.data[i] + b * blue.data[i] + r * red.data[i];
        }
    }
    rgb
}

/// Codes a plane in place, block by block in reading order, so that the blocks above and on the
/// left are already decoded.
fn encode_plane(plane: &mut Planes, step: f32) {
    for top in (0..plane.height).step_by(SIDE) {
        for left in (0..plane.width).step_by(SIDE) {
            let original = read_block(plane, left, top);
            let predictions = predictions(plane, left, top);
            let cost = |prediction: &Block4x4| -> f32 {
                let pairs = original.iter().zip(prediction);
                pairs.map(|(a, b)| (a - b).abs()).sum()
            };
            let best = predictions
                .into_iter()
                .min_by(|a, b| cost(a).total_cmp(&cost(b)))
                .expect("there is a prediction");
            let residual = std::array::from_fn(|i| original[i] - best[i]);
            let residual = quantise_residual(residual, step);
            for y in 0..SIDE.min(plane.height - top) {
                for x in 0..SIDE.min(plane.width - left) {
                    let i = y * SIDE + x;
                    plane.data[(top + y) * plane.width + left + x] = best[i] + residual[i];
                }
            }
        }
    }
}

/// Reads the block at (`left`, `top`). Beyond the plane's edge, the last values are repeated.
fn read_block(plane: &Planes, left: usize, top: usize) -> Block4x4 {
    std::array::from_fn(|i| {
        let y = (top + i / SIDE).min(plane.height - 1);
        let x = (left + i % SIDE).min(plane.width - 1);
        plane.data[y * plane.width + x]
    })
}

/// Returns the four predictions of a block from its neighbours: their mean, the row above repeated,
/// the column on the left repeated, and the sum of both minus the corner (WebP's "true motion").
/// Missing neighbours take the mean of the existing ones. The first block has no neighbours, and
/// its predictions are zero.
fn predictions(plane: &Planes, left: usize, top: usize) -> [Block4x4; 4] {
    let value = |x: Option<usize>, y: Option<usize>| match (x, y) {
        (Some(x), Some(y)) => {
            let (x, y) = (x.min(plane.width - 1), y.min(plane.height - 1));
            Some(plane.data[y * plane.width + x])
        }
        _ => None,
    };
    let (before, above) = (left.checked_sub(1), top.checked_sub(1));
    let row: [_; SIDE] = std::array::from_fn(|i| value(Some(left + i), above));
    let column: [_; SIDE] = std::array::from_fn(|i| value(before, Some(top + i)));
    let known: Vec<f32> = row.iter().chain(&column).copied().flatten().collect();
    let mean = if known.is_empty() {
        0.0
    } else {
        known.iter().sum::<f32>() / known.len() as f32
    };
    let (row, column) = (
        row.map(|v| v.unwrap_or(mean)),
        column.map(|v| v.unwrap_or(mean)),
    );
    let corner = value(before, above).unwrap_or(mean);
    [
        [mean; SIDE * SIDE],
        std::array::from_fn(|i| row[i % SIDE]),
        std::array::from_fn(|i| column[i / SIDE]),
        std::array::from_fn(|i| row[i % SIDE] + column[i / SIDE] - corner),
    ]
}

/// Transforms, quantises and inversely transforms a block.
fn quantise_residual(block: Block4x4, step: f32) -> Block4x4 {
    let mut coefficients = transform(&block, false);
    for value in &mut coefficients {
        // Encoders round predicted blocks with an offset of a third of a step, so that small values
        // become zero.
        *value = value.signum() * (value.abs() / step + 1.0 / 3.0).floor() * step;
    }
    transform(&coefficients, true)
}

/// The orthonormal cosine transform along both axes, or its inverse.
fn transform(block: &Block4x4, inverse: bool) -> Block4x4 {
    // basis(k, n) is wave `k` at position `n`.
    let basis = |k: usize, n: usize| {
        let scale = if k == 0 { 0.25f32 } else { 0.5 };
        scale.sqrt() * (PI * (n as f32 + 0.5) * k as f32 / SIDE as f32).cos()
    };
    let weight = |to: usize, from: usize| {
        if inverse {
            basis(from, to)
        } else {
            basis(to, from)
        }
    };
    let rows: Block4x4 = std::array::from_fn(|i| {
        let (y, x) = (i / SIDE, i % SIDE);
        (0..SIDE).map(|n| weight(x, n) * block[y * SIDE + n]).sum()
    });
    std::array::from_fn(|i| {
        let (y, x) = (i / SIDE, i % SIDE);
        (0..SIDE).map(|n| weight(y, n) * rows[n * SIDE + x]).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::degrade::test_picture::{distance, waves};

    #[test]
    fn transform_and_colour_conversion_have_inverses() {
        let block: Block4x4 = std::array::from_fn(|i| ((i * 7) % 16) as f32 / 16.0);
        let back = transform(&transform(&block, false), true);
        assert!(block.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-6));
        // An orthonormal transform preserves the energy.
        let energy = |block: &Block4x4| block.iter().map(|v| v * v).sum::<f32>();
        assert!((energy(&transform(&block, false)) - energy(&block)).abs() < 1e-5);
        let picture = waves(17, 9);
        let [luma, blue, red] = to_ycc(&picture);
        assert!(distance(&to_rgb(&luma, &blue, &red), &picture) < 1e-5);
    }

    #[test]
    fn coarser_steps_lose_more() {
        let picture = quantised(waves(61, 46));
        let loss = |quantiser| distance(&intra_coded(&picture, quantiser), &picture);
        assert!(loss(20) > 0.0);
        assert!(loss(40) > 2.0 * loss(20), "{} {}", loss(40), loss(20));
        assert!(loss(MAX_QUANTISER) > loss(40));
    }

    #[test]
    fn flat_pictures_and_single_pixels_are_preserved() {
        for (width, height) in [(1, 1), (5, 3), (16, 16)] {
            let flat = quantised(Planes::filled(3, width, height, 0.6));
            assert!(distance(&intra_coded(&flat, 24), &flat) < 0.02);
        }
    }

    /// Prediction continues the row above at no cost, whereas JPEG codes each block on its own.
    #[test]
    fn vertical_stripes_are_continued_from_the_row_above() {
        let row = |i: usize| if i % 16 < 8 { 0.2 } else { 0.8 };
        let stripes = Planes::new(1, 16, 16, (0..256).map(row).collect());
        let mut coded = stripes.clone();
        encode_plane(&mut coded, 0.05);
        for y in 4..16 {
            assert_eq!(coded.data[y * 16..][..16], coded.data[3 * 16..][..16]);
        }
    }
}
