//! Tests of the VAE's training.

use super::*;

#[test]
fn a_vae_learns() {
    let folder = tempfile::tempdir().unwrap();
    let ratio = error_ratio_of_a_vae(trainer_config(false), folder.path());
    assert!(ratio < 0.8, "{ratio}");
}

/// Returns the error after 60 steps, relative to that of the first steps.
pub(super) fn error_ratio_of_a_vae(config: TrainerConfig, folder: &Path) -> f64 {
    let objective = VaeObjective {
        config: VaeLossConfig {
            perceptual: 1.0,
            divergence: 1e-6,
        },
        perceptual: PyramidConfig::default().init().unwrap(),
    };
    let device = Default::default();
    let mut trainer = Trainer::new(config, objective, vae(), None, (folder, &()), &device).unwrap();
    let reports = run(&mut trainer, 60);
    assert_eq!(names(&reports[0]), ["L1", "L_P", "divergence"]);
    let mean = |reports: &[StepReport]| {
        let errors = reports.iter().map(|report| report.terms["L1"]);
        errors.sum::<f64>() / reports.len() as f64
    };
    mean(&reports[50..]) / mean(&reports[..10])
}
