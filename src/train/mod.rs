//! Training (feature `train`): procedural pictures and pictures from a folder, degradations,
//! losses, the training loop of the bundled model, and the paper's distillation.

mod checkpoint;
mod data;
pub mod degrade;
mod discriminator;
pub mod distill;
mod ema;
mod learner;
mod least_squares;
pub mod losses;
mod nano;
mod pictures;
pub mod procedural;
mod random;
mod replica;
mod schedule;
mod student;

pub use crate::backend::precision::Precision;
pub use crate::pixels::planes::Planes;
pub use data::DataConfig;
pub use discriminator::{
    DiscriminatorConfig, DiscriminatorHead, DiscriminatorHeads, FeatureExtractor, RandPad,
};
pub use learner::LearnerConfig;
pub use nano::{NanoConfig, NanoStepReport, NanoTrainer};
pub use pictures::{PictureSource, Pictures, SkipReason, Skipped, read_picture};
pub use schedule::Schedule;
pub use student::Student;
