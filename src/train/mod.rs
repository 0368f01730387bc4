//! Training (feature `train`): procedural pictures, degradation, losses, and the bundled model's training loop.

mod average;
mod data;
pub mod degrade;
mod init;
pub mod losses;
mod nano;
pub mod procedural;

pub use data::DataConfig;
pub use nano::{NanoConfig, NanoTrainer, Progress};
