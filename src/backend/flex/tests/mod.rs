//! Tests of the kernels against the default bodies.

mod accuracy;
mod half_precision;
mod pixels;
mod tokens;

use super::convolution::ConvolutionAlgorithm;
use super::*;
use crate::backend::Backend;
use burn::tensor::{Distribution, Tolerance};

type T<const D: usize> = Tensor<Flex, D>;

fn random<const D: usize>(shape: [usize; D]) -> T<D> {
    T::random(shape, Distribution::Normal(0.3, 1.0), &Default::default())
}

#[track_caller]
fn assert_close<const D: usize>(found: T<D>, expected: T<D>) {
    found
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::rel_abs(1e-4, 1e-4));
}

/// Compares sums of products. The bound on their error is relative to `absolute`, the sums of the
/// absolute products, because cancellation leaves fewer digits. The matrix unit keeps 17 bits of a
/// number.
#[track_caller]
fn assert_product<const D: usize>(found: T<D>, expected: T<D>, absolute: T<D>) {
    let bound = absolute.max().into_scalar() / 32_768.0;
    let error = (found - expected).abs().max().into_scalar();
    assert!(error <= bound, "error {error:e}, bound {bound:e}");
}
