//! A latent model that has been trained, and teaches.

use crate::backend::Backend;
use crate::error::Result;
use crate::latent::LatentConfig;
use crate::model::prompted::PromptedUNet;
use crate::options::attention::Attention;
use crate::options::progress::unwatched;
use crate::restore::guidance::Prompt;
use crate::train::student::Student;
use burn::tensor::Tensor;

/// What one stage made, as the next one's teacher.
pub(super) struct Frozen<B: Backend> {
    pub(super) config: LatentConfig,
    pub(super) unet: PromptedUNet<B>,
}

impl<B: Backend> Frozen<B> {
    /// `config` is valid.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when a prompt does not fit the config.
    pub(super) fn new(config: LatentConfig, student: &Student<B>) -> Result<Self> {
        Ok(Self {
            unet: PromptedUNet::new(&config.unet, config.timestep, student.weights())?,
            config,
        })
    }

    /// The latent that it gives for its input `z`.
    pub(super) fn latent(&self, z: Tensor<B, 4>, prompt: Prompt) -> Tensor<B, 4> {
        let run = |watch| {
            self.unet
                .predict(z.clone(), prompt, Attention::Global, watch)
        };
        let prediction = unwatched(run);
        self.config.onestep.x0(z, prediction)
    }
}
