//! A perceptual distance without network weights: L1 on the bands of a Laplacian pyramid, with
//! contrast masking.

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Burt and Adelson's generating kernel with a = 0.375, which is binomial.
const KERNEL: [f64; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];
/// Radius of the kernel.
const RADIUS: usize = KERNEL.len() / 2;

/// Settings of a [`PyramidLoss`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PyramidConfig {
    /// Number of bands, of an octave each, from the finest. Default: 4, which covers detail of up
    /// to about 16 pixels.
    pub levels: usize,
    /// Contrast above which detail masks errors, for values in -1..1. Default: 0.04, close to the
    /// constants that Laparra et al. fitted (0.02 for values in 0..1).
    pub sigma: f64,
}

impl Default for PyramidConfig {
    fn default() -> Self {
        Self {
            levels: 4,
            sigma: 0.04,
        }
    }
}

impl PyramidConfig {
    /// Creates the loss.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the number of levels is not between 1 and 16, or `sigma` is not a
    /// positive number.
    pub fn init(&self) -> Result<PyramidLoss> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        if !(1..=16).contains(&self.levels) {
            let reason = format!("{} is not between 1 and 16", self.levels);
            return fail("pyramid.levels", reason);
        }
        if !(self.sigma > 0.0 && self.sigma.is_finite()) {
            let reason = format!("{} is not a positive number", self.sigma);
            return fail("pyramid.sigma", reason);
        }
        Ok(PyramidLoss(self.clone()))
    }
}

/// A substitute for the perceptual loss that needs no network weights. Created with
/// [`PyramidConfig::init`].
///
/// `mean over bands k of  mean | z_k(student) - z_k(target) | / (1 + G |z_k(target)| / sigma)`
///
/// where `g_0` is the picture, `z_k = g_k - G g_k`, `g_{k+1}` is every second pixel of `G g_k`, and
/// `G` is the blur by `[1 4 6 4 1] / 16` on both axes with the border replicated. This is the
/// Laplacian pyramid of Burt and Adelson (1983) in the form without expansion (filter, subtract,
/// decimate; van der Wal and Burt 1992).
///
/// It models two properties of perception that L1 on pixels lacks:
///
/// - **All scales have equal weight.** The spectrum of pictures falls as 1/f, so L1 mostly measures
///   large structures. Fine detail costs little to leave out, and the result is blurred. L1 on a
///   Laplacian pyramid is the common remedy (Ling and Okada 2006; Bojanowski et al. 2018, section
///   3).
/// - **Contrast masks errors.** An error is visible in a flat sky, but not in grass. Dividing a
///   band by its local amplitude is the gain control of Laparra, Ballé, Berardino and Simoncelli
///   (2016), "Perceptual image quality assessment using a normalized Laplacian pyramid", whose
///   distance follows human judgement better than SSIM.
///
/// Unlike there, the divisor depends on the target alone. If each picture were divided by its own
/// contrast, a texture with half the contrast would be almost right. The divisor is 1 where the
/// target is flat, so the loss is in the units of L1.
///
/// The loss cannot distinguish a plausible texture from a wrong one, because it compares position
/// by position. The features of a network depend less on the position.
#[derive(Clone, Debug)]
pub struct PyramidLoss(PyramidConfig);

impl PyramidLoss {
    /// Computes the loss.
    ///
    /// # Shapes
    ///
    /// - student, target: `[N, C, H, W]`, values in -1..1, any sides; bands beyond the last pixel
    ///   are zero
    /// - output: `[1]`
    pub fn forward<B: Backend>(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        let PyramidConfig { levels, sigma } = self.0;
        // A band is linear in the picture, so the difference of bands is the band of the
        // difference.
        let difference = Self::bands(student - target.clone(), levels);
        let terms = difference.into_iter().zip(Self::bands(target, levels));
        let sum = terms
            .map(|(difference, target)| {
                let masking = blur(target.abs()) / sigma + 1.0;
                (difference.abs() / masking).mean()
            })
            .reduce(|sum, term| sum + term)
            .expect("there is a level");
        sum / levels as f64
    }

    /// Computes the bands `z_0, z_1, ...`, finest first.
    fn bands<B: Backend>(mut picture: Tensor<B, 4>, levels: usize) -> Vec<Tensor<B, 4>> {
        let mut bands = Vec::with_capacity(levels);
        for _ in 0..levels {
            let blurred = blur(picture.clone());
            bands.push(picture - blurred.clone());
            // Pooling over one pixel with stride 2 takes every second pixel.
            picture = avg_pool2d(blurred, [1, 1], [2, 2], [0, 0], true, false);
        }
        bands
    }
}

/// The blur `G`: [`KERNEL`] along both axes, with the border replicated.
fn blur<B: Backend>(picture: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = picture.dims();
    let device = picture.device();
    let kernel = |shape: [usize; 4]| {
        Tensor::<B, 4>::from_data(TensorData::new(KERNEL.to_vec(), shape), &device)
    };
    let [height, width] = [[1, 1, KERNEL.len(), 1], [1, 1, 1, KERNEL.len()]].map(kernel);
    let options = || ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    let padded = picture
        .reshape([n * c, 1, h, w])
        .pad((RADIUS, RADIUS, RADIUS, RADIUS), PadMode::Edge); // [N C, 1, H + 4, W + 4]
    let across = conv2d(padded, width, None, options()); // [N C, 1, H + 4, W]
    conv2d(across, height, None, options()).reshape([n, c, h, w])
}

#[cfg(all(test, feature = "ndarray"))]
mod tests {
    use super::*;
    use crate::testing::finite_difference as fd;
    use crate::testing::finite_difference::{Plain, random, values};

    /// Rows of a plane.
    type Plane = Vec<Vec<f64>>;

    fn plain_blur(x: &Plane) -> Plane {
        let (h, w) = (x.len() as isize, x[0].len() as isize);
        let weights = [1.0, 4.0, 6.0, 4.0, 1.0];
        let value = |y: isize, x_: isize| {
            let mut sum = 0.0;
            for (i, wy) in weights.iter().enumerate() {
                for (j, wx) in weights.iter().enumerate() {
                    let y = (y + i as isize - 2).clamp(0, h - 1) as usize;
                    let x_ = (x_ + j as isize - 2).clamp(0, w - 1) as usize;
                    sum += wy * wx / 256.0 * x[y][x_];
                }
            }
            sum
        };
        let row = |y| (0..w).map(|x_| value(y, x_)).collect();
        (0..h).map(row).collect()
    }

    /// The definition of the loss, band by band, without relying on the linearity of bands.
    fn plain(mut s: Plane, mut t: Plane, levels: usize, sigma: f64) -> f64 {
        let mut sum = 0.0;
        for _ in 0..levels {
            let (h, w) = (s.len(), s[0].len());
            let (s_low, t_low) = (plain_blur(&s), plain_blur(&t));
            let band = |x: &Plane, low: &Plane| -> Plane {
                let row = |y: usize| (0..w).map(|x_| x[y][x_] - low[y][x_]).collect();
                (0..h).map(row).collect()
            };
            let (zs, zt) = (band(&s, &s_low), band(&t, &t_low));
            let absolute = |row: &Vec<f64>| row.iter().map(|v| v.abs()).collect();
            let mask = plain_blur(&zt.iter().map(absolute).collect());
            let mut total = 0.0;
            for y in 0..h {
                for x in 0..w {
                    total += (zs[y][x] - zt[y][x]).abs() / (1.0 + mask[y][x] / sigma);
                }
            }
            sum += total / (h * w) as f64;
            let half = |x: &Plane| -> Plane {
                let rows = x.iter().step_by(2);
                rows.map(|row| row.iter().step_by(2).copied().collect())
                    .collect()
            };
            (s, t) = (half(&s_low), half(&t_low));
        }
        sum / levels as f64
    }

    fn plane(tensor: &Tensor<Plain, 4>) -> Plane {
        let [.., w] = tensor.dims();
        let rows = values(tensor.clone());
        rows.chunks_exact(w).map(<[f64]>::to_vec).collect()
    }

    fn loss(levels: usize, sigma: f64) -> PyramidLoss {
        PyramidConfig { levels, sigma }.init().unwrap()
    }

    #[test]
    fn agrees_with_plain_loops() {
        for (levels, sigma, [h, w]) in [(1, 0.04, [6, 8]), (4, 0.04, [19, 13]), (3, 0.5, [16, 16])]
        {
            let (student, target) = (random([1, 1, h, w], 1), random([1, 1, h, w], 2));
            let expected = plain(plane(&student), plane(&target), levels, sigma);
            let found = values(loss(levels, sigma).forward(student, target))[0];
            assert!(
                (found - expected).abs() < 1e-9 * expected,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let target = random([2, 3, 16, 12], 3);
        let loss = PyramidConfig::default().init().unwrap();
        fd::check(random([2, 3, 16, 12], 4), |x| {
            loss.forward(x, Tensor::from_inner(target.clone()))
        });
    }

    /// Returns the loss of `picture` with `error` added.
    fn loss_of_error(picture: &Tensor<Plain, 4>, error: Tensor<Plain, 4>) -> f64 {
        let loss = PyramidConfig::default().init().unwrap();
        values(loss.forward(picture.clone() + error, picture.clone()))[0]
    }

    #[test]
    fn errors_in_detail_count_and_contrast_masks_them() {
        let flat = Tensor::<Plain, 4>::zeros([1, 3, 32, 32], &Default::default());
        let texture = random([1, 3, 32, 32], 5);
        let noise = random([1, 3, 32, 32], 6) * 0.1;
        assert_eq!(loss_of_error(&texture, flat.clone()), 0.0);
        // A brightness offset has no loss here. L1 measures it.
        assert!(loss_of_error(&flat, flat.clone() + 0.3) < 1e-12);
        // The same error has a high loss on a flat picture, and a low one where texture masks it.
        let (visible, masked) = (
            loss_of_error(&flat, noise.clone()),
            loss_of_error(&texture, noise),
        );
        assert!(visible > 4.0 * masked, "{visible} {masked}");
        // A loss of half the contrast costs half as much as a loss of all of it.
        let lost = loss_of_error(&texture, texture.clone() * -0.5);
        let all_lost = loss_of_error(&texture, -texture.clone());
        assert!((lost / all_lost - 0.5).abs() < 1e-9);
    }

    #[test]
    fn invalid_settings_are_refused() {
        for (levels, sigma, field) in [
            (0, 0.1, "pyramid.levels"),
            (17, 0.1, "pyramid.levels"),
            (4, 0.0, "pyramid.sigma"),
            (4, f64::NAN, "pyramid.sigma"),
            (4, f64::INFINITY, "pyramid.sigma"),
        ] {
            let error = PyramidConfig { levels, sigma }.init().unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
        let unknown = serde_json::from_str::<PyramidConfig>(r#"{"octaves": 2}"#).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `octaves`"));
    }
}
