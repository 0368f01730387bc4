//! Models through the public interface: in one program, as each has to compile all of what a model is.

#![cfg(feature = "flex")]

#[allow(dead_code, reason = "only keys are compared here")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pictures.rs"]
mod pictures;
#[path = "../common/program.rs"]
mod program;

mod bad_input;
mod device;
#[cfg(feature = "latent")]
mod latent;
mod progress;
#[cfg(feature = "pretrained")]
mod quality;
mod upscale;
mod weights;
