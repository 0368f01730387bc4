//! A model in training, with its optimiser and the moving average (EMA) of its weights.

use super::ema::update_ema;
use super::schedule::Schedule;
use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{AutodiffModule, Module};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
use burn::record::{BinFileRecorder, FullPrecisionSettings, Recorder, RecorderError};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Settings of an optimiser, AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Weight decay.
    pub weight_decay: f32,
    /// Largest norm of a parameter's gradient; larger gradients are clipped.
    pub clip: f32,
    /// Decay of the moving average of the weights; `average` in JSON.
    #[serde(rename = "average")]
    pub ema_decay: f64,
}

/// A model in training.
pub(super) struct Learner<B: AutodiffBackend, M: AutodiffModule<B>> {
    pub(super) model: M,
    pub(super) ema: M::InnerModule,
    optimizer: OptimizerAdaptor<AdamW, M, B>,
    config: LearnerConfig,
}

impl<B, M> Learner<B, M>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    M: AutodiffModule<B>,
{
    pub(super) fn new(model: M, config: LearnerConfig) -> Self {
        let optimizer = AdamWConfig::new()
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .with_weight_decay(config.weight_decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(config.clip)))
            .init();
        Self {
            ema: model.valid(),
            model,
            optimizer,
            config,
        }
    }

    /// Resets the EMA to the weights of `model`.
    pub(super) fn reset_ema(&mut self) {
        self.ema = self.model.valid();
    }

    /// Updates the weights and the EMA with `gradients`. `step` counts from zero.
    pub(super) fn step(&mut self, step: u64, gradients: GradientsParams) {
        let rate = self.config.schedule.rate(step);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        // The decay is low in the first steps, so that the average forgets the random initial
        // weights.
        let decay = self
            .config
            .ema_decay
            .min((step + 1) as f64 / (step + 10) as f64);
        self.ema = update_ema(self.ema.clone(), &self.model.valid(), decay);
    }

    /// Writes model, EMA and optimiser to files in `folder` whose names start with `name`.
    pub(super) fn save(&self, folder: &Path, name: &str) -> Result<()> {
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let [model, ema, optimizer] = files(folder, name);
        Recorder::<B>::record(&recorder, self.model.clone().into_record(), model.clone())
            .map_err(failed(&model))?;
        Recorder::<B::InnerBackend>::record(&recorder, self.ema.clone().into_record(), ema.clone())
            .map_err(failed(&ema))?;
        Recorder::<B>::record(&recorder, self.optimizer.to_record(), optimizer.clone())
            .map_err(failed(&optimizer))
    }

    /// Reads the files that [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, folder: &Path, name: &str, device: &B::Device) -> Result<()> {
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let [model, _, optimizer] = files(folder, name);
        let record =
            Recorder::<B>::load(&recorder, model.clone(), device).map_err(failed(&model))?;
        self.model = self.model.clone().load_record(record);
        self.ema = load_ema(self.ema.clone(), folder, name, device)?;
        let record = Recorder::<B>::load(&recorder, optimizer.clone(), device)
            .map_err(failed(&optimizer))?;
        self.optimizer = self.optimizer.clone().load_record(record);
        Ok(())
    }
}

/// Loads the EMA that [`Learner::save`] wrote into `empty`.
pub(super) fn load_ema<B: Backend, M: Module<B>>(
    empty: M,
    folder: &Path,
    name: &str,
    device: &B::Device,
) -> Result<M> {
    let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
    let [_, ema, _] = files(folder, name);
    let record = Recorder::<B>::load(&recorder, ema.clone(), device);
    Ok(empty.load_record(record.map_err(failed(&ema))?))
}

/// Paths of the model's, the EMA's and the optimiser's files.
fn files(folder: &Path, name: &str) -> [PathBuf; 3] {
    ["model", "average", "optimizer"].map(|part| folder.join(format!("{name}-{part}.bin")))
}

fn failed(path: &Path) -> impl Fn(RecorderError) -> Error + '_ {
    move |error| Error::format(path, error.to_string())
}
