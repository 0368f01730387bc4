//! From a high-quality picture to the low-quality one a network must restore: blur, reduction, noise, JPEG.
//!
//! One pass in the order of a camera and a file: the parts are those of Real-ESRGAN (Wang et al. 2021, section 3), drawn
//! independently and mostly mild, and a share of the samples is reduced only, so that a clean input is not smoothed.

use std::f32::consts::TAU;
use std::io::Cursor;
use std::ops::Range;

use fast_image_resize::FilterType;
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{DynamicImage, RgbImage};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::planes::Planes;
use crate::resize;

/// How low-quality pictures are made: a probability and a range for each part.
///
/// The default covers antialiased bicubic reduction alone, and blur 1.2, noise 8/255 and JPEG 60 together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Degradation {
    /// Share of pictures that are only reduced, by antialiased bicubic. Default: 0.25.
    pub clean: f64,
    /// Probability of a Gaussian blur before the reduction. Default: 0.7.
    pub blur: f64,
    /// Standard deviation of the blur in pixels of a picture that is reduced to a quarter; in proportion for other
    /// factors. Default: 0.2 to 2.0.
    pub blur_sigma: Range<f32>,
    /// Share of blurs that are stretched in a random direction: each of two axes draws its own sigma. Default: 0.2.
    pub anisotropic: f64,
    /// Share of reductions by area or bilinear averaging in place of bicubic. Default: 0.2.
    pub other_kernel: f64,
    /// Probability of noise. Default: 0.65.
    pub noise: f64,
    /// Standard deviation of the noise for values in 0 to 1; light noise is drawn more often. Default: 0 to 14/255.
    pub noise_sigma: Range<f32>,
    /// Share of noise that is the same in all channels. Default: 0.3.
    pub grey_noise: f64,
    /// Share of noise that grows with the square root of the value, as photon counts do. Default: 0.3.
    pub photon_noise: f64,
    /// Probability of JPEG compression. Default: 0.65.
    pub jpeg: f64,
    /// JPEG quality. Default: 40 to 95.
    pub jpeg_quality: Range<u8>,
    /// Share of JPEG files with chroma at half the size (4:2:0). Default: 0.5.
    pub chroma_subsampling: f64,
}

impl Default for Degradation {
    fn default() -> Self {
        Self {
            clean: 0.3,
            blur: 0.95,
            blur_sigma: 0.4..1.8,
            anisotropic: 0.15,
            other_kernel: 0.1,
            noise: 0.9,
            noise_sigma: 1.0 / 255.0..12.0 / 255.0,
            grey_noise: 0.2,
            photon_noise: 0.2,
            jpeg: 0.9,
            jpeg_quality: 45..96,
            chroma_subsampling: 0.7,
        }
    }
}

impl Degradation {
    /// The low-quality version of `high`, `scale` times smaller (rounded, at least one pixel), in 8-bit steps like a
    /// saved file.
    ///
    /// With a `scale` of 1 nothing is resized; the other parts apply all the same.
    ///
    /// # Panics
    ///
    /// When `high` is not RGB or `scale` is below 1.
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        assert_eq!(
            high.channels, 3,
            "{} planes where RGB is due",
            high.channels
        );
        assert!(scale >= 1.0, "scale {scale} would enlarge");
        let size = |n: usize| ((n as f64 / scale).round() as usize).max(1);
        let (width, height) = (size(high.width), size(high.height));

        if rng.random_bool(self.clean) {
            return quantised(resize::reduce(high, width, height));
        }
        let mut low = if rng.random_bool(self.blur) {
            let blurred = self.blurred(high, scale, rng);
            self.reduced(&blurred, width, height, rng)
        } else {
            self.reduced(high, width, height, rng)
        };
        if rng.random_bool(self.noise) {
            self.add_noise(&mut low, rng);
        }
        low = quantised(low);
        if rng.random_bool(self.jpeg) {
            let quality = rng.random_range(self.jpeg_quality.clone());
            low = if rng.random_bool(self.chroma_subsampling) {
                jpeg_420(&low, quality)
            } else {
                jpeg_444(&low, quality)
            };
        }
        low
    }

    fn blurred(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        let unit = (scale / 4.0) as f32;
        let sigma = rng.random_range(self.blur_sigma.clone()) * unit;
        if rng.random_bool(self.anisotropic) {
            let other = rng.random_range(self.blur_sigma.clone()) * unit;
            let angle = rng.random_range(0.0..TAU);
            convolve(high, &oriented_gaussian(sigma, other, angle))
        } else {
            let kernel = gaussian(sigma);
            let radius = (kernel.len() / 2) as isize;
            let taps = |horizontal: bool| -> Vec<Tap> {
                let offsets = -radius..=radius;
                let tap = |(offset, &weight)| {
                    let (dx, dy) = if horizontal { (offset, 0) } else { (0, offset) };
                    Tap { dx, dy, weight }
                };
                offsets.zip(&kernel).map(tap).collect()
            };
            convolve(&convolve(high, &taps(true)), &taps(false))
        }
    }

    fn reduced(&self, high: &Planes, width: usize, height: usize, rng: &mut impl Rng) -> Planes {
        let kernel = if !rng.random_bool(self.other_kernel) {
            FilterType::CatmullRom
        } else if rng.random_bool(0.5) {
            FilterType::Box
        } else {
            FilterType::Bilinear
        };
        resize::reduce_with(high, width, height, kernel)
    }

    fn add_noise(&self, low: &mut Planes, rng: &mut impl Rng) {
        let Range { start, end } = self.noise_sigma;
        // A power above 1 makes light noise more frequent without giving up the strong end.
        let sigma = start + (end - start) * rng.random::<f32>().powf(1.4);
        let grey = rng.random_bool(self.grey_noise);
        let photon = rng.random_bool(self.photon_noise);
        let n = low.width * low.height;
        let shared: Vec<f32> = if grey {
            (0..n).map(|_| normal(rng)).collect()
        } else {
            Vec::new()
        };
        for (i, value) in low.data.iter_mut().enumerate() {
            let draw = if grey { shared[i % n] } else { normal(rng) };
            // Doubled variance at white, so that mid-grey gets `sigma` itself.
            let gain = if photon {
                (2.0 * value.max(0.0)).sqrt()
            } else {
                1.0
            };
            *value += sigma * gain * draw;
        }
    }
}

/// A standard normal variate (Box-Muller).
pub(super) fn normal(rng: &mut impl Rng) -> f32 {
    let u = 1.0 - rng.random::<f32>();
    (-2.0 * u.ln()).sqrt() * (TAU * rng.random::<f32>()).cos()
}

/// One weight of a convolution kernel and where it reads.
struct Tap {
    dx: isize,
    dy: isize,
    weight: f32,
}

/// Normalised Gaussian weights out to three sigma.
fn gaussian(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i32;
    let weights = (-radius..=radius).map(|x| (-0.5 * (x as f32 / sigma.max(1e-3)).powi(2)).exp());
    let weights: Vec<f32> = weights.collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// A Gaussian with standard deviation `sigma` along `angle` and `other` across it.
fn oriented_gaussian(sigma: f32, other: f32, angle: f32) -> Vec<Tap> {
    let radius = (3.0 * sigma.max(other)).ceil() as isize;
    let (sin, cos) = angle.sin_cos();
    let mut taps = Vec::new();
    for dy in -radius..=radius {
        for dx in -radius..=radius {
            let (x, y) = (dx as f32, dy as f32);
            let along = (x * cos + y * sin) / sigma.max(1e-3);
            let across = (y * cos - x * sin) / other.max(1e-3);
            let weight = (-0.5 * (along * along + across * across)).exp();
            if weight > 1e-4 {
                taps.push(Tap { dx, dy, weight });
            }
        }
    }
    let sum: f32 = taps.iter().map(|tap| tap.weight).sum();
    for tap in &mut taps {
        tap.weight /= sum;
    }
    taps
}

/// Sums weighted copies of `picture`; its border is replicated.
fn convolve(picture: &Planes, taps: &[Tap]) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let radius = taps
        .iter()
        .map(|tap| tap.dx.unsigned_abs())
        .max()
        .unwrap_or(0);
    let mut result = Planes::filled(picture.channels, width, height, 0.0);
    let mut padded = Vec::with_capacity(height * (width + 2 * radius));
    for channel in 0..picture.channels {
        padded.clear();
        for row in picture.plane(channel).chunks_exact(width) {
            padded.extend(std::iter::repeat_n(row[0], radius));
            padded.extend_from_slice(row);
            padded.extend(std::iter::repeat_n(row[width - 1], radius));
        }
        for (y, target) in result
            .plane_mut(channel)
            .chunks_exact_mut(width)
            .enumerate()
        {
            for tap in taps {
                let y = y.saturating_add_signed(tap.dy).min(height - 1);
                let x = radius.wrapping_add_signed(tap.dx);
                let source = &padded[y * (width + 2 * radius) + x..][..width];
                for (sum, value) in target.iter_mut().zip(source) {
                    *sum += tap.weight * value;
                }
            }
        }
    }
    result
}

/// Values clamped and rounded to steps of 1/255.
fn quantised(mut picture: Planes) -> Planes {
    for value in &mut picture.data {
        *value = (*value * 255.0).round().clamp(0.0, 255.0) / 255.0;
    }
    picture
}

/// Saves and reads `picture` as a JPEG file with chroma at full size, as the `image` crate writes it.
fn jpeg_444(picture: &Planes, quality: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let mut image = RgbImage::new(width as u32, height as u32);
    for (i, pixel) in image.pixels_mut().enumerate() {
        pixel.0 = std::array::from_fn(|c| (picture.plane(c)[i] * 255.0).round() as u8);
    }
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality)
        .encode_image(&image)
        .expect("an RGB picture can be written to memory");
    let decoder = JpegDecoder::new(Cursor::new(file)).expect("the file was just written");
    let image = DynamicImage::from_decoder(decoder)
        .expect("the file was just written")
        .into_rgb8();
    let mut result = Planes::filled(3, width, height, 0.0);
    for (i, pixel) in image.pixels().enumerate() {
        for c in 0..3 {
            result.plane_mut(c)[i] = f32::from(pixel.0[c]) / 255.0;
        }
    }
    result
}

/// [`jpeg_444`], but with chroma at half the size in both directions (4:2:0), as most files have it.
///
/// The encoder at hand keeps chroma at full size, so the picture is compressed twice: in full for its luma, and
/// averaged over 2 x 2 pixels for its chroma. An average of RGB values lies in gamut, and its chroma is the average chroma.
fn jpeg_420(picture: &Planes, quality: u8) -> Planes {
    let (width, height) = (picture.width, picture.height);
    let luma = jpeg_444(picture, quality);
    let half = jpeg_444(&quantised(halved(picture)), quality);
    let mut result = Planes::filled(3, width, height, 0.0);
    for y in 0..height {
        let (y0, y1, wy) = half_position(y, half.height);
        for x in 0..width {
            let (x0, x1, wx) = half_position(x, half.width);
            let chroma: [f32; 3] = std::array::from_fn(|c| {
                let plane = half.plane(c);
                let row = |y: usize| {
                    plane[y * half.width + x0] * (1.0 - wx) + plane[y * half.width + x1] * wx
                };
                row(y0) * (1.0 - wy) + row(y1) * wy
            });
            let i = y * width + x;
            let full: [f32; 3] = std::array::from_fn(|c| luma.plane(c)[i]);
            let shift = brightness(full) - brightness(chroma);
            for (c, value) in chroma.into_iter().enumerate() {
                result.plane_mut(c)[i] = value + shift;
            }
        }
    }
    quantised(result)
}

/// The luma of JFIF files (BT.601, full range).
fn brightness([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
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

/// Averages of 2 x 2 pixels; an odd last row or column is repeated.
fn halved(picture: &Planes) -> Planes {
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    /// Smooth colour waves with some fine detail.
    fn waves(width: usize, height: usize) -> Planes {
        let mut picture = Planes::filled(3, width, height, 0.0);
        for c in 0..3 {
            for (i, value) in picture.plane_mut(c).iter_mut().enumerate() {
                let (x, y) = ((i % width) as f32, (i / width) as f32);
                *value = 0.5
                    + 0.3 * (x * 0.05 * (c + 1) as f32).sin() * (y * 0.07).cos()
                    + 0.15 * (x * 0.9 + y * 0.7 + c as f32).sin();
            }
        }
        picture
    }

    fn rng(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed)
    }

    fn only(part: impl FnOnce(&mut Degradation)) -> Degradation {
        let mut degradation = Degradation {
            clean: 0.0,
            blur: 0.0,
            other_kernel: 0.0,
            noise: 0.0,
            jpeg: 0.0,
            ..Degradation::default()
        };
        part(&mut degradation);
        degradation
    }

    fn distance(a: &Planes, b: &Planes) -> f32 {
        let sum: f32 = a
            .data
            .iter()
            .zip(&b.data)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        (sum / a.data.len() as f32).sqrt()
    }

    #[test]
    fn sizes_range_and_determinism() {
        let mix = Degradation::default();
        for (scale, size) in [
            (1.0, (61, 46)),
            (1.5, (41, 31)),
            (2.0, (31, 23)),
            (4.0, (15, 12)),
        ] {
            let high = waves(61, 46);
            for seed in 0..20 {
                let low = mix.apply(&high, scale, &mut rng(seed));
                assert_eq!((low.width, low.height), size);
                assert!(low.data.iter().all(|v| (0.0..=1.0).contains(v)));
                assert!(
                    low.data
                        .iter()
                        .all(|v| (v * 255.0 - (v * 255.0).round()).abs() < 1e-3)
                );
                assert_eq!(low, mix.apply(&high, scale, &mut rng(seed)));
            }
        }
    }

    #[test]
    fn clean_is_bicubic_in_8_bits() {
        let high = waves(64, 64);
        let clean = Degradation {
            clean: 1.0,
            ..Degradation::default()
        };
        let low = clean.apply(&high, 4.0, &mut rng(0));
        assert_eq!(low, quantised(resize::reduce(&high, 16, 16)));
        assert_eq!(clean.apply(&high, 1.0, &mut rng(0)), quantised(high));
    }

    #[test]
    fn one_pixel_passes() {
        let pixel = Planes::new(3, 1, 1, vec![0.2, 0.4, 0.8]);
        for seed in 0..50 {
            let low = Degradation::default().apply(&pixel, 4.0, &mut rng(seed));
            assert_eq!((low.width, low.height), (1, 1));
        }
    }

    #[test]
    fn blur_follows_sigma_and_scale() {
        let high = waves(64, 64);
        let blur = |sigma: f32, scale| {
            let d = only(|d| {
                d.blur = 1.0;
                d.blur_sigma = sigma..sigma + 1e-4;
                d.anisotropic = 0.0;
            });
            distance(
                &d.apply(&high, scale, &mut rng(0)),
                &resize::reduce(&high, (64.0 / scale) as usize, (64.0 / scale) as usize),
            )
        };
        assert!(blur(0.05, 1.0) < 0.002);
        assert!(blur(2.0, 1.0) > blur(0.8, 1.0));
        assert!(blur(2.0, 2.0) > blur(0.5, 2.0));
        let round = convolve(&high, &oriented_gaussian(1.3, 1.3, 0.4));
        let kernel = gaussian(1.3);
        assert_eq!(kernel.len(), 9);
        let stretched = convolve(&high, &oriented_gaussian(2.0, 0.5, 0.4));
        assert!(distance(&round, &stretched) > 0.01);
    }

    #[test]
    fn noise_has_the_stated_deviation() {
        let high = Planes::filled(3, 128, 128, 0.5);
        for (grey, photon) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)] {
            let d = only(|d| {
                d.noise = 1.0;
                d.noise_sigma = 0.05..0.05;
                d.grey_noise = grey;
                d.photon_noise = photon;
            });
            let low = d.apply(&high, 1.0, &mut rng(1));
            let deviation = distance(&low, &high);
            assert!((deviation - 0.05).abs() < 0.002, "{deviation}");
            assert_eq!(low.plane(0) == low.plane(1), grey == 1.0);
        }
    }

    #[test]
    fn light_noise_is_more_frequent() {
        let high = Planes::filled(3, 16, 16, 0.5);
        let d = only(|d| d.noise = 1.0);
        let half = d.noise_sigma.end / 2.0;
        let light = (0..200)
            .filter(|&seed| distance(&d.apply(&high, 1.0, &mut rng(seed)), &high) < half)
            .count();
        assert!((105..150).contains(&light), "{light} of 200");
    }

    #[test]
    fn jpeg_loses_with_lower_quality() {
        let high = quantised(waves(64, 48));
        let loss = |quality: u8, subsampling| {
            let d = only(|d| {
                d.jpeg = 1.0;
                d.jpeg_quality = quality..quality + 1;
                d.chroma_subsampling = subsampling;
            });
            distance(&d.apply(&high, 1.0, &mut rng(0)), &high)
        };
        assert!(loss(95, 0.0) > 0.0);
        assert!(loss(40, 0.0) > loss(95, 0.0));
        assert!(loss(95, 1.0) > loss(95, 0.0));
    }

    #[test]
    fn subsampling_keeps_luma() {
        let high = quantised(waves(33, 31));
        let (full, half) = (jpeg_444(&high, 95), jpeg_420(&high, 95));
        for i in 0..high.width * high.height {
            let luma = |p: &Planes| brightness(std::array::from_fn(|c| p.plane(c)[i]));
            assert!((luma(&full) - luma(&half)).abs() < 2.0 / 255.0);
        }
    }

    #[test]
    fn other_kernels_differ() {
        let high = waves(64, 64);
        let d = only(|d| d.other_kernel = 1.0);
        let clean = quantised(resize::reduce(&high, 16, 16));
        assert!((0..8).all(|seed| d.apply(&high, 4.0, &mut rng(seed)) != clean));
    }
}
