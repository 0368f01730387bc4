//! Settings of the bundled model's training.

use crate::config::GenDrPixConfig;
use crate::train::data::DataConfig;
use crate::train::degrade::FirstOrderDegradation;
#[cfg(doc)]
use crate::train::distill::TrainerConfig;
use crate::train::learner::LearnerConfig;
use crate::train::pictures::Pictures;
use crate::train::schedule::Schedule;
use serde::Serialize;
use std::path::PathBuf;

/// Settings of the bundled model's training.
#[derive(Clone, Debug, Serialize)]
pub struct NanoConfig {
    /// The model.
    pub model: GenDrPixConfig,
    /// Number of tokens in each prompt embedding.
    pub prompt_tokens: usize,
    /// The training pictures.
    pub data: DataConfig,
    /// The optimiser.
    pub learner: LearnerConfig,
    /// Weight of the masked Fourier space loss, `l3` in the paper. The loss is used only while the
    /// learning rate falls.
    pub fourier: f64,
    /// Number of paddings, drawn for each step, over which the teacher of the Fourier loss
    /// averages.
    pub teacher_paddings: usize,
    /// Every step whose number is a multiple of this trains the negative prompt instead of the
    /// positive one.
    pub negative_every: u64,
    /// Weight of the loss in the steps of the negative prompt. It is low so that restoration has
    /// priority. It has not been tuned.
    pub negative_weight: f64,
    /// See [`TrainerConfig::samples_every`].
    pub samples_every: u64,
}

impl NanoConfig {
    /// Returns the recipe of the bundled weights, part one: procedural pictures.
    #[must_use]
    pub fn recipe(seed: u64) -> Self {
        Self {
            model: GenDrPixConfig::nano(),
            prompt_tokens: 4,
            data: DataConfig {
                pictures: Pictures::Procedural,
                seed,
                batch: 8,
                crop: 128,
                window: 256,
                fresh: 0.15,
                degradation: FirstOrderDegradation::default().into(),
            },
            learner: LearnerConfig {
                schedule: Schedule {
                    steps: 14_000,
                    warm_up: 200,
                    learning_rate: 5e-4,
                    cool_down: 2_500,
                    final_rate: 0.02,
                },
                weight_decay: 1e-4,
                clip: 1.0,
                ema_decay: 0.999,
            },
            fourier: 0.1,
            teacher_paddings: 2,
            negative_every: 10,
            negative_weight: 0.1,
            samples_every: 0,
        }
    }

    /// Returns the recipe of the bundled weights, part two: starts from the weights of part one and
    /// adds photos.
    ///
    /// Procedural pictures teach edges and noise removal, but not the appearance of photos. A share
    /// of procedural pictures remains, so that the model does not memorise a small folder of
    /// photos. `docs/benchmarks.md` in the repository has the scores of the bundled weights.
    #[must_use]
    pub fn photos(folder: PathBuf, seed: u64) -> Self {
        let mut config = Self::recipe(seed);
        config.data.pictures = Pictures::Mixed {
            folder,
            procedural: 0.25,
        };
        config.learner.schedule.steps = 14_500;
        config.learner.schedule.learning_rate = 4e-4;
        config
    }
}
