//! Tests of a whole distillation and of its config.

use super::*;
use crate::restore::shuffle::pixel_unshuffle;
use burn::optim::GradientsParams;

/// Returns a distillation with two steps for each stage.
pub(super) fn small() -> DistillConfig {
    let trainer = |adversary| {
        let mut config = trainer_config(adversary);
        config.learner.schedule.steps = 2;
        config
    };
    let start = StudentInit::Fitted(LeastSquaresFit {
        batches: 2,
        ridge: 1e-2,
    });
    let nano = DistillConfig::nano();
    DistillConfig {
        prompt_tokens: TOKENS,
        gendr: gendr(),
        adc: adc(),
        pix: pix(),
        vae: VaeTrainingConfig {
            trainer: trainer(false),
            ..nano.vae
        },
        teacher: trainer(false),
        stage1: Stage1Config {
            trainer: trainer(true),
            start,
        },
        stage2: Stage2Config {
            trainer: trainer(true),
            start,
            ..nano.stage2
        },
        ..nano
    }
}

#[test]
fn all_stages_in_order_yield_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let device = Default::default();
    let run = |stage, steps: &mut u64| {
        distill::<B>(&small(), stage, folder.path(), &[device], |report| {
            *steps = report.step;
            false
        })
    };
    let mut steps = 0;
    let early = run(TrainingStage::Stage1, &mut steps)
        .err()
        .unwrap()
        .to_string();
    assert!(
        early.contains("teacher") && early.contains("train this stage first"),
        "{early}"
    );
    for stage in [
        TrainingStage::Vae,
        TrainingStage::Teacher,
        TrainingStage::Stage1,
    ] {
        assert!(run(stage, &mut steps).unwrap().is_none());
        assert_eq!(std::mem::take(&mut steps), 2);
    }
    let model = run(TrainingStage::Stage2, &mut steps).unwrap().unwrap();
    let picture = Tensor::random([1, 3, 16, 16], Distribution::Default, &device);
    let restored = model.restore(picture.clone(), &Default::default()).unwrap();
    let mut other = small();
    other.gendr.vae.block_out_channels[3] = 16;
    let error = distill::<B>(
        &other,
        TrainingStage::Teacher,
        folder.path(),
        &[device],
        |_| false,
    );
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("another config") && error.contains("block_out_channels"),
        "{error}"
    );
    // A finished stage returns the same model without another step.
    steps = 0;
    let again = run(TrainingStage::Stage2, &mut steps).unwrap().unwrap();
    assert_eq!(steps, 0);
    let again = again.restore(picture, &Default::default()).unwrap();
    restored.into_data().assert_eq(&again.into_data(), true);
}

#[test]
fn gendr_can_be_the_feature_extractor_of_stage_2() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = small();
    config.stage2.discriminator_unet = DiscriminatorUNet::Gendr;
    let device = Default::default();
    let mut last = None;
    for stage in [
        TrainingStage::Vae,
        TrainingStage::Teacher,
        TrainingStage::Stage1,
        TrainingStage::Stage2,
    ] {
        let result = distill::<B>(&config, stage, folder.path(), &[device], |report| {
            last = Some(report.clone());
            false
        });
        result.unwrap();
    }
    assert_eq!(last.unwrap().step, 2);
    let error = distill::<B>(
        &small(),
        TrainingStage::Stage2,
        folder.path(),
        &[device],
        |_| false,
    );
    let error = error.err().unwrap().to_string();
    assert!(error.contains("another config"), "{error}");
}

#[test]
fn the_gradient_passes_through_the_encoder_to_the_picture() {
    let device = Default::default();
    let encoder = vae().encoder.no_grad();
    let picture = Tensor::<B, 4>::random([1, 3, 16, 24], Distribution::Default, &device);
    let picture = picture.require_grad();
    let latent = encoder.to_latent(picture.clone(), None);
    let input = DiscriminatorInput::Latent(Box::new(encoder));
    let converted = input.convert(picture.clone(), 8);
    assert_eq!(converted.dims(), [1, gendr().vae.latent_channels, 2, 3]);
    converted.to_data().assert_eq(&latent.to_data(), true);
    let gradients = converted.powi_scalar(2).sum().backward();
    let gradient = picture.grad(&gradients).unwrap();
    assert!(gradient.abs().max().into_scalar() > 0.0);
    let DiscriminatorInput::Latent(encoder) = input else {
        unreachable!()
    };
    assert!(GradientsParams::from_grads(gradients, &*encoder).is_empty());
    let cells = DiscriminatorInput::UnshuffledPixels
        .convert(picture.clone(), 8)
        .to_data();
    cells.assert_eq(&pixel_unshuffle(picture, 8).to_data(), true);
}

#[test]
fn presets_are_valid_and_have_the_expected_sizes() {
    for (config, parameters) in [
        (DistillConfig::sd21(), [57_266_643, 866_993_792]),
        (DistillConfig::nano(), [926_947, 3_858_592]),
    ] {
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        let read: DistillConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(read, config);
        let device = Default::default();
        let vae = config.gendr.vae.init::<Flex>(&device).unwrap().parameters();
        let unet = config.pix.unet.init::<Flex>(&device).unwrap().parameters();
        assert_eq!([vae, unet], parameters);
    }
}

#[test]
fn invalid_config_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("distill.json");
    let absent = DistillConfig::read(&path);
    assert!(matches!(absent, Err(Error::Io { .. })));
    let mut value = serde_json::to_value(small()).unwrap();
    value["stage2"]["l4"] = 1.into();
    std::fs::write(&path, value.to_string()).unwrap();
    let error = DistillConfig::read(&path).unwrap_err().to_string();
    assert!(error.contains("unknown field `l4`"), "{error}");
    let mut value = serde_json::to_value(small()).unwrap();
    value["prompt_tokens"] = 0.into();
    std::fs::write(&path, value.to_string()).unwrap();
    let error = DistillConfig::read(&path).unwrap_err().to_string();
    assert!(error.contains("prompt_tokens"), "{error}");
}
