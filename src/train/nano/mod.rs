//! Training of the bundled model, a one-step restoration model, on procedural pictures and photos.

mod config;
mod init;
mod objective;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod trainer;

pub use config::NanoConfig;
pub use trainer::{NanoStepReport, NanoTrainer};
