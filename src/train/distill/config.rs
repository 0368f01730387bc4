//! The config of a distillation: its models, and how each stage is trained.

use super::objective::NegativePromptConfig;
use super::stage2::DiscriminatorUNet;
use super::student_init::{LeastSquaresFit, StudentInit};
use super::trainer::{AdversaryConfig, TrainerConfig};
use super::training_stage::TrainingStage;
use super::vae::VaeLossConfig;
use crate::backend::precision::Precision;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::latent::LatentConfig;
use crate::restore::onestep::{OneStep, Prediction};
use crate::train::data::DataConfig;
use crate::train::degrade::{FirstOrderDegradation, SecondOrderDegradation};
use crate::train::discriminator::DiscriminatorConfig;
use crate::train::learner::LearnerConfig;
use crate::train::losses::{MaskedFourierConfig, PyramidConfig};
use crate::train::pictures::Pictures;
use crate::train::schedule::Schedule;
use crate::unet::Feature;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The config of a distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Number of tokens in each prompt embedding.
    pub prompt_tokens: usize,
    /// The first teacher, GenDR, with its VAE.
    pub gendr: LatentConfig,
    /// The student of stage 1, GenDR-Adc.
    pub adc: LatentConfig,
    /// The student of stage 2, GenDR-Pix.
    pub pix: GenDrPixConfig,
    /// How often the negative prompt is trained, and with which weight.
    pub negative: NegativePromptConfig,
    /// Training of the VAE.
    pub vae: VaeTrainingConfig,
    /// Training of the first teacher.
    pub teacher: TrainerConfig,
    /// Training of stage 1.
    pub stage1: Stage1Config,
    /// Training of stage 2.
    pub stage2: Stage2Config,
}

/// Training of the VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeTrainingConfig {
    /// The training loop.
    pub trainer: TrainerConfig,
    /// Weights of the loss terms.
    pub loss: VaeLossConfig,
    /// The substitute for the perceptual loss.
    pub pyramid: PyramidConfig,
}

/// Training of stage 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage1Config {
    /// The training loop.
    pub trainer: TrainerConfig,
    /// The student's initial weights.
    pub start: StudentInit,
}

/// Training of stage 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage2Config {
    /// The training loop.
    pub trainer: TrainerConfig,
    /// The student's initial weights.
    pub start: StudentInit,
    /// Weight of the perceptual loss.
    pub l2: f64,
    /// File with VGG16's weights under torchvision's names, for the perceptual loss. Without it,
    /// the substitute is used.
    pub vgg: Option<PathBuf>,
    /// The substitute for the perceptual loss.
    pub pyramid: PyramidConfig,
    /// Weight of the masked Fourier space loss.
    pub l3: f64,
    /// The masked Fourier space loss.
    pub fourier: MaskedFourierConfig,
    /// Whether RandPad pads the discriminator's samples.
    pub rand_pad: bool,
    /// The UNet that is the discriminator's feature extractor; `judge` in JSON. Default:
    /// GenDR-Adc's.
    #[serde(default, rename = "judge")]
    pub discriminator_unet: DiscriminatorUNet,
}

impl DistillConfig {
    /// Returns the config of a trial on a CPU, with the nano sizes and procedural pictures. The
    /// numbers are first guesses and not tuned.
    #[must_use]
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
            ema_decay: 0.999,
        };
        let data = DataConfig {
            pictures: Pictures::Procedural,
            seed: 1,
            batch: 8,
            crop: 128,
            window: 256,
            fresh: 0.15,
            degradation: FirstOrderDegradation::default().into(),
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
            negative: NegativePromptConfig {
                share: 0.1,
                weight: 0.1,
            },
            vae: VaeTrainingConfig {
                trainer: trainer(5_000, 1e-3),
                loss: VaeLossConfig {
                    perceptual: 0.5,
                    divergence: 1e-6,
                },
                pyramid: PyramidConfig::default(),
            },
            teacher: trainer(5_000, 5e-4),
            stage1: Stage1Config {
                trainer: adversarial(5_000, 5e-4),
                start: StudentInit::Teacher,
            },
            stage2: Stage2Config {
                trainer: adversarial(10_000, 5e-4),
                start: StudentInit::Teacher,
                l2: 1.0,
                vgg: None,
                pyramid: PyramidConfig::default(),
                l3: 0.1,
                fourier: MaskedFourierConfig::default(),
                rand_pad: true,
                discriminator_unet: DiscriminatorUNet::Adc,
            },
        }
    }

    /// Returns the config with the paper's sizes: Stable Diffusion 2.1's UNet, VAE16, Real-ESRGAN's
    /// degradation, and pictures from the folder `pictures`. Loss weights and learning rate are the
    /// paper's. The paper does not state batch size, crop size and steps.
    #[must_use]
    pub fn sd21() -> Self {
        let nano = Self::nano();
        let start = StudentInit::Fitted(LeastSquaresFit {
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
                    degradation: SecondOrderDegradation::real_esrgan().into(),
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
            vae: VaeTrainingConfig {
                trainer: full(nano.vae.trainer, 200_000),
                ..nano.vae
            },
            teacher: full(nano.teacher, 200_000),
            stage1: Stage1Config {
                trainer: full(nano.stage1.trainer, 200_000),
                start,
            },
            stage2: Stage2Config {
                trainer: full(nano.stage2.trainer, 200_000),
                start,
                ..nano.stage2
            },
            ..nano
        }
    }

    /// Returns everything that determines the training of `stage`, except the weights of the stages
    /// before it. A checkpoint with another identity is refused.
    pub(super) fn identity(&self, stage: TrainingStage) -> impl Serialize {
        let Self {
            prompt_tokens,
            gendr,
            adc,
            pix,
            negative,
            ..
        } = self;
        match stage {
            TrainingStage::Vae => json!([gendr.vae, self.vae]),
            TrainingStage::Teacher => json!([prompt_tokens, negative, gendr, self.teacher]),
            TrainingStage::Stage1 => json!([prompt_tokens, negative, gendr, adc, self.stage1]),
            TrainingStage::Stage2 => {
                let extractor = self.extractor_model();
                json!([prompt_tokens, negative, adc, pix, extractor, self.stage2])
            }
        }
    }

    /// Returns the model whose UNet is the feature extractor of stage 2's discriminator.
    pub(super) fn extractor_model(&self) -> &LatentConfig {
        match self.stage2.discriminator_unet {
            DiscriminatorUNet::Adc => &self.adc,
            DiscriminatorUNet::Gendr => &self.gendr,
        }
    }

    /// Reads a config from a JSON file.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if the file cannot be read.
    /// - [`Error::Format`] if it is not JSON, lacks a field or has an unknown field.
    /// - The errors of [`validate`](Self::validate).
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let config: Self =
            serde_json::from_str(&text).map_err(|error| Error::format(path, error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks the models and all settings except those of the pictures.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first field that is invalid.
    pub fn validate(&self) -> Result<()> {
        self.gendr.validate_gendr()?;
        self.adc.validate_adc()?;
        self.pix.validate()?;
        self.negative.validate()?;
        if self.prompt_tokens == 0 {
            let (field, reason) = ("prompt_tokens", "must be at least 1".to_owned());
            return Err(Error::Config { field, reason });
        }
        for (trainer, unet) in [
            (&self.vae.trainer, None),
            (&self.teacher, None),
            (&self.stage1.trainer, Some(&self.gendr.unet)),
            (&self.stage2.trainer, Some(&self.extractor_model().unet)),
        ] {
            trainer.validate(unet)?;
        }
        let (stage1, stage2) = (&self.stage1.start, &self.stage2.start);
        stage1.validate(&self.adc.unet, &self.gendr.unet)?;
        stage2.validate(&self.pix.unet, &self.adc.unet)
    }
}
