//! Tests of invalid settings.

use super::*;

#[test]
fn invalid_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = |change: fn(&mut TrainerConfig)| {
        let mut config = trainer_config(false);
        change(&mut config);
        config
    };
    for (config, wanted) in [
        (config(|c| c.accumulate = 0), "accumulate"),
        (config(|c| c.data.batch = 0), "batch"),
        (
            config(|c| c.learner.schedule.learning_rate = -1.0),
            "learning_rate",
        ),
    ] {
        match TestModels::new().stage1(config, folder.path()).err() {
            Some(Error::Config { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    for (negative, wanted) in [
        (
            NegativePromptConfig {
                share: 1.5,
                ..NEGATIVE
            },
            "negative.share",
        ),
        (
            NegativePromptConfig {
                weight: f64::NAN,
                ..NEGATIVE
            },
            "negative.weight",
        ),
    ] {
        match TeacherObjective::new(gendr(), vae().valid(), negative).err() {
            Some(Error::Config { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let objective = TeacherObjective::new(gendr(), vae().valid(), NEGATIVE).unwrap();
    let error = Trainer::<B, _>::new(
        trainer_config(true),
        objective,
        student(&gendr().unet),
        None,
        (folder.path(), &()),
        &Default::default(),
    );
    let error = error.err().unwrap().to_string();
    assert!(error.contains("adversary"), "{error}");
}
