//! Trains the bundled model, one step at a time.

use super::config::NanoConfig;
use super::objective::{FOURIER, L1, NanoObjective, RESIZE_L1};
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::error::{Error, Result};
use crate::model::GenDrPix;
use crate::train::data::DataConfig;
use crate::train::distill::{Trainer, TrainerConfig};
use crate::train::losses::MaskedFourierConfig;
use crate::train::student::Student;
use crate::weights::{WeightsSource, load_bundle};
use burn::tensor::backend::AutodiffBackend;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// The result of one step of [`NanoTrainer`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NanoStepReport {
    /// Number of steps done.
    pub step: u64,
    /// Mean absolute error of the batch, divided by that of bicubic interpolation. `None` in a step
    /// of the negative prompt.
    pub relative_l1: Option<f64>,
    /// Masked Fourier space loss; `None` before the learning rate falls.
    pub fourier: Option<f64>,
    /// Learning rate.
    pub rate: f64,
}

/// Trains the bundled model, one step at a time. Its only teacher is the model with its own
/// averaged weights.
pub struct NanoTrainer<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    config: NanoConfig,
    pub(super) trainer: Trainer<B, NanoObjective<B>>,
    pub(super) device: B::Device,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> fmt::Debug for NanoTrainer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NanoTrainer")
            .field("config", &self.config)
            .field("trainer", &self.trainer)
            .field("device", &self.device)
            .finish()
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoTrainer<B> {
    /// Starts a training run, or resumes it from the last checkpoint in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if settings contradict each other or the crop is not a multiple of the
    /// model's factor, and those of [`Trainer::new`].
    pub fn new(config: NanoConfig, folder: &Path, device: &B::Device) -> Result<Self> {
        config.model.validate()?;
        let DataConfig { crop, seed, .. } = config.data;
        let factor = config.model.factor;
        if !crop.is_multiple_of(factor) || crop < 4 * factor {
            let reason = format!(
                "{crop} is not a multiple of {factor} of at least {}",
                4 * factor
            );
            let field = "crop";
            return Err(Error::Config { field, reason });
        }
        B::seed(device, seed);
        let student = Student::new(&config.model.unet, config.prompt_tokens, device)?;
        let fourier = MaskedFourierConfig {
            factor,
            ..MaskedFourierConfig::default()
        };
        let objective = NanoObjective {
            fourier: fourier.init(crop, crop, device)?,
            config: config.clone(),
        };
        let trainer = TrainerConfig {
            data: config.data.clone(),
            learner: config.learner.clone(),
            accumulate: 1,
            precision: Precision::Full,
            adversary: None,
            samples_every: config.samples_every,
        };
        Ok(Self {
            trainer: Trainer::new(trainer, objective, student, None, (folder, &config), device)?,
            config,
            device: device.clone(),
        })
    }

    /// Replaces the random weights and prompts by those of a bundle, to continue their training.
    ///
    /// # Errors
    ///
    /// The errors of [`GenDrPix::load`], and [`Error::Config`] if the bundle's model or number of
    /// prompt tokens is not that of this training run.
    pub fn start_from(&mut self, bundle: &Path) -> Result<()> {
        let source = WeightsSource::File(bundle.to_owned());
        let (config, weights) = load_bundle::<B>(source, &self.device)?;
        let fail = |field, found: String| {
            let reason = format!("does not match {}, which has {found}", bundle.display());
            Err(Error::Config { field, reason })
        };
        let own = &self.config.model;
        if config.unet != own.unet {
            return fail("unet", format!("{:?}", config.unet));
        }
        if config.factor != own.factor || config.onestep != own.onestep {
            return fail("onestep", format!("{:?}", config.onestep));
        }
        let [tokens, _] = weights.positive.dims();
        if tokens != self.config.prompt_tokens {
            return fail("prompt_tokens", tokens.to_string());
        }
        self.trainer.start_from(Student::from_weights(weights));
        Ok(())
    }

    /// Returns the number of steps done.
    pub fn steps_done(&self) -> u64 {
        self.trainer.steps_done()
    }

    /// Builds the model with the moving average of the weights.
    ///
    /// # Errors
    ///
    /// The errors of [`GenDrPix::from_parts`].
    pub fn model(&self) -> Result<GenDrPix<B::InnerBackend>> {
        let weights = self.trainer.ema().weights();
        GenDrPix::from_parts(self.config.model.clone(), weights, &self.device)
    }

    /// Trains one step.
    ///
    /// # Errors
    ///
    /// The errors of [`Trainer::step`].
    pub fn step(&mut self) -> Result<NanoStepReport> {
        let report = self.trainer.step()?;
        let term = |name| report.terms.get(name).copied();
        Ok(NanoStepReport {
            step: report.step,
            relative_l1: term(RESIZE_L1).and_then(|resize| Some(term(L1)? / resize)),
            fourier: term(FOURIER),
            rate: report.rate,
        })
    }

    /// Saves everything that [`new`](Self::new) needs to resume from this step. The checkpoint is
    /// written completely or not at all.
    ///
    /// # Errors
    ///
    /// The errors of [`Trainer::checkpoint`].
    pub fn checkpoint(&self) -> Result<()> {
        self.trainer.checkpoint()
    }
}
