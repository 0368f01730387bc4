//! Training (feature `train`): procedural pictures, degradation, losses, and the bundled model's training loop.

mod average;
mod checkpoint;
mod data;
pub mod degrade;
mod discriminator;
mod init;
mod learner;
pub mod losses;
mod nano;
pub mod procedural;
mod schedule;

pub use data::DataConfig;
pub use discriminator::{DiscriminatorConfig, Eyes, Head, Heads, RandPad};
pub use learner::LearnerConfig;
pub use nano::{NanoConfig, NanoTrainer, Progress};
pub use schedule::Schedule;
