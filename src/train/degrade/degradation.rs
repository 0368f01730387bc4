//! The two kinds of degradation, as a setting.

use super::first_order::FirstOrderDegradation;
use super::second_order::SecondOrderDegradation;
use crate::error::Result;
use crate::pixels::planes::Planes;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// The method that produces low-quality pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Degradation {
    /// Applies each degradation once. `one_pass` in JSON.
    #[serde(rename = "one_pass")]
    FirstOrder(FirstOrderDegradation),
    /// Applies two rounds of degradations. `two_order` in JSON.
    #[serde(rename = "two_order")]
    SecondOrder(Box<SecondOrderDegradation>),
}

impl Degradation {
    /// Returns the low-quality version of `high`, `scale` times smaller (rounded, at least one
    /// pixel), in 8-bit steps.
    ///
    /// # Panics
    ///
    /// Panics if `high` is not RGB, `scale` is below 1, or the settings are not
    /// [valid](Self::validate).
    pub fn apply(&self, high: &Planes, scale: f64, rng: &mut impl Rng) -> Planes {
        match self {
            Self::FirstOrder(settings) => settings.apply(high, scale, rng),
            Self::SecondOrder(settings) => settings.apply(high, scale, rng),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) with the first invalid setting.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::FirstOrder(settings) => settings.validate(),
            Self::SecondOrder(settings) => settings.validate(),
        }
    }
}

impl From<FirstOrderDegradation> for Degradation {
    fn from(settings: FirstOrderDegradation) -> Self {
        Self::FirstOrder(settings)
    }
}

impl From<SecondOrderDegradation> for Degradation {
    fn from(settings: SecondOrderDegradation) -> Self {
        Self::SecondOrder(Box::new(settings))
    }
}
