//! Chroma at half size (4:2:0), as files store colour.

use crate::pixels::planes::Planes;

/// Luma of an RGB pixel as in JFIF files (BT.601, full range).
pub(super) fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Halves the sides by averaging 2 x 2 pixels. An odd last row or column is repeated.
pub(super) fn downsample_2x(picture: &Planes) -> Planes {
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

/// Doubles the sides of `half` with libjpeg's triangle filter. If `width` or `height` is odd, the
/// last column or row is left out.
pub(super) fn upsample_2x(half: &Planes, width: usize, height: usize) -> Planes {
    let mut result = Planes::filled(half.channels, width, height, 0.0);
    for c in 0..half.channels {
        let plane = half.plane(c);
        for (y, target) in result.plane_mut(c).chunks_exact_mut(width).enumerate() {
            let (y0, y1, wy) = half_size_taps(y, half.height);
            for (x, value) in target.iter_mut().enumerate() {
                let (x0, x1, wx) = half_size_taps(x, half.width);
                let row = |y: usize| {
                    plane[y * half.width + x0] * (1.0 - wx) + plane[y * half.width + x1] * wx
                };
                *value = row(y0) * (1.0 - wy) + row(y1) * wy;
            }
        }
    }
    result
}

/// Returns the two positions that pixel `n` reads in a plane of half the size, and the weight of
/// the second one.
fn half_size_taps(n: usize, size: usize) -> (usize, usize, f32) {
    let near = n / 2;
    let far = if n.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(size - 1)
    };
    (near, far, 0.25)
}
