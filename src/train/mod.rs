//! Training (feature `train`): pictures, procedural or from a folder, degradation, losses, and the bundled model's training loop.

mod average;
mod checkpoint;
mod data;
pub mod degrade;
mod discriminator;
pub mod distill;
mod init;
mod learner;
mod least_squares;
pub mod losses;
mod nano;
mod pictures;
pub mod procedural;
mod replica;
mod schedule;
mod student;

pub use crate::backend::precision::Precision;
pub use crate::pixels::planes::Planes;
pub use data::DataConfig;
pub use discriminator::{DiscriminatorConfig, Eyes, Head, Heads, RandPad};
pub use learner::LearnerConfig;
pub use nano::{NanoConfig, NanoTrainer, Progress};
pub use pictures::{PictureSource, Pictures, SkipReason, Skipped, read_picture};
pub use schedule::Schedule;
pub use student::Student;
