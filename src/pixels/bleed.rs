//! Fills transparent pixels, whose stored colour is arbitrary, with the colour of visible pixels
//! nearby.

use crate::pixels::planes::Planes;

/// Replaces the colour of each pixel with zero `weight` by the colour of nearby pixels with
/// non-zero weight.
///
/// This is the push-pull algorithm. It halves picture and weights until every pixel has non-zero
/// weight. Then it fills the holes of each level from the next smaller level, smallest level first.
/// The cost is linear in the number of pixels for any size of the holes. At least one weight must
/// be non-zero.
pub(super) fn bleed(rgb: &mut Planes, weight: &[f32]) {
    if weight.iter().all(|&w| w > 0.0) {
        return;
    }
    let (mut half, half_weight) = halve(rgb, weight);
    bleed(&mut half, &half_weight);

    let columns: Vec<_> = (0..rgb.width).map(|x| neighbours(x, half.width)).collect();
    for y in 0..rgb.height {
        let (near_y, far_y) = neighbours(y, half.height);
        for (x, &(near_x, far_x)) in columns.iter().enumerate() {
            let pixel = y * rgb.width + x;
            if weight[pixel] > 0.0 {
                continue;
            }
            for channel in 0..3 {
                let plane = half.plane(channel);
                let row = |y: usize| {
                    0.75 * plane[y * half.width + near_x] + 0.25 * plane[y * half.width + far_x]
                };
                rgb.plane_mut(channel)[pixel] = 0.75 * row(near_y) + 0.25 * row(far_y);
            }
        }
    }
}

/// Returns the pixel of the half-size row or column that contains `position`, and the second
/// nearest one. Linear interpolation weighs them 3 to 1.
fn neighbours(position: usize, half: usize) -> (usize, usize) {
    let near = position / 2;
    let far = if position.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(half - 1)
    };
    (near, far)
}

/// Halves the size, rounding up. Returns the weighted mean of each 2 x 2 block, and the weight of
/// each block.
fn halve(rgb: &Planes, weight: &[f32]) -> (Planes, Vec<f32>) {
    let (width, height) = (rgb.width.div_ceil(2), rgb.height.div_ceil(2));
    let mut half = Planes::filled(3, width, height, 0.0);
    let mut half_weight = vec![0.0; width * height];
    for y in 0..height {
        for x in 0..width {
            let block = (2 * y..(2 * y + 2).min(rgb.height))
                .flat_map(|y| (2 * x..(2 * x + 2).min(rgb.width)).map(move |x| y * rgb.width + x));
            let total: f32 = block.clone().map(|pixel| weight[pixel]).sum();
            if total == 0.0 {
                continue;
            }
            for channel in 0..3 {
                let plane = rgb.plane(channel);
                half.plane_mut(channel)[y * width + x] = block
                    .clone()
                    .map(|pixel| plane[pixel] * (weight[pixel] / total))
                    .sum();
            }
            // Always the mean over four pixels, so that weights stay in `0.0..=1.0` on every level.
            // A very small weight must not be rounded to zero, or a lone visible pixel would be
            // lost.
            half_weight[y * width + x] = (total / 4.0).max(f32::MIN_POSITIVE);
        }
    }
    (half, half_weight)
}
