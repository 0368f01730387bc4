//! Two-stage adversarial distillation (paper, "Training"): from a latent GenDR to a GenDR-Pix.
//!
//! | stage | student | teacher | discriminator's eyes |
//! | --- | --- | --- | --- |
//! | [`VaeStage`] | a VAE, where there is none | the originals | |
//! | [`TeacherStage`] | GenDR's UNet | the VAE's latents of the originals | |
//! | [`Stage1`] | GenDR-Adc's UNet | GenDR | GenDR's UNet |
//! | [`Stage2`] | GenDR-Pix's UNet | GenDR-Adc | GenDR-Adc's UNet |
//!
//! Each is run by a [`Trainer`], whose averaged weights are what the next one learns from.

mod config;
mod feed;
mod frozen;
mod means;
mod run;
mod sheet;
mod stage;
mod stage1;
mod stage2;
mod start;
mod teacher;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod trainer;
mod vae;

pub use config::{DistillConfig, Stage1Run, Stage2Run, VaeRun};
pub use run::{Pass, distill};
pub use stage::{Examined, Negative, Pair, Pupil, Samples, Stage, Term};
pub use stage1::Stage1;
pub use stage2::{Judge, Perceptual, Stage2, Stage2Losses, View};
pub use start::{Fit, Start};
pub use teacher::TeacherStage;
pub use trainer::{AdversaryConfig, Report, Trainer, TrainerConfig};
pub use vae::{VaeLossConfig, VaeStage};
