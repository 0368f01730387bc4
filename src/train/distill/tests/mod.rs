//! Tests of each stage with small models.

mod mixed_precision;
mod models;
mod pipeline;
mod replicas;
mod sample_sheet;
mod settings;
mod student_init;
mod vae;

use super::*;
use crate::backend::Flex;
use crate::config::GenDrPixConfig;
use crate::error::Error;
use crate::latent::{LatentConfig, Vae, VaeConfig};
use crate::model::GenDrPix;
use crate::restore::onestep::{OneStep, Prediction};
use crate::train::degrade::FirstOrderDegradation;
use crate::train::losses::{MaskedFourierConfig, PyramidConfig};
use crate::train::{
    DataConfig, DiscriminatorConfig, FeatureExtractor, LearnerConfig, Pictures, Precision,
    Schedule, Student,
};
use crate::unet::{Feature, UNetConfig};
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::{Distribution, Tensor, TensorData};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::Path;

use models::*;

/// Trains some steps.
fn run<O: Objective<B>>(trainer: &mut Trainer<B, O>, steps: usize) -> Vec<StepReport> {
    (0..steps).map(|_| trainer.step().unwrap()).collect()
}

/// Names of the logged terms, sorted.
fn names(report: &StepReport) -> Vec<&str> {
    report.terms.keys().copied().collect()
}

#[test]
fn a_teacher_learns_from_the_originals_latents() {
    let folder = tempfile::tempdir().unwrap();
    let objective = TeacherObjective::new(gendr(), vae().valid(), NEGATIVE).unwrap();
    let student = student(&gendr().unet);
    let config = trainer_config(false);
    let device = Default::default();
    let mut trainer = Trainer::new(
        config,
        objective,
        student,
        None,
        (folder.path(), &()),
        &device,
    )
    .unwrap();
    let reports = run(&mut trainer, 2);
    assert_eq!(names(&reports[0]), ["latent L1"]);
    assert_eq!(reports[0].accuracy, None);
}

#[test]
fn stage_1_trains_a_discriminator() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = TestModels::new()
        .stage1(trainer_config(true), folder.path())
        .unwrap();
    let reports = run(&mut trainer, 3);
    let adversarial = reports.iter().find(|r| r.terms.contains_key("adversarial"));
    let report = adversarial.expect("most batches are of the positive prompt");
    assert_eq!(names(report), ["adversarial", "discriminator", "latent L1"]);
    // Untrained heads: about twice ln 2.
    assert!(
        (report.terms["discriminator"] - 1.39).abs() < 0.6,
        "{report:?}"
    );
    assert!((0.0..=1.0).contains(&report.accuracy.unwrap()));
}

#[test]
fn a_resumed_stage_2_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let models = TestModels::new();
    let mut uninterrupted = models.stage2(trainer_config(true), folder.path()).unwrap();
    run(&mut uninterrupted, 2);
    uninterrupted.checkpoint().unwrap();
    let expected = run(&mut uninterrupted, 3);
    let all = ["L1", "L_F", "L_P", "adversarial", "discriminator"];
    let complete = expected.iter().any(|report| names(report) == all);
    assert!(complete, "{expected:?}");
    let mut resumed = models.stage2(trainer_config(true), folder.path()).unwrap();
    assert_eq!(resumed.steps_done(), 2);
    assert_eq!(run(&mut resumed, 3), expected);

    let other = TrainerConfig {
        accumulate: 2,
        ..trainer_config(true)
    };
    let error = models
        .stage2(other, folder.path())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("`accumulate` is 1, not 2"), "{error}");
}

#[test]
fn stage_2_yields_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = TestModels::new()
        .stage2(trainer_config(true), folder.path())
        .unwrap();
    run(&mut trainer, 1);
    let device = Default::default();
    let model = GenDrPix::from_parts(pix(), trainer.ema().weights(), &device).unwrap();
    let picture = Tensor::random([1, 3, 20, 28], Distribution::Default, &device);
    let restored = model.restore(picture, &Default::default()).unwrap();
    assert_eq!(restored.dims(), [1, 3, 20, 28]);
}

#[test]
fn two_accumulated_batches_give_the_mean_of_their_losses() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut config = trainer_config(false);
    // The rate is zero, so that the second step has the weights of the first.
    config.learner.schedule.learning_rate = 0.0;
    let models = TestModels::new();
    let mut whole = models.stage1(config.clone(), folders[0].path()).unwrap();
    let parts = TrainerConfig {
        accumulate: 2,
        ..config
    };
    let mut parts = models.stage1(parts, folders[1].path()).unwrap();
    let (whole, parts) = (run(&mut whole, 2), run(&mut parts, 1));
    let mean = (whole[0].terms["latent L1"] + whole[1].terms["latent L1"]) / 2.0;
    assert!(
        (parts[0].terms["latent L1"] - mean).abs() < 1e-5,
        "{mean} {parts:?}"
    );
}
