//! Chroma at half the size (4:2:0): how files keep colour.

use crate::pixels::planes::Planes;

/// The luma of JFIF files (BT.601, full range).
pub(super) fn brightness([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Averages of 2 x 2 pixels; an odd last row or column is repeated.
pub(super) fn halved(picture: &Planes) -> Planes {
    let (width, height) = (picture.width.div_ceil(2), picture.height.div_ceil(2));
    let mut half = Planes::filled(picture.channels, width, height, 0.0);
    for channel in 0..picture.channels {
        let source = picture.plane(channel);
        let target = half.plane_mut(channel);
        for y in 0..height {
            let rows = [2 * y, (2 * y + 1).min(picture.height - 1)];
            for x in 0..width {
                let columns = [2 * x, (2 * x + 1).min(picture.width - 1)];
                let sum: f32 = rows
                    .iter()
                    .flat_map(|y| columns.iter().map(move |x| source[y * picture.width + x]))
                    .sum();
                target[y * width + x] = sum / 4.0;
            }
        }
    }
    half
}

/// A picture of twice the size of `half`, less the last row or column where `width` or `height` is odd, by libjpeg's
/// triangle filter.
pub(super) fn doubled(half: &Planes, width: usize, height: usize) -> Planes {
    let mut result = Planes::filled(half.channels, width, height, 0.0);
    for c in 0..half.channels {
        let plane = half.plane(c);
        for (y, target) in result.plane_mut(c).chunks_exact_mut(width).enumerate() {
            let (y0, y1, wy) = half_position(y, half.height);
            for (x, value) in target.iter_mut().enumerate() {
                let (x0, x1, wx) = half_position(x, half.width);
                let row = |y: usize| {
                    plane[y * half.width + x0] * (1.0 - wx) + plane[y * half.width + x1] * wx
                };
                *value = row(y0) * (1.0 - wy) + row(y1) * wy;
            }
        }
    }
    result
}

/// Where pixel `n` reads a plane of half the size: two neighbours and the weight of the second (libjpeg's triangle filter).
fn half_position(n: usize, size: usize) -> (usize, usize, f32) {
    let near = n / 2;
    let far = if n.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(size - 1)
    };
    (near, far, 0.25)
}
