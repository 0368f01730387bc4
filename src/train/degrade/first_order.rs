//! First-order degradation: blur, reduction, noise and compression, once each, in the order of a
//! camera and a file.
//!
//! The parts are those of Real-ESRGAN (Wang et al. 2021, section 3), drawn independently and mostly
//! mild. A share of the pictures is only reduced, so that the network learns not to smooth a clean
//! input.

use super::jpeg::{jpeg_420, jpeg_444, quantised};
use super::kernels::{Tap, convolve, gaussian, oriented_gaussian};
use super::noise::add_normal;
use super::size::reduced_size;
use super::validate::check_share;
use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::pixels::resize;
use fast_image_resize::FilterType;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::f32::consts::TAU;
use std::ops::Range;

/// Settings of a first-order degradation: a probability and a range for each part.
///
/// The default range includes antialiased bicubic reduction alone, and the combination of blur 1.2,
/// noise 8/255 and JPEG quality 60.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirstOrderDegradation {
    /// Share of pictures that are only reduced, by antialiased bicubic interpolation. Default: 0.3.
    pub clean: f64,
    /// Probability of a Gaussian blur before the reduction. Default: 0.95.
    pub blur: f64,
    /// Standard deviation of the blur in pixels, for a reduction to a quarter. It is proportional
    /// to the scale. Default: 0.4 to 1.8.
    pub blur_sigma: Range<f32>,
    /// Share of blurs that are anisotropic, with a random direction and two independent sigmas.
    /// Default: 0.15.
    pub anisotropic: f64,
    /// Share of reductions with a box or bilinear filter instead of a bicubic one. Default: 0.1.
    pub other_kernel: f64,
    /// Probability of noise. Default: 0.9.
    pub noise: f64,
    /// Standard deviation of the noise for values in 0..1. Weak noise is more frequent. Default:
    /// 1/255 to 12/255.
    pub noise_sigma: Range<f32>,
    /// Share of noise that is the same in all channels. Default: 0.2.
    pub grey_noise: f64,
    /// Share of noise whose deviation grows with the square root of the value, as photon noise
    /// does. Default: 0.2.
    pub photon_noise: f64,
    /// Probability of JPEG compression. Default: 0.9.
    pub jpeg: f64,
    /// JPEG quality, without the end of the range. Default: 45 to 95.
    pub jpeg_quality: Range<u8>,
    /// Share of JPEG files with chroma at half size (4:2:0). Default: 0.7.
    pub chroma_subsampling: f64,
}

impl Default for FirstOrderDegradation {
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

impl FirstOrderDegradation {
    /// Returns the low-quality version of `high`, `scale` times smaller (rounded, at least one
    /// pixel), in 8-bit steps like a saved file.
    ///
    /// A `scale` of 1 does not resize; the other parts still apply.
    ///
    /// # Panics
    ///
    /// Panics if `high` is not RGB or `scale` is below 1.
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        let (width, height) = reduced_size(high, scale);

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

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first invalid setting: a probability or share outside 0 to 1, or
    /// a range that is empty or out of bounds.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("clean", self.clean),
            ("blur", self.blur),
            ("anisotropic", self.anisotropic),
            ("other_kernel", self.other_kernel),
            ("noise", self.noise),
            ("grey_noise", self.grey_noise),
            ("photon_noise", self.photon_noise),
            ("jpeg", self.jpeg),
            ("chroma_subsampling", self.chroma_subsampling),
        ] {
            check_share(field, "one_pass", value)?;
        }
        let (blur, noise) = (&self.blur_sigma, &self.noise_sigma);
        let quality = &self.jpeg_quality;
        for (field, valid, range, limits) in [
            (
                "blur_sigma",
                blur.start >= 0.0 && blur.start < blur.end && blur.end <= 64.0,
                format!("{blur:?}"),
                "0 to 64",
            ),
            (
                "noise_sigma",
                noise.start >= 0.0 && noise.start <= noise.end && noise.end <= 1.0,
                format!("{noise:?}"),
                "0 to 1",
            ),
            (
                "jpeg_quality",
                quality.start >= 1 && quality.start < quality.end && quality.end <= 101,
                format!("{quality:?}"),
                "1 to 100",
            ),
        ] {
            if !valid {
                let reason = format!("{range} is empty or not within {limits}");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
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
        // A power above 1 makes weak noise more frequent and still reaches the end of the range.
        let sigma = start + (end - start) * rng.random::<f32>().powf(1.4);
        let grey = rng.random_bool(self.grey_noise);
        let photon = rng.random_bool(self.photon_noise);
        add_normal(low, grey, rng, |value| {
            // The variance is doubled at white, so that mid-grey has the deviation `sigma`.
            let gain = if photon {
                (2.0 * value.max(0.0)).sqrt()
            } else {
                1.0
            };
            sigma * gain
        });
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::train::degrade::test_picture::{distance, waves};

    fn rng(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed)
    }

    fn only(part: impl FnOnce(&mut FirstOrderDegradation)) -> FirstOrderDegradation {
        let mut degradation = FirstOrderDegradation {
            clean: 0.0,
            blur: 0.0,
            other_kernel: 0.0,
            noise: 0.0,
            jpeg: 0.0,
            ..FirstOrderDegradation::default()
        };
        part(&mut degradation);
        degradation
    }

    #[test]
    fn results_have_the_right_size_and_range_and_are_deterministic() {
        let mix = FirstOrderDegradation::default();
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
    fn a_clean_picture_is_reduced_by_bicubic_interpolation() {
        let high = waves(64, 64);
        let clean = FirstOrderDegradation {
            clean: 1.0,
            ..FirstOrderDegradation::default()
        };
        let low = clean.apply(&high, 4.0, &mut rng(0));
        assert_eq!(low, quantised(resize::reduce(&high, 16, 16)));
        assert_eq!(clean.apply(&high, 1.0, &mut rng(0)), quantised(high));
    }

    #[test]
    fn a_single_pixel_can_be_degraded() {
        let pixel = Planes::new(3, 1, 1, vec![0.2, 0.4, 0.8]);
        for seed in 0..50 {
            let low = FirstOrderDegradation::default().apply(&pixel, 4.0, &mut rng(seed));
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
    fn weak_noise_is_more_frequent() {
        let high = Planes::filled(3, 16, 16, 0.5);
        let d = only(|d| d.noise = 1.0);
        let half = d.noise_sigma.end / 2.0;
        let light = (0..200)
            .filter(|&seed| distance(&d.apply(&high, 1.0, &mut rng(seed)), &high) < half)
            .count();
        assert!((105..150).contains(&light), "{light} of 200");
    }

    #[test]
    fn jpeg_loss_grows_as_the_quality_falls() {
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

    /// The training data of existing models must not change. These are sums of the pictures for
    /// these seeds.
    #[test]
    fn degraded_pictures_are_unchanged() {
        let high = crate::train::procedural::picture(3, 96, 72);
        for (seed, scale, expected) in [
            (0, 1.0, 8748.541),
            (1, 1.5, 3872.612),
            (2, 2.0, 2188.333),
            (3, 3.0, 972.753),
            (4, 4.0, 546.067),
            (7, 2.0, 2188.882),
            (11, 1.5, 3886.463),
        ] {
            let low = FirstOrderDegradation::default().apply(&high, scale, &mut rng(seed));
            let sum: f64 = low.data.iter().map(|&v| f64::from(v)).sum();
            // The logarithm of another machine may round a few values to a neighbouring step.
            assert!((sum - expected).abs() < 0.05, "{seed}: {sum}");
        }
    }

    #[test]
    fn invalid_settings_are_refused() {
        FirstOrderDegradation::default().validate().unwrap();
        let fails = |change: fn(&mut FirstOrderDegradation), field: &str| {
            let mut config = FirstOrderDegradation::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("config `{field}`")), "{error}");
        };
        fails(|d| d.clean = 1.1, "clean");
        fails(|d| d.jpeg = f64::NAN, "jpeg");
        fails(|d| d.blur_sigma = 2.0..1.0, "blur_sigma");
        fails(|d| d.noise_sigma = -0.1..0.1, "noise_sigma");
        fails(|d| d.jpeg_quality = 0..50, "jpeg_quality");
        fails(|d| d.jpeg_quality = 50..50, "jpeg_quality");
        let unknown = serde_json::from_str::<FirstOrderDegradation>(r#"{"jpg": 1.0}"#).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `jpg`"));
    }

    #[test]
    fn other_kernels_differ_from_bicubic() {
        let high = waves(64, 64);
        let d = only(|d| d.other_kernel = 1.0);
        let clean = quantised(resize::reduce(&high, 16, 16));
        assert!((0..8).all(|seed| d.apply(&high, 4.0, &mut rng(seed)) != clean));
    }
}
