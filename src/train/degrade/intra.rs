//! Compression by prediction, as in the still pictures of video codecs: a sketch of it, for its artefacts.
//!
//! Each block of 4x4 values is predicted from its neighbours above and left as they were decoded, and what is left over
//! goes through a cosine transform and coarse steps. That is the core of intra coding in H.264 (Wiegand et al. 2003) and
//! in WebP, and what sets its faults apart from JPEG's: blocks that continue a wrong edge, smears along it, and textures
//! gone flat, where JPEG rings within 8x8 blocks.
//!
//! Only what changes pixels is here. Entropy coding, which loses nothing, is left out; so are larger blocks, the slanted
//! modes of prediction, the choice of modes by rate, and the filter that smooths the edges of blocks.

use super::chroma::{doubled, halved};
use super::jpeg::quantised;
use crate::pixels::planes::Planes;
use std::f32::consts::PI;

/// Side of a block.
const SIDE: usize = 4;
/// The values of a block, row by row.
type Block = [f32; SIDE * SIDE];

/// Largest quantiser parameter, as in H.264.
pub(super) const MAX_QUANTISER: u8 = 51;

/// `picture` coded by prediction with H.264's quantiser parameter: 18 is hardly seen, 51 is the coarsest; with chroma at
/// half the size.
pub(super) fn intra(picture: &Planes, quantiser: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let [luma, blue, red] = to_ycc(picture);
    // H.264's step doubles every six; its unit is one of 255.
    let step = 0.625 * (f32::from(quantiser) / 6.0).exp2() / 255.0;
    let coded = |plane: &Planes| {
        let mut coded = plane.clone();
        code(&mut coded, step);
        coded
    };
    let small = |plane: &Planes| doubled(&coded(&halved(plane)), width, height);
    quantised(to_rgb(&coded(&luma), &small(&blue), &small(&red)))
}

/// Luma, and the differences of blue and red from it, around zero (BT.601, full range).
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

/// Codes a plane in place, block by block in reading order: what lies above and left is decoded already.
fn code(plane: &mut Planes, step: f32) {
    for top in (0..plane.height).step_by(SIDE) {
        for left in (0..plane.width).step_by(SIDE) {
            let original = read(plane, left, top);
            let predictions = predictions(plane, left, top);
            let cost = |prediction: &Block| -> f32 {
                let pairs = original.iter().zip(prediction);
                pairs.map(|(a, b)| (a - b).abs()).sum()
            };
            let best = predictions
                .into_iter()
                .min_by(|a, b| cost(a).total_cmp(&cost(b)))
                .expect("there is a prediction");
            let rest = std::array::from_fn(|i| original[i] - best[i]);
            let rest = stepped(rest, step);
            for y in 0..SIDE.min(plane.height - top) {
                for x in 0..SIDE.min(plane.width - left) {
                    let i = y * SIDE + x;
                    plane.data[(top + y) * plane.width + left + x] = best[i] + rest[i];
                }
            }
        }
    }
}

/// The block at (`left`, `top`); past the plane's end its last values go on.
fn read(plane: &Planes, left: usize, top: usize) -> Block {
    std::array::from_fn(|i| {
        let y = (top + i / SIDE).min(plane.height - 1);
        let x = (left + i % SIDE).min(plane.width - 1);
        plane.data[y * plane.width + x]
    })
}

/// What the block may be from its neighbours: their mean, the row above repeated, the column left repeated, and both
/// added up less the corner (WebP's "true motion"). Where there are no neighbours on a side, their values are taken to be
/// the mean of those that there are; the first block has none and is predicted as zero.
fn predictions(plane: &Planes, left: usize, top: usize) -> [Block; 4] {
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

/// A block after transform, steps and inverse transform.
fn stepped(block: Block, step: f32) -> Block {
    let mut coefficients = transform(&block, false);
    for value in &mut coefficients {
        // A third of a step is the rounding that encoders take for predicted blocks: small values vanish.
        *value = value.signum() * (value.abs() / step + 1.0 / 3.0).floor() * step;
    }
    transform(&coefficients, true)
}

/// The orthonormal cosine transform of both axes, or its inverse.
fn transform(block: &Block, inverse: bool) -> Block {
    // basis(k, n): wave `k` at position `n`.
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
    let rows: Block = std::array::from_fn(|i| {
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
    use crate::train::degrade::test_picture::waves;

    fn distance(a: &Planes, b: &Planes) -> f32 {
        let squares = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).powi(2));
        (squares.sum::<f32>() / a.data.len() as f32).sqrt()
    }

    #[test]
    fn transform_and_colour_have_inverses() {
        let block: Block = std::array::from_fn(|i| ((i * 7) % 16) as f32 / 16.0);
        let back = transform(&transform(&block, false), true);
        assert!(block.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-6));
        // Orthonormal: the energy stays.
        let energy = |block: &Block| block.iter().map(|v| v * v).sum::<f32>();
        assert!((energy(&transform(&block, false)) - energy(&block)).abs() < 1e-5);
        let picture = waves(17, 9);
        let [luma, blue, red] = to_ycc(&picture);
        assert!(distance(&to_rgb(&luma, &blue, &red), &picture) < 1e-5);
    }

    #[test]
    fn coarser_steps_lose_more() {
        let picture = quantised(waves(61, 46));
        let loss = |quantiser| distance(&intra(&picture, quantiser), &picture);
        assert!(loss(20) > 0.0);
        assert!(loss(40) > 2.0 * loss(20), "{} {}", loss(40), loss(20));
        assert!(loss(MAX_QUANTISER) > loss(40));
    }

    #[test]
    fn flat_pictures_and_single_pixels_pass() {
        for (width, height) in [(1, 1), (5, 3), (16, 16)] {
            let flat = quantised(Planes::filled(3, width, height, 0.6));
            assert!(distance(&intra(&flat, 24), &flat) < 0.02);
        }
    }

    /// Where JPEG would have to code a ramp anew in each block, prediction goes on with what it has.
    #[test]
    fn a_row_is_continued() {
        let row = |i: usize| if i % 16 < 8 { 0.2 } else { 0.8 };
        let stripes = Planes::new(1, 16, 16, (0..256).map(row).collect());
        let mut coded = stripes.clone();
        code(&mut coded, 0.05);
        for y in 4..16 {
            assert_eq!(coded.data[y * 16..][..16], coded.data[3 * 16..][..16]);
        }
    }
}
