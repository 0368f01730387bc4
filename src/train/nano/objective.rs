//! The loss of the bundled model.

use super::config::NanoConfig;
use super::init::init_ends;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::GenDrPix;
use crate::options::padding::Padding;
use crate::options::restore::Restore;
use crate::restore::guidance::Prompt;
use crate::train::distill::{BatchLoss, LossTerm, Objective, Pair, StudentState};
use crate::train::losses::{MaskedFourierLoss, l1};
use crate::train::student::Student;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Names of the loss terms.
pub(super) const L1: &str = "L1";
pub(super) const FOURIER: &str = "L_F";
/// Name of the error of bicubic interpolation, which is logged but not part of the loss.
pub(super) const RESIZE_L1: &str = "L1 of the plain resize";

/// `| y - G(x) |_1`, plus the masked Fourier space loss while the learning rate falls. For the
/// negative prompt, `x` replaces `y`.
pub(super) struct NanoObjective<B: Backend> {
    pub(super) config: NanoConfig,
    pub(super) fourier: MaskedFourierLoss<B>,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Objective<B> for NanoObjective<B> {
    type Model = Student<B>;

    fn init_student(
        &self,
        student: &mut Student<B>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        for Pair { input, .. } in pairs.take(1) {
            init_ends(&mut student.unet, input, self.config.model.factor);
        }
        Ok(())
    }

    fn loss(
        &self,
        student: StudentState<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        _rng: &mut SmallRng,
    ) -> BatchLoss<B> {
        let NanoConfig {
            model,
            negative_every,
            negative_weight,
            fourier,
            ..
        } = &self.config;
        let term = |name, weight, value| LossTerm {
            name,
            weight,
            value,
        };
        let mut terms = Vec::new();
        if (student.step + 1).is_multiple_of(*negative_every) {
            // The negative prompt represents bad quality, so the target is the degraded picture.
            let output = student
                .model
                .restore(model, input.clone(), Prompt::Negative);
            terms.push(term(L1, *negative_weight, l1(output, input)));
        } else {
            let output = student
                .model
                .restore(model, input.clone(), Prompt::Positive);
            terms.push(term(L1, 1.0, l1(output.clone(), target.clone())));
            terms.push(term(RESIZE_L1, 0.0, l1(input.clone(), target)));
            if student.cooling_down {
                let target = self.fourier_target(&student, input);
                terms.push(term(
                    FOURIER,
                    *fourier,
                    self.fourier.forward(output, target),
                ));
            }
        }
        BatchLoss {
            terms,
            adversarial: None,
        }
    }

    fn sample_output(
        &self,
        ema: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        ema.restore(&self.config.model, pair.input, Prompt::Positive)
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoObjective<B> {
    /// Returns the target of the Fourier loss, `y_tea`: the output of the averaged student for
    /// `input`, averaged over paddings.
    ///
    /// The original is not a good target. A restoration trained with L1 is weaker at high
    /// frequencies than the original. The loss compares the frequencies of the lattice only, so it
    /// would amplify only these, which adds a pattern of 8x8 pixels. The student's own output,
    /// averaged over several paddings, has the right amplitude and does not contain the lattice.
    fn fourier_target(
        &self,
        student: &StudentState<'_, B, Student<B>>,
        input: Tensor<B, 4>,
    ) -> Tensor<B, 4> {
        let factor = self.config.model.factor;
        let mut rng = SmallRng::seed_from_u64(self.config.data.seed ^ student.step);
        let paddings = (0..self.config.teacher_paddings).map(|_| {
            let [top, left] = [(); 2].map(|()| rng.random_range(0..factor));
            Padding::new(top, left)
        });
        let options = Restore::new().guidance(1.0).ensemble(paddings.collect());
        let weights = student.ema.weights();
        let restored = GenDrPix::from_parts(self.config.model.clone(), weights, &input.device())
            .and_then(|model| model.restore(input.inner(), &options));
        Tensor::from_inner(restored.expect("model and picture have the student's shapes"))
    }
}
