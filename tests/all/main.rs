//! All integration tests that need no GPU, in one program: each program compiles the whole model
//! again.

mod cli;
#[cfg(all(feature = "flex", feature = "train"))]
mod distill;
#[cfg(all(feature = "flex", feature = "latent"))]
mod efficiency;
mod floors;
#[cfg(feature = "flex")]
mod models;
mod parity;
mod pictures;
#[allow(dead_code, reason = "not every set of features needs all of it")]
mod support;
