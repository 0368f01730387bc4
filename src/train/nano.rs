//! The bundled model's training: a one-step restoration model from procedural pictures.

use super::average::moving_average;
use super::data::{Batch, DataConfig, batches};
use super::degrade::Degradation;
use super::init;
use super::losses::{MaskedFourierLoss, l1};
use crate::backend::Backend;
use crate::config::{GenDrPixConfig, PICTURE_CHANNELS};
use crate::error::{Error, Result};
use crate::guidance::Padding;
use crate::options::Upscale;
use crate::pipeline::GenDrPix;
use crate::shuffle::{pixel_shuffle, pixel_unshuffle};
use crate::unet::UNet;
use crate::weights::Weights;
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{AutodiffModule, Module, Param};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
use burn::record::{BinFileRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Distribution, ElementConversion, Tensor, TensorData};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// Settings of the bundled model's training.
#[derive(Clone, Debug)]
pub struct NanoConfig {
    /// The model.
    pub model: GenDrPixConfig,
    /// Tokens of each prompt embedding.
    pub prompt_tokens: usize,
    /// The pictures.
    pub data: DataConfig,
    /// Training steps in all.
    pub steps: u64,
    /// Steps over which the learning rate rises from zero.
    pub warm_up: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps at the end over which the learning rate falls.
    pub cool_down: u64,
    /// Learning rate at the end, over the highest; a cosine leads there.
    pub final_rate: f64,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Largest norm of a parameter's gradient.
    pub clip: f32,
    /// Decay of the weights' moving average.
    pub average: f64,
    /// Weight of the masked Fourier space loss, the paper's `l3`, while the rate falls.
    pub fourier: f64,
    /// Paddings, drawn anew each step, over which the Fourier loss's teacher averages.
    pub teacher_paddings: usize,
    /// Every so many steps the negative prompt is trained instead of the positive one.
    pub negative_every: u64,
    /// Weight of those steps' loss. "Leave it as it is" is so much easier to learn than restoring that at full weight
    /// the network learns nothing else.
    pub negative_weight: f64,
}

impl NanoConfig {
    /// The recipe of the bundled weights.
    pub fn recipe(seed: u64) -> Self {
        Self {
            model: GenDrPixConfig::nano(),
            prompt_tokens: 4,
            data: DataConfig {
                seed,
                batch: 8,
                crop: 128,
                window: 256,
                fresh: 0.15,
                degradation: Degradation::default(),
            },
            steps: 3_000,
            warm_up: 200,
            learning_rate: 5e-4,
            cool_down: 4_000,
            final_rate: 0.02,
            weight_decay: 1e-4,
            clip: 1.0,
            average: 0.999,
            fourier: 0.1,
            teacher_paddings: 4,
            negative_every: 10,
            negative_weight: 0.1,
        }
    }

    /// Whether `step` is one of the last, in which the rate falls.
    fn cooling(&self, step: u64) -> bool {
        step + self.cool_down >= self.steps
    }

    /// Warm-up, then level, then a cosine down to `final_rate`: what has been trained so far serves any number of steps.
    fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / self.cool_down.max(1) as f64;
        let cosine = 0.5 * (1.0 - (PI * left.min(1.0)).cos());
        self.learning_rate * (self.final_rate + (1.0 - self.final_rate) * cosine)
    }
}

/// A UNet and its two learnt prompts.
#[derive(Module, Debug)]
struct Student<B: Backend> {
    unet: UNet<B>,
    positive: Param<Tensor<B, 2>>,
    negative: Param<Tensor<B, 2>>,
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

/// Where a training stands; beside the records of weights and optimiser in a checkpoint's folder.
#[derive(Serialize, Deserialize)]
struct State {
    step: u64,
}

/// The training loop, a step at a time.
pub struct NanoTrainer<B: Backend + AutodiffBackend<InnerBackend: Backend>> {
    config: NanoConfig,
    student: Student<B>,
    average: Student<B::InnerBackend>,
    optimizer: OptimizerAdaptor<AdamW, Student<B>, B>,
    fourier: MaskedFourierLoss<B>,
    /// Started with the first step.
    batches: Option<Receiver<Batch>>,
    step: u64,
    device: B::Device,
}

impl<B: Backend + AutodiffBackend<InnerBackend: Backend>> NanoTrainer<B> {
    /// Starts anew, or where the checkpoint in `folder` left off.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the model's numbers contradict each other or the crop is not a multiple of the cell;
    /// [`Error::Format`] when there is a checkpoint that cannot be read.
    pub fn new(config: NanoConfig, folder: &Path, device: &B::Device) -> Result<Self> {
        config.model.validate()?;
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
        let prompt = || {
            let shape = [config.prompt_tokens, config.model.unet.cross_attention_dim];
            Param::from_tensor(Tensor::random(
                shape,
                Distribution::Normal(0.0, 1.0),
                device,
            ))
        };
        let unet = config.model.unet.init::<B>(device)?;
        let student = Student {
            unet,
            positive: prompt(),
            negative: prompt(),
        };
        let optimizer = AdamWConfig::new()
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .with_weight_decay(config.weight_decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(config.clip)))
            .init();
        let mut trainer = Self {
            average: student.valid(),
            student,
            optimizer,
            fourier: MaskedFourierLoss::new(config.data.crop, config.data.crop, factor, device),
            batches: None,
            step: 0,
            device: device.clone(),
            config,
        };
        if Checkpoint(folder).exists() {
            trainer.resume(folder)?;
        }
        Ok(trainer)
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
        let Student {
            unet,
            positive,
            negative,
        } = self.average.clone();
        let weights = Weights {
            unet,
            positive: positive.val(),
            negative: negative.val(),
        };
        GenDrPix::from_parts(self.config.model.clone(), weights, &self.device)
    }

    /// One step of training.
    pub fn step(&mut self) -> Progress {
        let batches = self
            .batches
            .get_or_insert_with(|| batches(self.config.data.clone(), self.step));
        let batch = batches
            .recv()
            .expect("the data thread runs as long as the trainer");
        let tensor = |values| to_tensor::<B>(values, &self.config.data, &self.device);
        let (input, target) = (tensor(batch.input), tensor(batch.target));

        if self.step == 0 {
            let factor = self.config.model.factor;
            init::start(&mut self.student.unet, input.clone(), factor);
            self.average = self.student.valid();
        }
        let negative = (self.step + 1).is_multiple_of(self.config.negative_every);
        let (prompt, target) = if negative {
            // Bad quality: the degraded picture as it came.
            (self.student.negative.val(), input.clone())
        } else {
            (self.student.positive.val(), target)
        };
        let conditioning = self
            .student
            .unet
            .condition(self.config.model.timestep, prompt.unsqueeze());
        let z = pixel_unshuffle(input.clone(), self.config.model.factor);
        let prediction = self.student.unet.forward(z.clone(), &conditioning);
        let output = pixel_shuffle(
            self.config.model.onestep.x0(z, prediction),
            self.config.model.factor,
        );

        let pixels = l1(output.clone(), target.clone());
        let fourier = (self.config.cooling(self.step) && !negative)
            .then(|| self.fourier.forward(output, self.teacher(input.clone())));
        let scalar = |t: Tensor<B, 1>| t.into_scalar().elem::<f64>();
        let progress = Progress {
            step: self.step + 1,
            relative_l1: (!negative)
                .then(|| scalar(pixels.clone().detach()) / scalar(l1(input, target))),
            fourier: fourier.clone().map(|loss| scalar(loss.detach())),
            rate: self.config.rate(self.step),
        };
        let loss = match fourier {
            _ if negative => pixels * self.config.negative_weight,
            Some(fourier) => pixels + fourier * self.config.fourier,
            None => pixels,
        };

        let gradients = GradientsParams::from_grads(loss.backward(), &self.student);
        let student = self.student.clone();
        self.student = self.optimizer.step(progress.rate, student, gradients);
        // Short averages first: the random start must not linger.
        let decay = self
            .config
            .average
            .min((self.step + 1) as f64 / (self.step + 10) as f64);
        self.average = moving_average(self.average.clone(), &self.student.valid(), decay);
        self.step += 1;
        progress
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

    /// Saves all that [`new`](Self::new) needs to go on from here: into a folder beside, then renamed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the folder cannot be written.
    pub fn checkpoint(&self, folder: &Path) -> Result<()> {
        let fresh = folder.with_extension("new");
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { path, source }
        };
        fs::create_dir_all(&fresh).map_err(io(&fresh))?;
        let target = Checkpoint(&fresh);
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let record = |error: burn::record::RecorderError| Error::Format {
            path: fresh.clone(),
            reason: error.to_string(),
        };
        recorder
            .record(self.student.clone().into_record(), target.student())
            .map_err(record)?;
        recorder
            .record(self.average.clone().into_record(), target.average())
            .map_err(record)?;
        recorder
            .record(self.optimizer.to_record(), target.optimizer())
            .map_err(record)?;
        let state = serde_json::to_string(&State { step: self.step }).expect("a number is JSON");
        fs::write(target.state(), state).map_err(io(&fresh))?;
        let old = folder.with_extension("old");
        if folder.exists() {
            fs::rename(folder, &old).map_err(io(folder))?;
        }
        fs::rename(&fresh, folder).map_err(io(&fresh))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(io(&old))?;
        }
        Ok(())
    }

    fn resume(&mut self, folder: &Path) -> Result<()> {
        let from = Checkpoint(folder);
        let unreadable = |reason: String| Error::Format {
            path: folder.to_path_buf(),
            reason,
        };
        let state = fs::read_to_string(from.state()).map_err(|e| unreadable(e.to_string()))?;
        let state: State = serde_json::from_str(&state).map_err(|e| unreadable(e.to_string()))?;
        let recorder = BinFileRecorder::<FullPrecisionSettings>::new();
        let record = |error: burn::record::RecorderError| unreadable(error.to_string());
        let student = recorder
            .load(from.student(), &self.device)
            .map_err(record)?;
        let average = recorder
            .load(from.average(), &self.device)
            .map_err(record)?;
        let optimizer = recorder
            .load(from.optimizer(), &self.device)
            .map_err(record)?;
        self.student = self.student.clone().load_record(student);
        self.average = self.average.clone().load_record(average);
        self.optimizer = self.optimizer.clone().load_record(optimizer);
        self.step = state.step;
        self.batches = None;
        Ok(())
    }
}

/// Values of a batch in 0..1 -> `[batch, 3, crop, crop]` in -1..1.
fn to_tensor<B: Backend>(values: Vec<f32>, data: &DataConfig, device: &B::Device) -> Tensor<B, 4> {
    let shape = [data.batch, PICTURE_CHANNELS, data.crop, data.crop];
    Tensor::from_data(TensorData::new(values, shape), device) * 2.0 - 1.0
}

/// File names of a checkpoint's folder.
struct Checkpoint<'a>(&'a Path);

impl Checkpoint<'_> {
    fn exists(&self) -> bool {
        self.state().exists()
    }
    fn student(&self) -> PathBuf {
        self.0.join("student.bin")
    }
    fn average(&self) -> PathBuf {
        self.0.join("average.bin")
    }
    fn optimizer(&self) -> PathBuf {
        self.0.join("optimizer.bin")
    }
    fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::backend::Flex;
    use burn::backend::Autodiff;

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
        (config.steps, config.cool_down) = (6, 3);
        config
    }

    fn steps(trainer: &mut NanoTrainer<B>, count: usize) -> Vec<(Option<f64>, Option<f64>, f64)> {
        let values = |p: Progress| (p.relative_l1, p.fourier, p.rate);
        (0..count).map(|_| values(trainer.step())).collect()
    }

    #[test]
    fn a_resumed_training_goes_on_as_an_unbroken_one() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("checkpoint");
        let device = Default::default();
        let mut unbroken = NanoTrainer::<B>::new(small(), &checkpoint, &device).unwrap();
        steps(&mut unbroken, 2);
        unbroken.checkpoint(&checkpoint).unwrap();
        let expected = steps(&mut unbroken, 4);
        let mut resumed = NanoTrainer::<B>::new(small(), &checkpoint, &device).unwrap();
        assert_eq!(resumed.steps_done(), 2);
        assert_eq!(steps(&mut resumed, 4), expected);
    }
}
