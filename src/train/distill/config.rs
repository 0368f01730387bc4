//! A whole distillation in one file: the models, and how each stage is trained.

use super::run::Pass;
use super::stage::Negative;
use super::stage2::Judge;
use super::start::{Fit, Start};
use super::trainer::{AdversaryConfig, TrainerConfig};
use super::vae::VaeLossConfig;
use crate::backend::precision::Precision;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::latent::LatentConfig;
use crate::restore::onestep::{OneStep, Prediction};
use crate::train::data::DataConfig;
use crate::train::degrade::{Degradation, TwoOrder};
use crate::train::discriminator::DiscriminatorConfig;
use crate::train::learner::LearnerConfig;
use crate::train::losses::{MaskedFourierConfig, PyramidConfig};
use crate::train::pictures::Pictures;
use crate::train::schedule::Schedule;
use crate::unet::Feature;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Tokens of each prompt embedding.
    pub prompt_tokens: usize,
    /// The teacher of all, and its VAE.
    pub gendr: LatentConfig,
    /// Stage 1's student.
    pub adc: LatentConfig,
    /// Stage 2's student.
    pub pix: GenDrPixConfig,
    /// How often the negative prompt is trained.
    pub negative: Negative,
    /// The VAE's training.
    pub vae: VaeRun,
    /// The teacher's training.
    pub teacher: TrainerConfig,
    /// Stage 1.
    pub stage1: Stage1Run,
    /// Stage 2.
    pub stage2: Stage2Run,
}

/// How the VAE is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRun {
    /// The loop.
    pub trainer: TrainerConfig,
    /// Weights of its loss.
    pub loss: VaeLossConfig,
    /// The stand-in for the perceptual loss.
    pub pyramid: PyramidConfig,
}

/// How stage 1 is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage1Run {
    /// The loop.
    pub trainer: TrainerConfig,
    /// What the student starts from.
    pub start: Start,
}

/// How stage 2 is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage2Run {
    /// The loop.
    pub trainer: TrainerConfig,
    /// What the student starts from.
    pub start: Start,
    /// Weight of the perceptual loss.
    pub l2: f64,
    /// VGG16's weights for the perceptual loss, torchvision's names; the stand-in when not given.
    pub vgg: Option<PathBuf>,
    /// The stand-in for the perceptual loss.
    pub pyramid: PyramidConfig,
    /// Weight of the masked Fourier space loss.
    pub l3: f64,
    /// The masked Fourier space loss.
    pub fourier: MaskedFourierConfig,
    /// Whether RandPad is applied before the discriminator.
    pub rand_pad: bool,
    /// Whose UNet the discriminator sees with. Default: GenDR-Adc's.
    #[serde(default)]
    pub judge: Judge,
}

impl DistillConfig {
    /// A trial for a CPU: the nano sizes, procedural pictures. The numbers are first guesses, not tuned.
    pub fn nano() -> Self {
        let schedule = |steps, learning_rate| Schedule {
            steps,
            warm_up: 100,
            learning_rate,
            cool_down: steps / 5,
            final_rate: 0.02,
        };
        let learner = |steps, learning_rate| LearnerConfig {
            schedule: schedule(steps, learning_rate),
            weight_decay: 1e-4,
            clip: 1.0,
            average: 0.999,
        };
        let data = DataConfig {
            pictures: Pictures::Procedural,
            seed: 1,
            batch: 8,
            crop: 128,
            window: 256,
            fresh: 0.15,
            degradation: Degradation::default().into(),
        };
        let trainer = |steps, learning_rate| TrainerConfig {
            data: data.clone(),
            learner: learner(steps, learning_rate),
            accumulate: 1,
            precision: Precision::Full,
            adversary: None,
            samples_every: 0,
        };
        let adversarial = |steps, learning_rate| TrainerConfig {
            adversary: Some(AdversaryConfig {
                weight: 0.05,
                discriminator: DiscriminatorConfig {
                    features: vec![Feature::Down(0), Feature::Down(1), Feature::Middle],
                    width: 32,
                },
                learner: learner(steps, learning_rate),
            }),
            ..trainer(steps, learning_rate)
        };
        Self {
            prompt_tokens: 4,
            gendr: LatentConfig {
                onestep: OneStep::residual(1.0),
                ..LatentConfig::gendr_nano()
            },
            adc: LatentConfig::adc_nano(),
            pix: GenDrPixConfig::nano(),
            negative: Negative {
                share: 0.1,
                weight: 0.1,
            },
            vae: VaeRun {
                trainer: trainer(5_000, 1e-3),
                loss: VaeLossConfig {
                    perceptual: 0.5,
                    divergence: 1e-6,
                },
                pyramid: PyramidConfig::default(),
            },
            teacher: trainer(5_000, 5e-4),
            stage1: Stage1Run {
                trainer: adversarial(5_000, 5e-4),
                start: Start::Teacher,
            },
            stage2: Stage2Run {
                trainer: adversarial(10_000, 5e-4),
                start: Start::Teacher,
                l2: 1.0,
                vgg: None,
                pyramid: PyramidConfig::default(),
                l3: 0.1,
                fourier: MaskedFourierConfig::default(),
                rand_pad: true,
                judge: Judge::Adc,
            },
        }
    }

    /// The paper's sizes and numbers, as far as it gives them (losses, learning rate): Stable Diffusion 2.1's UNet,
    /// VAE16, Real-ESRGAN's degradation, pictures in the folder `pictures`. Batch, crop and steps are ours.
    pub fn sd21() -> Self {
        let nano = Self::nano();
        let start = Start::Fitted(Fit {
            batches: 16,
            ridge: 1e-2,
        });
        let full = |trainer: TrainerConfig, steps| {
            let learner = |learner: LearnerConfig| LearnerConfig {
                schedule: Schedule {
                    steps,
                    warm_up: 1_000,
                    learning_rate: 1e-5,
                    cool_down: steps / 10,
                    final_rate: 0.1,
                },
                ..learner
            };
            TrainerConfig {
                data: DataConfig {
                    pictures: Pictures::Folder(PathBuf::from("pictures")),
                    batch: 4,
                    crop: 512,
                    window: 1024,
                    fresh: 1.0,
                    degradation: TwoOrder::real_esrgan().into(),
                    ..trainer.data
                },
                learner: learner(trainer.learner),
                accumulate: 4,
                precision: trainer.precision,
                adversary: trainer.adversary.map(|adversary| AdversaryConfig {
                    discriminator: DiscriminatorConfig {
                        width: 256,
                        ..adversary.discriminator
                    },
                    learner: learner(adversary.learner),
                    ..adversary
                }),
                samples_every: trainer.samples_every,
            }
        };
        Self {
            prompt_tokens: 77,
            gendr: LatentConfig::gendr_sd21(),
            adc: LatentConfig::adc_sd21(),
            pix: GenDrPixConfig {
                onestep: OneStep::paper(Prediction::Noise),
                ..GenDrPixConfig::sd21()
            },
            vae: VaeRun {
                trainer: full(nano.vae.trainer, 200_000),
                ..nano.vae
            },
            teacher: full(nano.teacher, 200_000),
            stage1: Stage1Run {
                trainer: full(nano.stage1.trainer, 200_000),
                start,
            },
            stage2: Stage2Run {
                trainer: full(nano.stage2.trainer, 200_000),
                start,
                ..nano.stage2
            },
            ..nano
        }
    }

    /// All that the training of `pass` depends on but for the weights of those before it: a checkpoint of anything else
    /// is refused.
    pub(super) fn identity(&self, pass: Pass) -> impl Serialize {
        let Self {
            prompt_tokens,
            gendr,
            adc,
            pix,
            negative,
            ..
        } = self;
        match pass {
            Pass::Vae => json!([gendr.vae, self.vae]),
            Pass::Teacher => json!([prompt_tokens, negative, gendr, self.teacher]),
            Pass::Stage1 => json!([prompt_tokens, negative, gendr, adc, self.stage1]),
            Pass::Stage2 => {
                let judge = self.judge();
                json!([prompt_tokens, negative, adc, pix, judge, self.stage2])
            }
        }
    }

    /// The model whose UNet stage 2's discriminator sees with.
    pub(super) fn judge(&self) -> &LatentConfig {
        match self.stage2.judge {
            Judge::Adc => &self.adc,
            Judge::Gendr => &self.gendr,
        }
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is not JSON, lacks a field or has an unknown
    /// one, and those of [`validate`](Self::validate).
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(crate::train::checkpoint::at(path))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| Error::Format {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Checks the models and all settings that can be checked without pictures.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        self.gendr.validate_gendr()?;
        self.adc.validate_adc()?;
        self.pix.validate()?;
        self.negative.validate()?;
        if self.prompt_tokens == 0 {
            let (field, reason) = ("prompt_tokens", "is zero".to_owned());
            return Err(Error::Config { field, reason });
        }
        for (trainer, unet) in [
            (&self.vae.trainer, None),
            (&self.teacher, None),
            (&self.stage1.trainer, Some(&self.gendr.unet)),
            (&self.stage2.trainer, Some(&self.judge().unet)),
        ] {
            trainer.validate(unet)?;
        }
        let (stage1, stage2) = (&self.stage1.start, &self.stage2.start);
        stage1.validate(&self.adc.unet, &self.gendr.unet)?;
        stage2.validate(&self.pix.unet, &self.adc.unet)
    }
}
