//! Tests of a student's initialisation.

use super::*;
use crate::restore::shuffle::pixel_unshuffle;
use burn::module::ModuleVisitor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

const BATCHES: usize = 12;
const FITTED: StudentInit = StudentInit::Fitted(LeastSquaresFit {
    batches: BATCHES,
    ridge: 1e-3,
});

/// Returns a config with a learning rate of zero, so that every step measures the initial weights,
/// and with enough pictures for a fit.
fn zero_rate_config() -> TrainerConfig {
    let mut config = trainer_config(false);
    config.learner.schedule.learning_rate = 0.0;
    config.data.batch = 4;
    config.data.crop = 64;
    config.data.window = 16;
    config.data.fresh = 1.0;
    config
}

/// Returns the mean of `term` over batches that follow those of the fit.
fn held_out<O: Objective<B>>(mut trainer: Trainer<B, O>, term: &str) -> f64 {
    let reports = run(&mut trainer, BATCHES + 4);
    let held_out = reports[BATCHES..].iter().map(|report| report.terms[term]);
    held_out.sum::<f64>() / 4.0
}

#[test]
fn a_fitted_student_is_nearer_to_the_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let mut models = TestModels::new();
    let mut losses = |start| {
        models.start = start;
        let stage1 = models.stage1(zero_rate_config(), folder.path()).unwrap();
        let stage2 = models.stage2(zero_rate_config(), folder.path()).unwrap();
        [held_out(stage1, "latent L1"), held_out(stage2, "L1")]
    };
    let (teacher, fitted) = (losses(StudentInit::Teacher), losses(FITTED));
    for (teacher, fitted) in teacher.into_iter().zip(fitted) {
        assert!(fitted < 0.8 * teacher, "{fitted} {teacher}");
    }
}

/// All parameters of the student are trainable, although those of the teacher are frozen.
#[test]
fn an_initialised_student_is_trainable() {
    struct FrozenParameters(Vec<String>);
    impl ModuleVisitor<B> for FrozenParameters {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if !param.is_require_grad() {
                self.0.push(format!("{:?}", param.dims()));
            }
        }
    }
    let mut models = TestModels::new();
    for start in [StudentInit::Teacher, FITTED] {
        models.start = start;
        let objective = models.stage1_objective().unwrap();
        let mut student = student(&adc().unet);
        let picture =
            |_| Tensor::random([4, 3, 64, 64], Distribution::Default, &Default::default());
        let mut pairs = (0..).map(picture).map(|input: Tensor<B, 4>| Pair {
            target: input.clone(),
            input,
        });
        Objective::<B>::init_student(&objective, &mut student, &mut pairs).unwrap();
        let mut frozen = FrozenParameters(Vec::new());
        student.visit(&mut frozen);
        assert!(frozen.0.is_empty(), "{start:?}: {:?}", frozen.0);
        let prompts = [student.valid().positive.val(), models.gendr.positive.val()];
        let [own, teachers] = prompts.map(Tensor::into_data);
        own.assert_eq(&teachers, true);
    }
}

/// A resumed training run does not initialise its student again.
#[test]
fn a_resumed_training_run_keeps_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let mut models = TestModels::new();
    models.start = StudentInit::Fitted(LeastSquaresFit {
        batches: 2,
        ridge: 1e-2,
    });
    let new = || models.stage1(trainer_config(false), folder.path()).unwrap();
    let mut trainer = new();
    run(&mut trainer, 2);
    trainer.checkpoint().unwrap();
    let expected = run(&mut trainer, 2);
    assert_eq!(run(&mut new(), 2), expected);
}

/// A linear encoder followed by a 3x3 convolution of its latents equals one convolution of the
/// pixel-unshuffled picture.
#[test]
fn a_linear_encoder_is_fitted_exactly() {
    let device = Default::default();
    let random = |shape| Tensor::<Flex, 4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let bias = |length| Tensor::<Flex, 1>::random([length], Distribution::Default, &device);
    let conv = |x, weight, bias| {
        let options = ConvOptions::new([1; 2], [1; 2], [1; 2], 1);
        conv2d(x, weight, Some(bias), options)
    };
    let (encoder, first) = (random([4, 12, 1, 1]), random([8, 4, 3, 3]));
    let first_bias = bias(8);
    let pairs: Vec<_> = (0..3)
        .map(|_| {
            let cells = pixel_unshuffle(random([2, 3, 32, 32]), 2);
            let [n, c, h, w] = cells.dims();
            let flat = cells.clone().swap_dims(0, 1).reshape([c, n * h * w]);
            let latent = encoder.clone().reshape([4, 12]).matmul(flat);
            let latent = latent.reshape([4, n, h, w]).swap_dims(0, 1);
            (cells, conv(latent, first.clone(), first_bias.clone()))
        })
        .collect();
    let fit = LeastSquaresFit {
        batches: 3,
        ridge: 1e-9,
    };
    let (weight, bias) = fit.convolution(pairs.clone()).unwrap();
    for (cells, expected) in pairs {
        let error = (conv(cells, weight.clone(), bias.clone()) - expected).abs();
        let largest: f32 = error.max().into_scalar();
        assert!(largest < 1e-3, "{largest}");
    }
}

#[test]
fn invalid_initialisations_are_refused() {
    let (student, teacher) = (adc().unet, gendr().unet);
    FITTED.validate(&student, &teacher).unwrap();
    let mut wider = student.clone();
    wider.block_out_channels[1] *= 2;
    StudentInit::Random.validate(&wider, &teacher).unwrap();
    let fitted = |batches, ridge| StudentInit::Fitted(LeastSquaresFit { batches, ridge });
    for (start, student, wanted) in [
        (StudentInit::Teacher, &wider, "start"),
        (fitted(0, 1e-3), &student, "start.batches"),
        (fitted(1, 0.0), &student, "start.ridge"),
        (fitted(1, f64::NAN), &student, "start.ridge"),
    ] {
        match start.validate(student, &teacher) {
            Err(Error::Config { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

/// Measures the first figures in the docs of [`StudentInit`].
#[test]
#[ignore = "a measurement that takes half an hour on two cores"]
fn initialisations_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = pipeline::small();
    let vae = VaeConfig {
        latent_channels: 8,
        block_out_channels: vec![8, 16, 16, 32],
        ..gendr().vae
    };
    let wide = |unet: UNetConfig| UNetConfig {
        block_out_channels: vec![32, 32],
        ..unet
    };
    config.gendr = LatentConfig {
        unet: wide(unet(8, 8)),
        vae: vae.clone(),
        onestep: OneStep::residual(1.0),
        ..gendr()
    };
    config.adc = LatentConfig {
        unet: wide(unet(192, 8)),
        vae,
        ..adc()
    };
    config.pix.unet = wide(unet(192, 192));
    for (trainer, steps) in [
        (&mut config.vae.trainer, 600),
        (&mut config.teacher, 300),
        (&mut config.stage1.trainer, 0),
        (&mut config.stage2.trainer, 0),
    ] {
        trainer.data = zero_rate_config().data;
        trainer.data.window = 64;
        trainer.learner.schedule.steps = steps;
        trainer.learner.ema_decay = 0.99;
        trainer.adversary = None;
    }
    let train = |config: &DistillConfig, stage: TrainingStage, term: &str| -> Vec<f64> {
        let mut values = Vec::new();
        distill::<B>(
            config,
            stage,
            folder.path(),
            &[Default::default()],
            |report| {
                values.push(report.terms[term]);
                false
            },
        )
        .unwrap();
        values
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let end = |values: Vec<f64>| mean(&values[values.len() - 20..]);
    println!(
        "VAE: L1 {:.4}",
        end(train(&config, TrainingStage::Vae, "L1"))
    );
    let teacher = end(train(&config, TrainingStage::Teacher, "latent L1"));
    println!("teacher: latent L1 {teacher:.4}");
    let fitted = |ridge| StudentInit::Fitted(LeastSquaresFit { batches: 32, ridge });
    for (stage, term) in [
        (TrainingStage::Stage1, "latent L1"),
        (TrainingStage::Stage2, "L1"),
    ] {
        for start in [
            StudentInit::Random,
            StudentInit::Teacher,
            fitted(1e-1),
            fitted(1e-2),
            fitted(1e-3),
            fitted(1e-4),
        ] {
            (config.stage1.start, config.stage2.start) = (start, start);
            let mut run = |steps, learning_rate| {
                for trainer in [&mut config.stage1.trainer, &mut config.stage2.trainer] {
                    trainer.learner.schedule.steps = steps;
                    trainer.learner.schedule.learning_rate = learning_rate;
                }
                let own = folder.path().join(stage.folder());
                if own.exists() {
                    std::fs::remove_dir_all(own).unwrap();
                }
                end(train(&config, stage, term))
            };
            let (before, after) = (run(52, 0.0), run(300, 1e-3));
            println!("{stage:?} {start:?}: {term} {before:.4}, after 300 steps {after:.4}");
        }
    }
}
