//! The L1 distance.

use crate::backend::Backend;
use burn::tensor::Tensor;

/// `| student - target |_1`, the mean over all elements (paper, both stages).
///
/// # Shapes
///
/// - student, target: any shape, the same for both; latents in stage 1, pictures in stage 2
/// - output: `[1]`
pub fn l1<B: Backend, const D: usize>(student: Tensor<B, D>, target: Tensor<B, D>) -> Tensor<B, 1> {
    (student - target).abs().mean()
}

#[cfg(all(test, feature = "flex"))]
mod golden_tests {
    use super::*;
    use crate::testing::golden::Golden;

    #[test]
    fn agrees_with_pytorch() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            let tensor = |name: &str| golden.tensor::<4>(&format!("{case}.{name}"));
            let loss = l1(tensor("student"), tensor("teacher"));
            golden.check(&format!("{case}.l1_mean"), loss, 1e-5);
        }
    }
}

#[cfg(all(test, feature = "ndarray"))]
mod gradient_tests {
    use super::*;
    use crate::testing::finite_difference as fd;
    use crate::testing::finite_difference::random;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let target = random([2, 3, 4, 5], 1);
        fd::check(random([2, 3, 4, 5], 2), |x| {
            l1(x, Tensor::from_inner(target.clone()))
        });
    }
}
