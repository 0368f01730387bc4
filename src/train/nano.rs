//! The bundled model's training: a one-step restoration model from procedural pictures.

use super::checkpoint::Checkpoints;
use super::data::{Batch, DataConfig, batches};
use super::degrade::Degradation;
use super::init;
use super::learner::{Learner, LearnerConfig};
use super::losses::{MaskedFourierConfig, MaskedFourierLoss, l1};
use super::pictures::{PictureSource, Pictures};
use super::schedule::Schedule;
use super::student::Student;
use crate::backend::Backend;
use crate::config::{GenDrPixConfig, PICTURE_CHANNELS};
use crate::error::{Error, Result};
use crate::guidance::{Padding, Prompt};
use crate::options::Upscale;
use crate::pipeline::GenDrPix;
use crate::shuffle::{pixel_shuffle, pixel_unshuffle};
use crate::weights::{Source, load_bundle};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor, TensorData};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// Name of the student's files in a checkpoint.
const STUDENT: &str = "student";

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
        }
    }

    /// The recipe's second part: from the weights of the first on, with photos among the pictures.
    ///
    /// Procedural pictures teach edges and the undoing of noise, but not quite how photos look: a thousand steps on
    /// photos gain what ten thousand more on procedural pictures do not. A share of procedural ones stays, so that a small
    /// folder is not learnt by heart.
    pub fn photos(folder: PathBuf, seed: u64) -> Self {
        let mut config = Self::recipe(seed);
        config.data.pictures = Pictures::Mixed {
            folder,
            procedural: 0.25,
        };
        config.learner.schedule.steps = 20_000;
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

/// The training loop, a step at a time.
pub struct NanoTrainer<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    config: NanoConfig,
    student: Learner<B, Student<B>>,
    checkpoints: Checkpoints,
    fourier: MaskedFourierLoss<B>,
    pictures: PictureSource,
    /// Whether the weights are still random: the first batch sets them up.
    untouched: bool,
    /// Started with the first step.
    batches: Option<Receiver<Batch>>,
    step: u64,
    device: B::Device,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoTrainer<B> {
    /// Starts anew, or where the last checkpoint in `folder` left off.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the numbers contradict each other or the crop is not a multiple of the cell; those of
    /// [`DataConfig::open`];
    /// [`Error::Io`] or [`Error::Format`] when there is a checkpoint that cannot be read or is of another config.
    pub fn new(config: NanoConfig, folder: &Path, device: &B::Device) -> Result<Self> {
        config.model.validate()?;
        config.learner.schedule.validate()?;
        let factor = config.model.factor;
        if !config.data.crop.is_multiple_of(factor) || config.data.crop < 4 * factor {
            return Err(Error::Config {
                field: "crop",
                reason: format!(
                    "{} is not a multiple of {factor}, four times it or more",
                    config.data.crop
                ),
            });
        }
        B::seed(device, config.data.seed);
        let student = Student::new(&config.model.unet, config.prompt_tokens, device)?;
        let mut trainer = Self {
            student: Learner::new(student, config.learner.clone()),
            checkpoints: Checkpoints::new(folder, &config),
            fourier: MaskedFourierConfig {
                factor,
                ..MaskedFourierConfig::default()
            }
            .init(config.data.crop, config.data.crop, device)?,
            pictures: config.data.open()?,
            untouched: true,
            batches: None,
            step: 0,
            device: device.clone(),
            config,
        };
        if let Some((step, folder)) = trainer.checkpoints.latest()? {
            trainer.student.load(&folder, STUDENT, device)?;
            trainer.step = step;
            trainer.untouched = false;
        }
        Ok(trainer)
    }

    /// Takes the weights and prompts of a bundle in place of random ones, to train them further.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPix::load`], and [`Error::Config`] when it is not of this training's model or number of prompt
    /// tokens.
    pub fn start_from(&mut self, bundle: &Path) -> Result<()> {
        let source = Source::File(bundle.to_owned());
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
        if weights.positive.dims() != self.student.model.positive.dims() {
            return fail("prompt_tokens", format!("{:?}", weights.positive.dims()));
        }
        self.student.model = Student::from_weights(weights);
        self.student.restart();
        self.untouched = false;
        Ok(())
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The model of the averaged weights so far.
    ///
    /// # Errors
    ///
    /// Those of [`GenDrPix::from_parts`].
    pub fn model(&self) -> Result<GenDrPix<B::InnerBackend>> {
        let weights = self.student.average.weights();
        GenDrPix::from_parts(self.config.model.clone(), weights, &self.device)
    }

    /// One step of training.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] when a term of the loss is not finite: the weights are those of the step before.
    pub fn step(&mut self) -> Result<Progress> {
        let batches = self.batches.get_or_insert_with(|| {
            batches(self.config.data.clone(), self.pictures.clone(), self.step)
        });
        let batch = batches
            .recv()
            .expect("the data thread runs as long as the trainer");
        let tensor = |values| to_tensor::<B>(values, &self.config.data, &self.device);
        let (input, target) = (tensor(batch.input), tensor(batch.target));

        if std::mem::take(&mut self.untouched) {
            let factor = self.config.model.factor;
            init::start(&mut self.student.model.unet, input.clone(), factor);
            self.student.restart();
        }
        let student = &self.student.model;
        let negative = (self.step + 1).is_multiple_of(self.config.negative_every);
        let (prompt, target) = if negative {
            // Bad quality: the degraded picture as it came.
            (Prompt::Negative, input.clone())
        } else {
            (Prompt::Positive, target)
        };
        let z = pixel_unshuffle(input.clone(), self.config.model.factor);
        let prediction = student.predict(z.clone(), self.config.model.timestep, prompt);
        let output = pixel_shuffle(
            self.config.model.onestep.x0(z, prediction),
            self.config.model.factor,
        );

        let pixels = l1(output.clone(), target.clone());
        let fourier = (self.config.learner.schedule.cooling(self.step) && !negative)
            .then(|| self.fourier.forward(output, self.teacher(input.clone())));
        let step = self.step + 1;
        let scalar = |term, t: &Tensor<B, 1>| finite(step, term, t.clone().into_scalar().elem());
        let error = scalar("L1", &pixels)?;
        let plain = scalar("L1 of the plain resize", &l1(input, target))?;
        let progress = Progress {
            step,
            relative_l1: (!negative).then(|| error / plain),
            fourier: fourier.as_ref().map(|t| scalar("L_F", t)).transpose()?,
            rate: self.config.learner.schedule.rate(self.step),
        };
        let loss = match fourier {
            _ if negative => pixels * self.config.negative_weight,
            Some(fourier) => pixels + fourier * self.config.fourier,
            None => pixels,
        };

        let gradients = GradientsParams::from_grads(loss.backward(), student);
        self.student.step(self.step, gradients);
        self.step += 1;
        Ok(progress)
    }

    /// The Fourier loss's teacher, `y_tea`: what the averaged weights make of `input`, averaged over paddings.
    ///
    /// Not the original: a restoration by L1 is weaker at high frequencies than that, and the loss, which sees the
    /// lattice's frequencies alone, would fill up just these, with a pattern of 8x8 pixels. Over several paddings the
    /// student's own picture is as strong as the student can make it, without the lattice.
    fn teacher(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let factor = self.config.model.factor;
        let mut rng = SmallRng::seed_from_u64(self.config.data.seed ^ self.step);
        let paddings = (0..self.config.teacher_paddings).map(|_| {
            let [top, left] = [(); 2].map(|()| rng.random_range(0..factor));
            Padding::new(top, left)
        });
        let options = Upscale::new().guidance(1.0).ensemble(paddings.collect());
        let restored = self
            .model()
            .and_then(|model| model.restore(input.inner(), &options));
        Tensor::from_inner(restored.expect("model and picture have the student's shapes"))
    }

    /// Saves all that [`new`](Self::new) needs to go on from here, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Format`] when the folder cannot be written; the checkpoint before stays.
    pub fn checkpoint(&self) -> Result<()> {
        self.checkpoints
            .save(self.step, |folder| self.student.save(folder, STUDENT))
    }
}

/// `value`, if it is finite.
fn finite(step: u64, term: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Error::Diverged { step, term, value })
    }
}

/// Values of a batch in 0..1 -> `[batch, 3, crop, crop]` in -1..1.
fn to_tensor<B: Backend>(values: Vec<f32>, data: &DataConfig, device: &B::Device) -> Tensor<B, 4> {
    let shape = [data.batch, PICTURE_CHANNELS, data.crop, data.crop];
    Tensor::from_data(TensorData::new(values, shape), device) * 2.0 - 1.0
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use burn::backend::Autodiff;
    use burn::module::Param;

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
    fn a_loss_that_is_not_a_number_stops_before_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer =
            NanoTrainer::<B>::new(small(), folder.path(), &Default::default()).unwrap();
        steps(&mut trainer, 1);
        let spoilt = trainer.student.model.positive.val() * f32::NAN;
        trainer.student.model.positive = Param::from_tensor(spoilt.detach());
        let error = trainer.step().unwrap_err();
        assert!(
            matches!(error, Error::Diverged { step: 2, term: "L1", value } if value.is_nan()),
            "{error}"
        );
        assert_eq!(trainer.steps_done(), 1);
    }
}
