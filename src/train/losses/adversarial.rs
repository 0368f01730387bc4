//! The non-saturating adversarial losses, with softplus (Goodfellow et al. 2014, section 3; paper,
//! both stages).

use crate::backend::Backend;
use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;

/// The student's adversarial loss: `softplus(-D(fake))`, the mean over all logits.
///
/// # Shapes
///
/// - fake: any; the logits of the student's output, large where it looks real
/// - output: `[1]`
pub fn generator_loss<B: Backend, const D: usize>(fake: Tensor<B, D>) -> Tensor<B, 1> {
    softplus(-fake).mean()
}

/// The discriminator's loss: `softplus(-D(real)) + softplus(D(fake))`, each the mean over all
/// logits.
///
/// # Shapes
///
/// - real, fake: any; the logits of real pictures and of the student's output
/// - output: `[1]`
pub fn discriminator_loss<B: Backend, const D: usize>(
    real: Tensor<B, D>,
    fake: Tensor<B, D>,
) -> Tensor<B, 1> {
    softplus(-real).mean() + softplus(fake).mean()
}

/// `ln(1 + e^x) = -ln(sigmoid(-x))`.
///
/// The logarithm of the sigmoid is stable. burn 0.21's own softplus computes `e^x` and overflows
/// from 89 on. The stable form `max(x, 0) + ln(1 + e^-|x|)` would have no gradient at zero, the
/// output of a head that is initialised to zero.
fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    -log_sigmoid(-x)
}

#[cfg(all(test, feature = "flex"))]
mod golden_tests {
    use super::*;
    use crate::testing::golden::{B, Golden};
    use burn::backend::Autodiff;

    #[test]
    fn agrees_with_pytorch() {
        let golden = Golden::open("losses.safetensors");
        for case in ["a", "b"] {
            let key = |name: &str| format!("{case}.{name}");
            let logits = || golden.tensor::<4>(&key("logits"));
            let (negative, positive) = (key("softplus_neg_mean"), key("softplus_pos_mean"));
            golden.check(&negative, generator_loss(logits()), 1e-5);
            golden.check(&positive, softplus(logits()).mean(), 1e-5);
            let pair = golden.tensor::<1>(&negative) + golden.tensor::<1>(&positive);
            let error = (discriminator_loss(logits(), logits()) - pair.clone()).abs();
            assert!(error.into_scalar() <= 1e-5 * pair.into_scalar());

            let tracked = Tensor::<Autodiff<B>, 4>::from_inner(logits()).require_grad();
            let gradients = generator_loss(tracked.clone()).backward();
            let gradient = tracked.grad(&gradients).unwrap();
            golden.check(&key("grad_logits.softplus_neg_mean"), gradient, 5e-5);
        }
    }

    /// Loss and gradient at `logit`.
    fn at(logit: f32) -> (f32, f32) {
        let x = Tensor::<Autodiff<B>, 1>::from_floats([logit], &Default::default()).require_grad();
        let loss = softplus(x.clone()).mean();
        let gradients = loss.backward();
        let gradient = x.grad(&gradients).unwrap().into_scalar();
        (loss.into_scalar(), gradient)
    }

    #[test]
    fn is_stable_for_large_logits_and_has_a_gradient_at_zero() {
        assert_eq!(at(100.0), (100.0, 1.0));
        assert_eq!(at(1e4), (1e4, 1.0));
        for logit in [-100.0, -1e4] {
            let (loss, gradient) = at(logit);
            assert!(loss.abs() < 1e-30 && gradient.abs() < 1e-30, "{logit}");
        }
        let (loss, gradient) = at(0.0);
        assert!((loss - 2f32.ln()).abs() < 1e-6 && (gradient - 0.5).abs() < 1e-6);
    }
}

#[cfg(all(test, feature = "ndarray"))]
mod gradient_tests {
    use super::*;
    use crate::testing::finite_difference as fd;
    use crate::testing::finite_difference::random;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let logits = || random([2, 1, 3, 4], 1) * 5.0;
        let other = random([2, 1, 3, 4], 2) * 5.0;
        let other = || Tensor::from_inner(other.clone());
        fd::check(logits(), generator_loss);
        fd::check(logits(), |x| discriminator_loss(x, other()));
        fd::check(logits(), |x| discriminator_loss(other(), x));
    }
}
