//! Tests of the bundled model's training.

use super::{NanoConfig, NanoStepReport, NanoTrainer};
use crate::backend::Flex;
use crate::error::Error;
use crate::train::student::Student;
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
    let values = |p: NanoStepReport| (p.relative_l1, p.fourier, p.rate);
    (0..count)
        .map(|_| values(trainer.step().unwrap()))
        .collect()
}

#[test]
fn a_resumed_training_run_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let device = Default::default();
    let mut uninterrupted = NanoTrainer::<B>::new(small(), folder.path(), &device).unwrap();
    steps(&mut uninterrupted, 2);
    uninterrupted.checkpoint().unwrap();
    let expected = steps(&mut uninterrupted, 4);
    let mut resumed = NanoTrainer::<B>::new(small(), folder.path(), &device).unwrap();
    assert_eq!(resumed.steps_done(), 2);
    assert_eq!(steps(&mut resumed, 4), expected);
}

#[test]
fn training_from_a_bundle_changes_all_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let device = Default::default();
    let new = |config, name| NanoTrainer::<B>::new(config, &path(name), &device);
    // Steps large enough to change weights of about one, without the rounding of an average.
    let mut config = small();
    config.learner.ema_decay = 0.0;
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
    // The negative prompt is trained in the third step.
    assert_eq!(unchanged, ["prompt.negative"]);

    config.prompt_tokens += 1;
    let error = new(config, "third")
        .unwrap()
        .start_from(&path("a.safetensors"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("prompt_tokens"), "{error}");
}

#[test]
fn a_non_finite_loss_stops_before_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = NanoTrainer::<B>::new(small(), folder.path(), &Default::default()).unwrap();
    steps(&mut trainer, 1);
    let config = small();
    let mut broken =
        Student::new(&config.model.unet, config.prompt_tokens, &trainer.device).unwrap();
    broken.positive = Param::from_tensor((broken.positive.val() * f32::NAN).detach());
    trainer.trainer.start_from(broken);
    let error = trainer.step().unwrap_err();
    assert!(
        matches!(error, Error::Diverged { step: 2, term: "L1", value } if value.is_nan()),
        "{error}"
    );
    assert_eq!(trainer.steps_done(), 1);
}
