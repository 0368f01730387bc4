//! Linear least squares with ridge regularisation, in f64.

use crate::error::{Error, Result};
use rayon::prelude::*;

/// Accumulates the sums of the normal equations over samples.
///
/// A sample is a column of `inputs` values followed by `outputs` values.
pub(super) struct LeastSquares {
    inputs: usize,
    outputs: usize,
    samples: usize,
    /// Sum of each row.
    sums: Vec<f64>,
    /// Sums of products of each row with the rows of inputs, a matrix with `inputs` columns. Its
    /// upper triangle is unused.
    products: Vec<f64>,
}

/// `y = weight * x + bias`.
pub(super) struct AffineMap {
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

    /// Adds samples, the columns of a row-major matrix `[inputs + outputs, count]`.
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

    /// Returns the map with the least mean squared error plus a penalty: the sum of squared
    /// weights, times `ridge`, times the mean variance of the inputs. Weights that the samples do
    /// not determine become zero.
    ///
    /// # Errors
    ///
    /// - [`Error::NonFiniteOutput`] if a sample is not finite.
    /// - [`Error::Config`] if the samples do not determine the map and `ridge` is too small.
    pub(super) fn solve(self, ridge: f64) -> Result<AffineMap> {
        let Self {
            inputs,
            outputs,
            samples,
            sums,
            mut products,
        } = self;
        let count = samples as f64;
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        // Convert sums of products to covariances.
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
        if !cholesky_factor(matrix, inputs) {
            let reason =
                format!("{ridge} is too small: {samples} samples do not determine the fit");
            let field = "ridge";
            return Err(Error::Config { field, reason });
        }
        right
            .par_chunks_mut(inputs)
            .for_each(|x| cholesky_solve(matrix, x));
        let bias = (0..outputs).map(|o| {
            let weight = &right[o * inputs..][..inputs];
            means[inputs + o] - dot(weight, &means[..inputs])
        });
        Ok(AffineMap {
            bias: bias.collect(),
            weight: right.to_vec(),
        })
    }
}

/// Replaces the lower triangle of the `n` x `n` matrix `L * L^T` with its Cholesky factor `L`.
/// Returns whether the matrix is positive definite.
fn cholesky_factor(matrix: &mut [f64], n: usize) -> bool {
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
fn cholesky_solve(factor: &[f64], x: &mut [f64]) {
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
    // Several independent sums can run in vector lanes. A single sum has a fixed order of
    // additions.
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

    /// Random inputs, and two outputs of the map with weights `1 / (row + column + 1)` and bias
    /// `row`.
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
        let AffineMap { weight, bias } = fit.solve(1e-12).unwrap();
        for (i, weight) in weight.iter().enumerate() {
            let expected = 1.0 / (i / INPUTS + i % INPUTS + 1) as f64;
            assert!((weight - expected).abs() < 1e-9, "{i}: {weight}");
        }
        assert!(bias[0].abs() < 1e-9 && (bias[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_undetermined_fit_needs_a_ridge() {
        let solve = |ridge| {
            let mut fit = LeastSquares::new(2, 1);
            // Both inputs are the same.
            fit.add(&[1.0, 3.0, 1.0, 3.0, 2.0, 6.0], 2);
            fit.solve(ridge)
        };
        let error = solve(0.0).err().unwrap().to_string();
        assert!(
            error.contains("ridge") && error.contains("2 samples"),
            "{error}"
        );
        let weight = solve(1e-9).unwrap().weight;
        assert!(weight.iter().all(|w| (w - 1.0).abs() < 1e-6), "{weight:?}");
    }

    #[test]
    fn non_finite_samples_are_refused() {
        let mut fit = LeastSquares::new(1, 1);
        fit.add(&[1.0, 2.0, f64::NAN, 4.0], 2);
        assert!(matches!(fit.solve(1.0), Err(Error::NonFiniteOutput)));
    }
}
