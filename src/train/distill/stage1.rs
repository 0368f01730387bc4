//! Stage 1, the encoder dropped: GenDR-Adc learns from GenDR.

use super::stage::{Examined, Negative, Pair, Pupil, Samples, Stage, Term};
use crate::backend::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::guidance::Prompt;
use crate::latent::{LatentConfig, VaeEncoder};
use crate::prompted::PromptedUNet;
use crate::shuffle::pixel_unshuffle;
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
    teacher: PromptedUNet<B>,
    teacher_config: LatentConfig,
    encoder: VaeEncoder<B>,
    config: LatentConfig,
    negative: Negative,
}

impl<B: Backend> Stage1<B> {
    /// The stage of a GenDR-Adc of `config`, taught by the GenDR of `teacher` and `encoder`.
    ///
    /// # Errors
    ///
    /// Those of [`LatentConfig::validate_adc`], [`LatentConfig::validate_gendr`] and [`Negative::validate`], and
    /// [`Error::Shape`] when a prompt does not fit the teacher's config.
    pub fn new(
        config: LatentConfig,
        (teacher_config, teacher, encoder): (LatentConfig, Student<B>, VaeEncoder<B>),
        negative: Negative,
    ) -> Result<Self> {
        config.validate_adc()?;
        teacher_config.validate_gendr()?;
        negative.validate()?;
        let LatentConfig { unet, timestep, .. } = &teacher_config;
        Ok(Self {
            teacher: PromptedUNet::new(unet, *timestep, teacher.weights())?,
            teacher_config,
            encoder,
            config,
            negative,
        })
    }
}

impl<B> Stage<B> for Stage1<B::InnerBackend>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
{
    type Student = Student<B>;

    fn examine(
        &self,
        pupil: Pupil<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        rng: &mut SmallRng,
    ) -> Examined<B> {
        let (prompt, weight) = self.negative.draw(rng);
        let encode = |picture: Tensor<B, 4>| self.encoder.to_latent(picture.inner(), None);
        let z = encode(input.clone());
        let prediction = self.teacher.predict(z.clone(), prompt);
        let z_tea = Tensor::from_inner(self.teacher_config.onestep.x0(z, prediction));
        let z = pixel_unshuffle(input, self.config.vae.factor());
        let prediction = pupil.model.predict(z.clone(), self.config.timestep, prompt);
        let z_stu = self.config.onestep.x0(z, prediction);
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
}
