//! The losses of the bundled model's training: L1 and the masked Fourier space loss.

use crate::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use std::f64::consts::TAU;

/// `| student - target |_1`, the mean over all elements.
pub fn l1<B: Backend>(student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
    (student - target).abs().mean()
}

/// Masked Fourier space loss, `| M * ( |F{student}| - |F{target}| ) |_1` (paper, stage 2, `L_F`).
///
/// Shuffle artefacts repeat every `factor` pixels, so they are bright points at the multiples of `H / factor` and
/// `W / factor` of the spectrum. `M` opens a disc of one bin's radius around each of those points but DC. Only those
/// rows and columns of the discrete Fourier transform are computed, as matrix products.
///
/// The amplitudes are those of the orthonormal transform; the result is the mean over the bins that `M` opens.
#[derive(Clone, Debug)]
pub struct MaskedFourierLoss<B: Backend> {
    rows: PartialDft<B>,
    columns: PartialDft<B>,
    mask: Tensor<B, 4>,
    /// Number of bins that the mask opens.
    open: f64,
}

/// Cosines and sines of the wanted bins of one axis, `[bins, N]`.
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

/// Bins within one of each multiple of `length / factor`, in ascending order.
fn lattice_bins(length: usize, factor: usize) -> Vec<usize> {
    let cell = length / factor;
    let mut bins: Vec<usize> = (0..factor)
        .flat_map(|k| [length - 1, 0, 1].map(|offset| (k * cell + offset) % length))
        .collect();
    bins.sort_unstable();
    bins.dedup();
    bins
}

/// Circular distance of `bin` to the nearest multiple of `cell`, and that multiple's index.
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
    /// For pictures of `height` x `width`, both multiples of `factor` and at least four times it.
    pub fn new(height: usize, width: usize, factor: usize, device: &B::Device) -> Self {
        for side in [height, width] {
            assert!(
                side % factor == 0 && side >= 4 * factor,
                "masked Fourier loss: side {side} must be a multiple of {factor}, four times it or more"
            );
        }
        let (rows, columns) = (lattice_bins(height, factor), lattice_bins(width, factor));
        let mask: Vec<f32> = rows
            .iter()
            .flat_map(|&v| {
                let (dv, k) = nearest_point(v, height / factor, factor);
                columns.iter().map(move |&u| {
                    let (du, l) = nearest_point(u, width / factor, factor);
                    f32::from((k, l) != (0, 0) && du * du + dv * dv <= 1)
                })
            })
            .collect();
        let open = mask.iter().map(|&m| f64::from(m)).sum();
        let shape = [1, 1, rows.len(), columns.len()];
        Self {
            rows: PartialDft::new(&rows, height, device),
            columns: PartialDft::new(&columns, width, device),
            mask: Tensor::from_data(TensorData::new(mask, shape), device),
            open,
        }
    }

    /// # Shapes
    ///
    /// - student, target: `[N, C, H, W]`
    /// - output: `[1]`
    pub fn forward(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        let [n, c, _, _] = student.dims();
        let difference = (self.amplitude(student) - self.amplitude(target)).abs();
        (difference * self.mask.clone()).sum() / (n as f64 * c as f64 * self.open)
    }

    /// `|F{x}|` at the lattice's rows and columns, `[N, C, bins, bins]`.
    fn amplitude(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        // `M` leaves DC out, and what is not there does not round off the other bins.
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
        // The root's slope is infinite at zero, where an empty bin must keep a finite gradient.
        (real.clone() * real + imaginary.clone() * imaginary + 1e-20).sqrt()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::golden::{B, Golden};
    use burn::backend::Autodiff;

    /// The reference's "disc" reading of the mask, orthonormal transform, mean over the bins selected.
    #[test]
    fn agrees_with_pytorch() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            let tensor = |name: &str| golden.tensor::<4>(&format!("{case}.{name}"));
            let (student, teacher) = (tensor("student"), tensor("teacher"));
            let [_, _, h, w] = student.dims();
            let fourier = MaskedFourierLoss::new(h, w, 8, &Default::default());
            let loss = fourier.forward(student.clone(), teacher.clone());
            golden.check(
                &format!("{case}.mfs.disc.ortho.fft2.mean_selected"),
                loss,
                1e-5,
            );
            golden.check(&format!("{case}.l1_mean"), l1(student, teacher), 1e-5);
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
            let fourier = MaskedFourierLoss::new(h, w, 8, &Default::default());
            let gradients = fourier.forward(student.clone(), teacher).backward();
            let gradient = student.grad(&gradients).unwrap();
            // The reference's gradient is of the mean over all bins, ours over those selected.
            let ratio = fourier.open / (h * w) as f64;
            golden.check(
                &format!("{case}.grad_student.mfs.disc.ortho.fft2.mean_all"),
                gradient * ratio,
                5e-5,
            );
        }
    }
}
