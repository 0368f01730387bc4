//! The interface between the trainer and the losses of a stage.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::restore::guidance::Prompt;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// A batch of input and target pictures, `[N, 3, H, W]` in -1..1.
#[derive(Clone, Debug)]
pub struct Pair<B: Backend> {
    /// The degraded pictures, at output size.
    pub input: Tensor<B, 4>,
    /// The originals.
    pub target: Tensor<B, 4>,
}

/// A term of the student's loss.
#[derive(Clone, Debug)]
pub struct LossTerm<B: Backend> {
    /// Name of the term in logs and errors.
    pub name: &'static str,
    /// Weight of the term in the sum. A term of weight 0 is only logged.
    pub weight: f64,
    /// Value of the term, `[1]`.
    pub value: Tensor<B, 1>,
}

/// Samples for the discriminator, in the form that its frozen UNet reads.
#[derive(Clone, Debug)]
pub struct AdversarialSamples<B: Backend> {
    /// The student's output.
    pub fake: Tensor<B, 4>,
    /// The originals.
    pub real: Tensor<B, 4>,
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct BatchLoss<B: Backend> {
    /// Terms of the student's loss, without the adversarial term.
    pub terms: Vec<LossTerm<B>>,
    /// Samples for the discriminator; `None` if the batch trains no discriminator.
    pub adversarial: Option<AdversarialSamples<B>>,
}

/// The student at the beginning of a step.
#[derive(Clone, Copy, Debug)]
pub struct StudentState<'a, B: AutodiffBackend, M: AutodiffModule<B>> {
    /// The model with the weights that the step updates.
    pub model: &'a M,
    /// The model with the moving average of the weights.
    pub ema: &'a M::InnerModule,
    /// Number of steps done.
    pub step: u64,
    /// Whether the learning rate is in its final decrease.
    pub cooling_down: bool,
}

/// The objective of a training run: the model that is trained, and the loss of a batch.
pub trait Objective<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    /// The model that is trained, the student.
    type Model: AutodiffModule<B>;

    /// Initialises a new student before its first step. The default body leaves it unchanged.
    /// `pairs` is an endless iterator over the batches that the student will be trained on, from
    /// the first one.
    ///
    /// # Errors
    ///
    /// The errors depend on the objective.
    fn init_student(
        &self,
        _student: &mut Self::Model,
        _pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        Ok(())
    }

    /// Computes the loss of a batch. All randomness comes from `rng`, which depends on the seed and
    /// the batch's number alone.
    fn loss(
        &self,
        student: StudentState<'_, B, Self::Model>,
        pair: Pair<B>,
        rng: &mut SmallRng,
    ) -> BatchLoss<B>;

    /// Computes the averaged student's output for a batch, `[N, 3, H, W]`, for visual inspection.
    fn sample_output(
        &self,
        ema: &<Self::Model as AutodiffModule<B>>::InnerModule,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4>;
}

/// How often the negative prompt is trained, and with which weight. Under the negative prompt, the
/// student learns to leave the input as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NegativePromptConfig {
    /// Share of the batches that use the negative prompt, 0 to 1.
    pub share: f64,
    /// Weight of the loss of these batches.
    pub weight: f64,
}

impl NegativePromptConfig {
    /// # Errors
    ///
    /// [`Error::Config`] if the share is not between 0 and 1, or the weight is negative or not
    /// finite.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        if !(0.0..=1.0).contains(&self.share) {
            return fail(
                "negative.share",
                format!("{} is not between 0 and 1", self.share),
            );
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            let reason = format!("{} is not a finite number of at least 0", self.weight);
            return fail("negative.weight", reason);
        }
        Ok(())
    }

    /// Draws the prompt of a batch. Returns it with the weight of the batch's loss.
    pub(super) fn draw_prompt(&self, rng: &mut SmallRng) -> (Prompt, f64) {
        if rng.random_bool(self.share) {
            (Prompt::Negative, self.weight)
        } else {
            (Prompt::Positive, 1.0)
        }
    }
}
