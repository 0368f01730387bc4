//! Where a student starts.

use super::*;
use crate::restore::shuffle::pixel_unshuffle;
use burn::module::ModuleVisitor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

const BATCHES: usize = 12;
const FITTED: Start = Start::Fitted(Fit {
    batches: BATCHES,
    ridge: 1e-3,
});

/// Nothing is learnt, so that every batch tells of the start; and the pictures are many enough to fit on.
fn still() -> TrainerConfig {
    let mut config = trainer_config(false);
    config.learner.schedule.learning_rate = 0.0;
    config.data.batch = 4;
    config.data.crop = 64;
    config.data.window = 16;
    config.data.fresh = 1.0;
    config
}

/// The mean of `term` over batches that come after those of the fit.
fn held_out<S: Stage<B>>(mut trainer: Trainer<B, S>, term: &str) -> f64 {
    let reports = run(&mut trainer, BATCHES + 4);
    let held_out = reports[BATCHES..].iter().map(|report| report.terms[term]);
    held_out.sum::<f64>() / 4.0
}

#[test]
fn a_fitted_start_is_nearer_to_the_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = Weights::new();
    let mut of = |start| {
        weights.start = start;
        let stage1 = weights.stage1(still(), folder.path()).unwrap();
        let stage2 = weights.stage2(still(), folder.path()).unwrap();
        [held_out(stage1, "latent L1"), held_out(stage2, "L1")]
    };
    let (teacher, fitted) = (of(Start::Teacher), of(FITTED));
    for (teacher, fitted) in teacher.into_iter().zip(fitted) {
        assert!(fitted < 0.8 * teacher, "{fitted} {teacher}");
    }
}

/// The student takes over what is between the ends, and all of it can learn, though the teacher cannot.
#[test]
fn a_start_can_be_learnt_from() {
    struct Frozen(Vec<String>);
    impl ModuleVisitor<B> for Frozen {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if !param.is_require_grad() {
                self.0.push(format!("{:?}", param.dims()));
            }
        }
    }
    let mut weights = Weights::new();
    for start in [Start::Teacher, FITTED] {
        weights.start = start;
        let stage = weights.stage1_alone().unwrap();
        let mut pupil = student(&adc().unet);
        let picture =
            |_| Tensor::random([4, 3, 64, 64], Distribution::Default, &Default::default());
        let mut pairs = (0..).map(picture).map(|input: Tensor<B, 4>| Pair {
            target: input.clone(),
            input,
        });
        Stage::<B>::start(&stage, &mut pupil, &mut pairs).unwrap();
        let mut frozen = Frozen(Vec::new());
        pupil.visit(&mut frozen);
        assert!(frozen.0.is_empty(), "{start:?}: {:?}", frozen.0);
        let prompts = [pupil.valid().positive.val(), weights.gendr.positive.val()];
        let [own, teachers] = prompts.map(Tensor::into_data);
        own.assert_eq(&teachers, true);
    }
}

/// A training that goes on is not set up anew.
#[test]
fn a_resumed_training_keeps_what_it_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = Weights::new();
    weights.start = Start::Fitted(Fit {
        batches: 2,
        ridge: 1e-2,
    });
    let new = || {
        weights
            .stage1(trainer_config(false), folder.path())
            .unwrap()
    };
    let mut trainer = new();
    run(&mut trainer, 2);
    trainer.checkpoint().unwrap();
    let expected = run(&mut trainer, 2);
    assert_eq!(run(&mut new(), 2), expected);
}

/// The cells of a picture, encoded by a linear encoder, through a convolution of 3x3 cells: one convolution does the same.
#[test]
fn a_linear_encoder_is_fitted_exactly() {
    let device = Default::default();
    let random = |shape| Tensor::<Flex, 4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let bias = |of| Tensor::<Flex, 1>::random([of], Distribution::Default, &device);
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
    let fit = Fit {
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
fn starts_that_cannot_be_are_named() {
    let (student, teacher) = (adc().unet, gendr().unet);
    FITTED.validate(&student, &teacher).unwrap();
    let mut wider = student.clone();
    wider.block_out_channels[1] *= 2;
    Start::Random.validate(&wider, &teacher).unwrap();
    let fitted = |batches, ridge| Start::Fitted(Fit { batches, ridge });
    for (start, student, wanted) in [
        (Start::Teacher, &wider, "start"),
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

/// The first figures in the docs of [`Start`].
#[test]
#[ignore = "a measurement, of half an hour on two cores"]
fn starts_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = whole::small();
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
        trainer.data = still().data;
        trainer.data.window = 64;
        trainer.learner.schedule.steps = steps;
        trainer.learner.average = 0.99;
        trainer.adversary = None;
    }
    let train = |config: &DistillConfig, pass: Pass, term: &str| -> Vec<f64> {
        let mut values = Vec::new();
        distill::<B>(
            config,
            pass,
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
    println!("VAE: L1 {:.4}", end(train(&config, Pass::Vae, "L1")));
    let teacher = end(train(&config, Pass::Teacher, "latent L1"));
    println!("teacher: latent L1 {teacher:.4}");
    let fitted = |ridge| Start::Fitted(Fit { batches: 32, ridge });
    for (pass, term) in [(Pass::Stage1, "latent L1"), (Pass::Stage2, "L1")] {
        for start in [
            Start::Random,
            Start::Teacher,
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
                let own = folder.path().join(pass.folder());
                if own.exists() {
                    std::fs::remove_dir_all(own).unwrap();
                }
                end(train(&config, pass, term))
            };
            let (before, after) = (run(52, 0.0), run(300, 1e-3));
            println!("{pass:?} {start:?}: {term} {before:.4}, after 300 steps {after:.4}");
        }
    }
}
