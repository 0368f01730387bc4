//! Tests of a training run on several devices, all of which are the CPU.

use super::pipeline::small;
use super::*;

/// Returns field and reason of the error that refuses `devices` devices.
fn refused(config: &DistillConfig, devices: usize) -> (&'static str, String) {
    let folder = tempfile::tempdir().unwrap();
    let devices = vec![Default::default(); devices];
    match distill::<B>(config, TrainingStage::Vae, folder.path(), &devices, |_| {
        false
    })
    .err()
    {
        Some(Error::Config { field, reason }) => (field, reason),
        other => panic!("{devices:?}: {other:?}"),
    }
}

#[test]
fn no_devices_are_refused() {
    assert_eq!(refused(&small(), 0).0, "devices");
}

#[cfg(not(feature = "collective"))]
#[test]
fn several_devices_need_the_feature() {
    let (field, reason) = refused(&small(), 2);
    assert_eq!(field, "devices");
    assert!(reason.contains("`collective`"), "{reason}");
}

#[cfg(feature = "collective")]
mod together {
    use super::*;
    use crate::restore::guidance::Prompt;
    use crate::train::learner::load_ema;
    use crate::train::random::rng_stream;
    use crate::train::replica::{Replica, run_replicas};
    use burn::module::{ModuleVisitor, Param};
    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    const TWO: [burn_flex::FlexDevice; 2] = [burn_flex::FlexDevice; 2];

    #[test]
    fn batches_that_cannot_be_shared_evenly_are_refused() {
        let mut config = small();
        config.vae.trainer.accumulate = 3;
        let (field, reason) = refused(&config, 2);
        assert_eq!(field, "accumulate");
        assert!(reason.contains("2 devices cannot share 3"), "{reason}");
    }

    /// Collects all weights of a module.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct AllWeights(Vec<f32>);

    impl ModuleVisitor<Flex> for AllWeights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
            self.0
                .extend(param.val().into_data().to_vec::<f32>().unwrap());
        }
    }

    /// Returns the weights of the VAE `student` after three steps of two batches each.
    fn trained(replica: Replica, student: Vae<B>, folder: &Path) -> crate::Result<AllWeights> {
        let own = small().vae;
        let objective = VaeObjective {
            config: own.loss,
            perceptual: own.pyramid.init()?,
        };
        let mut config = own.trainer;
        config.accumulate = 2;
        let (checkpoints, replica) = ((folder, &()), (replica, &Default::default()));
        let mut trainer = Trainer::replica(config, objective, student, None, checkpoints, replica)?;
        for _ in 0..3 {
            trainer.step()?;
        }
        let mut values = AllWeights::default();
        trainer.ema().visit(&mut values);
        Ok(values)
    }

    /// Two replicas with different initial weights give the result of one that starts from the
    /// first's weights and has the batches of both.
    #[test]
    fn two_replicas_equal_one() {
        let folder = tempfile::tempdir().unwrap();
        let student = vae();
        let single = trained(Replica::SINGLE, student.clone(), folder.path()).unwrap();
        let second = Mutex::new(AllWeights::default());
        let first = run_replicas::<B, _>(
            &TWO,
            |replica, _| trained(replica, student.clone(), folder.path()),
            |replica, _| {
                let other = gendr().vae.init(&Default::default())?;
                *second.lock().unwrap() = trained(replica, other, folder.path())?;
                Ok(())
            },
        );
        let (first, second) = (first.unwrap(), second.into_inner().unwrap());
        let mut before = AllWeights::default();
        student.valid().visit(&mut before);
        assert_same(&first, &single, &before);
        assert_same(&second, &first, &before);
    }

    /// A resumed adversarial stage trains student and heads on two devices as on one. Not every
    /// batch has a gradient of every parameter.
    #[test]
    fn a_training_run_resumes_on_another_number_of_devices() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut config = small();
        config.negative.share = 0.5;
        config.stage2.trainer.accumulate = 2;
        let train = |config: &DistillConfig, stage, folder: &Path, devices: &[_]| {
            distill::<B>(config, stage, folder, devices, |_| false).unwrap();
        };
        for stage in [
            TrainingStage::Vae,
            TrainingStage::Teacher,
            TrainingStage::Stage1,
            TrainingStage::Stage2,
        ] {
            train(&config, stage, folders[0].path(), &TWO[..1]);
        }
        for copied in &folders[1..] {
            copy(folders[0].path(), copied.path());
        }
        config.stage2.trainer.learner.schedule.steps = 16;
        for (folder, devices) in folders.iter().zip([&TWO[..1], &TWO[..]]) {
            train(&config, TrainingStage::Stage2, folder.path(), devices);
        }
        for part in ["student", "heads"] {
            let [before, one, two] = [(2, 2), (16, 0), (16, 1)].map(|(step, folder)| {
                let folder = folders[folder].path().join("stage2");
                averaged_weights(&folder.join(format!("checkpoint-{step}")), part)
            });
            assert_same(&one, &two, &before);
        }

        // In the resumed steps, the prompts of the two replicas are equal in some and differ in
        // others.
        let seed = config.stage2.trainer.data.seed;
        let prompt = |batch| config.negative.draw_prompt(&mut rng_stream(!seed, batch)).0;
        let steps: Vec<_> = (2..16)
            .map(|step| [0, 1].map(|i| prompt(2 * step + i)))
            .collect();
        for prompts in [
            [Prompt::Positive, Prompt::Negative],
            [Prompt::Negative, Prompt::Negative],
            [Prompt::Positive, Prompt::Positive],
        ] {
            assert!(
                steps.contains(&prompts),
                "{prompts:?} is not among {steps:?}"
            );
        }
    }

    /// Loads the averaged weights of a checkpoint's student or heads.
    fn averaged_weights(checkpoint: &Path, part: &str) -> AllWeights {
        let device = Default::default();
        let mut values = AllWeights::default();
        if part == "student" {
            let student = Student::<Flex>::new(&pix().unet, TOKENS, &device).unwrap();
            let student = load_ema(student, checkpoint, part, &device).unwrap();
            student.visit(&mut values);
        } else {
            let heads = discriminator().init::<Flex>(&adc().unet, &device).unwrap();
            let heads = load_ema(heads, checkpoint, part, &device).unwrap();
            heads.visit(&mut values);
        }
        values
    }

    /// Asserts that two results are far nearer to each other than to the initial weights. They are
    /// equal bit for bit for most initial weights, but not for all: the sums round differently, and
    /// Adam's first steps have full length even if a gradient is only rounding error.
    fn assert_same(a: &AllWeights, b: &AllWeights, before: &AllWeights) {
        let (apart, moved) = (distance(a, b), distance(a, before));
        assert!(apart < 0.1 * moved, "{apart} apart, {moved} moved");
    }

    /// Returns the root mean square of the difference.
    fn distance(a: &AllWeights, b: &AllWeights) -> f64 {
        let squares =
            a.0.iter()
                .zip(&b.0)
                .map(|(&a, &b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / a.0.len() as f64).sqrt()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (from, to) = {
                let entry = entry.unwrap();
                (entry.path(), to.join(entry.file_name()))
            };
            if from.is_dir() {
                copy(&from, &to);
            } else {
                fs::copy(&from, &to).unwrap();
            }
        }
    }

    /// No replica waits for one that has failed, and the error is that of the failed one.
    #[test]
    fn if_one_replica_fails_all_stop() {
        let wait = |replica: Replica| {
            let received = replica.broadcast_from_leader::<B, _>(vae());
            assert!(matches!(received, Err(Error::Collective { .. })));
            received.map(drop)
        };
        let fail = || Err(Error::NonFiniteOutput);
        let three = [Default::default(); 3];
        let result = run_replicas::<B, ()>(&three, |replica, _| wait(replica), |_, _| fail());
        assert!(matches!(result, Err(Error::NonFiniteOutput)), "{result:?}");
        let result = run_replicas::<B, ()>(&three, |_, _| fail(), |replica, _| wait(replica));
        assert!(matches!(result, Err(Error::NonFiniteOutput)), "{result:?}");
        let panic = |_, _: &_| panic!("this panic is part of the test");
        let result =
            AssertUnwindSafe(|| run_replicas::<B, ()>(&three, |replica, _| wait(replica), panic));
        assert!(catch_unwind(result).is_err());
        // The failure does not affect the next training run.
        let result = run_replicas::<B, _>(
            &three,
            |replica, _| replica.broadcast_from_leader::<B, _>(vae()),
            |replica, _| replica.broadcast_from_leader::<B, _>(vae()).map(drop),
        );
        result.unwrap();
    }
}
