//! Each stage, small.

mod mixed;
mod replicas;
mod samples;
mod start;
mod whole;

use super::*;
use crate::backend::Flex;
use crate::config::GenDrPixConfig;
use crate::error::Error;
use crate::latent::{LatentConfig, Vae, VaeConfig};
use crate::model::GenDrPix;
use crate::restore::onestep::{OneStep, Prediction};
use crate::train::degrade::Degradation;
use crate::train::losses::{MaskedFourierConfig, PyramidConfig};
use crate::train::{
    DataConfig, DiscriminatorConfig, Eyes, LearnerConfig, Pictures, Precision, Schedule, Student,
};
use crate::unet::{Feature, UNetConfig};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::{Distribution, Tensor, TensorData};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::Path;

type B = Autodiff<Flex>;

const CROP: usize = 32;
const TOKENS: usize = 2;
const NEGATIVE: Negative = Negative {
    share: 0.2,
    weight: 0.1,
};

fn learner() -> LearnerConfig {
    LearnerConfig {
        schedule: Schedule {
            steps: 1000,
            warm_up: 2,
            learning_rate: 1e-3,
            cool_down: 2,
            final_rate: 0.1,
        },
        weight_decay: 0.0,
        clip: 1.0,
        average: 0.5,
    }
}

fn trainer_config(adversary: bool) -> TrainerConfig {
    TrainerConfig {
        data: DataConfig {
            pictures: Pictures::Procedural,
            seed: 3,
            batch: 2,
            crop: CROP,
            window: 1,
            fresh: 0.0,
            degradation: Degradation::default().into(),
        },
        learner: learner(),
        accumulate: 1,
        precision: Precision::Full,
        adversary: adversary.then(|| AdversaryConfig {
            weight: 0.05,
            discriminator: discriminator(),
            learner: learner(),
        }),
        samples_every: 0,
    }
}

fn discriminator() -> DiscriminatorConfig {
    DiscriminatorConfig {
        features: vec![Feature::Down(0), Feature::Middle],
        width: 4,
    }
}

fn unet(in_channels: usize, out_channels: usize) -> UNetConfig {
    UNetConfig {
        in_channels,
        out_channels,
        block_out_channels: vec![8, 8],
        layers_per_block: vec![1; 2],
        down_attention: vec![false, true],
        up_attention: vec![false; 2],
        num_heads: vec![1; 2],
        norm_num_groups: 4,
        ..UNetConfig::nano()
    }
}

fn gendr() -> LatentConfig {
    LatentConfig {
        vae: VaeConfig {
            latent_channels: 4,
            block_out_channels: vec![4, 4, 4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            ..VaeConfig::nano()
        },
        unet: unet(4, 4),
        ..LatentConfig::gendr_nano()
    }
}

fn adc() -> LatentConfig {
    LatentConfig {
        unet: unet(192, 4),
        onestep: OneStep::paper(Prediction::Sample),
        ..gendr()
    }
}

fn pix() -> GenDrPixConfig {
    GenDrPixConfig {
        unet: unet(192, 192),
        ..GenDrPixConfig::nano()
    }
}

/// Draws all that is random: burn's own generator is of the whole process, and tests share it.
struct Draw(SmallRng);

impl ModuleMapper<B> for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|tensor| {
            let data = tensor.to_data();
            let mut values = data.iter::<f32>();
            let first = values.next();
            if values.all(|value| Some(value) == first) {
                return tensor; // of a norm
            }
            let shape = tensor.dims();
            let fan_in: usize = shape[1..].iter().product();
            let bound = 1.0 / (fan_in as f32).sqrt();
            let values = shape.iter().product();
            let values: Vec<_> = (0..values)
                .map(|_| self.0.random_range(-bound..bound))
                .collect();
            Tensor::from_data(TensorData::new(values, shape), &tensor.device()).require_grad()
        })
    }
}

fn drawn<M: Module<B>>(module: M) -> M {
    module.map(&mut Draw(SmallRng::seed_from_u64(1)))
}

fn student(config: &UNetConfig) -> Student<B> {
    drawn(Student::new(config, TOKENS, &Default::default()).unwrap())
}

fn vae() -> Vae<B> {
    drawn(gendr().vae.init(&Default::default()).unwrap())
}

fn run<S: Stage<B>>(trainer: &mut Trainer<B, S>, steps: usize) -> Vec<Report> {
    (0..steps).map(|_| trainer.step().unwrap()).collect()
}

fn names(report: &Report) -> Vec<&str> {
    report.terms.keys().copied().collect()
}

/// All weights of a distillation: made once, as a comparison of two trainings needs the same.
struct Weights {
    vae: Vae<Flex>,
    gendr: Student<Flex>,
    adc: Student<B>,
    pix: Student<B>,
    start: Start,
}

impl Weights {
    fn new() -> Self {
        Self {
            vae: vae().valid(),
            // As a loaded one is: without gradients.
            gendr: student(&gendr().unet).valid().no_grad(),
            adc: student(&adc().unet),
            pix: student(&pix().unet),
            start: Start::Random,
        }
    }

    fn stage1(
        &self,
        config: TrainerConfig,
        folder: &Path,
    ) -> crate::Result<Trainer<B, Stage1<Flex>>> {
        let stage = self.stage1_alone()?;
        let eyes = eyes(&self.gendr, gendr().timestep);
        let pupil = self.adc.clone();
        let (unet, identity) = (gendr().unet, config.clone());
        Trainer::new(
            config,
            stage,
            pupil,
            Some((eyes, &unet)),
            (folder, &identity),
            &Default::default(),
        )
    }

    fn stage1_alone(&self) -> crate::Result<Stage1<Flex>> {
        let teacher = (gendr(), self.gendr.clone(), self.vae.clone());
        Stage1::new(adc(), teacher, self.start, NEGATIVE)
    }

    fn stage2(&self, config: TrainerConfig, folder: &Path) -> crate::Result<Trainer<B, Stage2<B>>> {
        let device = Default::default();
        let crop = config.data.crop;
        let losses = Stage2Losses {
            l2: 1.0,
            perceptual: Perceptual::Pyramid(PyramidConfig::default().init()?),
            l3: 0.1,
            fourier: MaskedFourierConfig::default().init(crop, crop, &device)?,
            rand_pad: true,
            view: View::Cells,
        };
        let teacher = (adc(), self.adc.valid(), self.vae.decoder.clone());
        let stage = Stage2::new(pix(), teacher, self.start, losses, NEGATIVE)?;
        let eyes = eyes(&self.adc.valid(), adc().timestep);
        let (unet, identity) = (adc().unet, config.clone());
        Trainer::new(
            config,
            stage,
            self.pix.clone(),
            Some((eyes, &unet)),
            (folder, &identity),
            &device,
        )
    }
}

fn eyes(teacher: &Student<Flex>, timestep: f64) -> Eyes<B> {
    let teacher = Student::<B>::from_inner(teacher.clone());
    let prompt = teacher.positive.val();
    Eyes::new(teacher.unet, timestep, prompt, &discriminator())
}

#[test]
fn a_vae_learns() {
    let folder = tempfile::tempdir().unwrap();
    let left = learnt_by_a_vae(trainer_config(false), folder.path());
    assert!(left < 0.8, "{left}");
}

/// The error that 60 steps leave of that of the first.
fn learnt_by_a_vae(config: TrainerConfig, folder: &Path) -> f64 {
    let stage = VaeStage {
        config: VaeLossConfig {
            perceptual: 1.0,
            divergence: 1e-6,
        },
        perceptual: PyramidConfig::default().init().unwrap(),
    };
    let device = Default::default();
    let mut trainer = Trainer::new(config, stage, vae(), None, (folder, &()), &device).unwrap();
    let reports = run(&mut trainer, 60);
    assert_eq!(names(&reports[0]), ["L1", "L_P", "divergence"]);
    let mean = |reports: &[Report]| {
        let errors = reports.iter().map(|report| report.terms["L1"]);
        errors.sum::<f64>() / reports.len() as f64
    };
    mean(&reports[50..]) / mean(&reports[..10])
}

#[test]
fn a_teacher_learns_from_the_originals_latents() {
    let folder = tempfile::tempdir().unwrap();
    let stage = TeacherStage::new(gendr(), vae().valid(), NEGATIVE).unwrap();
    let pupil = student(&gendr().unet);
    let config = trainer_config(false);
    let device = Default::default();
    let mut trainer =
        Trainer::new(config, stage, pupil, None, (folder.path(), &()), &device).unwrap();
    let reports = run(&mut trainer, 2);
    assert_eq!(names(&reports[0]), ["latent L1"]);
    assert_eq!(reports[0].accuracy, None);
}

#[test]
fn stage_1_has_an_adversary() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Weights::new()
        .stage1(trainer_config(true), folder.path())
        .unwrap();
    let reports = run(&mut trainer, 3);
    let adversarial = reports.iter().find(|r| r.terms.contains_key("adversarial"));
    let report = adversarial.expect("most batches are of the positive prompt");
    assert_eq!(names(report), ["adversarial", "discriminator", "latent L1"]);
    // Heads that know nothing yet: twice ln 2, about.
    assert!(
        (report.terms["discriminator"] - 1.39).abs() < 0.6,
        "{report:?}"
    );
    assert!((0.0..=1.0).contains(&report.accuracy.unwrap()));
}

#[test]
fn stage_2_resumed_goes_on_as_an_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let weights = Weights::new();
    let mut unbroken = weights.stage2(trainer_config(true), folder.path()).unwrap();
    run(&mut unbroken, 2);
    unbroken.checkpoint().unwrap();
    let expected = run(&mut unbroken, 3);
    let all = ["L1", "L_F", "L_P", "adversarial", "discriminator"];
    let whole = expected.iter().any(|report| names(report) == all);
    assert!(whole, "{expected:?}");
    let mut resumed = weights.stage2(trainer_config(true), folder.path()).unwrap();
    assert_eq!(resumed.steps_done(), 2);
    assert_eq!(run(&mut resumed, 3), expected);

    let other = TrainerConfig {
        accumulate: 2,
        ..trainer_config(true)
    };
    let error = weights
        .stage2(other, folder.path())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("`accumulate` is 1, not 2"), "{error}");
}

#[test]
fn what_stage_2_made_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Weights::new()
        .stage2(trainer_config(true), folder.path())
        .unwrap();
    run(&mut trainer, 1);
    let device = Default::default();
    let model = GenDrPix::from_parts(pix(), trainer.average().weights(), &device).unwrap();
    let picture = Tensor::random([1, 3, 20, 28], Distribution::Default, &device);
    let restored = model.restore(picture, &Default::default()).unwrap();
    assert_eq!(restored.dims(), [1, 3, 20, 28]);
}

#[test]
fn a_batch_in_two_parts_is_a_batch() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut config = trainer_config(false);
    // Nothing is learnt in between, so that the second step sees the weights of the first.
    config.learner.schedule.learning_rate = 0.0;
    let weights = Weights::new();
    let mut whole = weights.stage1(config.clone(), folders[0].path()).unwrap();
    let parts = TrainerConfig {
        accumulate: 2,
        ..config
    };
    let mut parts = weights.stage1(parts, folders[1].path()).unwrap();
    let (whole, parts) = (run(&mut whole, 2), run(&mut parts, 1));
    let mean = (whole[0].terms["latent L1"] + whole[1].terms["latent L1"]) / 2.0;
    assert!(
        (parts[0].terms["latent L1"] - mean).abs() < 1e-5,
        "{mean} {parts:?}"
    );
}

#[test]
fn bad_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = |change: fn(&mut TrainerConfig)| {
        let mut config = trainer_config(false);
        change(&mut config);
        config
    };
    for (config, wanted) in [
        (config(|c| c.accumulate = 0), "accumulate"),
        (config(|c| c.data.batch = 0), "batch"),
        (
            config(|c| c.learner.schedule.learning_rate = -1.0),
            "learning_rate",
        ),
    ] {
        match Weights::new().stage1(config, folder.path()).err() {
            Some(Error::Config { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    for (negative, wanted) in [
        (
            Negative {
                share: 1.5,
                ..NEGATIVE
            },
            "negative.share",
        ),
        (
            Negative {
                weight: f64::NAN,
                ..NEGATIVE
            },
            "negative.weight",
        ),
    ] {
        match TeacherStage::new(gendr(), vae().valid(), negative).err() {
            Some(Error::Config { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let stage = TeacherStage::new(gendr(), vae().valid(), NEGATIVE).unwrap();
    let error = Trainer::<B, _>::new(
        trainer_config(true),
        stage,
        student(&gendr().unet),
        None,
        (folder.path(), &()),
        &Default::default(),
    );
    let error = error.err().unwrap().to_string();
    assert!(error.contains("adversary"), "{error}");
}
