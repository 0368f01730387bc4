//! Two rounds of degradation, each with blur, resize, noise and compression.
//!
//! The order of Real-ESRGAN (Wang, Xie, Dong and Shan 2021, "Training Real-World Blind Super-Resolution with Pure
//! Synthetic Data", section 3), and, by other settings, of APISR (Wang et al. 2024, section 3.2): resizing at any place in
//! a round, and compression by prediction.

use super::intra::intra;
use super::jpeg::{jpeg_420, jpeg_444, quantised};
use super::kernels::{Blur, Form, convolve, sinc};
use super::noise::{add_normal, add_poisson};
use crate::pixels::planes::Planes;
use crate::pixels::resize;
use fast_image_resize::FilterType;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// From lowest to highest; both are drawn.
pub type Bounds<T> = [T; 2];

/// Settings of two rounds and an end. Presets are [`real_esrgan`](Self::real_esrgan), [`apisr`](Self::apisr) and
/// [`mild`](Self::mild).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoOrder {
    /// The first round; sizes are relative to the original.
    pub first: Round,
    /// The second round; sizes are relative to the result.
    pub second: Round,
    /// The low-pass filter at the end.
    pub last_sinc: Sinc,
    /// Share of pictures of which compression is the last step, and not the final resize with its filter.
    pub compression_last: f64,
}

/// One round, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Blur.
    pub blur: BlurConfig,
    /// Resize.
    pub resize: ResizeConfig,
    /// Noise.
    pub noise: NoiseConfig,
    /// Compression.
    pub compression: CompressionConfig,
}

/// How a round blurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlurConfig {
    /// Probability of a blur.
    pub probability: f64,
    /// Reach of the kernel in pixels; its side is one more than twice that.
    pub radius: Bounds<usize>,
    /// Share of kernels that are low-pass filters, and these.
    pub sinc: Sinc,
    /// How often each other form is drawn.
    pub forms: Forms,
    /// Standard deviation in pixels; each axis of its own where the form is not round.
    pub sigma: Bounds<f64>,
    /// Exponents of generalised Gaussians; half of the draws lie below 1, half above.
    pub generalised: Bounds<f64>,
    /// Exponents of plateaus, drawn likewise.
    pub plateau: Bounds<f64>,
}

/// A low-pass filter that rings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sinc {
    /// Share of pictures that it is used on.
    pub share: f64,
    /// Reach of the kernel in pixels.
    pub radius: Bounds<usize>,
    /// Highest frequency that passes, over the highest there is.
    pub cutoff: Bounds<f64>,
    /// Least cutoff of kernels with a radius below 6, which are too small to hold a longer wave.
    pub small_cutoff: f64,
}

/// Weights of the forms of a blur: how often each is drawn, over the sum of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forms {
    /// Round Gaussians.
    pub gaussian: f64,
    /// Gaussians stretched in a random direction.
    pub stretched_gaussian: f64,
    /// Round generalised Gaussians.
    pub generalised: f64,
    /// Stretched generalised Gaussians.
    pub stretched_generalised: f64,
    /// Round plateaus.
    pub plateau: f64,
    /// Stretched plateaus.
    pub stretched_plateau: f64,
}

/// How a round resizes: by area, bilinear or bicubic, a third each; the latter two without antialias, as files are often
/// resized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeConfig {
    /// Weight of enlarging.
    pub up: f64,
    /// Weight of reducing.
    pub down: f64,
    /// Weight of keeping the size.
    pub keep: f64,
    /// Smallest and largest size, over that which the round starts from; 1 lies between them.
    pub range: Bounds<f64>,
    /// Whether the resize stands before the blur, after it or after the noise, a third each (APISR's "shuffled resize"),
    /// and not always after the blur.
    pub anywhere: bool,
}

/// How a round adds noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// Probability of noise.
    pub probability: f64,
    /// Share of noise that is normal; the rest is that of counted photons (Poisson).
    pub gaussian: f64,
    /// Standard deviation of normal noise, in steps of 1/255.
    pub sigma: Bounds<f64>,
    /// Strength of Poisson noise; 1 is that of as many photons at white as the picture has values.
    pub poisson: Bounds<f64>,
    /// Share of noise that is the same in all channels.
    pub grey: f64,
}

/// How a round compresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompressionConfig {
    /// Probability of compression.
    pub probability: f64,
    /// Share of compression by prediction, as in a video's still pictures; the rest is JPEG.
    pub predicted: f64,
    /// H.264's quantiser parameter of the former, 51 at most.
    pub quantiser: Bounds<u8>,
    /// Quality of the latter, from 1 to 100.
    pub jpeg_quality: Bounds<u8>,
    /// Share of JPEG files with chroma at half the size (4:2:0).
    pub chroma_subsampling: f64,
}

impl TwoOrder {
    /// The low-quality version of `high`, `scale` times smaller (rounded, at least one pixel), in 8-bit steps like a
    /// saved file.
    ///
    /// # Panics
    ///
    /// When `high` is not RGB, `scale` is below 1, or the settings are not [valid](Self::validate).
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        let (width, height) = super::reduced_size(high, scale);
        let mut low = self
            .first
            .before_compression(high.clone(), [high.width, high.height], rng);
        low = self.first.compression.apply(low, rng);
        low = self.second.before_compression(low, [width, height], rng);
        if rng.random_bool(self.compression_last) {
            low = self.ended(low, width, height, rng);
            low = self.second.compression.apply(low, rng);
        } else {
            low = self.second.compression.apply(low, rng);
            low = self.ended(low, width, height, rng);
        }
        quantised(low)
    }

    /// Brought to its final size and filtered.
    fn ended(&self, low: Planes, width: usize, height: usize, rng: &mut impl Rng) -> Planes {
        let resized = resized(&low, width, height, rng);
        if rng.random_bool(self.last_sinc.share) {
            clamped(convolve(&resized, &self.last_sinc.taps(rng)))
        } else {
            clamped(resized)
        }
    }
}

impl Round {
    /// Blur, resize and noise; the resize is relative to `base`, width and height.
    fn before_compression(&self, mut low: Planes, base: [usize; 2], rng: &mut impl Rng) -> Planes {
        let place = if self.resize.anywhere {
            rng.random_range(0..3)
        } else {
            1
        };
        for step in 0..3 {
            if step == place {
                low = self.resize.apply(low, base, rng);
            }
            low = match step {
                0 => self.blur.apply(low, rng),
                1 => self.noise.apply(low, rng),
                _ => low,
            };
        }
        low
    }
}

impl BlurConfig {
    fn apply(&self, low: Planes, rng: &mut impl Rng) -> Planes {
        if !rng.random_bool(self.probability) {
            return low;
        }
        let taps = if rng.random_bool(self.sinc.share) {
            self.sinc.taps(rng)
        } else {
            self.blur(rng).taps(draw(self.radius, rng))
        };
        clamped(convolve(&low, &taps))
    }

    fn blur(&self, rng: &mut impl Rng) -> Blur {
        // The forms in pairs, round and stretched.
        let form = pick(&self.forms.weights(), rng);
        let first = draw(self.sigma, rng);
        let (sigma, angle) = if form.is_multiple_of(2) {
            ([first, first], 0.0)
        } else {
            ([first, draw(self.sigma, rng)], rng.random_range(-PI..PI))
        };
        let form = match form / 2 {
            0 => Form::Gaussian,
            1 => Form::Generalised(exponent(self.generalised, rng)),
            _ => Form::Plateau(exponent(self.plateau, rng)),
        };
        Blur { form, sigma, angle }
    }
}

impl Forms {
    pub(super) fn weights(&self) -> [f64; 6] {
        [
            self.gaussian,
            self.stretched_gaussian,
            self.generalised,
            self.stretched_generalised,
            self.plateau,
            self.stretched_plateau,
        ]
    }
}

impl Sinc {
    fn taps(&self, rng: &mut impl Rng) -> Vec<super::kernels::Tap> {
        let radius = draw(self.radius, rng);
        let [low, high] = self.cutoff;
        let low = if radius < 6 {
            low.max(self.small_cutoff)
        } else {
            low
        };
        sinc(PI * draw([low, high], rng), radius)
    }
}

impl ResizeConfig {
    fn apply(&self, low: Planes, base: [usize; 2], rng: &mut impl Rng) -> Planes {
        let [smallest, largest] = self.range;
        let factor = match pick(&[self.up, self.down, self.keep], rng) {
            0 => draw([1.0, largest], rng),
            1 => draw([smallest, 1.0], rng),
            _ => 1.0,
        };
        let [width, height] = base.map(|n| ((n as f64 * factor).round() as usize).max(1));
        clamped(resized(&low, width, height, rng))
    }
}

impl NoiseConfig {
    fn apply(&self, mut low: Planes, rng: &mut impl Rng) -> Planes {
        if !rng.random_bool(self.probability) {
            return low;
        }
        let grey = rng.random_bool(self.grey);
        if rng.random_bool(self.gaussian) {
            let sigma = (draw(self.sigma, rng) / 255.0) as f32;
            add_normal(&mut low, grey, rng, |_| sigma);
        } else {
            let scale = draw(self.poisson, rng) as f32;
            add_poisson(&mut low, scale, grey, rng);
        }
        clamped(low)
    }
}

impl CompressionConfig {
    fn apply(&self, low: Planes, rng: &mut impl Rng) -> Planes {
        if !rng.random_bool(self.probability) {
            return low;
        }
        let low = quantised(low);
        if rng.random_bool(self.predicted) {
            return intra(&low, draw(self.quantiser, rng));
        }
        let quality = draw(self.jpeg_quality, rng);
        if rng.random_bool(self.chroma_subsampling) {
            jpeg_420(&low, quality)
        } else {
            jpeg_444(&low, quality)
        }
    }
}

/// Uniform between bounds.
fn draw<T>([low, high]: Bounds<T>, rng: &mut impl Rng) -> T
where
    T: rand::distr::uniform::SampleUniform + PartialOrd,
{
    rng.random_range(low..=high)
}

/// Below 1 or above, half of the draws each, as far as the bounds allow.
fn exponent([low, high]: Bounds<f64>, rng: &mut impl Rng) -> f64 {
    if rng.random_bool(0.5) {
        draw([low.min(1.0), high.min(1.0)], rng)
    } else {
        draw([low.max(1.0), high.max(1.0)], rng)
    }
}

/// The index of one of `weights`, drawn in proportion.
fn pick(weights: &[f64], rng: &mut impl Rng) -> usize {
    let mut rest = rng.random_range(0.0..weights.iter().sum());
    weights
        .iter()
        .position(|weight| {
            rest -= weight;
            rest < 0.0
        })
        .unwrap_or(weights.len() - 1)
}

/// By area, bilinear or bicubic.
fn resized(picture: &Planes, width: usize, height: usize, rng: &mut impl Rng) -> Planes {
    match rng.random_range(0..3) {
        0 => resize::reduce_with(picture, width, height, FilterType::Box),
        1 => resize::resample(picture, width, height, FilterType::Bilinear),
        _ => resize::enlarge(picture, width, height),
    }
}

fn clamped(mut picture: Planes) -> Planes {
    for value in &mut picture.data {
        *value = value.clamp(0.0, 1.0);
    }
    picture
}
