//! Trains the teacher of the distillation: a latent GenDR that learns from the originals' latents.

use super::objective::{BatchLoss, LossTerm, NegativePromptConfig, Objective, Pair, StudentState};
use crate::backend::Backend;
use crate::error::Result;
use crate::latent::{LatentConfig, Vae};
use crate::restore::guidance::Prompt;
use crate::train::losses::l1;
use crate::train::student::Student;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;

/// `| Enc(y) - onestep(UNet16(Enc(x))) |_1`. For the negative prompt, `x` replaces `y`.
///
/// `B` is the backend without gradients.
#[derive(Debug)]
pub struct TeacherObjective<B: Backend> {
    config: LatentConfig,
    vae: Vae<B>,
    negative: NegativePromptConfig,
}

impl<B: Backend> TeacherObjective<B> {
    /// Creates the objective of a GenDR with `config` that works on latents of the frozen `vae`.
    ///
    /// # Errors
    ///
    /// The errors of [`LatentConfig::validate_gendr`] and [`NegativePromptConfig::validate`].
    pub fn new(config: LatentConfig, vae: Vae<B>, negative: NegativePromptConfig) -> Result<Self> {
        config.validate_gendr()?;
        negative.validate()?;
        Ok(Self {
            config,
            vae,
            negative,
        })
    }
}

impl<B> Objective<B> for TeacherObjective<B::InnerBackend>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
{
    type Model = Student<B>;

    fn loss(
        &self,
        student: StudentState<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> BatchLoss<B> {
        let (prompt, weight) = self.negative.draw_prompt(rng);
        let encode = |picture: Tensor<B, 4>| {
            Tensor::from_inner(self.vae.encoder.to_latent(picture.inner(), None))
        };
        let z = encode(input);
        let wanted = match prompt {
            Prompt::Positive => encode(target),
            Prompt::Negative => z.clone(),
        };
        let x0 = student.model.latent(&self.config, z, prompt);
        BatchLoss {
            terms: vec![LossTerm {
                name: "latent L1",
                weight,
                value: l1(x0, wanted),
            }],
            adversarial: None,
        }
    }

    fn sample_output(
        &self,
        ema: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let z = self.vae.encoder.to_latent(pair.input, None);
        let x0 = ema.latent(&self.config, z, Prompt::Positive);
        self.vae.decoder.to_picture(x0, None)
    }
}
