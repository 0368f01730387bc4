//! Models through the public interface.

mod bad_input;
mod device;
#[cfg(feature = "latent")]
mod latent;
mod progress;
#[cfg(feature = "pretrained")]
mod quality;
mod upscale;
mod weights;
