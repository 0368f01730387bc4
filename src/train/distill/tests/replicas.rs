//! One training on several devices, all of them the CPU.

use super::whole::small;
use super::*;

fn refused(config: &DistillConfig, devices: usize) -> (&'static str, String) {
    let folder = tempfile::tempdir().unwrap();
    let devices = vec![Default::default(); devices];
    match distill::<B>(config, Pass::Vae, folder.path(), &devices, |_| false).err() {
        Some(Error::Config { field, reason }) => (field, reason),
        other => panic!("{devices:?}: {other:?}"),
    }
}

#[test]
fn there_must_be_devices() {
    assert_eq!(refused(&small(), 0).0, "devices");
}

#[cfg(not(feature = "collective"))]
#[test]
fn several_devices_want_the_feature() {
    let (field, reason) = refused(&small(), 2);
    assert_eq!(field, "devices");
    assert!(reason.contains("`collective`"), "{reason}");
}

#[cfg(feature = "collective")]
mod together {
    use super::*;
    use crate::guidance::Prompt;
    use crate::train::pictures::stream;
    use crate::train::replica::{Replica, on_each};
    use burn::module::{ModuleVisitor, Param};
    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    const TWO: [burn_flex::FlexDevice; 2] = [burn_flex::FlexDevice; 2];

    #[test]
    fn a_step_that_cannot_be_shared_is_refused() {
        let mut config = small();
        config.vae.trainer.accumulate = 3;
        let (field, reason) = refused(&config, 2);
        assert_eq!(field, "accumulate");
        assert!(reason.contains("2 devices cannot share 3"), "{reason}");
    }

    /// All weights of a module.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Values(Vec<f32>);

    impl ModuleVisitor<Flex> for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
            self.0
                .extend(param.val().into_data().to_vec::<f32>().unwrap());
        }
    }

    /// The weights after three steps of two batches each, of a VAE that starts as `pupil`.
    fn trained(replica: Replica, pupil: Vae<B>, folder: &Path) -> crate::Result<Values> {
        let run = small().vae;
        let stage = VaeStage {
            config: run.loss,
            perceptual: run.pyramid.init()?,
        };
        let mut config = run.trainer;
        config.accumulate = 2;
        let (own, on) = ((folder, &()), (replica, &Default::default()));
        let mut trainer = Trainer::replica(config, stage, pupil, None, own, on)?;
        for _ in 0..3 {
            trainer.step()?;
        }
        let mut values = Values::default();
        trainer.average().visit(&mut values);
        Ok(values)
    }

    /// Two replicas that start apart make what one makes of the batches of both, from where the first starts.
    #[test]
    fn two_replicas_are_one_training() {
        let folder = tempfile::tempdir().unwrap();
        let pupil = vae();
        let alone = trained(Replica::ALONE, pupil.clone(), folder.path()).unwrap();
        let second = Mutex::new(Values::default());
        let first = on_each::<B, _>(
            &TWO,
            |replica, _| trained(replica, pupil, folder.path()),
            |replica, _| {
                let other = gendr().vae.init(&Default::default())?;
                *second.lock().unwrap() = trained(replica, other, folder.path())?;
                Ok(())
            },
        );
        let (first, second) = (first.unwrap(), second.into_inner().unwrap());
        assert!(first == alone, "the first is not as one alone");
        assert!(second == alone, "the second is not as the first");
    }

    /// Student and heads of an adversarial stage, whose batches do not all have a gradient for all of it, go on on two
    /// devices as on one.
    #[test]
    fn a_training_goes_on_on_another_number_of_devices() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut config = small();
        config.negative.share = 0.5;
        config.stage2.trainer.accumulate = 2;
        let train = |config: &DistillConfig, pass, folder: &Path, devices: &[_]| {
            distill::<B>(config, pass, folder, devices, |_| false).unwrap();
        };
        for pass in [Pass::Vae, Pass::Teacher, Pass::Stage1, Pass::Stage2] {
            train(&config, pass, folders[0].path(), &TWO[..1]);
        }
        copy(folders[0].path(), folders[1].path());
        config.stage2.trainer.learner.schedule.steps = 16;
        for (folder, devices) in folders.iter().zip([&TWO[..1], &TWO[..]]) {
            train(&config, Pass::Stage2, folder.path(), devices);
        }
        for part in [
            "student-model",
            "student-average",
            "heads-model",
            "heads-average",
        ] {
            let [one, two] = [0, 1].map(|i| {
                let path = format!("stage2/checkpoint-16/{part}.bin");
                fs::read(folders[i].path().join(path)).unwrap()
            });
            assert!(one == two, "{part}");
        }

        // Of the steps from the second on, each replica's prompts: both alike, and not.
        let seed = config.stage2.trainer.data.seed;
        let prompt = |batch| config.negative.draw(&mut stream(!seed, batch)).0;
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

    /// Nobody waits for one that has failed, and the reason is told.
    #[test]
    fn when_one_fails_all_stop() {
        let wait = |replica: Replica| {
            let received = replica.leaders::<B, _>(vae());
            assert!(matches!(received, Err(Error::Collective { .. })));
            received.map(drop)
        };
        let fail = || Err(Error::NonFiniteOutput);
        let three = [Default::default(); 3];
        let led = on_each::<B, ()>(&three, |replica, _| wait(replica), |_, _| fail());
        assert!(matches!(led, Err(Error::NonFiniteOutput)), "{led:?}");
        let led = on_each::<B, ()>(&three, |_, _| fail(), |replica, _| wait(replica));
        assert!(matches!(led, Err(Error::NonFiniteOutput)), "{led:?}");
        let panic = |_, _: &_| panic!("a replica panics, as it should");
        let led = AssertUnwindSafe(|| on_each::<B, ()>(&three, |replica, _| wait(replica), panic));
        assert!(catch_unwind(led).is_err());
        // The next training finds nothing of it.
        let led = on_each::<B, _>(
            &three,
            |replica, _| replica.leaders::<B, _>(vae()),
            |replica, _| replica.leaders::<B, _>(vae()).map(drop),
        );
        led.unwrap();
    }
}
