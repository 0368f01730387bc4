//! The camera, which turns painted layers into a picture: depth of field, shadows, exposure, blur
//! and the sRGB curve.

use crate::pixels::planes::Planes;

/// One layer at the size of the picture: premultiplied red, green and blue in linear light, and
/// coverage (alpha).
#[derive(Clone)]
pub(super) struct Layer {
    pub width: usize,
    pub height: usize,
    pub planes: [Vec<f32>; 4],
}

impl Layer {
    /// Creates a fully transparent layer.
    pub(super) fn empty(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            planes: std::array::from_fn(|_| vec![0.0; width * height]),
        }
    }

    /// Blurs all planes with an approximate Gaussian of standard deviation `sigma`, in pixels.
    pub(super) fn defocus(&mut self, sigma: f32) {
        for plane in &mut self.planes {
            blur(plane, self.width, self.height, sigma);
        }
    }

    /// Composites `front` over this layer.
    pub(super) fn cover_with(&mut self, front: &Layer) {
        let (colours, alpha) = front.planes.split_at(3);
        for (plane, colour) in self.planes.iter_mut().zip(colours) {
            for ((value, colour), alpha) in plane.iter_mut().zip(colour).zip(&alpha[0]) {
                *value = colour + (1.0 - alpha) * *value;
            }
        }
    }

    /// Darkens this layer by the shadow of `front`: its coverage, moved by (`dx`, `dy`) and blurred
    /// by `sigma`. `depth` is the strength of the shadow, 0 to 1.
    pub(super) fn shade(&mut self, front: &Layer, dx: isize, dy: isize, sigma: f32, depth: f32) {
        let (width, height) = (self.width, self.height);
        let mut shadow = vec![0.0; width * height];
        for y in 0..height {
            let from = y.saturating_add_signed(dy).min(height - 1);
            for x in 0..width {
                let x0 = x.saturating_add_signed(dx).min(width - 1);
                shadow[y * width + x] = front.planes[3][from * width + x0];
            }
        }
        blur(&mut shadow, width, height, sigma);
        for plane in &mut self.planes[..3] {
            for (value, shadow) in plane.iter_mut().zip(&shadow) {
                *value *= 1.0 - depth * shadow;
            }
        }
    }

    /// Scales the light so that it uses most of the range. A `share` of the values are clipped, or
    /// more if the mean would otherwise be below `key`.
    ///
    /// `gamma` is the slope of the tone curve in the shadows, and `veil` is the stray light added
    /// to them.
    pub(super) fn expose(&mut self, share: f32, key: f32, veil: f32, gamma: f32) {
        let mut sample: Vec<f32> = self.planes[..3]
            .iter()
            .flat_map(|plane| plane.iter().step_by(17).copied())
            .collect();
        sample.sort_unstable_by(f32::total_cmp);
        let quantile = |q: f32| sample[((sample.len() - 1) as f32 * q) as usize];
        let black = 0.8 * quantile(0.005);
        let mean = sample.iter().sum::<f32>() / sample.len() as f32;
        // At most a tenth of the values are clipped to raise the mean.
        let white = (mean / key).max(quantile(0.9)).min(quantile(1.0 - share));
        let white = (white - black).max(1e-3);
        for plane in &mut self.planes[..3] {
            for value in plane.iter_mut() {
                let light = (*value - black).max(0.0) / white;
                *value = veil + (1.0 - veil) * light * (gamma + (1.0 - gamma) * light.min(1.0));
            }
        }
    }

    /// Encodes the layer as an sRGB picture, clipped at white.
    pub(super) fn develop(self) -> Planes {
        let data = self.planes[..3]
            .iter()
            .flat_map(|plane| plane.iter().map(|&light| encode(light)))
            .collect();
        Planes::new(3, self.width, self.height, data)
    }
}

/// The sRGB transfer curve (IEC 61966-2-1).
fn encode(light: f32) -> f32 {
    let light = light.clamp(0.0, 1.0);
    if light <= 0.003_130_8 {
        12.92 * light
    } else {
        1.055 * light.powf(1.0 / 2.4) - 0.055
    }
}

/// Gaussian blur in place, with the border replicated. Below `sigma` 2 it uses the exact kernel,
/// above it three box blurs.
pub(super) fn blur(plane: &mut [f32], width: usize, height: usize, sigma: f32) {
    if sigma < 0.15 {
        return;
    }
    if sigma < 2.0 {
        let radius = (3.0 * sigma).ceil() as usize;
        let weight = |i: usize| (-0.5 * ((i as f32 - radius as f32) / sigma).powi(2)).exp();
        let kernel: Vec<f32> = (0..=2 * radius).map(weight).collect();
        let sum: f32 = kernel.iter().sum();
        let kernel: Vec<f32> = kernel.iter().map(|w| w / sum).collect();
        for row in plane.chunks_exact_mut(width) {
            let mut line = vec![row[0]; radius];
            line.extend_from_slice(row);
            line.extend(std::iter::repeat_n(row[width - 1], radius));
            row.fill(0.0);
            for (tap, weight) in kernel.iter().enumerate() {
                for (value, source) in row.iter_mut().zip(&line[tap..]) {
                    *value += weight * source;
                }
            }
        }
        let copy = plane.to_vec();
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            row.fill(0.0);
            for (tap, weight) in kernel.iter().enumerate() {
                let y = (y + tap).saturating_sub(radius).min(height - 1);
                for (value, source) in row.iter_mut().zip(&copy[y * width..][..width]) {
                    *value += weight * source;
                }
            }
        }
    } else {
        let mut variance = sigma * sigma;
        for left in [3.0, 2.0, 1.0] {
            // A box of 2 r + 1 pixels has the variance r (r + 1) / 3. The next box compensates for
            // the rounding.
            let radius = ((12.0 * variance / left + 1.0).sqrt() - 1.0) / 2.0;
            let radius = radius.round() as usize;
            variance = (variance - (radius * (radius + 1)) as f32 / 3.0).max(0.0);
            box_rows(plane, width, radius);
            box_columns(plane, width, height, radius);
        }
    }
}

fn box_rows(plane: &mut [f32], width: usize, radius: usize) {
    let scale = 1.0 / (2 * radius + 1) as f32;
    let mut line = vec![0.0; width];
    for row in plane.chunks_exact_mut(width) {
        line.copy_from_slice(row);
        let at = |x: usize| line[x.saturating_sub(radius).min(width - 1)];
        let mut sum: f32 = (0..2 * radius + 1).map(at).sum();
        for (x, value) in row.iter_mut().enumerate() {
            *value = sum * scale;
            sum += at(x + 2 * radius + 1) - at(x);
        }
    }
}

fn box_columns(plane: &mut [f32], width: usize, height: usize, radius: usize) {
    let scale = 1.0 / (2 * radius + 1) as f32;
    let copy = plane.to_vec();
    let line = |y: usize| {
        let y = y.saturating_sub(radius).min(height - 1);
        &copy[y * width..][..width]
    };
    let mut sums = vec![0.0; width];
    for y in 0..2 * radius + 1 {
        for (sum, value) in sums.iter_mut().zip(line(y)) {
            *sum += value;
        }
    }
    for (y, row) in plane.chunks_exact_mut(width).enumerate() {
        let (new, old) = (line(y + 2 * radius + 1), line(y));
        for (x, value) in row.iter_mut().enumerate() {
            *value = sums[x] * scale;
            sums[x] += new[x] - old[x];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_the_sum_and_has_the_given_sigma() {
        for sigma in [0.5, 1.4, 3.0, 6.0] {
            let mut plane = vec![0.0; 81 * 81];
            plane[40 * 81 + 40] = 1.0;
            blur(&mut plane, 81, 81, sigma);
            let sum: f32 = plane.iter().sum();
            assert!((sum - 1.0).abs() < 1e-3, "{sigma}: {sum}");
            let variance: f32 = plane
                .iter()
                .enumerate()
                .map(|(i, v)| v * ((i % 81) as f32 - 40.0).powi(2))
                .sum();
            assert!(
                (variance.sqrt() / sigma - 1.0).abs() < 0.15,
                "{sigma}: {variance}"
            );
        }
    }

    #[test]
    fn a_transparent_layer_covers_nothing() {
        let mut back = Layer::empty(2, 1);
        back.planes[0] = vec![0.5, 0.25];
        let mut front = Layer::empty(2, 1);
        front.planes[0][1] = 1.0;
        front.planes[3][1] = 1.0;
        back.cover_with(&front);
        assert_eq!(back.planes[0], [0.5, 1.0]);
    }

    #[test]
    fn the_srgb_curve_is_clipped_at_both_ends() {
        assert_eq!(encode(-1.0), 0.0);
        assert!((encode(2.0) - 1.0).abs() < 1e-6);
        assert!((encode(0.214) - 0.5).abs() < 1e-3);
    }
}
