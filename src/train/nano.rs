//! The bundled model's training: a one-step restoration model from procedural pictures.

use super::data::DataConfig;
use super::degrade::Degradation;
use super::distill::{Examined, Pair, Pupil, Stage, Term, Trainer, TrainerConfig};
use super::init;
use super::learner::LearnerConfig;
use super::losses::{MaskedFourierConfig, MaskedFourierLoss, l1};
use super::pictures::Pictures;
use super::schedule::Schedule;
use super::student::Student;
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::model::GenDrPix;
use crate::options::Upscale;
use crate::options::padding::Padding;
use crate::restore::guidance::Prompt;
use crate::weights::{WeightsSource, load_bundle};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Settings of the bundled model's training.
#[derive(Clone, Debug, Serialize)]
pub struct NanoConfig {
    /// The model.
    pub model: GenDrPixConfig,
    /// Tokens of each prompt embedding.
    pub prompt_tokens: usize,
    /// The pictures.
    pub data: DataConfig,
    /// How weights follow their gradients.
    pub learner: LearnerConfig,
    /// Weight of the masked Fourier space loss, the paper's `l3`, while the rate falls.
    pub fourier: f64,
    /// Paddings, drawn anew each step, over which the Fourier loss's teacher averages.
    pub teacher_paddings: usize,
    /// Every so many steps the negative prompt is trained instead of the positive one.
    pub negative_every: u64,
    /// Weight of those steps' loss, low so that restoring comes first; not tuned.
    pub negative_weight: f64,
    /// See [`TrainerConfig::samples_every`].
    pub samples_every: u64,
}

impl NanoConfig {
    /// The recipe of the bundled weights.
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
                degradation: Degradation::default().into(),
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
                average: 0.999,
            },
            fourier: 0.1,
            teacher_paddings: 2,
            negative_every: 10,
            negative_weight: 0.1,
            samples_every: 0,
        }
    }

    /// The recipe's second part: from the weights of the first on, with photos among the pictures.
    ///
    /// Procedural pictures teach edges and the undoing of noise, but not quite how photos look: the README has the scores
    /// of both parts. A share of procedural ones stays, so that a small folder is not learnt by heart.
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

/// What one step did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Mean absolute error over that of the plain resize, in the step's batch; none in a step of the negative prompt.
    pub relative_l1: Option<f64>,
    /// Masked Fourier space loss, where it counts.
    pub fourier: Option<f64>,
    /// Learning rate.
    pub rate: f64,
}

/// The bundled model's training, a step at a time: a [`Trainer`] of one stage, whose student is its own teacher.
pub struct NanoTrainer<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    config: NanoConfig,
    trainer: Trainer<B, NanoStage<B>>,
    device: B::Device,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoTrainer<B> {
    /// Starts anew, or where the last checkpoint in `folder` left off.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the numbers contradict each other or the crop is not a multiple of the cell, and those of
    /// [`Trainer::new`].
    pub fn new(config: NanoConfig, folder: &Path, device: &B::Device) -> Result<Self> {
        config.model.validate()?;
        let DataConfig { crop, seed, .. } = config.data;
        let factor = config.model.factor;
        if !crop.is_multiple_of(factor) || crop < 4 * factor {
            let reason = format!("{crop} is not a multiple of {factor}, four times it or more");
            let field = "crop";
            return Err(Error::Config { field, reason });
        }
        B::seed(device, seed);
        let student = Student::new(&config.model.unet, config.prompt_tokens, device)?;
        let fourier = MaskedFourierConfig {
            factor,
            ..MaskedFourierConfig::default()
        };
        let stage = NanoStage {
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
            trainer: Trainer::new(trainer, stage, student, None, (folder, &config), device)?,
            config,
            device: device.clone(),
        })
    }

    /// Takes the weights and prompts of a bundle in place of random ones, to train them further.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPix::load`], and [`Error::Config`] when it is not of this training's model or number of prompt
    /// tokens.
    pub fn start_from(&mut self, bundle: &Path) -> Result<()> {
        let source = WeightsSource::File(bundle.to_owned());
        let (config, weights) = load_bundle::<B>(source, &self.device)?;
        let fail = |field, what| {
            let reason = format!("is another in {}, by {what}", bundle.display());
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

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.trainer.steps_done()
    }

    /// The model of the averaged weights so far.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPix::from_parts`].
    pub fn model(&self) -> Result<GenDrPix<B::InnerBackend>> {
        let weights = self.trainer.average().weights();
        GenDrPix::from_parts(self.config.model.clone(), weights, &self.device)
    }

    /// One step of training.
    ///
    /// # Errors
    ///
    /// Those of [`Trainer::step`].
    pub fn step(&mut self) -> Result<Progress> {
        let report = self.trainer.step()?;
        let term = |name| report.terms.get(name).copied();
        Ok(Progress {
            step: report.step,
            relative_l1: term(PLAIN).and_then(|plain| Some(term(L1)? / plain)),
            fourier: term(FOURIER),
            rate: report.rate,
        })
    }

    /// Saves all that [`new`](Self::new) needs to go on from here, whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`Trainer::checkpoint`].
    pub fn checkpoint(&self) -> Result<()> {
        self.trainer.checkpoint()
    }
}

/// Names of the loss's terms, and of the plain resize's error, which is only measured.
const L1: &str = "L1";
const FOURIER: &str = "L_F";
const PLAIN: &str = "L1 of the plain resize";

/// `| y - G(x) |_1`, and while the rate falls the masked Fourier space loss; for the negative prompt with `x` in the
/// place of `y`.
struct NanoStage<B: Backend> {
    config: NanoConfig,
    fourier: MaskedFourierLoss<B>,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> Stage<B> for NanoStage<B> {
    type Student = Student<B>;

    fn start(
        &self,
        student: &mut Student<B>,
        pairs: &mut dyn Iterator<Item = Pair<B>>,
    ) -> Result<()> {
        for Pair { input, .. } in pairs.take(1) {
            init::start(&mut student.unet, input, self.config.model.factor);
        }
        Ok(())
    }

    fn examine(
        &self,
        pupil: Pupil<'_, B, Student<B>>,
        Pair { input, target }: Pair<B>,
        _rng: &mut SmallRng,
    ) -> Examined<B> {
        let NanoConfig {
            model,
            negative_every,
            negative_weight,
            fourier,
            ..
        } = &self.config;
        let term = |name, weight, value| Term {
            name,
            weight,
            value,
        };
        let mut terms = Vec::new();
        if (pupil.step + 1).is_multiple_of(*negative_every) {
            // Bad quality: the degraded picture as it came.
            let output = pupil.model.restore(model, input.clone(), Prompt::Negative);
            terms.push(term(L1, *negative_weight, l1(output, input)));
        } else {
            let output = pupil.model.restore(model, input.clone(), Prompt::Positive);
            terms.push(term(L1, 1.0, l1(output.clone(), target.clone())));
            terms.push(term(PLAIN, 0.0, l1(input.clone(), target)));
            if pupil.cooling {
                let loss = self.fourier.forward(output, self.teach(&pupil, input));
                terms.push(term(FOURIER, *fourier, loss));
            }
        }
        Examined {
            terms,
            samples: None,
        }
    }

    fn sample(
        &self,
        average: &Student<B::InnerBackend>,
        pair: Pair<B::InnerBackend>,
    ) -> Tensor<B::InnerBackend, 4> {
        average.restore(&self.config.model, pair.input, Prompt::Positive)
    }
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoStage<B> {
    /// The Fourier loss's teacher, `y_tea`: what the averaged weights make of `input`, averaged over paddings.
    ///
    /// Not the original: a restoration by L1 is weaker at high frequencies than that, and the loss, which sees the
    /// lattice's frequencies alone, would fill up just these, with a pattern of 8x8 pixels. Over several paddings the
    /// student's own picture is as strong as the student can make it, without the lattice.
    fn teach(&self, pupil: &Pupil<'_, B, Student<B>>, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let factor = self.config.model.factor;
        let mut rng = SmallRng::seed_from_u64(self.config.data.seed ^ pupil.step);
        let paddings = (0..self.config.teacher_paddings).map(|_| {
            let [top, left] = [(); 2].map(|()| rng.random_range(0..factor));
            Padding::new(top, left)
        });
        let options = Upscale::new().guidance(1.0).ensemble(paddings.collect());
        let weights = pupil.average.weights();
        let restored = GenDrPix::from_parts(self.config.model.clone(), weights, &input.device())
            .and_then(|model| model.restore(input.inner(), &options));
        Tensor::from_inner(restored.expect("model and picture have the student's shapes"))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use crate::weights::Storage;
    use burn::backend::Autodiff;
    use burn::module::Param;
    use safetensors::SafeTensors;
    use std::collections::BTreeMap;
    use std::fs;

    type B = Autodiff<Flex>;

    fn small() -> NanoConfig {
        let mut config = NanoConfig::recipe(5);
        config.model.unet.block_out_channels = vec![16, 16];
        config.model.unet.layers_per_block = vec![1; 2];
        config.model.unet.down_attention = vec![false, true];
        config.model.unet.up_attention = vec![false; 2];
        config.model.unet.num_heads = vec![1, 2];
        config.data.batch = 1;
        config.data.crop = 32;
        config.data.window = 1;
        config.data.fresh = 0.0;
        config.negative_every = 3;
        let schedule = &mut config.learner.schedule;
        (schedule.steps, schedule.cool_down) = (6, 3);
        config
    }

    fn steps(trainer: &mut NanoTrainer<B>, count: usize) -> Vec<(Option<f64>, Option<f64>, f64)> {
        let values = |p: Progress| (p.relative_l1, p.fourier, p.rate);
        (0..count)
            .map(|_| values(trainer.step().unwrap()))
            .collect()
    }

    #[test]
    fn a_resumed_training_goes_on_as_an_unbroken_one() {
        let folder = tempfile::tempdir().unwrap();
        let device = Default::default();
        let mut unbroken = NanoTrainer::<B>::new(small(), folder.path(), &device).unwrap();
        steps(&mut unbroken, 2);
        unbroken.checkpoint().unwrap();
        let expected = steps(&mut unbroken, 4);
        let mut resumed = NanoTrainer::<B>::new(small(), folder.path(), &device).unwrap();
        assert_eq!(resumed.steps_done(), 2);
        assert_eq!(steps(&mut resumed, 4), expected);
    }

    #[test]
    fn a_bundle_is_trained_further_in_all_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let device = Default::default();
        let new = |config, name| NanoTrainer::<B>::new(config, &path(name), &device);
        // Far enough to show in weights of about one, and not by the rounding of an average.
        let mut config = small();
        config.learner.average = 0.0;
        config.learner.schedule.warm_up = 1;
        config.learner.schedule.learning_rate = 1e-2;
        let mut first = new(config.clone(), "first").unwrap();
        steps(&mut first, 1);
        let tensors = |trainer: &NanoTrainer<B>, name: &str| {
            let model = trainer.model().unwrap();
            model.save(path(name), Storage::F32).unwrap();
            let bytes = fs::read(path(name)).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
            let values = tensors
                .into_iter()
                .map(|(key, view)| (key, view.data().to_vec()));
            values.collect::<BTreeMap<_, _>>()
        };
        let before = tensors(&first, "a.safetensors");
        let mut second = new(config.clone(), "second").unwrap();
        second.start_from(&path("a.safetensors")).unwrap();
        assert_eq!(tensors(&second, "b.safetensors"), before);
        steps(&mut second, 2);
        let after = tensors(&second, "c.safetensors");
        let unchanged: Vec<_> = before.keys().filter(|&k| before[k] == after[k]).collect();
        // Its turn comes with the third step.
        assert_eq!(unchanged, ["prompt.negative"]);

        config.prompt_tokens += 1;
        let error = new(config, "third")
            .unwrap()
            .start_from(&path("a.safetensors"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("prompt_tokens"), "{error}");
    }

    #[test]
    fn a_loss_that_is_not_a_number_stops_before_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer =
            NanoTrainer::<B>::new(small(), folder.path(), &Default::default()).unwrap();
        steps(&mut trainer, 1);
        let config = small();
        let mut spoilt =
            Student::new(&config.model.unet, config.prompt_tokens, &trainer.device).unwrap();
        spoilt.positive = Param::from_tensor((spoilt.positive.val() * f32::NAN).detach());
        trainer.trainer.start_from(spoilt);
        let error = trainer.step().unwrap_err();
        assert!(
            matches!(error, Error::Diverged { step: 2, term: "L1", value } if value.is_nan()),
            "{error}"
        );
        assert_eq!(trainer.steps_done(), 1);
    }
}
