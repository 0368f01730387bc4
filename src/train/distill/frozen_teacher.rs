//! A trained latent model as the teacher of the next stage.

use crate::backend::Backend;
use crate::error::Result;
use crate::latent::LatentConfig;
use crate::model::prompted::PromptedUNet;
use crate::options::attention::Attention;
use crate::options::progress::unwatched;
use crate::restore::guidance::Prompt;
use crate::train::student::Student;
use burn::tensor::Tensor;

/// A latent model with frozen weights.
#[derive(Debug)]
pub(super) struct FrozenTeacher<B: Backend> {
    pub(super) config: LatentConfig,
    pub(super) unet: PromptedUNet<B>,
}

impl<B: Backend> FrozenTeacher<B> {
    /// Freezes `student`. `config` must be valid.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if a prompt does not fit the config.
    pub(super) fn new(config: LatentConfig, student: &Student<B>) -> Result<Self> {
        Ok(Self {
            unet: PromptedUNet::new(&config.unet, config.timestep, student.weights())?,
            config,
        })
    }

    /// Computes the latent for the UNet's input `z`, `[N, in_channels, H, W]`.
    pub(super) fn latent(&self, z: Tensor<B, 4>, prompt: Prompt) -> Tensor<B, 4> {
        let run = |watch| {
            self.unet
                .predict(z.clone(), prompt, Attention::Global, watch)
        };
        let prediction = unwatched(run);
        self.config.onestep.x0(z, prediction)
    }
}
