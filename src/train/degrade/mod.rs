//! From a high-quality picture to the low-quality one a network must restore.
//!
//! [`Degradation`] is one pass in the order of a camera and a file, mostly mild: the bundled model's. [`TwoOrder`] is the
//! two rounds of Real-ESRGAN, which the paper trains on, and APISR's. Results depend on the settings, the picture, the
//! scale and the random numbers alone.

mod chroma;
mod intra;
mod jpeg;
mod kernels;
mod noise;
mod one_pass;
mod presets;
#[cfg(test)]
mod tests;
mod two_order;
mod validate;

pub(in crate::train) use noise::normal;
pub use one_pass::Degradation;
pub use two_order::{
    BlurConfig, Bounds, CompressionConfig, Forms, NoiseConfig, ResizeConfig, Round, Sinc, TwoOrder,
};

use crate::error::Result;
use crate::pixels::planes::Planes;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// How low-quality pictures are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degrade {
    /// One pass.
    OnePass(Degradation),
    /// Two rounds.
    TwoOrder(Box<TwoOrder>),
}

impl Degrade {
    /// The low-quality version of `high`, `scale` times smaller (rounded, at least one pixel), in 8-bit steps.
    ///
    /// # Panics
    ///
    /// When `high` is not RGB, `scale` is below 1, or the settings are not [valid](Self::validate).
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        match self {
            Self::OnePass(settings) => settings.apply(high, scale, rng),
            Self::TwoOrder(settings) => settings.apply(high, scale, rng),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) with the first setting at fault.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::OnePass(settings) => settings.validate(),
            Self::TwoOrder(settings) => settings.validate(),
        }
    }
}

impl From<Degradation> for Degrade {
    fn from(settings: Degradation) -> Self {
        Self::OnePass(settings)
    }
}

impl From<TwoOrder> for Degrade {
    fn from(settings: TwoOrder) -> Self {
        Self::TwoOrder(Box::new(settings))
    }
}

/// Width and height of `high` reduced by `scale`, rounded, at least one pixel.
fn reduced_size(high: &Planes, scale: f64) -> (usize, usize) {
    assert_eq!(
        high.channels, 3,
        "{} planes where RGB is due",
        high.channels
    );
    assert!(scale >= 1.0, "scale {scale} would enlarge");
    let size = |n: usize| ((n as f64 / scale).round() as usize).max(1);
    (size(high.width), size(high.height))
}

/// A picture for the tests of this folder.
#[cfg(test)]
mod test_picture {
    use crate::pixels::planes::Planes;

    /// Smooth colour waves with some fine detail.
    pub(super) fn waves(width: usize, height: usize) -> Planes {
        let mut picture = Planes::filled(3, width, height, 0.0);
        for c in 0..3 {
            for (i, value) in picture.plane_mut(c).iter_mut().enumerate() {
                let (x, y) = ((i % width) as f32, (i / width) as f32);
                *value = 0.5
                    + 0.3 * (x * 0.05 * (c + 1) as f32).sin() * (y * 0.07).cos()
                    + 0.15 * (x * 0.9 + y * 0.7 + c as f32).sin();
            }
        }
        picture
    }
}
