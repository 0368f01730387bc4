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
    use crate::restore::guidance::Prompt;
    use crate::train::learner::load_average;
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
            |replica, _| trained(replica, pupil.clone(), folder.path()),
            |replica, _| {
                let other = gendr().vae.init(&Default::default())?;
                *second.lock().unwrap() = trained(replica, other, folder.path())?;
                Ok(())
            },
        );
        let (first, second) = (first.unwrap(), second.into_inner().unwrap());
        let mut before = Values::default();
        pupil.valid().visit(&mut before);
        assert_same(&first, &alone, &before);
        assert_same(&second, &first, &before);
    }

    /// Student and heads of an adversarial stage, whose batches do not all have a gradient for all of it, go on on two
    /// devices as on one.
    #[test]
    fn a_training_goes_on_on_another_number_of_devices() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let mut config = small();
        config.negative.share = 0.5;
        config.stage2.trainer.accumulate = 2;
        let train = |config: &DistillConfig, pass, folder: &Path, devices: &[_]| {
            distill::<B>(config, pass, folder, devices, |_| false).unwrap();
        };
        for pass in [Pass::Vae, Pass::Teacher, Pass::Stage1, Pass::Stage2] {
            train(&config, pass, folders[0].path(), &TWO[..1]);
        }
        for copied in &folders[1..] {
            copy(folders[0].path(), copied.path());
        }
        config.stage2.trainer.learner.schedule.steps = 16;
        for (folder, devices) in folders.iter().zip([&TWO[..1], &TWO[..]]) {
            train(&config, Pass::Stage2, folder.path(), devices);
        }
        for part in ["student", "heads"] {
            let [before, one, two] = [(2, 2), (16, 0), (16, 1)].map(|(step, folder)| {
                let folder = folders[folder].path().join("stage2");
                averages(&folder.join(format!("checkpoint-{step}")), part)
            });
            assert_same(&one, &two, &before);
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

    /// The averaged weights of a checkpoint's student or heads.
    fn averages(checkpoint: &Path, part: &str) -> Values {
        let device = Default::default();
        let mut values = Values::default();
        if part == "student" {
            let student = Student::<Flex>::new(&pix().unet, TOKENS, &device).unwrap();
            let student = load_average(student, checkpoint, part, &device).unwrap();
            student.visit(&mut values);
        } else {
            let heads = discriminator().init::<Flex>(&adc().unet, &device).unwrap();
            let heads = load_average(heads, checkpoint, part, &device).unwrap();
            heads.visit(&mut values);
        }
        values
    }

    /// Far nearer to each other than to where they come from. Bit for bit the same from most starts, but not from all: sums
    /// are rounded otherwise, and Adam's first steps are as long for a gradient that is nothing but rounding.
    fn assert_same(a: &Values, b: &Values, before: &Values) {
        let (apart, moved) = (distance(a, b), distance(a, before));
        assert!(apart < 0.1 * moved, "{apart} apart, {moved} moved");
    }

    /// Root of the mean square of the difference.
    fn distance(a: &Values, b: &Values) -> f64 {
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
