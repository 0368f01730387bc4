//! Second-order degradation: two rounds, each with blur, resize, noise and compression.
//!
//! The order is that of Real-ESRGAN (Wang, Xie, Dong and Shan 2021, "Training Real-World Blind
//! Super-Resolution with Pure Synthetic Data", section 3). Other settings implement APISR (Wang et
//! al. 2024, section 3.2), with the resize at any position in a round, and with intra coding.

use super::intra::intra_coded;
use super::jpeg::{jpeg_420, jpeg_444, quantised};
use super::kernels::{BlurKernel, KernelShape, Tap, convolve, sinc};
use super::noise::{add_normal, add_poisson};
use super::size::reduced_size;
use crate::pixels::planes::Planes;
use crate::pixels::resize;
use fast_image_resize::FilterType;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The lowest and the highest value, both inclusive.
pub type Interval<T> = [T; 2];

/// Settings of two rounds and a final filter. Presets are [`real_esrgan`](Self::real_esrgan),
/// [`apisr`](Self::apisr) and [`mild`](Self::mild).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondOrderDegradation {
    /// The first round. Sizes are relative to the original.
    pub first: DegradationRound,
    /// The second round. Sizes are relative to the result.
    pub second: DegradationRound,
    /// The low-pass filter after the final resize.
    pub last_sinc: SincConfig,
    /// Share of pictures for which compression is the last step. For the others, it comes before
    /// the final resize and its filter.
    pub compression_last: f64,
}

/// One round of degradations, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DegradationRound {
    /// Blur.
    pub blur: BlurConfig,
    /// Resize.
    pub resize: ResizeConfig,
    /// Noise.
    pub noise: NoiseConfig,
    /// Compression.
    pub compression: CompressionConfig,
}

/// Blur of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlurConfig {
    /// Probability of a blur.
    pub probability: f64,
    /// Radius of the kernel in pixels. Its side is `2 * radius + 1`.
    pub radius: Interval<usize>,
    /// The low-pass filters, and their share of the kernels.
    pub sinc: SincConfig,
    /// How often each other kernel shape is drawn.
    pub forms: KernelWeights,
    /// Standard deviation in pixels. Anisotropic kernels draw one for each axis.
    pub sigma: Interval<f64>,
    /// Exponent of generalised Gaussians. Half of the draws are below 1, half above.
    pub generalised: Interval<f64>,
    /// Exponent of plateau kernels, drawn in the same way.
    pub plateau: Interval<f64>,
}

/// A sinc filter, the low-pass filter that causes ringing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SincConfig {
    /// Share of pictures that it is applied to.
    pub share: f64,
    /// Radius of the kernel in pixels.
    pub radius: Interval<usize>,
    /// Cutoff frequency, relative to the Nyquist frequency.
    pub cutoff: Interval<f64>,
    /// Lowest cutoff for kernels with a radius below 6, which are too small for a longer wave.
    pub small_cutoff: f64,
}

/// Weights of the blur kernel shapes. Each is drawn in proportion to its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelWeights {
    /// Weight of isotropic Gaussians.
    pub gaussian: f64,
    /// Weight of anisotropic Gaussians with a random direction.
    pub stretched_gaussian: f64,
    /// Weight of isotropic generalised Gaussians.
    pub generalised: f64,
    /// Weight of anisotropic generalised Gaussians.
    pub stretched_generalised: f64,
    /// Weight of isotropic plateau kernels.
    pub plateau: f64,
    /// Weight of anisotropic plateau kernels.
    pub stretched_plateau: f64,
}

/// Resize of a round: by area averaging, bilinear or bicubic interpolation, a third each. The
/// latter two have no antialiasing, as is common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeConfig {
    /// Weight of enlarging.
    pub up: f64,
    /// Weight of reducing.
    pub down: f64,
    /// Weight of keeping the size.
    pub keep: f64,
    /// Smallest and largest size, relative to the size before the round. The interval must contain
    /// 1.
    pub range: Interval<f64>,
    /// Whether the resize comes before the blur, after it or after the noise, a third each (APISR's
    /// "shuffled resize"). Otherwise it comes after the blur.
    pub anywhere: bool,
}

/// Noise of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// Probability of noise.
    pub probability: f64,
    /// Share of Gaussian noise. The rest is Poisson noise.
    pub gaussian: f64,
    /// Standard deviation of Gaussian noise, in steps of 1/255.
    pub sigma: Interval<f64>,
    /// Strength of Poisson noise. At 1, white represents as many photons as the picture has
    /// distinct values.
    pub poisson: Interval<f64>,
    /// Share of noise that is the same in all channels.
    pub grey: f64,
}

/// Compression of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompressionConfig {
    /// Probability of compression.
    pub probability: f64,
    /// Share of intra coding, as in the still pictures of a video. The rest is JPEG.
    pub predicted: f64,
    /// H.264's quantiser parameter of intra coding, at most 51.
    pub quantiser: Interval<u8>,
    /// JPEG quality, from 1 to 100.
    pub jpeg_quality: Interval<u8>,
    /// Share of JPEG files with chroma at half size (4:2:0).
    pub chroma_subsampling: f64,
}

impl SecondOrderDegradation {
    /// Returns the low-quality version of `high`, `scale` times smaller (rounded, at least one
    /// pixel), in 8-bit steps like a saved file.
    ///
    /// # Panics
    ///
    /// Panics if `high` is not RGB, `scale` is below 1, or the settings are not
    /// [valid](Self::validate).
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        let (width, height) = reduced_size(high, scale);
        let mut low =
            self.first
                .blur_resize_and_noise(high.clone(), [high.width, high.height], rng);
        low = self.first.compression.apply(low, rng);
        low = self.second.blur_resize_and_noise(low, [width, height], rng);
        if rng.random_bool(self.compression_last) {
            low = self.final_resize(low, width, height, rng);
            low = self.second.compression.apply(low, rng);
        } else {
            low = self.second.compression.apply(low, rng);
            low = self.final_resize(low, width, height, rng);
        }
        quantised(low)
    }

    /// Resizes to the final size and applies the final filter.
    fn final_resize(&self, low: Planes, width: usize, height: usize, rng: &mut impl Rng) -> Planes {
        let resized = resized(&low, width, height, rng);
        if rng.random_bool(self.last_sinc.share) {
            clamped(convolve(&resized, &self.last_sinc.taps(rng)))
        } else {
            clamped(resized)
        }
    }
}

impl DegradationRound {
    /// Applies blur, resize and noise. `base` is the width and height that the resize is relative
    /// to.
    fn blur_resize_and_noise(
        &self,
        mut low: Planes,
        base: [usize; 2],
        rng: &mut impl Rng,
    ) -> Planes {
        let resize_step = if self.resize.anywhere {
            rng.random_range(0..3)
        } else {
            1
        };
        for step in 0..3 {
            if step == resize_step {
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
            self.draw_kernel(rng).taps(draw(self.radius, rng))
        };
        clamped(convolve(&low, &taps))
    }

    fn draw_kernel(&self, rng: &mut impl Rng) -> BlurKernel {
        // The shapes come in pairs, isotropic and anisotropic.
        let index = draw_index(&self.forms.weights(), rng);
        let first = draw(self.sigma, rng);
        let (sigma, angle) = if index.is_multiple_of(2) {
            ([first, first], 0.0)
        } else {
            ([first, draw(self.sigma, rng)], rng.random_range(-PI..PI))
        };
        let shape = match index / 2 {
            0 => KernelShape::Gaussian,
            1 => KernelShape::Generalised(draw_exponent(self.generalised, rng)),
            _ => KernelShape::Plateau(draw_exponent(self.plateau, rng)),
        };
        BlurKernel {
            shape,
            sigma,
            angle,
        }
    }
}

impl KernelWeights {
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

impl SincConfig {
    fn taps(&self, rng: &mut impl Rng) -> Vec<Tap> {
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
        let factor = match draw_index(&[self.up, self.down, self.keep], rng) {
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
            return intra_coded(&low, draw(self.quantiser, rng));
        }
        let quality = draw(self.jpeg_quality, rng);
        if rng.random_bool(self.chroma_subsampling) {
            jpeg_420(&low, quality)
        } else {
            jpeg_444(&low, quality)
        }
    }
}

/// Draws a uniform value from an interval.
fn draw<T>([low, high]: Interval<T>, rng: &mut impl Rng) -> T
where
    T: rand::distr::uniform::SampleUniform + PartialOrd,
{
    rng.random_range(low..=high)
}

/// Draws an exponent. Half of the draws are below 1 and half above, as far as the interval allows.
fn draw_exponent([low, high]: Interval<f64>, rng: &mut impl Rng) -> f64 {
    if rng.random_bool(0.5) {
        draw([low.min(1.0), high.min(1.0)], rng)
    } else {
        draw([low.max(1.0), high.max(1.0)], rng)
    }
}

/// Draws an index in proportion to `weights`.
fn draw_index(weights: &[f64], rng: &mut impl Rng) -> usize {
    let mut rest = rng.random_range(0.0..weights.iter().sum());
    weights
        .iter()
        .position(|weight| {
            rest -= weight;
            rest < 0.0
        })
        .unwrap_or(weights.len() - 1)
}

/// Resizes by area averaging, bilinear or bicubic interpolation, drawn at random.
fn resized(picture: &Planes, width: usize, height: usize, rng: &mut impl Rng) -> Planes {
    match rng.random_range(0..3) {
        0 => resize::reduce_with(picture, width, height, FilterType::Box),
        1 => resize::resample(picture, width, height, FilterType::Bilinear),
        _ => resize::enlarge(picture, width, height),
    }
}

/// Clamps values to 0..1.
fn clamped(mut picture: Planes) -> Planes {
    for value in &mut picture.data {
        *value = value.clamp(0.0, 1.0);
    }
    picture
}
