//! Stage 1 drops the encoder: GenDR-Adc learns from GenDR.

use super::frozen_teacher::FrozenTeacher;
use super::objective::{
    AdversarialSamples, BatchLoss, LossTerm, NegativePromptConfig, Objective, Pair, StudentState,
};
use super::student_init::{FitTarget, StudentInit};
use crate::backend::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::latent::{LatentConfig, Vae};
use crate::restore::guidance::Prompt;
use crate::restore::shuffle::pixel_unshuffle;
use crate::train::losses::l1;
use crate::train::student::Student;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;

/// `L_G1 = | z_tea - z_stu |_1 + l1 * softplus(-D(z_stu))` (paper, stage 1).
///
/// The discriminator's feature extractor is GenDR's frozen UNet, which reads latents. Its real
/// samples are the latents of the originals.
///
/// `B` is the backend without gradients.
#[derive(Debug)]
pub struct Stage1Objective<B: Backend> {
    teacher: FrozenTeacher<B>,
    vae: Vae<B>,
    config: LatentConfig,
    start: StudentInit,
    negative: NegativePromptConfig,
}

impl<B: Backend> Stage1Objective<B> {
    /// Creates the objective of a GenDR-Adc with `config`. Its teacher is the GenDR given by a
    /// config, a UNet and a VAE.
    ///
    /// # Errors
    ///
    /// The errors of [`LatentConfig::validate_adc`], [`LatentConfig::validate_gendr`],
    /// [`StudentInit::validate`] and [`NegativePromptConfig::validate`], and [`Error::Shape`] if a
    /// prompt does not fit the teacher's config.
    pub fn new(
        config: LatentConfig,
        (teacher_config, teacher, vae): (LatentConfig, Student<B>, Vae<B>),
        start: StudentInit,
        negative: NegativePromptConfig,
    ) -> Result<Self> {
        config.validate_adc()?;
        teacher_config.validate_gendr()?;
        start.validate(&config.unet, &teacher_config.unet)?;
        negative.validate()?;
        Ok(Self {
            teacher: FrozenTeacher::new(teacher_config, &teacher)?,
            vae,
            config,
            start,
            negative,
        })
    }

    /// Converts a picture to the student UNet's input.
    fn unshuffle<C: Backend>(&self, picture: Tensor<C, 4>) -> Tensor<C, 4> {
        pixel_unshuffle(picture, self.config.vae.factor())
    }
}

impl<B> Objective<B> for Stage1Objective<B::InnerBackend>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
{
    type Model = Student<B>;

    fn init_student(
        &self,
        student: &mut Student<B>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        let LatentConfig {
            timestep, onestep, ..
        } = self.config;
        let teacher = &self.teacher.unet.weights;
        self.start.apply((student, timestep), teacher, pairs, |x| {
            let latent = self.vae.encoder.to_latent(x.clone(), None);
            let z = self.unshuffle(x);
            let z_tea = self.teacher.latent(latent.clone(), Prompt::Positive);
            FitTarget {
                first_layer: Some(teacher.unet.first_layer(latent)),
                prediction: onestep.prediction_of(z.clone(), z_tea),
                z,
            }
        })
    }

    fn loss(
        &self,
        student: StudentState<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> BatchLoss<B> {
        let (prompt, weight) = self.negative.draw_prompt(rng);
        let encode = |picture: Tensor<B, 4>| self.vae.encoder.to_latent(picture.inner(), None);
        let z_tea = Tensor::from_inner(self.teacher.latent(encode(input.clone()), prompt));
        let z = self.unshuffle(input);
        let z_stu = student.model.latent(&self.config, z, prompt);
        BatchLoss {
            terms: vec![LossTerm {
                name: "latent L1",
                weight,
                value: l1(z_stu.clone(), z_tea),
            }],
            adversarial: (prompt == Prompt::Positive).then(|| AdversarialSamples {
                fake: z_stu,
                real: Tensor::from_inner(encode(target)),
            }),
        }
    }

    fn sample_output(
        &self,
        ema: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let z = self.unshuffle(pair.input);
        let x0 = ema.latent(&self.config, z, Prompt::Positive);
        self.vae.decoder.to_picture(x0, None)
    }
}
