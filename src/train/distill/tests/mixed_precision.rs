//! Tests of training in bf16.

use super::*;
use crate::restore::guidance::Prompt;
use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;

fn mixed(adversary: bool) -> TrainerConfig {
    TrainerConfig {
        precision: Precision::Bf16,
        ..trainer_config(adversary)
    }
}

/// Collects all gradients of a module. A missing gradient counts as zeros.
struct AllGradients {
    gradients: GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor<B> for AllGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = self.gradients.remove::<Flex, D>(param.id);
        let gradient = gradient.unwrap_or_else(|| param.val().inner().zeros_like());
        self.values
            .extend(gradient.into_data().to_vec::<f32>().unwrap());
    }
}

/// With bf16, gradients are in f32, and their direction is close to that of full precision.
#[test]
fn gradients_are_in_full_precision() {
    let student = student(&pix().unet);
    let picture = Tensor::random(
        [2, 3, CROP, CROP],
        Distribution::Default,
        &Default::default(),
    );
    let gradients = |precision: Precision| {
        let computing = precision.cast_module::<B, _>(student.clone());
        let output = computing.restore(&pix(), picture.clone(), Prompt::Positive);
        assert_eq!(output.dtype(), picture.dtype());
        let loss = (output.clone() * output).mean();
        let mut gradients = AllGradients {
            gradients: GradientsParams::from_grads(loss.backward(), &student),
            values: Vec::new(),
        };
        student.visit(&mut gradients);
        gradients.values
    };
    let (full, mixed) = (gradients(Precision::Full), gradients(Precision::Bf16));
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum()
    };
    let cosine = dot(&full, &mixed) / (dot(&full, &full) * dot(&mixed, &mixed)).sqrt();
    assert!((0.99..0.999_999).contains(&cosine), "{cosine}");
}

/// The losses of the first step are close to those of full precision, but not equal.
#[test]
fn both_stages_train_in_bf16() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let models = TestModels::new();
    let run = |config: TrainerConfig, folder: &Path| {
        let own = |name| folder.join(name);
        let mut stage1 = models.stage1(config.clone(), &own("stage1")).unwrap();
        let mut stage2 = models.stage2(config, &own("stage2")).unwrap();
        let reports = [run(&mut stage1, 2), run(&mut stage2, 2)];
        reports.map(|mut reports| {
            let mut terms = reports.remove(0).terms;
            // These depend on heads with new random weights.
            terms.retain(|&name, _| !["adversarial", "discriminator"].contains(&name));
            terms
        })
    };
    let full = run(trainer_config(true), folders[0].path());
    let mixed = run(mixed(true), folders[1].path());
    for (full, mixed) in full.iter().zip(&mixed) {
        assert_ne!(full, mixed);
        for (name, full) in full {
            let mixed = mixed[name];
            let close = (mixed - full).abs() < 0.01 * full;
            assert!(close, "{name}: {full} {mixed}");
        }
    }
}

#[test]
fn a_vae_learns_in_bf16() {
    let folder = tempfile::tempdir().unwrap();
    let ratio = vae::error_ratio_of_a_vae(mixed(false), folder.path());
    assert!(ratio < 0.8, "{ratio}");
}

#[cfg(feature = "ndarray")]
#[test]
fn a_device_without_bf16_is_refused() {
    use crate::testing::finite_difference::{Plain, Tracked};
    Precision::Full
        .validate::<Plain>(&Default::default())
        .unwrap();
    match Precision::Bf16.validate::<Tracked>(&Default::default()) {
        Err(Error::Config { field, .. }) => assert_eq!(field, "precision"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn configs_without_a_precision_have_full_precision() {
    let mut config = serde_json::to_value(mixed(false)).unwrap();
    assert_eq!(config["precision"], "bf16");
    config.as_object_mut().unwrap().remove("precision");
    let read: TrainerConfig = serde_json::from_value(config).unwrap();
    assert_eq!(read.precision, Precision::Full);
}
