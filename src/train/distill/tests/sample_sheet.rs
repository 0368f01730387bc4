//! Tests of the sample sheets.

use super::*;

#[test]
fn sample_sheets_are_written_at_the_configured_interval() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    let models = TestModels::new();
    let mut config = trainer_config(false);
    run(
        &mut models.stage2(config.clone(), folder.path()).unwrap(),
        2,
    );
    assert!(!samples.exists());
    config.samples_every = 2;
    let mut trainer = models.stage2(config.clone(), folder.path()).unwrap();
    run(&mut trainer, 5);
    let mut names: Vec<_> = std::fs::read_dir(&samples)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["step-2.png", "step-4.png"]);
    let read = |step: u64| {
        let picture = image::open(samples.join(format!("step-{step}.png"))).unwrap();
        picture.to_rgb8()
    };
    let [two, four] = [read(2), read(4)];
    let side = CROP as u32;
    assert_eq!(two.dimensions(), (3 * side, 4 * side));
    // Input and original are the same in both sheets. The student's output differs.
    for (part, same) in [(0, true), (1, false), (2, true)] {
        let column = |sheet: &image::RgbImage| {
            image::imageops::crop_imm(sheet, part * side, 0, side, 4 * side).to_image()
        };
        assert_eq!(column(&two) == column(&four), same, "{part}");
    }

    // `samples_every` may change between runs.
    trainer.checkpoint().unwrap();
    config.samples_every = 0;
    let resumed = models.stage2(config, folder.path()).unwrap();
    assert_eq!(resumed.steps_done(), 5);

    std::fs::remove_dir_all(&samples).unwrap();
    std::fs::write(&samples, "in the way").unwrap();
    assert!(matches!(trainer.step(), Err(Error::Io { .. })));
    assert_eq!(trainer.steps_done(), 6);
}
