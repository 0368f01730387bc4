//! The training loop. Each step updates the discriminator's heads and the student.

use super::loader::PairLoader;
use super::means::{StepMeans, scalar};
use super::objective::{BatchLoss, LossTerm, Objective, Pair, StudentState};
use super::sample_sheet;
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::error::{Error, Result};
use crate::train::checkpoint::CheckpointFolder;
use crate::train::data::DataConfig;
use crate::train::discriminator::{DiscriminatorConfig, DiscriminatorHeads, FeatureExtractor};
use crate::train::learner::{Learner, LearnerConfig};
use crate::train::losses::{discriminator_loss, generator_loss};
use crate::train::random::rng_stream;
use crate::train::replica::Replica;
use crate::unet::UNetConfig;
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Prefixes of the student's and the discriminator heads' files in a checkpoint.
pub(super) const STUDENT: &str = "student";
const HEADS: &str = "heads";
/// Number of pictures in a sample sheet.
const SHEET_PICTURES: usize = 4;
/// Name of the discriminator's accuracy among the means.
const ACCURACY: &str = "accuracy";

/// Settings of the training of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The training pictures.
    pub data: DataConfig,
    /// The optimiser of the student.
    pub learner: LearnerConfig,
    /// Number of batches whose gradients are accumulated for a step. Several devices share them
    /// evenly.
    pub accumulate: u64,
    /// Precision of the student's forward and backward pass. Its weights, their EMA and the
    /// optimiser's moments, and the losses have the backend's float type (Micikevicius et al.,
    /// "Mixed Precision Training", arXiv 1710.03740). Loss scaling is not needed, since bf16 has
    /// the range of f32. Default: the backend's float type.
    #[serde(default)]
    pub precision: Precision,
    /// The adversarial loss, if any.
    pub adversary: Option<AdversaryConfig>,
    /// Number of steps from one sample sheet to the next. A sheet, `samples/step-N.png` in the
    /// folder of the training, shows four pictures: the input, the averaged student's output and
    /// the original side by side. Default: 0, no sheets.
    #[serde(default)]
    pub samples_every: u64,
}

impl TrainerConfig {
    /// Checks all settings except those of the pictures. `unet` is the config of the
    /// discriminator's frozen UNet; it is `None` for a stage that has no discriminator.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first field that is invalid.
    pub fn validate(&self, unet: Option<&UNetConfig>) -> Result<()> {
        let fail = |field, reason: &str| {
            let reason = reason.to_owned();
            Err(Error::Config { field, reason })
        };
        self.learner.schedule.validate()?;
        if self.accumulate == 0 {
            return fail("accumulate", "must be at least 1");
        }
        match (&self.adversary, unet) {
            (None, _) => Ok(()),
            (Some(_), None) => fail("adversary", "this stage has no discriminator"),
            (Some(adversary), Some(unet)) => {
                adversary.learner.schedule.validate()?;
                adversary.discriminator.validate(unet)
            }
        }
    }
}

/// The adversarial loss of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdversaryConfig {
    /// Weight of the adversarial term, `l1` in the paper, where it is 0.05.
    pub weight: f64,
    /// The discriminator's heads.
    pub discriminator: DiscriminatorConfig,
    /// The optimiser of the heads.
    pub learner: LearnerConfig,
}

/// The discriminator in training: a frozen feature extractor and trained heads.
struct Discriminator<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    /// Weight of the adversarial term in the student's loss.
    weight: f64,
    extractor: FeatureExtractor<B>,
    heads: Learner<B, DiscriminatorHeads<B>>,
}

/// The result of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of steps done.
    pub step: u64,
    /// Learning rate of the student.
    pub rate: f64,
    /// The unweighted loss terms and the discriminator's own loss, as means over the batches that
    /// have them. With several devices, these are the batches of the first one.
    pub terms: BTreeMap<&'static str, f64>,
    /// Share of the discriminator's logits with the right sign; `None` if no batch trained the
    /// discriminator.
    pub accuracy: Option<f64>,
}

/// Trains an objective's model, one step at a time.
pub struct Trainer<B, O>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    O: Objective<B>,
{
    config: TrainerConfig,
    objective: O,
    student: Learner<B, O::Model>,
    discriminator: Option<Discriminator<B>>,
    replica: Replica,
    /// Whether the objective has yet to initialise the student.
    uninitialised: bool,
    loader: PairLoader<B>,
    checkpoints: CheckpointFolder,
    step: u64,
    /// The pictures of the sample sheets, drawn for the first sheet.
    sheet_pair: Option<Pair<B::InnerBackend>>,
    folder: PathBuf,
}

impl<B, O> fmt::Debug for Trainer<B, O>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    O: Objective<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("config", &self.config)
            .field("replica", &self.replica)
            .field("step", &self.step)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl<B, O> Trainer<B, O>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    O: Objective<B>,
{
    /// Starts a training run of `student`, or resumes it from the last checkpoint in a folder.
    ///
    /// `extractor` is the discriminator's frozen UNet with its config, if the config has an
    /// adversary. `checkpoints` is the folder and an identity, which contains everything that
    /// determines the training. A checkpoint with another identity is refused.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] for invalid settings, and the errors of [`DataConfig::open`].
    /// - [`Error::Io`] or [`Error::Format`] if a checkpoint cannot be read or has another identity.
    pub fn new(
        config: TrainerConfig,
        objective: O,
        student: O::Model,
        extractor: Option<(FeatureExtractor<B>, &UNetConfig)>,
        checkpoints: (&Path, &impl Serialize),
        device: &B::Device,
    ) -> Result<Self> {
        let single = (Replica::SINGLE, device);
        Self::replica(config, objective, student, extractor, checkpoints, single)
    }

    /// Like [`new`](Self::new), for one of several replicas. All replicas start with the leader's
    /// student and heads. The frozen parts must be the same in all replicas.
    pub(crate) fn replica(
        config: TrainerConfig,
        objective: O,
        student: O::Model,
        extractor: Option<(FeatureExtractor<B>, &UNetConfig)>,
        (folder, identity): (&Path, &impl Serialize),
        (replica, device): (Replica, &B::Device),
    ) -> Result<Self> {
        let unet = extractor.as_ref().map(|(_, unet)| *unet);
        config.validate(unet)?;
        replica.validate(config.accumulate)?;
        config.precision.validate::<B>(device)?;
        let source = config.data.open()?;
        let mut discriminator = match (&config.adversary, extractor) {
            (Some(adversary), Some((extractor, unet))) => {
                let heads = adversary.discriminator.init(unet, device)?;
                Some(Discriminator {
                    weight: adversary.weight,
                    extractor,
                    heads: Learner::new(heads, adversary.learner.clone()),
                })
            }
            _ => None,
        };
        let mut student = Learner::new(student, config.learner.clone());
        let checkpoints = CheckpointFolder::new(folder, identity);
        let last = checkpoints.latest()?;
        if let Some((_, checkpoint)) = &last {
            student.load(checkpoint, STUDENT, device)?;
            if let Some(discriminator) = &mut discriminator {
                discriminator.heads.load(checkpoint, HEADS, device)?;
            }
        }
        let uninitialised = last.is_none();
        let step = last.map_or(0, |(step, _)| step);
        let numbers = replica.share(step * config.accumulate..u64::MAX);
        Ok(Self {
            loader: PairLoader::new(config.data.clone(), source, numbers, device),
            replica,
            config,
            objective,
            student,
            discriminator,
            uninitialised,
            checkpoints,
            step,
            sheet_pair: None,
            folder: folder.to_owned(),
        })
    }

    /// Starts from the weights of `student`. The objective does not initialise it.
    pub fn start_from(&mut self, student: O::Model) {
        self.student.model = student;
        self.student.reset_ema();
        self.uninitialised = false;
    }

    /// Returns the number of steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Returns whether all steps are done.
    pub fn finished(&self) -> bool {
        self.step >= self.config.learner.schedule.steps
    }

    /// Returns the model with the moving average of the weights.
    pub fn ema(&self) -> &<O::Model as AutodiffModule<B>>::InnerModule {
        &self.student.ema
    }

    /// Initialises the student and the heads, with the same weights in all replicas.
    fn init(&mut self) -> Result<()> {
        let student = &mut self.student;
        if self.replica.is_leader() {
            let mut pairs = self.loader.look_ahead();
            self.objective
                .init_student(&mut student.model, &mut pairs)?;
        }
        student.model = self
            .replica
            .broadcast_from_leader::<B, _>(student.model.clone())?;
        student.reset_ema();
        if let Some(Discriminator { heads, .. }) = &mut self.discriminator {
            heads.model = self
                .replica
                .broadcast_from_leader::<B, _>(heads.model.clone())?;
            heads.reset_ema();
        }
        Ok(())
    }

    /// Trains one step: accumulates the gradients of [`accumulate`](TrainerConfig::accumulate)
    /// batches, then updates the heads and the student.
    ///
    /// # Errors
    ///
    /// - [`Error::Diverged`] if a term of the loss is not finite. The weights are not updated.
    /// - The errors of [`Objective::init_student`], in the first step.
    /// - [`Error::Io`] if a sample sheet cannot be written. The weights have been updated.
    pub fn step(&mut self) -> Result<StepReport> {
        if self.uninitialised {
            self.init()?;
            self.uninitialised = false;
        }
        let accumulate = self.config.accumulate;
        let batches = self.step * accumulate..(self.step + 1) * accumulate;
        let mut means = StepMeans::new(self.step + 1);
        let mut student_gradients = GradientsAccumulator::new();
        let mut head_gradients = GradientsAccumulator::new();
        for batch in self.replica.share(batches) {
            let pair = self.loader.next();
            let mut rng = rng_stream(!self.config.data.seed, batch);
            let student = &self.student.model;
            // Each batch needs a new copy, since a backward pass consumes the graph.
            let computing = self.config.precision.cast_module::<B, _>(student.clone());
            let state = StudentState {
                model: &computing,
                ema: &self.student.ema,
                step: self.step,
                cooling_down: self.config.learner.schedule.is_cooling_down(self.step),
            };
            let BatchLoss {
                mut terms,
                adversarial,
            } = self.objective.loss(state, pair, &mut rng);
            if let (Some(discriminator), Some(samples)) = (&self.discriminator, adversarial) {
                let heads = &discriminator.heads.model;
                let logits = |sample| discriminator.extractor.logits(heads, sample);
                let (real, fake) = (logits(samples.real), logits(samples.fake.clone().detach()));
                let right = [real.clone(), -fake.clone()]
                    .map(|logits| scalar(&logits.greater_elem(0.0).float().mean()));
                means.add(ACCURACY, right.iter().sum::<f64>() / right.len() as f64)?;
                let loss = discriminator_loss(real, fake);
                means.add("discriminator", scalar(&loss))?;
                let gradients = (loss / accumulate as f64).backward();
                head_gradients.accumulate(heads, GradientsParams::from_grads(gradients, heads));
                terms.push(LossTerm {
                    name: "adversarial",
                    weight: discriminator.weight,
                    value: generator_loss(logits(samples.fake)),
                });
            }
            for term in &terms {
                means.add(term.name, scalar(&term.value))?;
            }
            let weighted = terms.into_iter().map(|term| term.value * term.weight);
            let loss = weighted.reduce(|sum, term| sum + term);
            let loss = loss.expect("an objective has a term") / accumulate as f64;
            let gradients = GradientsParams::from_grads(loss.backward(), student);
            student_gradients.accumulate(student, gradients);
        }
        let (replica, student) = (self.replica, &self.student.model);
        let student_gradients =
            replica.all_reduce_gradients::<B, _>(student, student_gradients.grads())?;
        if let Some(Discriminator { heads, .. }) = &mut self.discriminator {
            let head_gradients =
                replica.all_reduce_gradients::<B, _>(&heads.model, head_gradients.grads())?;
            heads.step(self.step, head_gradients);
        }
        self.student.step(self.step, student_gradients);
        let mut terms = means.finish();
        let report = StepReport {
            step: self.step + 1,
            rate: self.config.learner.schedule.rate(self.step),
            accuracy: terms.remove(ACCURACY),
            terms,
        };
        self.step += 1;
        self.write_sample_sheet()?;
        Ok(report)
    }

    /// Writes a sample sheet if one is due.
    fn write_sample_sheet(&mut self) -> Result<()> {
        let every = self.config.samples_every;
        if every == 0 || !self.replica.is_leader() || !self.step.is_multiple_of(every) {
            return Ok(());
        }
        let pair = self.sheet_pair.get_or_insert_with(|| {
            let Pair { input, target } = self.loader.draw_separate(SHEET_PICTURES);
            Pair {
                input: input.inner(),
                target: target.inner(),
            }
        });
        let output = self
            .objective
            .sample_output(&self.student.ema, pair.clone());
        sample_sheet::write(
            &self.folder.join("samples"),
            self.step,
            pair.clone(),
            output,
        )
    }

    /// Saves everything that [`new`](Self::new) needs to resume from this step. The checkpoint is
    /// written completely or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Format`] if the folder cannot be written. The previous checkpoint
    /// stays.
    pub fn checkpoint(&self) -> Result<()> {
        if !self.replica.is_leader() {
            return Ok(());
        }
        self.checkpoints.save(self.step, |folder| {
            self.student.save(folder, STUDENT)?;
            match &self.discriminator {
                Some(discriminator) => discriminator.heads.save(folder, HEADS),
                None => Ok(()),
            }
        })
    }
}
