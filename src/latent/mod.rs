//! The paper's latent models (feature `latent`), which are the predecessors and baselines of
//! GenDR-Pix. They contain a whole VAE or its decoder.
//!
//! ```text
//! GenDR      picture -> VAE encoder       -> UNet, one step -> VAE decoder -> picture
//! GenDR-Adc  picture -> pixel unshuffle x8 -> UNet, one step -> VAE decoder -> picture
//! ```

mod adc;
mod blocks;
mod config;
mod gaussian;
mod gendr;
#[cfg(all(test, feature = "flex", feature = "ndarray", feature = "train"))]
mod gradients;
mod load;
mod macs;
mod model;
mod model_config;
#[cfg(all(test, feature = "flex"))]
mod parity;
mod vae;
mod vae_attention;
mod walk;

pub use adc::GenDrAdc;
pub use config::VaeConfig;
pub use gaussian::Gaussian;
pub use gendr::GenDr;
pub use model::{FoldedCells, LatentModel};
pub use model_config::LatentConfig;
pub use vae::{Vae, VaeDecoder, VaeEncoder};

/// Epsilon of every group norm of a VAE. diffusers has no config field for it.
const NORM_EPSILON: f64 = 1e-6;
