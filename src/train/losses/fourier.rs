//! The masked Fourier space loss.

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Shape of the mask's window around a point of the lattice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowShape {
    /// Bins with `du^2 + dv^2 <= radius^2`. The default.
    #[default]
    Disc,
    /// Bins with `max(du, dv) <= radius`.
    Square,
}

/// The frequencies that a [`MaskedFourierLoss`] compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedFourierConfig {
    /// Factor of the pixel shuffle, the side of a cell in pixels. Default: 8.
    pub factor: usize,
    /// Radius of a window, in bins. The paper does not state it. Default: 1.
    pub radius: usize,
    /// Shape of a window. Default: a disc.
    pub window: WindowShape,
}

impl Default for MaskedFourierConfig {
    fn default() -> Self {
        Self {
            factor: 8,
            radius: 1,
            window: WindowShape::Disc,
        }
    }
}

impl MaskedFourierConfig {
    /// Creates the loss for pictures of `height` x `width`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if `factor` is below 2, if a side is not a positive multiple of `factor`,
    /// or if the windows would touch: the lattice spacing, `side / factor` bins, must exceed
    /// `2 * radius`.
    pub fn init<B: Backend>(
        &self,
        height: usize,
        width: usize,
        device: &B::Device,
    ) -> Result<MaskedFourierLoss<B>> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        if self.factor < 2 {
            let reason = format!("{}: must be at least 2", self.factor);
            return fail("fourier.factor", reason);
        }
        for side in [height, width] {
            if side == 0 || !side.is_multiple_of(self.factor) {
                let reason = format!("side {side} is not a multiple of {}", self.factor);
                return fail("fourier.factor", reason);
            }
            if side / self.factor <= self.radius.saturating_mul(2) {
                let reason = format!(
                    "{} is too large: with side {side} the lattice spacing is {} bins",
                    self.radius,
                    side / self.factor
                );
                return fail("fourier.radius", reason);
            }
        }
        let [rows, columns] = [height, width].map(|side| self.lattice_bins(side));
        let mask = self.mask(&rows, &columns, height, width);
        let open = mask.iter().map(|&m| f64::from(m)).sum();
        let shape = [1, 1, rows.len(), columns.len()];
        Ok(MaskedFourierLoss {
            rows: PartialDft::new(&rows, height, device),
            columns: PartialDft::new(&columns, width, device),
            mask: Tensor::from_data(TensorData::new(mask, shape), device),
            open,
        })
    }

    /// Bins within the radius of a multiple of `length / factor`, in ascending order.
    fn lattice_bins(&self, length: usize) -> Vec<usize> {
        let cell = length / self.factor;
        (0..length)
            .filter(|&bin| nearest_point(bin, cell, self.factor).0 <= self.radius)
            .collect()
    }

    /// `M` at the given bins of both axes, row-major: 1 where it is open, 0 elsewhere.
    fn mask(&self, rows: &[usize], columns: &[usize], height: usize, width: usize) -> Vec<f32> {
        let (row_cell, column_cell) = (height / self.factor, width / self.factor);
        let open = |&v: &usize, &u: &usize| {
            let (dv, k) = nearest_point(v, row_cell, self.factor);
            let (du, l) = nearest_point(u, column_cell, self.factor);
            let near = match self.window {
                WindowShape::Disc => du * du + dv * dv <= self.radius * self.radius,
                WindowShape::Square => du.max(dv) <= self.radius,
            };
            (k, l) != (0, 0) && near
        };
        let pairs = rows
            .iter()
            .flat_map(|v| columns.iter().map(move |u| (v, u)));
        pairs.map(|(v, u)| f32::from(open(v, u))).collect()
    }
}

/// Masked Fourier space loss, `| M * ( |F{student}| - |F{target}| ) |_1` (paper, stage 2, `L_F`).
/// Created with [`MaskedFourierConfig::init`].
///
/// Pixel shuffle artefacts repeat every `factor` pixels, so they are bright points of the spectrum,
/// at the multiples of `H / factor` and `W / factor`. `M` opens a window around each of these
/// points except DC. Only the needed rows and columns of the discrete Fourier transform are
/// computed, as matrix products.
///
/// The transform is orthonormal. The result is the mean over the bins that `M` opens.
#[derive(Clone, Debug)]
pub struct MaskedFourierLoss<B: Backend> {
    rows: PartialDft<B>,
    columns: PartialDft<B>,
    mask: Tensor<B, 4>,
    /// Number of bins that the mask opens.
    open: f64,
}

/// Cosines and sines of the selected bins of one axis, `[bins, N]`.
#[derive(Clone, Debug)]
struct PartialDft<B: Backend> {
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
}

impl<B: Backend> PartialDft<B> {
    fn new(bins: &[usize], length: usize, device: &B::Device) -> Self {
        let matrix = |f: fn(f64) -> f64| {
            let values: Vec<f32> = bins
                .iter()
                .flat_map(|&bin| {
                    (0..length).map(move |i| {
                        let phase = TAU * ((bin * i) % length) as f64 / length as f64;
                        (f(phase) / (length as f64).sqrt()) as f32
                    })
                })
                .collect();
            Tensor::from_data(TensorData::new(values, [bins.len(), length]), device)
        };
        Self {
            cos: matrix(f64::cos),
            sin: matrix(f64::sin),
        }
    }
}

/// Returns the circular distance from `bin` to the nearest multiple of `cell`, and that multiple's
/// index.
fn nearest_point(bin: usize, cell: usize, factor: usize) -> (usize, usize) {
    let below = bin / cell;
    let (d_below, d_above) = (bin - below * cell, (below + 1) * cell - bin);
    if d_below <= d_above {
        (d_below, below)
    } else {
        (d_above, (below + 1) % factor)
    }
}

impl<B: Backend> MaskedFourierLoss<B> {
    /// Computes the loss.
    ///
    /// # Shapes
    ///
    /// - student, target: `[N, C, H, W]`
    /// - output: `[1]`
    pub fn forward(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        let [n, c, _, _] = student.dims();
        let difference = (self.amplitude(student) - self.amplitude(target)).abs();
        (difference * self.mask.clone()).sum() / (n as f64 * c as f64 * self.open)
    }

    /// Computes `|F{x}|` at the lattice's rows and columns, `[N, C, bins, bins]`.
    fn amplitude(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // `M` excludes DC. Without the mean, the other bins have a smaller rounding error.
        let x = x.clone() - x.mean_dim(3).mean_dim(2);
        let across =
            |matrix: &Tensor<B, 2>| x.clone().matmul(matrix.clone().transpose().unsqueeze());
        let (x_cos, x_sin) = (across(&self.columns.cos), across(&self.columns.sin)); // [N, C, H, bins]
        let down = |matrix: &Tensor<B, 2>, x: &Tensor<B, 4>| {
            matrix.clone().unsqueeze::<4>().matmul(x.clone()) // [N, C, bins, bins]
        };
        let (rows_cos, rows_sin) = (&self.rows.cos, &self.rows.sin);
        let real = down(rows_cos, &x_cos) - down(rows_sin, &x_sin);
        let imaginary = down(rows_cos, &x_sin) + down(rows_sin, &x_cos);
        // The square root has an infinite slope at zero. The constant keeps the gradient of an
        // empty bin finite.
        (real.clone() * real + imaginary.clone() * imaginary + 1e-20).sqrt()
    }
}

#[cfg(all(test, feature = "flex"))]
mod golden_tests {
    use super::*;
    use crate::testing::golden::{B, Golden};
    use burn::backend::Autodiff;

    const WINDOWS: [(&str, WindowShape); 2] =
        [("disc", WindowShape::Disc), ("square", WindowShape::Square)];

    fn config(window: WindowShape) -> MaskedFourierConfig {
        MaskedFourierConfig {
            window,
            ..MaskedFourierConfig::default()
        }
    }

    /// Derives every reduction of the reference for the orthonormal transform from the mean over
    /// the selected bins.
    #[test]
    fn agrees_with_pytorch() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            let tensor = |name: &str| golden.tensor::<4>(&format!("{case}.{name}"));
            let (student, teacher) = (tensor("student"), tensor("teacher"));
            let [n, c, h, w] = student.dims();
            for (name, window) in WINDOWS {
                let fourier = config(window).init(h, w, &Default::default()).unwrap();
                let loss = fourier.forward(student.clone(), teacher.clone());
                for (kind, factor) in [
                    ("mean_selected", 1.0),
                    ("mean_all", fourier.open / (h * w) as f64),
                    ("sum", fourier.open * (n * c) as f64),
                ] {
                    let key = format!("{case}.mfs.{name}.ortho.fft2.{kind}");
                    golden.check(&key, loss.clone() * factor, 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_mask_agrees_with_the_reference() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            for (name, window) in WINDOWS {
                let (expected, shape) = golden.values(&format!("{case}.mask_{name}"));
                let (h, w) = (shape[0], shape[1]);
                let all = |n| (0..n).collect::<Vec<_>>();
                assert_eq!(config(window).mask(&all(h), &all(w), h, w), expected);
                // All open bins are among the computed ones.
                let fourier: MaskedFourierLoss<B> =
                    config(window).init(h, w, &Default::default()).unwrap();
                let open: f32 = expected.iter().sum();
                assert_eq!(fourier.open, f64::from(open));
            }
        }
    }

    #[test]
    fn gradient_agrees_with_pytorch() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            let tensor = |name: &str| golden.tensor::<4>(&format!("{case}.{name}"));
            let student = Tensor::<Autodiff<B>, 4>::from_inner(tensor("student")).require_grad();
            let teacher = Tensor::from_inner(tensor("teacher"));
            let [_, _, h, w] = student.dims();
            let fourier = MaskedFourierConfig::default()
                .init(h, w, &Default::default())
                .unwrap();
            let gradients = fourier.forward(student.clone(), teacher).backward();
            let gradient = student.grad(&gradients).unwrap();
            // The reference takes the mean over all bins, this loss over the selected ones.
            let ratio = fourier.open / (h * w) as f64;
            golden.check(
                &format!("{case}.grad_student.mfs.disc.ortho.fft2.mean_all"),
                gradient * ratio,
                5e-5,
            );
        }
    }

    /// Returns the number of bins that `config` opens for a picture of 64 x 96.
    fn open_bins(config: &MaskedFourierConfig) -> f64 {
        let fourier: Result<MaskedFourierLoss<B>> = config.init(64, 96, &Default::default());
        fourier.unwrap().open
    }

    #[test]
    fn each_setting_changes_the_mask() {
        let mut config = MaskedFourierConfig::default();
        assert_eq!(open_bins(&config), 63.0 * 5.0);
        config.radius = 2;
        assert_eq!(open_bins(&config), 63.0 * 13.0);
        config.window = WindowShape::Square;
        assert_eq!(open_bins(&config), 63.0 * 25.0);
        config.radius = 0;
        assert_eq!(open_bins(&config), 63.0);
        config.factor = 4;
        assert_eq!(open_bins(&config), 15.0);
    }

    #[test]
    fn invalid_settings_are_refused() {
        let fail = |factor, radius, h, w| {
            let config = MaskedFourierConfig {
                factor,
                radius,
                ..MaskedFourierConfig::default()
            };
            let error = config.init::<B>(h, w, &Default::default()).unwrap_err();
            error.to_string()
        };
        assert!(fail(8, 1, 64, 60).contains("`fourier.factor`: side 60 is not a multiple of 8"));
        assert!(fail(8, 1, 0, 64).contains("side 0"));
        assert!(fail(0, 1, 64, 64).contains("`fourier.factor`: 0"));
        assert!(fail(8, 4, 64, 64).contains("`fourier.radius`: 4 is too large: with side 64"));
        assert!(fail(8, usize::MAX, 64, 64).contains("`fourier.radius`"));
        let unknown = serde_json::from_str::<MaskedFourierConfig>(r#"{"width": 2}"#).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `width`"));
    }
}

#[cfg(all(test, feature = "ndarray"))]
mod gradient_tests {
    use super::*;
    use crate::testing::finite_difference as fd;
    use crate::testing::finite_difference::random;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let target = random([1, 2, 24, 32], 1);
        for window in [WindowShape::Disc, WindowShape::Square] {
            let config = MaskedFourierConfig {
                window,
                ..MaskedFourierConfig::default()
            };
            let fourier = config.init(24, 32, &Default::default()).unwrap();
            fd::check(random([1, 2, 24, 32], 2), |x| {
                fourier.forward(x, Tensor::from_inner(target.clone()))
            });
        }
    }
}
