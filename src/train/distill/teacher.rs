//! The teacher of all: a latent GenDR, taught by the originals' latents.

use super::stage::{Examined, Negative, Pair, Pupil, Stage, Term};
use crate::backend::Backend;
use crate::error::Result;
use crate::latent::{LatentConfig, Vae};
use crate::restore::guidance::Prompt;
use crate::train::losses::l1;
use crate::train::student::Student;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;

/// `| Enc(y) - onestep(UNet16(Enc(x))) |_1`, and for the negative prompt with `x` in the place of `y`.
///
/// `B` is the backend without gradients.
pub struct TeacherStage<B: Backend> {
    config: LatentConfig,
    vae: Vae<B>,
    negative: Negative,
}

impl<B: Backend> TeacherStage<B> {
    /// The stage of a GenDR of `config`, in the latent of the frozen `vae`.
    ///
    /// # Errors
    ///
    /// Those of [`LatentConfig::validate_gendr`] and [`Negative::validate`].
    pub fn new(config: LatentConfig, vae: Vae<B>, negative: Negative) -> Result<Self> {
        config.validate_gendr()?;
        negative.validate()?;
        Ok(Self {
            config,
            vae,
            negative,
        })
    }
}

impl<B> Stage<B> for TeacherStage<B::InnerBackend>
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
        let encode = |picture: Tensor<B, 4>| {
            Tensor::from_inner(self.vae.encoder.to_latent(picture.inner(), None))
        };
        let z = encode(input);
        let wanted = match prompt {
            Prompt::Positive => encode(target),
            Prompt::Negative => z.clone(),
        };
        let LatentConfig {
            timestep, onestep, ..
        } = self.config;
        let x0 = pupil.model.one_step(z, timestep, onestep, prompt);
        Examined {
            terms: vec![Term {
                name: "latent L1",
                weight,
                value: l1(x0, wanted),
            }],
            samples: None,
        }
    }
    fn sample(
        &self,
        average: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        let z = self.vae.encoder.to_latent(pair.input, None);
        let LatentConfig {
            timestep, onestep, ..
        } = self.config;
        let x0 = average.one_step(z, timestep, onestep, Prompt::Positive);
        self.vae.decoder.to_picture(x0, None)
    }
}
