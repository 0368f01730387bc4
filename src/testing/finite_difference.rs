//! Checks gradients against finite differences in f64, for unit tests.

use crate::backend::NdArray;
use burn::backend::Autodiff;
use burn::tensor::{Tensor, TensorData};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A backend in double precision. Finite differences in f32 have three significant digits at best.
pub(crate) type Plain = NdArray<f64>;
/// The same backend with gradients.
pub(crate) type Tracked = Autodiff<Plain>;

/// Half of the difference step. It balances the truncation error, which grows with its square,
/// against the rounding error, which grows with its inverse.
pub(crate) const STEP: f64 = 1e-5;
/// Largest difference that is accepted, relative to the largest gradient.
pub(crate) const TOLERANCE: f64 = 1e-6;
/// Number of elements that are checked.
const ELEMENTS: usize = 24;

/// Returns uniformly distributed values in -1..1.
pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<Plain, D> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// Returns the values of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<Plain, D>) -> Vec<f64> {
    tensor.into_data().into_vec().expect("the backend uses f64")
}

/// Panics unless the gradient of `loss` at `x` matches central differences, at elements spread over
/// `x`.
pub(crate) fn check<const D: usize>(
    x: Tensor<Plain, D>,
    loss: impl Fn(Tensor<Tracked, D>) -> Tensor<Tracked, 1>,
) {
    let tracked = Tensor::<Tracked, D>::from_inner(x.clone()).require_grad();
    let gradients = loss(tracked.clone()).backward();
    let gradient = values(tracked.grad(&gradients).expect("the loss depends on x"));
    let largest = gradient.iter().fold(0f64, |m, g| m.max(g.abs()));
    assert!(largest > 0.0, "no gradient at all");

    let (shape, x) = (x.dims(), values(x));
    let at = |i: usize, offset: f64| {
        let mut x = x.clone();
        x[i] += offset;
        let x = Tensor::from_data(TensorData::new(x, shape), &Default::default());
        values(loss(x).inner())[0]
    };
    let count = x.len();
    for n in 0..ELEMENTS.min(count) {
        let i = n * count / ELEMENTS.min(count);
        let difference = (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP);
        assert!(
            (difference - gradient[i]).abs() <= TOLERANCE * largest,
            "element {i}: difference {difference:e}, gradient {:e}, largest {largest:e}",
            gradient[i]
        );
    }
}
