//! Linear least squares with a ridge, in f64.

use crate::error::{Error, Result};
use rayon::prelude::*;

/// The sums that the normal equations are made of, over all samples so far.
///
/// A sample is a column of `inputs` numbers, and below them `outputs` numbers that are to be made of them.
pub(super) struct LeastSquares {
    inputs: usize,
    outputs: usize,
    samples: usize,
    /// Of each row.
    sums: Vec<f64>,
    /// Of each row's products with the rows of inputs: a matrix of `inputs` columns, its upper triangle not used.
    products: Vec<f64>,
}

/// `y = weight * x + bias`.
pub(super) struct Linear {
    /// `[outputs, inputs]`, row-major.
    pub(super) weight: Vec<f64>,
    /// `[outputs]`
    pub(super) bias: Vec<f64>,
}

impl LeastSquares {
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        let rows = inputs + outputs;
        Self {
            inputs,
            outputs,
            samples: 0,
            sums: vec![0.0; rows],
            products: vec![0.0; rows * inputs],
        }
    }

    /// Adds samples, the columns of `[inputs + outputs, count]`, row-major.
    pub(super) fn add(&mut self, samples: &[f64], count: usize) {
        let Self { inputs, .. } = *self;
        let row = |i: usize| &samples[i * count..][..count];
        self.samples += count;
        for (i, sum) in self.sums.iter_mut().enumerate() {
            *sum += row(i).iter().sum::<f64>();
        }
        let rows = self.products.par_chunks_mut(inputs).enumerate();
        rows.for_each(|(i, products)| {
            for (j, product) in products.iter_mut().take(i + 1).enumerate() {
                *product += dot(row(i), row(j));
            }
        });
    }

    /// The map of least mean squared error, with `ridge` times the mean variance of the inputs times its own squares added: what
    /// the samples leave open becomes zero.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] when a sample is not finite, [`Error::Config`] when the samples leave the map open and
    /// `ridge` is too small to close it.
    pub(super) fn solve(self, ridge: f64) -> Result<Linear> {
        let Self {
            inputs,
            outputs,
            samples,
            sums,
            mut products,
        } = self;
        let count = samples as f64;
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        // From products to covariances.
        for (row, mean) in products.chunks_exact_mut(inputs).zip(&means) {
            for (value, other) in row.iter_mut().zip(&means) {
                *value = *value / count - mean * other;
            }
        }
        if !products.iter().all(|value| value.is_finite()) {
            return Err(Error::NonFiniteOutput);
        }
        let (matrix, right) = products.split_at_mut(inputs * inputs);
        let trace: f64 = matrix.iter().step_by(inputs + 1).sum();
        for value in matrix.iter_mut().step_by(inputs + 1) {
            *value += ridge * trace / inputs as f64;
        }
        if !factorise(matrix, inputs) {
            let reason = format!("{ridge} is too small: {samples} samples leave the fit open");
            let field = "ridge";
            return Err(Error::Config { field, reason });
        }
        right
            .par_chunks_mut(inputs)
            .for_each(|x| substitute(matrix, x));
        let bias = (0..outputs).map(|o| {
            let weight = &right[o * inputs..][..inputs];
            means[inputs + o] - dot(weight, &means[..inputs])
        });
        Ok(Linear {
            bias: bias.collect(),
            weight: right.to_vec(),
        })
    }
}

/// Cholesky's factor `L`, in the place of the lower triangle of the `n` x `n` `matrix = L * L^T`; whether there is one.
fn factorise(matrix: &mut [f64], n: usize) -> bool {
    for j in 0..n {
        let (above, below) = matrix.split_at_mut((j + 1) * n);
        let row = &mut above[j * n..];
        let square = row[j] - dot(&row[..j], &row[..j]);
        if square <= 0.0 {
            return false;
        }
        row[j] = square.sqrt();
        below.par_chunks_mut(n).for_each(|below| {
            below[j] = (below[j] - dot(&below[..j], &row[..j])) / row[j];
        });
    }
    true
}

/// Solves `L * L^T * x = b` in place.
fn substitute(factor: &[f64], x: &mut [f64]) {
    let n = x.len();
    let row = |i: usize| &factor[i * n..][..n];
    for i in 0..n {
        x[i] = (x[i] - dot(&row(i)[..i], &x[..i])) / row(i)[i];
    }
    for i in (0..n).rev() {
        let (rest, last) = x.split_at_mut(i);
        last[0] /= row(i)[i];
        for (value, factor) in rest.iter_mut().zip(row(i)) {
            *value -= factor * last[0];
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Sums side by side, in vectors: a single one has an order to keep.
    const LANES: usize = 8;
    let [a, b] = [a, b].map(|values| values.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    let mut sums = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const INPUTS: usize = 19;
    const COUNT: usize = 50;

    /// Random inputs, and two outputs made of them by weights of `1 / (row + column + 1)` and a bias of the row.
    fn samples(seed: u64) -> Vec<f64> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut samples: Vec<f64> = (0..INPUTS * COUNT)
            .map(|_| rng.random_range(-1.0..2.0))
            .collect();
        for o in 0..2 {
            for n in 0..COUNT {
                let products = (0..INPUTS).map(|i| samples[i * COUNT + n] / (o + i + 1) as f64);
                samples.push(products.sum::<f64>() + o as f64);
            }
        }
        samples
    }

    #[test]
    fn a_linear_map_is_found() {
        let mut fit = LeastSquares::new(INPUTS, 2);
        for seed in [1, 2] {
            fit.add(&samples(seed), COUNT);
        }
        let Linear { weight, bias } = fit.solve(1e-12).unwrap();
        for (i, weight) in weight.iter().enumerate() {
            let expected = 1.0 / (i / INPUTS + i % INPUTS + 1) as f64;
            assert!((weight - expected).abs() < 1e-9, "{i}: {weight}");
        }
        assert!(bias[0].abs() < 1e-9 && (bias[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_left_open_needs_a_ridge() {
        let of = |ridge| {
            let mut fit = LeastSquares::new(2, 1);
            // Twice the same input.
            fit.add(&[1.0, 3.0, 1.0, 3.0, 2.0, 6.0], 2);
            fit.solve(ridge)
        };
        let error = of(0.0).err().unwrap().to_string();
        assert!(
            error.contains("ridge") && error.contains("2 samples"),
            "{error}"
        );
        let weight = of(1e-9).unwrap().weight;
        assert!(weight.iter().all(|w| (w - 1.0).abs() < 1e-6), "{weight:?}");
    }

    #[test]
    fn samples_that_are_not_numbers_are_refused() {
        let mut fit = LeastSquares::new(1, 1);
        fit.add(&[1.0, 2.0, f64::NAN, 4.0], 2);
        assert!(matches!(fit.solve(1.0), Err(Error::NonFiniteOutput)));
    }
}
