//! The loop of every stage: a step of the discriminator, a step of the student.

use super::feed::Feed;
use super::means::{Means, scalar};
use super::sheet;
use super::stage::{Examined, Pair, Pupil, Stage, Term};
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoints;
use crate::train::data::DataConfig;
use crate::train::discriminator::{DiscriminatorConfig, Eyes, Heads};
use crate::train::learner::{Learner, LearnerConfig};
use crate::train::losses::{discriminator_loss, generator_loss};
use crate::train::pictures::stream;
use crate::train::replica::Replica;
use crate::unet::UNetConfig;
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of the student's and the heads' files in a checkpoint.
pub(super) const STUDENT: &str = "student";
const HEADS: &str = "heads";
/// Pairs of a sample picture.
const SHOWN: usize = 4;
/// Name of the discriminator's accuracy among the means.
const ACCURACY: &str = "accuracy";

/// How a stage is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The pictures.
    pub data: DataConfig,
    /// How the student's weights follow their gradients.
    pub learner: LearnerConfig,
    /// Batches whose gradients are summed up for a step. Several devices share them, each the same number.
    pub accumulate: u64,
    /// What the student computes in, forward and backward. Its weights, their averages and moments, and the losses have the
    /// backend's own float type (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740; bf16 has the range of
    /// f32, so that their scaling of the loss is not needed). Default: the backend's float type.
    #[serde(default)]
    pub precision: Precision,
    /// The adversary, if any.
    pub adversary: Option<AdversaryConfig>,
    /// Every so many steps, a picture of what the averaged student makes of four pairs, `samples/step-N.png` in the run's
    /// folder: the input, the student's and the original side by side. Default: 0, none.
    #[serde(default)]
    pub samples_every: u64,
}

impl TrainerConfig {
    /// Checks all but the pictures, for a stage whose discriminator's eyes are a UNet of `unet`, if it may have one.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first field that cannot be used.
    pub fn validate(&self, unet: Option<&UNetConfig>) -> Result<()> {
        let fail = |field, reason: &str| {
            let reason = reason.to_owned();
            Err(Error::Config { field, reason })
        };
        self.learner.schedule.validate()?;
        if self.accumulate == 0 {
            return fail("accumulate", "is zero");
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

/// The discriminator's part in a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdversaryConfig {
    /// Weight of the adversarial term, the paper's `l1`, 0.05.
    pub weight: f64,
    /// The heads.
    pub discriminator: DiscriminatorConfig,
    /// How the heads' weights follow their gradients.
    pub learner: LearnerConfig,
}

/// The discriminator in training: frozen eyes, and heads that learn.
struct Adversary<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    weight: f64,
    eyes: Eyes<B>,
    heads: Learner<B, Heads<B>>,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Steps done.
    pub step: u64,
    /// Learning rate of the student.
    pub rate: f64,
    /// The loss's terms before they are weighted, the discriminator's own loss among them; means over the batches that
    /// had them, of several devices those of the first.
    pub terms: BTreeMap<&'static str, f64>,
    /// Share of the discriminator's logits on the right side of zero, where it judged.
    pub accuracy: Option<f64>,
}

/// A stage in training, a step at a time.
pub struct Trainer<B, S>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    S: Stage<B>,
{
    config: TrainerConfig,
    stage: S,
    student: Learner<B, S::Student>,
    adversary: Option<Adversary<B>>,
    replica: Replica,
    /// Whether the student is still to be set up by the stage.
    new: bool,
    feed: Feed<B>,
    checkpoints: Checkpoints,
    step: u64,
    /// Of the sample pictures, drawn with the first one.
    shown: Option<Pair<B::InnerBackend>>,
    folder: PathBuf,
}

impl<B, S> Trainer<B, S>
where
    B: Backend + AutodiffBackend<InnerBackend: Backend>,
    S: Stage<B>,
{
    /// Starts `student` anew, or where the last checkpoint in the folder of `own` left off; one of another identity, which
    /// comes with it and is all that the training is of, is refused. `eyes` is the adversary's frozen UNet and its config, if there is an
    /// adversary.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings that cannot be used, those of [`DataConfig::open`], and [`Error::Io`] or
    /// [`Error::Format`] when there is a checkpoint that cannot be read or is of another config.
    pub fn new(
        config: TrainerConfig,
        stage: S,
        student: S::Student,
        eyes: Option<(Eyes<B>, &UNetConfig)>,
        own: (&Path, &impl Serialize),
        device: &B::Device,
    ) -> Result<Self> {
        let alone = (Replica::ALONE, device);
        Self::replica(config, stage, student, eyes, own, alone)
    }

    /// The same for a replica of several. The student and the heads of the one that leads are the others' too, but the
    /// frozen parts must be the same in all.
    pub(in crate::train) fn replica(
        config: TrainerConfig,
        stage: S,
        student: S::Student,
        eyes: Option<(Eyes<B>, &UNetConfig)>,
        (folder, identity): (&Path, &impl Serialize),
        (replica, device): (Replica, &B::Device),
    ) -> Result<Self> {
        let unet = eyes.as_ref().map(|(_, unet)| *unet);
        config.validate(unet)?;
        replica.validate(config.accumulate)?;
        config.precision.validate::<B>(device)?;
        let source = config.data.open()?;
        let mut adversary = match (&config.adversary, eyes) {
            (Some(adversary), Some((eyes, unet))) => {
                let heads = adversary.discriminator.init(unet, device)?;
                Some(Adversary {
                    weight: adversary.weight,
                    eyes,
                    heads: Learner::new(heads, adversary.learner.clone()),
                })
            }
            _ => None,
        };
        let mut student = Learner::new(student, config.learner.clone());
        let checkpoints = Checkpoints::new(folder, identity);
        let last = checkpoints.latest()?;
        if let Some((_, checkpoint)) = &last {
            student.load(checkpoint, STUDENT, device)?;
            if let Some(adversary) = &mut adversary {
                adversary.heads.load(checkpoint, HEADS, device)?;
            }
        }
        let new = last.is_none();
        let step = last.map_or(0, |(step, _)| step);
        let numbers = replica.share(step * config.accumulate..u64::MAX);
        Ok(Self {
            feed: Feed::new(config.data.clone(), source, numbers, device),
            replica,
            config,
            stage,
            student,
            adversary,
            new,
            checkpoints,
            step,
            shown: None,
            folder: folder.to_owned(),
        })
    }

    /// Takes `student` in the place of one that the stage would set up.
    pub fn start_from(&mut self, student: S::Student) {
        self.student.model = student;
        self.student.restart();
        self.new = false;
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Whether all steps are done.
    pub fn finished(&self) -> bool {
        self.step >= self.config.learner.schedule.steps
    }

    /// The averaged weights so far.
    pub fn average(&self) -> &<S::Student as AutodiffModule<B>>::InnerModule {
        &self.student.average
    }

    /// Sets up the student, as the stage has it, and the heads, the same in all replicas.
    fn start(&mut self) -> Result<()> {
        let student = &mut self.student;
        if self.replica.leads() {
            let mut pairs = self.feed.look_ahead();
            self.stage.start(&mut student.model, &mut pairs)?;
        }
        student.model = self.replica.leaders::<B, _>(student.model.clone())?;
        student.restart();
        if let Some(Adversary { heads, .. }) = &mut self.adversary {
            heads.model = self.replica.leaders::<B, _>(heads.model.clone())?;
            heads.restart();
        }
        Ok(())
    }

    /// One step: gradients of [`accumulate`](TrainerConfig::accumulate) batches, then the heads' and the student's
    /// weights.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when a term of the loss is not finite: all weights are those of the step before; and those of
    /// [`Stage::start`] in the first step. [`Error::Io`] when a sample picture cannot be written: the step has been taken.
    pub fn step(&mut self) -> Result<Report> {
        if self.new {
            self.start()?;
            self.new = false;
        }
        let parts = self.config.accumulate;
        let batches = self.step * parts..(self.step + 1) * parts;
        let mut means = Means::new(self.step + 1);
        let mut of_student = GradientsAccumulator::new();
        let mut of_heads = GradientsAccumulator::new();
        for batch in self.replica.share(batches) {
            let pair = self.feed.next();
            let mut rng = stream(!self.config.data.seed, batch);
            let student = &self.student.model;
            // Anew for each batch: a backward pass uses it up.
            let computing = self.config.precision.cast_module::<B, _>(student.clone());
            let pupil = Pupil {
                model: &computing,
                average: &self.student.average,
                step: self.step,
                cooling: self.config.learner.schedule.cooling(self.step),
            };
            let Examined { mut terms, samples } = self.stage.examine(pupil, pair, &mut rng);
            if let (Some(adversary), Some(samples)) = (&self.adversary, samples) {
                let heads = &adversary.heads.model;
                let judge = |sample| adversary.eyes.judge(heads, sample);
                let (real, fake) = (judge(samples.real), judge(samples.fake.clone().detach()));
                let right = [real.clone(), -fake.clone()]
                    .map(|logits| scalar(&logits.greater_elem(0.0).float().mean()));
                means.add(ACCURACY, right.iter().sum::<f64>() / right.len() as f64)?;
                let loss = discriminator_loss(real, fake);
                means.add("discriminator", scalar(&loss))?;
                let gradients = (loss / parts as f64).backward();
                of_heads.accumulate(heads, GradientsParams::from_grads(gradients, heads));
                terms.push(Term {
                    name: "adversarial",
                    weight: adversary.weight,
                    value: generator_loss(judge(samples.fake)),
                });
            }
            for term in &terms {
                means.add(term.name, scalar(&term.value))?;
            }
            let weighted = terms.into_iter().map(|term| term.value * term.weight);
            let loss = weighted.reduce(|sum, term| sum + term);
            let loss = loss.expect("a stage has a term") / parts as f64;
            let gradients = GradientsParams::from_grads(loss.backward(), student);
            of_student.accumulate(student, gradients);
        }
        let (replica, student) = (self.replica, &self.student.model);
        let of_student = replica.sum::<B, _>(student, of_student.grads())?;
        if let Some(Adversary { heads, .. }) = &mut self.adversary {
            let of_heads = replica.sum::<B, _>(&heads.model, of_heads.grads())?;
            heads.step(self.step, of_heads);
        }
        self.student.step(self.step, of_student);
        let mut terms = means.finish();
        let report = Report {
            step: self.step + 1,
            rate: self.config.learner.schedule.rate(self.step),
            accuracy: terms.remove(ACCURACY),
            terms,
        };
        self.step += 1;
        self.sample()?;
        Ok(report)
    }

    /// Writes a sample picture, where one is due.
    fn sample(&mut self) -> Result<()> {
        let every = self.config.samples_every;
        if every == 0 || !self.replica.leads() || !self.step.is_multiple_of(every) {
            return Ok(());
        }
        let pair = self.shown.get_or_insert_with(|| {
            let Pair { input, target } = self.feed.others(SHOWN);
            Pair {
                input: input.inner(),
                target: target.inner(),
            }
        });
        let output = self.stage.sample(&self.student.average, pair.clone());
        sheet::write(
            &self.folder.join("samples"),
            self.step,
            pair.clone(),
            output,
        )
    }

    /// Saves all that [`new`](Self::new) needs to go on from here, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Format`] when the folder cannot be written; the checkpoint before stays.
    pub fn checkpoint(&self) -> Result<()> {
        if !self.replica.leads() {
            return Ok(());
        }
        self.checkpoints.save(self.step, |folder| {
            self.student.save(folder, STUDENT)?;
            match &self.adversary {
                Some(adversary) => adversary.heads.save(folder, HEADS),
                None => Ok(()),
            }
        })
    }
}
