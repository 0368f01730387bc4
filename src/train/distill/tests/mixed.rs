//! Training in bf16.

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

/// All gradients of a module, zeros where there is none.
struct Gradients {
    of: GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor<B> for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = self.of.remove::<Flex, D>(param.id);
        let gradient = gradient.unwrap_or_else(|| param.val().inner().zeros_like());
        self.values
            .extend(gradient.into_data().to_vec::<f32>().unwrap());
    }
}

/// Gradients in f32, in about the direction of those that f32 finds.
#[test]
fn gradients_come_back_in_full_precision() {
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
        let mut gradients = Gradients {
            of: GradientsParams::from_grads(loss.backward(), &student),
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

/// What the first step finds is near to what it finds in full precision, and not the same.
#[test]
fn both_stages_train_in_bf16() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let weights = Weights::new();
    let run = |config: TrainerConfig, folder: &Path| {
        let own = |name| folder.join(name);
        let mut stage1 = weights.stage1(config.clone(), &own("stage1")).unwrap();
        let mut stage2 = weights.stage2(config, &own("stage2")).unwrap();
        let reports = [run(&mut stage1, 2), run(&mut stage2, 2)];
        reports.map(|mut reports| {
            let mut terms = reports.remove(0).terms;
            // Of heads drawn anew.
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
            let near = (mixed - full).abs() < 0.01 * full;
            assert!(near, "{name}: {full} {mixed}");
        }
    }
}

/// It learns as well in bf16.
#[test]
fn a_vae_learns_in_bf16() {
    let folder = tempfile::tempdir().unwrap();
    let last = learnt_by_a_vae(mixed(false), folder.path());
    assert!(last < 0.8, "{last}");
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
fn configs_from_before_are_of_full_precision() {
    let mut config = serde_json::to_value(mixed(false)).unwrap();
    assert_eq!(config["precision"], "bf16");
    config.as_object_mut().unwrap().remove("precision");
    let read: TrainerConfig = serde_json::from_value(config).unwrap();
    assert_eq!(read.precision, Precision::Full);
}
