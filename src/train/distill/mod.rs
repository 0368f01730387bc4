//! Two-stage adversarial distillation (paper, "Training"): from a latent GenDR to a GenDR-Pix.
//!
//! | objective | student | teacher | discriminator's feature extractor |
//! | --- | --- | --- | --- |
//! | [`VaeObjective`] | a VAE, where none is given | the originals | |
//! | [`TeacherObjective`] | GenDR's UNet | the VAE's latents of the originals | |
//! | [`Stage1Objective`] | GenDR-Adc's UNet | GenDR | GenDR's UNet |
//! | [`Stage2Objective`] | GenDR-Pix's UNet | GenDR-Adc | GenDR-Adc's UNet |
//!
//! A [`Trainer`] runs each of them. The next stage learns from the moving average (EMA) of the
//! weights.

mod config;
mod frozen_teacher;
mod loader;
mod means;
mod objective;
mod run;
mod sample_sheet;
mod stage1;
mod stage2;
mod student_init;
mod teacher;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod trainer;
mod training_stage;
mod vae;

pub use config::{DistillConfig, Stage1Config, Stage2Config, VaeTrainingConfig};
pub use objective::{
    AdversarialSamples, BatchLoss, LossTerm, NegativePromptConfig, Objective, Pair, StudentState,
};
pub use run::distill;
pub use stage1::Stage1Objective;
pub use stage2::{
    DiscriminatorInput, DiscriminatorUNet, PerceptualTerm, Stage2Losses, Stage2Objective,
};
pub use student_init::{LeastSquaresFit, StudentInit};
pub use teacher::TeacherObjective;
pub use trainer::{AdversaryConfig, StepReport, Trainer, TrainerConfig};
pub use training_stage::TrainingStage;
pub use vae::{VaeLossConfig, VaeObjective};
