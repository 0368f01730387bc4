//! Stage 1, the encoder dropped: GenDR-Adc learns from GenDR.

use super::frozen::Frozen;
use super::stage::{Examined, Negative, Pair, Pupil, Samples, Stage, Term};
use super::start::{Aim, Start};
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
/// The discriminator's frozen UNet is GenDR's, which reads latents; the real ones are the originals'.
///
/// `B` is the backend without gradients.
pub struct Stage1<B: Backend> {
    teacher: Frozen<B>,
    vae: Vae<B>,
    config: LatentConfig,
    start: Start,
    negative: Negative,
}

impl<B: Backend> Stage1<B> {
    /// The stage of a GenDR-Adc of `config`, taught by the GenDR of `teacher` and `vae`.
    ///
    /// # Errors
    ///
    /// Those of [`LatentConfig::validate_adc`], [`LatentConfig::validate_gendr`], [`Start::validate`] and
    /// [`Negative::validate`], and [`Error::Shape`] when a prompt does not fit the teacher's config.
    pub fn new(
        config: LatentConfig,
        (teacher_config, teacher, vae): (LatentConfig, Student<B>, Vae<B>),
        start: Start,
        negative: Negative,
    ) -> Result<Self> {
        config.validate_adc()?;
        teacher_config.validate_gendr()?;
        start.validate(&config.unet, &teacher_config.unet)?;
        negative.validate()?;
        Ok(Self {
            teacher: Frozen::new(teacher_config, &teacher)?,
            vae,
            config,
            start,
            negative,
        })
    }

    /// What the student's UNet reads.
    fn cells<C: Backend>(&self, picture: Tensor<C, 4>) -> Tensor<C, 4> {
        pixel_unshuffle(picture, self.config.vae.factor())
    }
}

impl<B> Stage<B> for Stage1<B::InnerBackend>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
{
    type Student = Student<B>;

    fn start(
        &self,
        student: &mut Student<B>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        let LatentConfig {
            timestep, onestep, ..
        } = self.config;
        let teacher = &self.teacher.unet.weights;
        self.start.set_up((student, timestep), teacher, pairs, |x| {
            let latent = self.vae.encoder.to_latent(x.clone(), None);
            let z = self.cells(x);
            let z_tea = self.teacher.latent(latent.clone(), Prompt::Positive);
            Aim {
                first: Some(teacher.unet.first_layer(latent)),
                prediction: onestep.prediction_of(z.clone(), z_tea),
                z,
            }
        })
    }

    fn examine(
        &self,
        pupil: Pupil<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> Examined<B> {
        let (prompt, weight) = self.negative.draw(rng);
        let encode = |picture: Tensor<B, 4>| self.vae.encoder.to_latent(picture.inner(), None);
        let z_tea = Tensor::from_inner(self.teacher.latent(encode(input.clone()), prompt));
        let z = self.cells(input);
        let z_stu = pupil
            .model
            .one_step(z, self.config.timestep, self.config.onestep, prompt);
        Examined {
            terms: vec![Term {
                name: "latent L1",
                weight,
                value: l1(z_stu.clone(), z_tea),
            }],
            samples: (prompt == Prompt::Positive).then(|| Samples {
                fake: z_stu,
                real: Tensor::from_inner(encode(target)),
            }),
        }
    }
    fn sample(
        &self,
        average: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let LatentConfig {
            timestep, onestep, ..
        } = self.config;
        let x0 = average.one_step(self.cells(pair.input), timestep, onestep, Prompt::Positive);
        self.vae.decoder.to_picture(x0, None)
    }
}
