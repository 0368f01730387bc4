//! What is trained, with all that training keeps of it: the optimiser's moments and the moving average of the weights.

use super::average::moving_average;
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

/// How weights follow their gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// The learning rate.
    pub schedule: Schedule,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Largest norm of a parameter's gradient.
    pub clip: f32,
    /// Decay of the weights' moving average.
    pub average: f64,
}

/// A model in training.
pub(super) struct Learner<B: AutodiffBackend, M: AutodiffModule<B>> {
    pub(super) model: M,
    pub(super) average: M::InnerModule,
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
            average: model.valid(),
            model,
            optimizer,
            config,
        }
    }

    /// Starts the average anew, from what `model` has been set to.
    pub(super) fn restart(&mut self) {
        self.average = self.model.valid();
    }

    /// Takes step `step`, counted from zero, along `gradients`.
    pub(super) fn step(&mut self, step: u64, gradients: GradientsParams) {
        let rate = self.config.schedule.rate(step);
        self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        // Short averages first: the random start must not linger.
        let decay = self
            .config
            .average
            .min((step + 1) as f64 / (step + 10) as f64);
        self.average = moving_average(self.average.clone(), &self.model.valid(), decay);
    }

    /// Writes all of it into files of `folder` that start with `name`.
    pub(super) fn save(&self, folder: &Path, name: &str) -> Result<()> {
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let [model, average, optimizer] = files(folder, name);
        Recorder::<B>::record(&recorder, self.model.clone().into_record(), model.clone())
            .map_err(failed(&model))?;
        Recorder::<B::InnerBackend>::record(
            &recorder,
            self.average.clone().into_record(),
            average.clone(),
        )
        .map_err(failed(&average))?;
        Recorder::<B>::record(&recorder, self.optimizer.to_record(), optimizer.clone())
            .map_err(failed(&optimizer))
    }

    /// Goes on from what [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, folder: &Path, name: &str, device: &B::Device) -> Result<()> {
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let [model, _, optimizer] = files(folder, name);
        let record =
            Recorder::<B>::load(&recorder, model.clone(), device).map_err(failed(&model))?;
        self.model = self.model.clone().load_record(record);
        self.average = load_average(self.average.clone(), folder, name, device)?;
        let record = Recorder::<B>::load(&recorder, optimizer.clone(), device)
            .map_err(failed(&optimizer))?;
        self.optimizer = self.optimizer.clone().load_record(record);
        Ok(())
    }
}

/// The averaged weights alone, in the place of those of `empty`.
pub(super) fn load_average<B: Backend, M: Module<B>>(
    empty: M,
    folder: &Path,
    name: &str,
    device: &B::Device,
) -> Result<M> {
    let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
    let [_, average, _] = files(folder, name);
    let record = Recorder::<B>::load(&recorder, average.clone(), device);
    Ok(empty.load_record(record.map_err(failed(&average))?))
}

fn files(folder: &Path, name: &str) -> [PathBuf; 3] {
    ["model", "average", "optimizer"].map(|part| folder.join(format!("{name}-{part}.bin")))
}

fn failed(path: &Path) -> impl Fn(RecorderError) -> Error + '_ {
    |error| Error::Format {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
