//! What one stage of the distillation asks of its student.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::restore::guidance::Prompt;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// Pictures of one step, `[N, 3, H, W]` in -1..1.
#[derive(Clone, Debug)]
pub struct Pair<B: Backend> {
    /// Of low quality, at output size.
    pub input: Tensor<B, 4>,
    /// The originals.
    pub target: Tensor<B, 4>,
}

/// A term of the student's loss.
#[derive(Clone, Debug)]
pub struct Term<B: Backend> {
    /// Its name in logs and errors.
    pub name: &'static str,
    /// Its weight in the sum; 0 for what is only measured.
    pub weight: f64,
    /// Its value, `[1]`.
    pub value: Tensor<B, 1>,
}

/// Samples for the discriminator, as its frozen UNet reads them.
#[derive(Clone, Debug)]
pub struct Samples<B: Backend> {
    /// Of the student.
    pub fake: Tensor<B, 4>,
    /// Of the originals.
    pub real: Tensor<B, 4>,
}

/// What a stage found in a pair.
#[derive(Clone, Debug)]
pub struct Examined<B: Backend> {
    /// The student's loss but for the discriminator's part.
    pub terms: Vec<Term<B>>,
    /// What the discriminator is to judge, if anything.
    pub samples: Option<Samples<B>>,
}

/// The student as a step finds it.
#[derive(Clone, Copy, Debug)]
pub struct Pupil<'a, B: AutodiffBackend, M: AutodiffModule<B>> {
    /// With the weights that the step changes.
    pub model: &'a M,
    /// With the averaged weights so far.
    pub average: &'a M::InnerModule,
    /// Steps done.
    pub step: u64,
    /// Whether the learning rate falls.
    pub cooling: bool,
}

/// One stage: a student, and how it is told from its teacher.
pub trait Stage<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    /// What is trained.
    type Student: AutodiffModule<B>;

    /// Sets up a new student before its first step; by default it is left as it is. `pairs` are those it will be trained
    /// on, from the first on and without end.
    ///
    /// # Errors
    ///
    /// Each stage's own.
    fn start(
        &self,
        _student: &mut Self::Student,
        _pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        Ok(())
    }

    /// Lets the student and the teacher work on a pair. All that is random is drawn from `rng`, a function of the seed
    /// and the step.
    fn examine(
        &self,
        pupil: Pupil<'_, B, Self::Student>,
        pair: Pair<B>,
        rng: &mut SmallRng,
    ) -> Examined<B>;

    /// The picture that the averaged student makes of a pair, to be looked at.
    fn sample(
        &self,
        average: &<Self::Student as AutodiffModule<B>>::InnerModule,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4>;
}

/// How often, and how much, the negative prompt is trained. With it, the student learns what to leave as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Negative {
    /// Share of the batches, 0 to 1.
    pub share: f64,
    /// Weight of their loss.
    pub weight: f64,
}

impl Negative {
    /// # Errors
    ///
    /// [`Error::Config`] when the share is not from 0 to 1, or the weight negative or not finite.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        if !(0.0..=1.0).contains(&self.share) {
            return fail(
                "negative.share",
                format!("{} is not from 0 to 1", self.share),
            );
        }
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            let reason = format!("{} is not a finite number from 0 up", self.weight);
            return fail("negative.weight", reason);
        }
        Ok(())
    }

    /// A batch's prompt, and the weight of its loss.
    pub(super) fn draw(&self, rng: &mut SmallRng) -> (Prompt, f64) {
        if rng.random_bool(self.share) {
            (Prompt::Negative, self.weight)
        } else {
            (Prompt::Positive, 1.0)
        }
    }
}
