//! Degrades a high-quality picture to the low-quality one that a network learns to restore.
//!
//! [`FirstOrderDegradation`] applies each degradation once, in the order of a camera and a file,
//! and mostly mildly. The bundled model is trained on it. [`SecondOrderDegradation`] is the two
//! rounds of Real-ESRGAN, which the paper trains on, or of APISR. Results depend on the settings,
//! the picture, the scale and the random numbers alone.

mod chroma;
mod degradation;
mod first_order;
mod intra;
mod jpeg;
mod kernels;
mod noise;
mod presets;
mod second_order;
mod size;
#[cfg(test)]
mod test_picture;
#[cfg(test)]
mod tests;
mod validate;

pub use degradation::Degradation;
pub use first_order::FirstOrderDegradation;
pub use second_order::{
    BlurConfig, CompressionConfig, DegradationRound, Interval, KernelWeights, NoiseConfig,
    ResizeConfig, SecondOrderDegradation, SincConfig,
};
